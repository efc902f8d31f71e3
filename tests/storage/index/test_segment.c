#include "tests/fakes/assert_error.h"

#include "core/base/bytes.h"
#include "storage/index/segment.h"

static void pack_id(uint8_t ret[SEGMENT_PACK_ID_BYTES], uint32_t number)
{
    for (size_t i = 0; i < SEGMENT_PACK_ID_BYTES; i += 4)
        store_le32(ret + i, number * 2654435761u + (uint32_t)i);
}

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static void add(struct segment *s, uint32_t page, uint32_t pack, uint32_t item)
{
    uint8_t id[SEGMENT_PACK_ID_BYTES];

    pack_id(id, pack);
    segment_add(s, page, id, item);
}

/* Encodes, decodes and compares; gives the bytes. */
static void encode(const struct segment *s, struct buf *ret)
{
    static struct segment back;
    struct error err;

    buf_reset(ret);
    assert_ok(segment_encode(s, ret, &err), &err);
    assert_true(ret->len <= SEGMENT_MAX_BYTES);
    assert_ok(segment_decode(ret->data, ret->len, &back, &err), &err);
    assert_int_equal(back.n_packs, s->n_packs);
    assert_int_equal(back.n_runs, s->n_runs);
    assert_memory_equal(back.packs, s->packs,
                        s->n_packs * SEGMENT_PACK_ID_BYTES);
    assert_memory_equal(back.runs, s->runs, s->n_runs * sizeof(*s->runs));
}

static void make_sequential(struct segment *s)
{
    segment_init(s);
    for (uint32_t i = 0; i < SEGMENT_PAGES; i++)
        add(s, i, 1, 123456 + i);
}

/* Every page somewhere else in one of four packs, some zero. */
static void make_fragmented(struct segment *s, uint64_t seed)
{
    segment_init(s);
    for (uint32_t i = 0; i < SEGMENT_PAGES; i++) {
        if (next_random(&seed) % 8 != 0)
            add(s, i, (uint32_t)(next_random(&seed) % 4),
                (uint32_t)(next_random(&seed) % 200000));
    }
}

static uint32_t count_pages(const struct segment *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->n_runs; i++)
        n += s->runs[i].count;
    return n;
}

static void a_sequential_segment_takes_a_few_dozen_bytes(void **state)
{
    static struct segment s;
    struct buf bytes = BUF_INIT;

    make_sequential(&s);
    encode(&s, &bytes);

    assert_int_equal(s.n_runs, 1);
    assert_true(bytes.len <= 32);
    buf_release(&bytes);
}

static void a_fragmented_segment_takes_six_bytes_a_page(void **state)
{
    static struct segment s;
    struct buf bytes = BUF_INIT;

    for (uint64_t seed = 1; seed <= 50; seed++) {
        make_fragmented(&s, seed);
        encode(&s, &bytes);

        assert_true(count_pages(&s) > 400);
        assert_true(bytes.len <= 6u * count_pages(&s));
    }
    buf_release(&bytes);
}

static void the_longest_segment_has_its_bound(void **state)
{
    static struct segment s;
    struct buf bytes = BUF_INIT;

    segment_init(&s);
    for (uint32_t i = 0; i < SEGMENT_PAGES; i++)
        add(&s, i, i, UINT32_MAX - 1);
    encode(&s, &bytes);

    assert_int_equal(s.n_packs, SEGMENT_PAGES);
    assert_true(bytes.len > SEGMENT_PAGES * SEGMENT_PACK_ID_BYTES);
    buf_release(&bytes);
}

static void equal_places_have_equal_bytes(void **state)
{
    static struct segment s, t;
    struct buf a = BUF_INIT, b = BUF_INIT;

    for (uint64_t seed = 1; seed <= 20; seed++) {
        /* What was in the struct before must not show. */
        memset(&t, 0xa5, sizeof(t));
        make_fragmented(&s, seed);
        make_fragmented(&t, seed);
        encode(&s, &a);
        encode(&t, &b);

        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.data, b.data, a.len);
    }
    buf_release(&a);
    buf_release(&b);
}

static void each_page_is_found_where_it_was_put(void **state)
{
    static struct segment s;
    const struct segment_run *run;

    segment_init(&s);
    add(&s, 3, 1, 10);
    add(&s, 4, 1, 11);
    add(&s, 5, 1, 99);
    add(&s, 511, 2, 0);

    assert_int_equal(s.n_runs, 3);
    assert_null(segment_run_find(s.runs, s.n_runs, 0));
    assert_null(segment_run_find(s.runs, s.n_runs, 2));
    run = segment_run_find(s.runs, s.n_runs, 4);
    assert_int_equal(run->item + (4 - run->first), 11);
    run = segment_run_find(s.runs, s.n_runs, 5);
    assert_int_equal(run->item, 99);
    assert_null(segment_run_find(s.runs, s.n_runs, 6));
    assert_null(segment_run_find(s.runs, s.n_runs, 510));
    assert_int_equal(segment_run_find(s.runs, s.n_runs, 511)->pack, 1);
    assert_null(segment_run_find(s.runs, 0, 0));
}

static void the_next_page_with_content_is_found(void **state)
{
    static struct segment s;

    segment_init(&s);
    assert_int_equal(segment_run_next(s.runs, 0, 0), SEGMENT_PAGES);
    add(&s, 3, 1, 10);
    add(&s, 4, 1, 11);
    add(&s, 100, 1, 5);

    assert_int_equal(segment_run_next(s.runs, s.n_runs, 0), 3);
    assert_int_equal(segment_run_next(s.runs, s.n_runs, 4), 4);
    assert_int_equal(segment_run_next(s.runs, s.n_runs, 5), 100);
    assert_int_equal(segment_run_next(s.runs, s.n_runs, 101), SEGMENT_PAGES);
}

static void every_prefix_is_refused(void **state)
{
    static struct segment s, back;
    struct buf bytes = BUF_INIT;
    struct error err;

    for (uint64_t seed = 0; seed < 3; seed++) {
        if (seed)
            make_fragmented(&s, seed);
        else
            make_sequential(&s);
        encode(&s, &bytes);
        for (size_t len = 0; len < bytes.len; len++) {
            /* A copy of that length, so that a sanitizer sees one byte more. */
            uint8_t *copy = malloc(len ? len : 1);

            memcpy(copy, bytes.data, len);
            assert_int_equal(segment_decode(copy, len, &back, &err),
                             ERR_CORRUPT);
            free(copy);
        }
    }
    buf_release(&bytes);
}

static void check_sane(const struct segment *s)
{
    uint32_t end = 0;

    assert_true(s->n_packs <= SEGMENT_PAGES && s->n_runs <= SEGMENT_PAGES);
    for (uint32_t i = 0; i < s->n_runs; i++) {
        const struct segment_run *run = &s->runs[i];

        assert_true(run->first >= end && run->count > 0);
        end = (uint32_t)run->first + run->count;
        assert_true(end <= SEGMENT_PAGES);
        assert_true(run->pack < s->n_packs);
        assert_true((uint64_t)run->item + run->count <= UINT32_MAX);
    }
}

/* Whatever decodes is within its bounds, and is the one encoding of itself. */
static void a_flipped_bit_is_refused_or_another_legal_segment(void **state)
{
    static struct segment s, back;
    struct buf bytes = BUF_INIT, again = BUF_INIT;
    unsigned legal = 0, refused = 0;
    struct error err;

    make_fragmented(&s, 7);
    encode(&s, &bytes);
    for (size_t bit = 0; bit < bytes.len * 8; bit++) {
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (segment_decode(bytes.data, bytes.len, &back, &err) < 0) {
            assert_int_equal(err.code, ERR_CORRUPT);
            assert_message(&err, "offset");
            refused++;
        } else {
            check_sane(&back);
            buf_reset(&again);
            assert_ok(segment_encode(&back, &again, &err), &err);
            assert_int_equal(again.len, bytes.len);
            assert_memory_equal(again.data, bytes.data, bytes.len);
            legal++;
        }
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(refused > 0 && legal > 0);
    buf_release(&bytes);
    buf_release(&again);
}

static void random_bytes_do_no_harm(void **state)
{
    static struct segment back;
    uint64_t seed = 42;
    uint8_t bytes[96];
    struct error err;

    for (unsigned i = 0; i < 200000; i++) {
        for (size_t j = 0; j < sizeof(bytes); j += 8)
            store_le64(bytes + j, next_random(&seed));
        bytes[0] = 1;
        bytes[1] &= 3;
        if (segment_decode(bytes, 2 + next_random(&seed) % 94, &back, &err) ==
            0)
            check_sane(&back);
    }
}

/* One pack, then the runs given. */
static int decode_runs(const void *runs, size_t len, struct error *err)
{
    static struct segment back;
    uint8_t bytes[128] = {1, 1};

    memcpy(bytes + 18, runs, len);
    return segment_decode(bytes, 18 + len, &back, err);
}

#define REFUSED(piece, ...)                                           \
    do {                                                              \
        const uint8_t runs_[] = {__VA_ARGS__};                        \
        struct error err_;                                            \
                                                                      \
        assert_error(decode_runs(runs_, sizeof(runs_), &err_), &err_, \
                     ERR_CORRUPT, piece);                             \
    } while (0)

static void what_the_encoder_never_writes_is_refused(void **state)
{
    static struct segment back;
    uint8_t twice[2 + 32 + 5] = {1, 2};
    const uint8_t two_runs[] = {2, 0, 0, 2, 1, 0};
    struct error err;

    /* n_runs, then head, [pack], [count], step. */
    REFUSED("not used", 0);
    REFUSED("leaves the segment", 1, 0x80 | 0x00, 0x10, 0); /* gap 512 */
    REFUSED("leaves the segment", 1, 1, 0xff, 0x03, 0);     /* 513 pages */
    REFUSED("out of range", 1, 2, 1, 0);                    /* pack 1 of 1 */
    REFUSED("out of range", 1, 0, 1);                       /* item -1 */
    REFUSED("twice in a row", 1, 2, 0, 0);
    REFUSED("cut in two", 2, 0, 10, 0, 0);
    REFUSED("longer than needed", 1, 0x80, 0x00, 0);
    REFUSED("out of range", 0xff, 0xff, 0x03); /* 65535 runs */
    REFUSED("too long", 1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff);
    REFUSED("behind its end", 1, 0, 0, 0);
    memcpy(twice + 34, two_runs, 5);
    assert_int_equal(segment_decode(twice, sizeof(twice), &back, &err),
                     ERR_CORRUPT);
    assert_error(segment_decode("", 0, &back, &err), &err, ERR_CORRUPT,
                 "empty");
    assert_error(segment_decode("\2\0\0", 3, &back, &err), &err, ERR_CORRUPT,
                 "unknown version");
    assert_error(segment_decode("\1\0\1\0\0", 5, &back, &err), &err,
                 ERR_CORRUPT, "no packs");
}

static void a_pack_listed_twice_is_refused(void **state)
{
    static struct segment s, back;
    struct buf bytes = BUF_INIT;
    struct error err;

    segment_init(&s);
    add(&s, 0, 1, 0);
    add(&s, 1, 2, 0);
    encode(&s, &bytes);
    memcpy(bytes.data + 18, bytes.data + 2, SEGMENT_PACK_ID_BYTES);

    assert_error(segment_decode(bytes.data, bytes.len, &back, &err), &err,
                 ERR_CORRUPT, "listed twice");
    buf_release(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sequential_segment_takes_a_few_dozen_bytes),
        cmocka_unit_test(a_fragmented_segment_takes_six_bytes_a_page),
        cmocka_unit_test(the_longest_segment_has_its_bound),
        cmocka_unit_test(equal_places_have_equal_bytes),
        cmocka_unit_test(each_page_is_found_where_it_was_put),
        cmocka_unit_test(the_next_page_with_content_is_found),
        cmocka_unit_test(every_prefix_is_refused),
        cmocka_unit_test(a_flipped_bit_is_refused_or_another_legal_segment),
        cmocka_unit_test(random_bytes_do_no_harm),
        cmocka_unit_test(what_the_encoder_never_writes_is_refused),
        cmocka_unit_test(a_pack_listed_twice_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
