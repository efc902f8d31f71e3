#include "tests/fakes/assert_error.h"

#include "core/base/bytes.h"
#include "storage/pack_set.h"

/* All ids of a kind begin alike: they fight for the same slots. */
static void make_id(uint32_t kind, uint32_t n,
                    uint8_t ret[static LAYOUT_PACK_ID_BYTES])
{
    memset(ret, 0, LAYOUT_PACK_ID_BYTES);
    store_le32(ret, kind);
    store_le32(ret + 12, n);
}

static uint32_t add(struct pack_set *s, uint32_t kind, uint32_t n)
{
    uint8_t id[LAYOUT_PACK_ID_BYTES];
    struct error err;
    uint32_t number;

    make_id(kind, n, id);
    assert_ok(pack_set_add(s, id, &number, &err), &err);
    assert_memory_equal(s->ids[number], id, sizeof(id));
    return number;
}

static uint32_t find(const struct pack_set *s, uint32_t kind, uint32_t n)
{
    uint8_t id[LAYOUT_PACK_ID_BYTES];

    make_id(kind, n, id);
    return pack_set_find(s, id);
}

static void nothing_is_in_an_empty_set(void **state)
{
    struct pack_set s = {0};

    assert_int_equal(find(&s, 0, 0), PACK_SET_NONE);
    assert_int_equal(pack_set_find_text(&s, "00000000000000000000000000000000"),
                     PACK_SET_NONE);
    pack_set_release(&s);
}

static void ids_get_numbers_in_their_order_and_keep_them(void **state)
{
    struct pack_set s = {0};

    /* Often enough to grow, and in few slots. */
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(add(&s, i % 3 ? 7 : UINT32_MAX, i), i);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(find(&s, i % 3 ? 7 : UINT32_MAX, i), i);
        assert_int_equal(add(&s, i % 3 ? 7 : UINT32_MAX, i), i);
    }
    assert_int_equal(s.n, 1000);
    assert_int_equal(find(&s, 7, 1000), PACK_SET_NONE);
    assert_int_equal(find(&s, 8, 1), PACK_SET_NONE);
    pack_set_release(&s);
    assert_int_equal(find(&s, 7, 1), PACK_SET_NONE);
}

static void a_text_is_found_if_it_is_an_id(void **state)
{
    struct pack_set s = {0};

    add(&s, 0, 0);
    assert_int_equal(add(&s, 0x04030201, 0x100), 1);
    assert_int_equal(pack_set_find_text(&s, "01020304000000000000000000010000"),
                     1);
    assert_int_equal(pack_set_find_text(&s, "01020304000000000000000000020000"),
                     PACK_SET_NONE);
    assert_int_equal(pack_set_find_text(&s, "0102030400000000000000000001000"),
                     PACK_SET_NONE);
    assert_int_equal(pack_set_find_text(&s, "0102030400000000000000000001000x"),
                     PACK_SET_NONE);
    assert_int_equal(pack_set_find_text(&s, ""), PACK_SET_NONE);
    pack_set_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_in_an_empty_set),
        cmocka_unit_test(ids_get_numbers_in_their_order_and_keep_them),
        cmocka_unit_test(a_text_is_found_if_it_is_an_id),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
