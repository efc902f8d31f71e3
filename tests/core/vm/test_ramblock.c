#include "tests/core/vm/assert_error.h"

#include "core/vm/ramblock.h"

static int add(struct ramblock_list *l, const char *idstr, uint64_t bytes,
               struct error *err)
{
    struct ramblock b = {.used_bytes = bytes, .host_page_bytes = PAGE_BYTES};

    snprintf(b.idstr, sizeof(b.idstr), "%s", idstr);
    return ramblock_list_add(l, &b, err);
}

static void blocks_keep_their_order_and_are_found_by_name(void **state)
{
    struct ramblock_list l = {0};
    struct error err;
    char name[32];

    for (uint32_t i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "block %u", i);
        assert_int_equal(add(&l, name, i * PAGE_BYTES, &err), 0);
    }

    assert_int_equal(l.n, 100);
    assert_int_equal(ramblock_list_find(&l, "block 0"), 0);
    assert_int_equal(ramblock_list_find(&l, "block 63"), 63);
    assert_int_equal(ramblock_list_find(&l, "block 99"), 99);
    assert_int_equal(ramblock_list_find(&l, "block"), RAMBLOCK_NOT_FOUND);
    assert_int_equal(ramblock_list_total_bytes(&l), 4950 * PAGE_BYTES);
    assert_int_equal(ramblock_pages(&l.blocks[7]), 7);
    ramblock_list_release(&l);
    assert_int_equal(l.n, 0);
}

static void blocks_that_make_no_sense_are_refused(void **state)
{
    struct ramblock_list l = {0};
    struct error err;

    assert_int_equal(add(&l, "pc.ram", PAGE_BYTES, &err), 0);

    assert_error(add(&l, "", PAGE_BYTES, &err), &err, ERR_PROTOCOL,
                 "RAM block 1 has no name");
    assert_error(add(&l, "pc.ram", PAGE_BYTES, &err), &err, ERR_PROTOCOL,
                 "'pc.ram' is listed twice");
    assert_error(add(&l, "odd", PAGE_BYTES + 1, &err), &err, ERR_PROTOCOL,
                 "length 0x1001 of RAM block 'odd'");
    assert_error(add(&l, "huge", UINT64_C(64) << 40, &err), &err, ERR_PROTOCOL,
                 "larger than 64 TiB");
    assert_int_equal(l.n, 1);
    ramblock_list_release(&l);
}

static void too_many_blocks_are_refused(void **state)
{
    struct ramblock_list l = {0};
    struct error err;
    char name[32];

    for (uint32_t i = 0; i < RAMBLOCK_MAX; i++) {
        snprintf(name, sizeof(name), "%u", i);
        assert_int_equal(add(&l, name, PAGE_BYTES, &err), 0);
    }

    assert_error(add(&l, "more", PAGE_BYTES, &err), &err, ERR_PROTOCOL,
                 "more than 4096 RAM blocks");
    ramblock_list_release(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_keep_their_order_and_are_found_by_name),
        cmocka_unit_test(blocks_that_make_no_sense_are_refused),
        cmocka_unit_test(too_many_blocks_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
