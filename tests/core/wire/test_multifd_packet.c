#include "tests/fakes/assert_error.h"

#include "core/wire/multifd_packet.h"
#include "tests/core/wire/multifd_maker.h"
#include "tests/core/wire/stream_maker.h"

struct fixture {
    struct ramblock_list blocks; /* pc.ram 40 pages, and two small ones */
    uint8_t header[MULTIFD_HEADER_BYTES];
    struct multifd_packet packet;
    struct error err;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->blocks = made_blocks();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    ramblock_list_release(&f->blocks);
    free(f);
    return 0;
}

static const pgno_t some_pages[] = {3, 7, 39, 0, 1};

static struct made_packet usual(void)
{
    return (struct made_packet){
        .n_data = 3,
        .n_zero = 2,
        .payload_bytes = 3 * PAGE_BYTES,
        .number = 17,
        .block = "pc.ram",
        .pgno = some_pages,
    };
}

static int read_it(struct fixture *f, const struct made_packet *p)
{
    make_header(f->header, p);
    return multifd_packet_read(f->header, &f->blocks, &f->packet, &f->err);
}

#define READS(f, p) assert_ok(read_it((f), (p)), &(f)->err)
#define FAILS(f, p, code, text) \
    assert_error(read_it((f), (p)), &(f)->err, (code), (text))

static void a_hello_tells_channel_and_vm(void **state)
{
    static const uint8_t uuid[16] = {1, 2, 3, [15] = 16};
    struct fixture *f = *state;
    uint8_t hello[QEMU_MULTIFD_HELLO_BYTES];
    struct multifd_hello h;

    make_hello(hello, 3, uuid);
    assert_ok(multifd_hello_read(hello, 4, &h, &f->err), &f->err);
    assert_int_equal(h.channel, 3);
    assert_memory_equal(h.uuid, uuid, 16);
}

static void a_hello_of_anything_else_is_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t hello[QEMU_MULTIFD_HELLO_BYTES];
    struct multifd_hello h;

    make_hello(hello, 4, NULL);
    assert_error(multifd_hello_read(hello, 4, &h, &f->err), &f->err,
                 ERR_PROTOCOL, "channel 4, only 4");
    make_hello(hello, 0, NULL);
    hello[7] = 2;
    assert_error(multifd_hello_read(hello, 4, &h, &f->err), &f->err,
                 ERR_PROTOCOL, "version 2");
    hello[0] = 'Q';
    assert_error(multifd_hello_read(hello, 4, &h, &f->err), &f->err,
                 ERR_PROTOCOL, "begins with 0x51223344");
}

static void data_pages_come_before_zero_pages(void **state)
{
    struct fixture *f = *state;
    struct made_packet p = usual();

    READS(f, &p);
    assert_false(f->packet.sync);
    assert_int_equal(f->packet.method, MULTIFD_NONE);
    assert_int_equal(f->packet.number, 17);
    assert_int_equal(f->packet.block, 0);
    assert_int_equal(f->packet.n_data, 3);
    assert_int_equal(f->packet.n_zero, 2);
    assert_int_equal(f->packet.payload_bytes, 3 * PAGE_BYTES);
    assert_memory_equal(f->packet.pgno, some_pages, sizeof(some_pages));
}

/* 10.0: pages_alloc 0; 7.2: the size of an earlier packet, a stale name. */
static void a_sync_packet_needs_no_pages(void **state)
{
    struct fixture *f = *state;
    struct made_packet new = {.flags = QEMU_MULTIFD_SYNC, .no_alloc = true};
    struct made_packet old = {
        .flags = QEMU_MULTIFD_SYNC, .payload_bytes = 12345, .block = "gone"};

    READS(f, &new);
    assert_true(f->packet.sync);
    assert_int_equal(f->packet.payload_bytes, 0);
    READS(f, &old);
    assert_true(f->packet.sync);
    assert_int_equal(f->packet.payload_bytes, 0);
    assert_int_equal(f->packet.block, RAMBLOCK_NOT_FOUND);
}

static void a_sync_packet_may_carry_pages(void **state)
{
    struct fixture *f = *state;
    struct made_packet p = usual();

    p.flags = QEMU_MULTIFD_SYNC | QEMU_MULTIFD_ZSTD;
    p.payload_bytes = 99;
    READS(f, &p);
    assert_true(f->packet.sync);
    assert_int_equal(f->packet.method, MULTIFD_ZSTD);
    assert_int_equal(f->packet.n_data, 3);
    assert_int_equal(f->packet.payload_bytes, 99);
}

static void a_packet_with_nothing_is_nothing(void **state)
{
    struct fixture *f = *state;
    struct made_packet p = {.payload_bytes = 5 * PAGE_BYTES};

    READS(f, &p);
    assert_false(f->packet.sync);
    assert_int_equal(f->packet.n_data + f->packet.n_zero, 0);
    assert_int_equal(f->packet.payload_bytes, 0);
}

static void a_full_packet_fits(void **state)
{
    struct fixture *f = *state;
    pgno_t pages[PAGE_BATCH_MAX] = {0};
    struct made_packet p = {.n_data = PAGE_BATCH_MAX,
                            .payload_bytes = PAGE_BATCH_MAX * PAGE_BYTES,
                            .block = "pc.ram",
                            .pgno = pages};

    READS(f, &p);
    p.n_zero = 1;
    p.pgno = NULL;
    FAILS(f, &p, ERR_PROTOCOL, "128 pages and 1 zero pages");
    p.n_zero = UINT32_MAX;
    FAILS(f, &p, ERR_PROTOCOL, "in a packet of 128");
    p.n_data = UINT32_MAX;
    p.n_zero = 1;
    FAILS(f, &p, ERR_PROTOCOL, "in a packet of 128");
}

static void flags_that_firn_does_not_take_are_named(void **state)
{
    static const struct {
        uint32_t flags;
        int code;
        const char *text;
    } cases[] = {
        {QEMU_MULTIFD_DEVICE_STATE, ERR_UNSUPPORTED, "device state"},
        {QEMU_MULTIFD_DEVICE_STATE | 1, ERR_UNSUPPORTED, "device state"},
        {QEMU_MULTIFD_QPL, ERR_UNSUPPORTED, "'qpl'"},
        {QEMU_MULTIFD_UADK, ERR_UNSUPPORTED, "'uadk'"},
        {QEMU_MULTIFD_QATZIP, ERR_UNSUPPORTED, "'qatzip'"},
        {QEMU_MULTIFD_ZLIB | QEMU_MULTIFD_ZSTD, ERR_PROTOCOL, "several"},
        {0x80, ERR_PROTOCOL, "unknown multifd flags 0x80"},
        {0x80000000u, ERR_PROTOCOL, "unknown multifd flags"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct made_packet p = usual();

        p.flags = cases[i].flags;
        FAILS(f, &p, cases[i].code, cases[i].text);
    }
}

static void a_payload_has_the_size_of_its_pages(void **state)
{
    struct fixture *f = *state;
    struct made_packet p = usual();

    p.payload_bytes = 3 * PAGE_BYTES - 1;
    FAILS(f, &p, ERR_PROTOCOL, "3 pages with 12287 bytes");
    p.flags = QEMU_MULTIFD_ZLIB;
    READS(f, &p);
    assert_int_equal(f->packet.method, MULTIFD_ZLIB);
    p.payload_bytes = 0;
    FAILS(f, &p, ERR_PROTOCOL, "compressed to 0 bytes");
    p.payload_bytes = MULTIFD_PAYLOAD_MAX + 1;
    FAILS(f, &p, ERR_PROTOCOL, "compressed to 1048577 bytes");
}

static void pages_lie_within_a_known_block(void **state)
{
    static const pgno_t behind[] = {39, 40};
    struct fixture *f = *state;
    struct made_packet p = usual();

    p.pgno = behind;
    p.n_data = 1;
    p.n_zero = 1;
    p.payload_bytes = PAGE_BYTES;
    FAILS(f, &p, ERR_PROTOCOL, "page 0x28000 lies behind the end");
    p.block = "pc.ra";
    FAILS(f, &p, ERR_PROTOCOL, "unknown RAM block 'pc.ra'");
    p.block = NULL;
    FAILS(f, &p, ERR_PROTOCOL, "unknown RAM block ''");

    p = usual();
    make_header(f->header, &p);
    store_be64(f->header + QEMU_MULTIFD_OFFSETS_AT, 0x1001);
    assert_error(multifd_packet_read(f->header, &f->blocks, &f->packet,
                                     &f->err),
                 &f->err, ERR_PROTOCOL, "odd offset 0x1001");
    memset(f->header + QEMU_MULTIFD_NAME_AT, 'x', 256);
    assert_error(multifd_packet_read(f->header, &f->blocks, &f->packet,
                                     &f->err),
                 &f->err, ERR_PROTOCOL, "without an end");
}

static void another_page_size_shows_in_the_room_of_a_packet(void **state)
{
    struct fixture *f = *state;
    struct made_packet p = usual();

    p.alloc = 8;
    FAILS(f, &p, ERR_PROTOCOL, "packets of 8 pages, not of 128");
}

static void a_header_of_another_stream_is_refused(void **state)
{
    struct fixture *f = *state;

    memset(f->header, 0, sizeof(f->header));
    assert_error(
        multifd_packet_read(f->header, &f->blocks, &f->packet, &f->err),
        &f->err, ERR_PROTOCOL, "multifd packet begins with 0x00000000");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(a_hello_tells_channel_and_vm),
        TEST(a_hello_of_anything_else_is_refused),
        TEST(data_pages_come_before_zero_pages),
        TEST(a_sync_packet_needs_no_pages),
        TEST(a_sync_packet_may_carry_pages),
        TEST(a_packet_with_nothing_is_nothing),
        TEST(a_full_packet_fits),
        TEST(flags_that_firn_does_not_take_are_named),
        TEST(a_payload_has_the_size_of_its_pages),
        TEST(pages_lie_within_a_known_block),
        TEST(another_page_size_shows_in_the_room_of_a_packet),
        TEST(a_header_of_another_stream_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
