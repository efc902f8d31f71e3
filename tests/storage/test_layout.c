#include "tests/fakes/assert_error.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "storage/layout.h"
#include "storage/pack_set.h"
#include "tests/storage/scratch.h"

#define ID "00112233445566778899aabbccddeeff"

static void only_lower_case_hex_of_the_right_length_is_an_id(void **state)
{
    assert_true(layout_is_id("0123456789abcdef", 16));
    assert_false(layout_is_id("0123456789abcde", 16));
    assert_false(layout_is_id("0123456789abcdef0", 16));
    assert_false(layout_is_id("0123456789ABCDEF", 16));
    assert_false(layout_is_id("../../etc/passwd", 16));
    assert_false(layout_is_id("", 16));
}

static void an_id_is_its_bytes(void **state)
{
    uint8_t bytes[16];
    char text[33];

    assert_true(layout_id_bytes(ID, bytes, 16));
    assert_int_equal(bytes[0], 0x00);
    assert_int_equal(bytes[15], 0xff);
    layout_id_text(bytes, 16, text);
    assert_string_equal(text, ID);
    assert_false(layout_id_bytes("xx", bytes, 1));
    assert_false(layout_id_bytes(ID, bytes, 15));
}

static void two_new_ids_differ(void **state)
{
    char a[17], b[17];
    struct error err;

    assert_ok(layout_new_id(a, 16, &err), &err);
    assert_ok(layout_new_id(b, 16, &err), &err);

    assert_true(layout_is_id(a, 16) && layout_is_id(b, 16));
    assert_string_not_equal(a, b);
}

static void a_pack_lies_in_the_folder_of_its_first_digits(void **state)
{
    struct scratch s;
    char path[128];
    struct error err;
    uint64_t bytes;
    int fd;

    scratch_make(&s);
    fd = open(s.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_error(layout_pack_stat(fd, ID, &bytes, &err), &err, ERR_NOTFOUND,
                 ID);
    snprintf(path, sizeof(path), "%s/00", s.path);
    assert_int_equal(mkdir(path, 0700), 0);
    scratch_write(path, ID, "hello", 5);

    assert_ok(layout_pack_stat(fd, ID, &bytes, &err), &err);
    assert_int_equal(bytes, 5);
    close(fd);
    scratch_remove(&s);
}

static void a_pack_keeps_its_number_in_a_set(void **state)
{
    cleanup(pack_set) struct pack_set set = {0};
    uint8_t id[16] = {0};
    struct error err;
    uint32_t number;

    assert_int_equal(pack_set_find(&set, id), PACK_SET_NONE);
    /* Ids that all begin alike fight for one slot. */
    for (uint32_t i = 0; i < 3000; i++) {
        id[8] = (uint8_t)i;
        id[9] = (uint8_t)(i >> 8);
        assert_ok(pack_set_add(&set, id, &number, &err), &err);
        assert_int_equal(number, i);
    }
    for (uint32_t i = 0; i < 3000; i++) {
        id[8] = (uint8_t)i;
        id[9] = (uint8_t)(i >> 8);
        assert_int_equal(pack_set_find(&set, id), i);
        assert_ok(pack_set_add(&set, id, &number, &err), &err);
        assert_int_equal(number, i);
    }
    assert_int_equal(set.n, 3000);
    assert_int_equal(pack_set_find_text(&set, ID), PACK_SET_NONE);
    assert_int_equal(pack_set_find_text(&set, "no id"), PACK_SET_NONE);
    assert_int_equal(
        pack_set_find_text(&set, "00000000000000000100000000000000"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_lower_case_hex_of_the_right_length_is_an_id),
        cmocka_unit_test(an_id_is_its_bytes),
        cmocka_unit_test(two_new_ids_differ),
        cmocka_unit_test(a_pack_lies_in_the_folder_of_its_first_digits),
        cmocka_unit_test(a_pack_keeps_its_number_in_a_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
