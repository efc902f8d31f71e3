#include "tests/core/vm/assert_error.h"

#include "core/wire/intake.h"

/* Items of one length byte and that many bytes; 255 is an error. */
struct reader {
    struct buf items;     /* contents, one after the other, with a '|' */
    const uint8_t *given; /* bytes that were fed */
    size_t given_len;
    size_t in_place; /* items read from there */
    size_t calls;
    uint64_t last_offset;
};

static int read_items(void *arg, struct input *in, struct error *err)
{
    struct reader *r = arg;

    r->calls++;
    for (;;) {
        const uint8_t *p = input_here(in);
        size_t n;
        int rc;

        if (!input_have(in, 1))
            return 0;
        if (*p == 255)
            return fail_at(in, err, ERR_PROTOCOL, "bad item");
        if (!input_have(in, 1u + *p))
            return 0;
        n = *p;
        r->last_offset = input_offset(in);
        r->in_place += p >= r->given && p < r->given + r->given_len;
        rc = buf_append(&r->items, p + 1, n, err);
        if (rc == 0)
            rc = buf_append(&r->items, "|", 1, err);
        if (rc < 0)
            return rc;
        input_take(in, 1 + n);
    }
}

static const uint8_t bytes[] = "\3abc\0\1x\12"
                               "0123456789\2yz";
#define N_BYTES (sizeof(bytes) - 1)
#define ITEMS   "abc||x|0123456789|yz|"

static void any_two_cuts_give_the_same_items(void **state)
{
    struct error err;

    for (size_t a = 0; a <= N_BYTES; a++) {
        for (size_t b = a; b <= N_BYTES; b++) {
            struct reader r = {0};
            struct intake t = {0};

            assert_int_equal(intake_feed(&t, bytes, a, read_items, &r, &err),
                             0);
            assert_int_equal(
                intake_feed(&t, bytes + a, b - a, read_items, &r, &err), 0);
            assert_int_equal(intake_feed(&t, bytes + b, N_BYTES - b, read_items,
                                         &r, &err),
                             0);
            assert_string_equal(buf_str(&r.items), ITEMS);
            assert_int_equal(r.last_offset, N_BYTES - 3);
            assert_int_equal(t.offset, N_BYTES);
            buf_release(&r.items);
            intake_release(&t);
        }
    }
}

static void only_the_item_under_the_cut_is_copied(void **state)
{
    struct reader r = {0};
    struct intake t = {0};
    struct error err;

    /* The cut is within "0123456789". */
    assert_int_equal(intake_feed(&t, bytes, 11, read_items, &r, &err), 0);
    assert_int_equal(t.carry.len, 4);
    r.given = bytes;
    r.given_len = N_BYTES;
    r.in_place = 0;

    assert_int_equal(
        intake_feed(&t, bytes + 11, N_BYTES - 11, read_items, &r, &err), 0);

    assert_int_equal(r.in_place, 1);
    assert_int_equal(t.carry.len, 0);
    buf_release(&r.items);
    intake_release(&t);
}

static void an_item_is_not_tried_before_it_can_be_whole(void **state)
{
    uint8_t item[201] = {200};
    struct reader r = {0};
    struct intake t = {0};
    struct error err;

    for (size_t i = 0; i < sizeof(item); i++)
        assert_int_equal(intake_feed(&t, item + i, 1, read_items, &r, &err), 0);

    /* Its first byte, and its last. */
    assert_int_equal(r.calls, 2);
    assert_int_equal(r.items.len, 201);
    buf_release(&r.items);
    intake_release(&t);
}

static void an_error_has_its_offset_and_stays(void **state)
{
    struct reader r = {0};
    struct intake t = {0};
    struct error err;

    assert_int_equal(intake_feed(&t, "\2ab\1", 4, read_items, &r, &err), 0);
    assert_error(intake_feed(&t, "c\377x", 3, read_items, &r, &err), &err,
                 ERR_PROTOCOL, "bad item at stream offset 5");
    err = ERROR_INIT;
    assert_error(intake_feed(&t, "\1x", 2, read_items, &r, &err), &err,
                 ERR_PROTOCOL, "bad item at stream offset 5");
    assert_string_equal(buf_str(&r.items), "ab|c|");
    buf_release(&r.items);
    intake_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_two_cuts_give_the_same_items),
        cmocka_unit_test(only_the_item_under_the_cut_is_copied),
        cmocka_unit_test(an_item_is_not_tried_before_it_can_be_whole),
        cmocka_unit_test(an_error_has_its_offset_and_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
