#include "tests/fakes/assert_error.h"

#include "storage/frame_cache.h"

static void add(struct frame_cache *c, uint32_t pack, uint32_t frame,
                size_t bytes)
{
    struct error err;
    uint8_t *room;

    assert_ok(frame_cache_add(c, pack, frame, bytes, &room, &err), &err);
    memset(room, (int)(pack * 16 + frame), bytes);
}

static bool holds(struct frame_cache *c, uint32_t pack, uint32_t frame)
{
    const uint8_t *data = frame_cache_find(c, pack, frame);

    assert_true(!data || data[0] == (uint8_t)(pack * 16 + frame));
    return data;
}

static void a_frame_is_found_by_pack_and_number(void **state)
{
    struct frame_cache *c;
    struct error err;

    assert_ok(frame_cache_new(1000, &c, &err), &err);
    add(c, 1, 2, 100);
    add(c, 2, 1, 100);

    assert_true(holds(c, 1, 2));
    assert_true(holds(c, 2, 1));
    assert_false(holds(c, 1, 1));
    assert_int_equal(frame_cache_bytes(c), 200);
    frame_cache_free(c);
}

static void the_one_used_longest_ago_goes_first(void **state)
{
    struct frame_cache *c;
    struct error err;

    assert_ok(frame_cache_new(300, &c, &err), &err);
    add(c, 1, 1, 100);
    add(c, 1, 2, 100);
    add(c, 1, 3, 100);
    assert_true(holds(c, 1, 1));
    add(c, 1, 4, 100);

    assert_false(holds(c, 1, 2));
    assert_true(holds(c, 1, 1));
    assert_true(holds(c, 1, 3));
    assert_true(holds(c, 1, 4));
    assert_int_equal(frame_cache_bytes(c), 300);
    frame_cache_free(c);
}

static void the_bound_is_in_bytes(void **state)
{
    struct frame_cache *c;
    struct error err;

    assert_ok(frame_cache_new(300, &c, &err), &err);
    add(c, 1, 1, 100);
    add(c, 1, 2, 100);
    add(c, 1, 3, 250);
    assert_int_equal(frame_cache_bytes(c), 250);
    assert_false(holds(c, 1, 2));

    add(c, 1, 4, 4000); /* larger than all: alone */
    assert_int_equal(frame_cache_bytes(c), 4000);
    add(c, 1, 5, 10);
    assert_int_equal(frame_cache_bytes(c), 10);
    frame_cache_free(c);
}

static void a_dropped_frame_is_gone(void **state)
{
    struct frame_cache *c;
    struct error err;

    assert_ok(frame_cache_new(1000, &c, &err), &err);
    add(c, 1, 1, 100);
    add(c, 1, 2, 100);
    frame_cache_drop(c, 1, 1);
    frame_cache_drop(c, 9, 9);

    assert_false(holds(c, 1, 1));
    assert_true(holds(c, 1, 2));
    assert_int_equal(frame_cache_bytes(c), 100);
    frame_cache_free(c);
}

static void many_frames_come_and_go(void **state)
{
    struct frame_cache *c;
    struct error err;

    assert_ok(frame_cache_new(64 * 100, &c, &err), &err);
    for (uint32_t i = 0; i < 100000; i++) {
        uint32_t frame = i * 7919 % 512;

        if (!holds(c, 0, frame))
            add(c, 0, frame, 100);
        assert_true(frame_cache_bytes(c) <= 64 * 100);
    }
    frame_cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_is_found_by_pack_and_number),
        cmocka_unit_test(the_one_used_longest_ago_goes_first),
        cmocka_unit_test(the_bound_is_in_bytes),
        cmocka_unit_test(a_dropped_frame_is_gone),
        cmocka_unit_test(many_frames_come_and_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
