#include "tests/fakes/assert_error.h"

#include "storage/index/sql.h"
#include "tests/storage/scratch.h"

static struct sql *new_manifest(void)
{
    struct error err;
    struct sql *s;

    assert_ok(sql_open_memory("test", &s, &err), &err);
    assert_ok(sql_run(s, SQL_MANIFEST_SCHEMA, &err), &err);
    return s;
}

static void add_block(struct sql *s, int64_t number, const char *idstr,
                      int64_t bytes)
{
    struct sql_row *row;
    struct error err;

    assert_ok(sql_prepare(s, SQL_MANIFEST_ADD_BLOCK, &row, &err), &err);
    sql_bind_int(row, 1, number);
    sql_bind_text(row, 2, idstr);
    sql_bind_int(row, 3, bytes);
    sql_bind_int(row, 4, 4096);
    sql_bind_int(row, 5, 0);
    assert_ok(sql_done(row, &err), &err);
}

static void a_database_goes_through_bytes_and_back(void **state)
{
    struct sql *s = new_manifest();
    struct buf image = BUF_INIT;
    struct sql *back;
    struct sql_row *row;
    struct error err;
    char idstr[16];
    uint64_t bytes;
    int64_t version;
    bool found;

    add_block(s, 0, "pc.ram", 8192);
    assert_ok(sql_serialize(s, &image, &err), &err);
    sql_close(s);
    assert_ok(sql_open_image("image", image.data, image.len, &back, &err),
              &err);

    assert_ok(sql_user_version(back, &version, &err), &err);
    assert_int_equal(version, 1);
    assert_ok(sql_prepare(back, SQL_MANIFEST_BLOCKS, &row, &err), &err);
    assert_ok(sql_step(row, &found, &err), &err);
    assert_true(found);
    assert_ok(sql_column_text(row, 1, idstr, sizeof(idstr), &err), &err);
    assert_string_equal(idstr, "pc.ram");
    assert_ok(sql_column_uint(row, 2, 8192, &bytes, &err), &err);
    assert_int_equal(bytes, 8192);
    assert_ok(sql_step(row, &found, &err), &err);
    assert_false(found);
    assert_ok(sql_done(row, &err), &err);
    sql_close(back);
    buf_release(&image);
}

static void an_image_is_not_written(void **state)
{
    struct sql *s = new_manifest();
    struct buf image = BUF_INIT, copy = BUF_INIT;
    struct sql_row *row;
    struct sql *back;
    struct error err;

    assert_ok(sql_serialize(s, &image, &err), &err);
    sql_close(s);
    assert_ok(buf_append(&copy, image.data, image.len, &err), &err);
    assert_ok(sql_open_image("image", image.data, image.len, &back, &err),
              &err);

    assert_ok(sql_prepare(back, SQL_MANIFEST_ADD_SEGMENT, &row, &err), &err);
    for (int i = 1; i <= 5; i++)
        sql_bind_int(row, i, 1);
    assert_error(sql_done(row, &err), &err, ERR_IO, "'manifest_add_segment'");
    assert_memory_equal(copy.data, image.data, image.len);
    sql_close(back);
    buf_release(&image);
    buf_release(&copy);
}

static void what_is_no_database_is_damage(void **state)
{
    uint8_t noise[8192];
    struct sql *s = NULL;
    struct error err;

    memset(noise, 0x5a, sizeof(noise));
    assert_error(sql_open_image("noise", noise, sizeof(noise), &s, &err), &err,
                 ERR_CORRUPT, "noise: statement");
    assert_null(s);
}

/* An image made by the shell's SQLite would do the same; ours has no SQL text
 * to make a view, so the schema's own bytes are changed: a table becomes one.
 */
static void views_and_triggers_are_refused(void **state)
{
    struct sql *s = new_manifest();
    struct buf image = BUF_INIT;
    struct sql *back = NULL;
    struct error err;
    uint8_t *at;

    assert_ok(sql_serialize(s, &image, &err), &err);
    sql_close(s);
    at = memmem(image.data, image.len, "tablemachinemachine", 19);
    assert_non_null(at);
    memcpy(at, "table", 5);
    assert_ok(sql_open_image("image", image.data, image.len, &back, &err),
              &err);
    sql_close(back);
    back = NULL;
    memcpy(at, "views", 5);
    assert_error(sql_open_image("image", image.data, image.len, &back, &err),
                 &err, ERR_CORRUPT, "image");
    assert_null(back);
    buf_release(&image);
}

static void a_column_of_the_wrong_kind_is_damage(void **state)
{
    struct sql *s = new_manifest();
    struct sql_row *row;
    const uint8_t *data;
    struct error err;
    char idstr[4];
    uint64_t value;
    size_t len;
    bool found;

    add_block(s, 0, "pc.ram", -1);
    assert_ok(sql_prepare(s, SQL_MANIFEST_BLOCKS, &row, &err), &err);
    assert_ok(sql_step(row, &found, &err), &err);

    assert_error(sql_column_text(row, 1, idstr, sizeof(idstr), &err), &err,
                 ERR_CORRUPT, "column 'idstr': is too long");
    assert_error(sql_column_text(row, 0, idstr, sizeof(idstr), &err), &err,
                 ERR_CORRUPT, "is no text");
    assert_error(sql_column_uint(row, 1, 1, &value, &err), &err, ERR_CORRUPT,
                 "is no integer");
    assert_error(sql_column_uint(row, 2, UINT32_MAX, &value, &err), &err,
                 ERR_CORRUPT, "out of range");
    assert_error(sql_column_bytes(row, 2, 99, &data, &len, &err), &err,
                 ERR_CORRUPT, "neither text nor a blob");
    assert_ok(sql_column_bits(row, 2, &value, &err), &err);
    assert_true(value == UINT64_MAX);
    assert_ok(sql_done(row, &err), &err);
    sql_close(s);
}

static void a_failing_bind_is_told_by_the_step(void **state)
{
    struct sql *s = new_manifest();
    struct sql_row *row;
    struct error err;

    assert_ok(sql_prepare(s, SQL_MANIFEST_ADD_BLOCK, &row, &err), &err);
    sql_bind_int(row, 99, 1);
    sql_bind_int(row, 1, 1);
    assert_error(sql_done(row, &err), &err, ERR_INVALID,
                 "'manifest_add_block'");
    sql_close(s);
}

static void a_failed_insert_names_its_statement(void **state)
{
    struct sql *s = new_manifest();
    struct sql_row *row;
    struct error err;

    add_block(s, 0, "pc.ram", 4096);
    assert_ok(sql_prepare(s, SQL_MANIFEST_ADD_BLOCK, &row, &err), &err);
    sql_bind_int(row, 1, 0);
    sql_bind_text(row, 2, "twice");
    for (int i = 3; i <= 5; i++)
        sql_bind_int(row, i, 0);
    assert_error(sql_done(row, &err), &err, ERR_INVALID,
                 "test: statement 'manifest_add_block' failed: UNIQUE");
    sql_close(s);
}

static void a_rollback_takes_rows_back(void **state)
{
    struct sql *s = new_manifest();
    struct sql_row *row;
    struct error err;
    bool found;

    assert_ok(sql_begin(s, &err), &err);
    add_block(s, 0, "pc.ram", 4096);
    sql_rollback(s);
    sql_rollback(s); /* nothing to take back: nothing happens */

    assert_ok(sql_prepare(s, SQL_MANIFEST_BLOCKS, &row, &err), &err);
    assert_ok(sql_step(row, &found, &err), &err);
    assert_false(found);
    sql_close(s);
}

static void a_file_is_kept_over_close(void **state)
{
    struct scratch scratch;
    char path[128];
    struct sql_row *row;
    struct error err;
    struct sql *s;
    bool found;

    scratch_make(&scratch);
    snprintf(path, sizeof(path), "%s/db", scratch.path);
    assert_error(sql_open_file("db", path, &s, &err), &err, ERR_IO, "db");
    scratch_write(scratch.path, "db", "", 0);
    assert_ok(sql_open_file("db", path, &s, &err), &err);
    assert_ok(sql_run(s, SQL_MANIFEST_SCHEMA, &err), &err);
    add_block(s, 0, "pc.ram", 4096);
    sql_close(s);

    assert_ok(sql_open_file("db", path, &s, &err), &err);
    assert_ok(sql_prepare(s, SQL_MANIFEST_BLOCKS, &row, &err), &err);
    assert_ok(sql_step(row, &found, &err), &err);
    assert_true(found);
    sql_close(s);
    scratch_remove(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_database_goes_through_bytes_and_back),
        cmocka_unit_test(an_image_is_not_written),
        cmocka_unit_test(what_is_no_database_is_damage),
        cmocka_unit_test(views_and_triggers_are_refused),
        cmocka_unit_test(a_column_of_the_wrong_kind_is_damage),
        cmocka_unit_test(a_failing_bind_is_told_by_the_step),
        cmocka_unit_test(a_failed_insert_names_its_statement),
        cmocka_unit_test(a_rollback_takes_rows_back),
        cmocka_unit_test(a_file_is_kept_over_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
