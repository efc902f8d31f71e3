/*
 * manifest_builder.c - the rows of a new snapshot, in one transaction.
 *
 * The object is a SQLite database that never was a file: it is filled in
 * memory, serialized, and sealed with a footer (manifest_file.c). So it can be
 * read back before it gets a name, and it appears in the repository whole or
 * not at all. Order of columns here and in schema.sql is the same by hand; the
 * second reader of the tests keeps both honest.
 */
#include "storage/manifest_builder.h"

#include "storage/index/sql.h"
#include "storage/summary_fields.h"

struct manifest_builder {
    struct sql *sql;
};

int manifest_builder_new(struct manifest_builder **ret, struct error *err)
{
    cleanup(manifest_builder) struct manifest_builder *b =
        calloc(1, sizeof(*b));
    int rc;

    if (!b)
        return fail_nomem(err);
    rc = sql_open_memory("new snapshot", &b->sql, err);
    if (rc == 0)
        rc = sql_run(b->sql, SQL_MANIFEST_SCHEMA, err);
    if (rc == 0)
        rc = sql_begin(b->sql, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&b);
    return 0;
}

void manifest_builder_free(struct manifest_builder *b)
{
    if (!b)
        return;
    sql_close(b->sql);
    free(b);
}

int manifest_builder_add_blocks(struct manifest_builder *b,
                                const struct ramblock_list *blocks,
                                struct error *err)
{
    struct sql_row *row;
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < blocks->n; i++) {
        const struct ramblock *block = &blocks->blocks[i];

        rc = sql_prepare(b->sql, SQL_MANIFEST_ADD_BLOCK, &row, err);
        if (rc < 0)
            return rc;
        sql_bind_int(row, 1, i);
        sql_bind_text(row, 2, block->idstr);
        sql_bind_int(row, 3, (int64_t)block->used_bytes);
        sql_bind_int(row, 4, (int64_t)block->host_page_bytes);
        sql_bind_int(row, 5, block->left_out);
        rc = sql_done(row, err);
    }
    return rc;
}

int manifest_builder_add_pack(struct manifest_builder *b, uint32_t number,
                              const struct manifest_pack *pack,
                              struct error *err)
{
    struct sql_row *row;
    int rc = sql_prepare(b->sql, SQL_MANIFEST_ADD_PACK, &row, err);

    if (rc < 0)
        return rc;
    sql_bind_int(row, 1, number);
    sql_bind_text(row, 2, pack->id);
    sql_bind_int(row, 3, pack->kind);
    sql_bind_int(row, 4, (int64_t)pack->bytes);
    sql_bind_int(row, 5, pack->items);
    sql_bind_int(row, 6, pack->used);
    return sql_done(row, err);
}

int manifest_builder_add_segment(struct manifest_builder *b, uint32_t block,
                                 const struct manifest_segment *segment,
                                 struct error *err)
{
    struct sql_row *row;
    int rc = sql_prepare(b->sql, SQL_MANIFEST_ADD_SEGMENT, &row, err);

    if (rc < 0)
        return rc;
    sql_bind_int(row, 1, block);
    sql_bind_int(row, 2, (int64_t)segment->segno);
    sql_bind_int(row, 3, segment->pack);
    sql_bind_int(row, 4, segment->item);
    sql_bind_int(row, 5, (int64_t)segment->checksum);
    return sql_done(row, err);
}

static int print_object(const json_t *object, struct buf *ret,
                        struct error *err)
{
    return object ? json_print(object, ret, err)
                  : buf_append(ret, "{}", 2, err);
}

static int add_snapshot(struct manifest_builder *b,
                        const struct snapshot_summary *summary,
                        const struct snapshot_record *record, struct error *err)
{
    const int tags = SUMMARY_N_COLUMNS + 1;
    cleanup_buf struct buf tags_text = BUF_INIT;
    cleanup_buf struct buf facts_text = BUF_INIT;
    struct sql_row *row;
    int rc = print_object(record->summary->tags, &tags_text, err);

    if (rc == 0)
        rc = print_object(record->facts, &facts_text, err);
    if (rc == 0)
        rc = sql_prepare(b->sql, SQL_MANIFEST_ADD_SNAPSHOT, &row, err);
    if (rc < 0)
        return rc;
    summary_bind(summary, row);
    sql_bind_text(row, tags, buf_str(&tags_text));
    sql_bind_text(row, tags + 1, buf_str(&facts_text));
    sql_bind_int(row, tags + 2, record->ram_section_id);
    return sql_done(row, err);
}

static int add_machine(struct manifest_builder *b,
                       const struct machine_config *config, struct error *err)
{
    struct sql_row *row;
    int rc = sql_prepare(b->sql, SQL_MANIFEST_ADD_MACHINE, &row, err);

    if (rc < 0)
        return rc;
    sql_bind_text(row, 1, config->machine);
    sql_bind_int(row, 2, config->target_page_bits);
    sql_bind_int(row, 3, config->ignore_shared);
    sql_bind_int(row, 4, config->mapped_ram);
    if (config->has_uuid)
        sql_bind_blob(row, 5, config->uuid, sizeof(config->uuid));
    else
        sql_bind_null(row, 5);
    sql_bind_blob(row, 6, config->raw.data, config->raw.len);
    return sql_done(row, err);
}

static int add_device(struct manifest_builder *b, size_t number,
                      const struct device_section *section, struct error *err)
{
    struct sql_row *row;
    int rc = sql_prepare(b->sql, SQL_MANIFEST_ADD_DEVICE, &row, err);

    if (rc < 0)
        return rc;
    sql_bind_int(row, 1, (int64_t)number);
    sql_bind_text(row, 2, section->name);
    sql_bind_int(row, 3, section->instance);
    sql_bind_int(row, 4, section->version);
    sql_bind_int(row, 5, (int64_t)section->offset);
    sql_bind_int(row, 6, (int64_t)section->bytes);
    return sql_done(row, err);
}

static int add_device_state(struct manifest_builder *b,
                            const struct device_state *devices,
                            struct error *err)
{
    struct sql_row *row;
    int rc = sql_prepare(b->sql, SQL_MANIFEST_ADD_DEVICE_STATE, &row, err);

    if (rc < 0)
        return rc;
    sql_bind_text(row, 1, devices->run_state);
    sql_bind_blob(row, 2, devices->tail.data, devices->tail.len);
    sql_bind_blob(row, 3, devices->vmdesc.data, devices->vmdesc.len);
    rc = sql_done(row, err);
    for (size_t i = 0; rc == 0 && i < devices->n_sections; i++)
        rc = add_device(b, i, &devices->sections[i], err);
    return rc;
}

int manifest_builder_finish(struct manifest_builder *b,
                            const struct snapshot_summary *summary,
                            const struct snapshot_record *record,
                            struct buf *ret, struct error *err)
{
    int rc = add_snapshot(b, summary, record, err);

    if (rc == 0)
        rc = add_machine(b, record->config, err);
    if (rc == 0)
        rc = add_device_state(b, record->devices, err);
    if (rc == 0)
        rc = sql_commit(b->sql, err);
    if (rc == 0)
        rc = sql_serialize(b->sql, ret, err);
    return rc < 0 ? rc : manifest_file_seal(summary->id, ret, err);
}
