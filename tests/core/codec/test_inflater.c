#include "tests/fakes/assert_error.h"

#include "core/codec/inflater.h"
#include "tests/core/wire/deflater.h"

#define PACKET  (128u * 4096u)
#define PACKETS 6u

struct fixture {
    bool zstd;
    struct deflater deflater;
    struct inflater *inflater;
    uint8_t *packets;
    uint8_t *back;
    struct buf wire;
    size_t sizes[PACKETS];
    struct error err;
};

/* Text that repeats from packet to packet, with noise in between: a decoder
 * without history cannot read the second packet. */
static void fill(struct fixture *f)
{
    uint64_t x = 88172645463325252u;

    for (size_t i = 0; i < PACKETS * PACKET; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        f->packets[i] = i / 4096 % 5 ? (uint8_t) "the page of a guest "[i % 20]
                                     : (uint8_t)x;
    }
}

static int set_up(void **state, bool zstd)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->zstd = zstd;
    f->packets = malloc(PACKETS * PACKET);
    f->back = malloc(PACKET);
    fill(f);
    deflater_init(&f->deflater, zstd);
    assert_ok(inflater_new(zstd ? INFLATER_ZSTD : INFLATER_ZLIB, &f->inflater,
                           &f->err),
              &f->err);
    for (size_t i = 0; i < PACKETS; i++)
        f->sizes[i] = deflater_put(&f->deflater, f->packets + i * PACKET,
                                   PACKET, &f->wire);
    *state = f;
    return 0;
}

static int set_up_zlib(void **state)
{
    return set_up(state, false);
}

static int set_up_zstd(void **state)
{
    return set_up(state, true);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    inflater_free(f->inflater);
    deflater_release(&f->deflater);
    buf_release(&f->wire);
    free(f->packets);
    free(f->back);
    free(f);
    return 0;
}

/* Reads packet `i`, which begins at `at`. */
static int read_packet(struct fixture *f, size_t i, size_t at, size_t raw_len)
{
    return inflater_read(f->inflater, f->wire.data + at, f->sizes[i], f->back,
                         raw_len, &f->err);
}

static void each_packet_gives_its_own_bytes(void **state)
{
    struct fixture *f = *state;
    size_t at = 0;

    for (size_t i = 0; i < PACKETS; i++) {
        assert_ok(read_packet(f, i, at, PACKET), &f->err);
        assert_memory_equal(f->back, f->packets + i * PACKET, PACKET);
        at += f->sizes[i];
    }
}

static void a_packet_without_those_before_it_is_damaged(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(read_packet(f, 1, f->sizes[0], PACKET), ERR_CORRUPT);
}

static void a_packet_gives_neither_more_nor_less(void **state)
{
    struct fixture *f = *state;
    bool zstd = f->zstd;

    assert_error(read_packet(f, 0, 0, PACKET - 1), &f->err, ERR_CORRUPT,
                 "more than");
    tear_down(state);
    set_up(state, zstd);
    f = *state;
    f->sizes[0]--;
    assert_int_equal(read_packet(f, 0, 0, PACKET + 1), ERR_CORRUPT);
}

static void less_than_announced_is_damage(void **state)
{
    struct fixture *f = *state;

    f->sizes[0] /= 2;
    assert_error(read_packet(f, 0, 0, PACKET), &f->err, ERR_CORRUPT,
                 "less than");
}

static void noise_is_damage(void **state)
{
    struct fixture *f = *state;

    assert_error(inflater_read(f->inflater, f->packets, 4096, f->back, PACKET,
                               &f->err),
                 &f->err, ERR_CORRUPT, "does not decompress");
}

/* What follows must not be lost: it would be read with the next packet. */
static void two_packets_are_not_one(void **state)
{
    struct fixture *f = *state;

    f->sizes[0] += f->sizes[1];
    assert_error(read_packet(f, 0, 0, PACKET), &f->err, ERR_CORRUPT,
                 "more than");
}

#define TEST(name)                                          \
    {#name " (zlib)", name, set_up_zlib, tear_down, NULL},  \
    {                                                       \
#name " (zstd)", name, set_up_zstd, tear_down, NULL \
    }

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(each_packet_gives_its_own_bytes),
        TEST(a_packet_without_those_before_it_is_damaged),
        TEST(a_packet_gives_neither_more_nor_less),
        TEST(less_than_announced_is_damage),
        TEST(noise_is_damage),
        TEST(two_packets_are_not_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
