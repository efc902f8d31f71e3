#include "tests/core/vm/assert_error.h"

#include "core/wire/qemu_wire.h"
#include "core/wire/stream_decoder.h"
#include "tests/core/wire/stream_maker.h"

struct fixture {
    struct listener listener;
    struct stream_decoder *d;
    struct buf stream;
    struct error err;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    must(stream_decoder_new(&listener_ops, &f->listener, &f->d, &f->err),
         &f->err);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    stream_decoder_free(f->d);
    listener_release(&f->listener);
    buf_release(&f->stream);
    free(f);
    return 0;
}

/* A fresh decoder and listener in the same fixture. */
static void start_over(struct fixture *f)
{
    stream_decoder_free(f->d);
    listener_release(&f->listener);
    must(stream_decoder_new(&listener_ops, &f->listener, &f->d, &f->err),
         &f->err);
}

static int feed(struct fixture *f)
{
    return stream_decoder_feed(f->d, f->stream.data, f->stream.len, &f->err);
}

/* The stream's header, CONFIG and RAM setup; what follows is the test's. */
static void begin_stream(struct fixture *f)
{
    const struct machine_config config = {.machine = "pc"};
    struct ramblock_list l = made_blocks();

    must(stream_put_header(&f->stream, &f->err), &f->err);
    must(stream_put_config(&f->stream, &config, &f->err), &f->err);
    must(stream_put_ram_setup(&f->stream, MADE_RAM_ID, &l, false, &f->err),
         &f->err);
    ramblock_list_release(&l);
}

static void begin_part(struct fixture *f)
{
    begin_stream(f);
    must(stream_put_ram_section(&f->stream, MADE_RAM_ID, false, &f->err),
         &f->err);
}

static void put_word(struct fixture *f, uint64_t word)
{
    must(buf_append_be64(&f->stream, word, &f->err), &f->err);
}

static void put_name(struct fixture *f, const char *name)
{
    must(buf_append_u8(&f->stream, (uint8_t)strlen(name), &f->err), &f->err);
    must(buf_append(&f->stream, name, strlen(name), &f->err), &f->err);
}

#define assert_refused(f, want, piece)                     \
    do {                                                   \
        (f)->err = ERROR_INIT;                             \
        assert_error(feed(f), &(f)->err, (want), (piece)); \
    } while (0)

static void a_precopy_stream_gives_its_last_pages(void **state)
{
    const struct made_stream_args args = {.return_path = true,
                                          .switchover = true};
    struct fixture *f = *state;
    const struct device_state *devices;

    made_stream(&f->stream, args);

    assert_int_equal(feed(f), 0);

    assert_true(stream_decoder_complete(f->d));
    assert_int_equal(stream_decoder_finish(f->d, &f->err), 0);
    assert_true(listener_holds_made_pages(&f->listener, args));
    devices = stream_decoder_device_state(f->d);
    assert_int_equal(devices->n_sections, 4);
    assert_int_equal(devices->n_searched, 0);
    assert_string_equal(devices->run_state, "running");
    assert_string_equal(stream_decoder_config(f->d)->machine, "pc-i440fx-10.0");
    assert_int_equal(stream_decoder_ram_section_id(f->d), MADE_RAM_ID);
    assert_int_equal(stream_decoder_stats(f->d)->bytes, f->stream.len);
    assert_int_equal(stream_decoder_stats(f->d)->sections, 5);
}

static void the_end_of_ram_is_told_once_behind_the_last_page(void **state)
{
    struct fixture *f = *state;
    const char *end;

    made_stream(&f->stream, (struct made_stream_args){0});

    assert_int_equal(feed(f), 0);

    end = strstr(buf_str(&f->listener.trace), "section end\nram end\n");
    assert_non_null(end);
    assert_string_equal(end, "section end\nram end\n");
}

static void a_background_stream_has_no_end_section(void **state)
{
    const struct made_stream_args args = {.background = true};
    struct fixture *f = *state;
    const char *trace;

    made_stream(&f->stream, args);

    assert_int_equal(feed(f), 0);

    assert_true(stream_decoder_complete(f->d));
    assert_true(listener_holds_made_pages(&f->listener, args));
    trace = buf_str(&f->listener.trace);
    assert_non_null(strstr(trace, "section end\nram end\n"));
}

static void xbzrle_deltas_are_applied_to_the_pages_before(void **state)
{
    const struct made_stream_args args = {.xbzrle = true};
    struct fixture *f = *state;

    made_stream(&f->stream, args);

    assert_int_equal(feed(f), 0);

    assert_true(listener_holds_made_pages(&f->listener, args));
    assert_true(stream_decoder_stats(f->d)->xbzrle_pages > 5);
}

static void xbzrle_is_refused_by_who_cannot_give_pages(void **state)
{
    struct stream_decoder_ops ops = listener_ops;
    struct fixture *f = *state;

    made_stream(&f->stream, (struct made_stream_args){.xbzrle = true});
    ops.current_page = NULL;
    stream_decoder_free(f->d);
    must(stream_decoder_new(&ops, &f->listener, &f->d, &f->err), &f->err);

    assert_refused(f, ERR_UNSUPPORTED, "XBZRLE record at stream offset");
    assert_non_null(strstr(f->err.hint, "'xbzrle' off"));
}

static void blocks_without_a_page_are_left_out_by_ignore_shared(void **state)
{
    const struct made_stream_args args = {.ignore_shared = true};
    struct fixture *f = *state;
    const struct ramblock_list *l;

    made_stream(&f->stream, args);

    assert_int_equal(feed(f), 0);

    assert_true(stream_decoder_complete(f->d));
    l = stream_decoder_blocks(f->d);
    assert_true(l->blocks[0].left_out);
    assert_false(l->blocks[1].left_out);
    assert_true(listener_holds_made_pages(&f->listener, args));
}

static void a_device_before_ram_is_kept_apart(void **state)
{
    struct fixture *f = *state;
    const struct device_state *devices;

    made_stream(&f->stream, (struct made_stream_args){.early_device = true});

    assert_int_equal(feed(f), 0);

    assert_true(stream_decoder_complete(f->d));
    devices = stream_decoder_device_state(f->d);
    assert_int_equal(devices->n_sections, 4);
    assert_string_equal(devices->sections[0].name, "timer");
    assert_int_equal(devices->early.data[0], QEMU_SECTION_FULL);
    assert_int_equal(devices->early.data[devices->early.len - 5],
                     QEMU_SECTION_FOOTER);
    assert_memory_equal(devices->early.data + 6, "0000:00:05.0/virtio-mem", 23);
    assert_non_null(strstr(buf_str(&f->listener.trace),
                           "early device of 99 bytes, 04 ... 7e\nblocks"));
}

static void a_device_before_ram_is_refused_by_who_cannot_keep_it(void **state)
{
    struct stream_decoder_ops ops = listener_ops;
    struct fixture *f = *state;

    made_stream(&f->stream, (struct made_stream_args){.early_device = true});
    ops.early_device = NULL;
    stream_decoder_free(f->d);
    must(stream_decoder_new(&ops, &f->listener, &f->d, &f->err), &f->err);

    assert_refused(f, ERR_INCOMPATIBLE,
                   "'0000:00:05.0/virtio-mem-device-early' comes before RAM");
}

static void flush_marks_are_told_and_remembered_of_setup(void **state)
{
    struct fixture *f = *state;

    made_stream(&f->stream, (struct made_stream_args){.flush = true});

    assert_int_equal(feed(f), 0);

    assert_true(stream_decoder_flush_in_setup(f->d));
    assert_non_null(strstr(buf_str(&f->listener.trace), "flush\nsection end"));
}

static void flush_marks_mean_nothing_to_who_does_not_ask(void **state)
{
    struct stream_decoder_ops ops = listener_ops;
    struct fixture *f = *state;

    made_stream(&f->stream, (struct made_stream_args){.flush = true});
    ops.multifd_flush = NULL;
    stream_decoder_free(f->d);
    must(stream_decoder_new(&ops, &f->listener, &f->d, &f->err), &f->err);

    assert_int_equal(feed(f), 0);

    assert_true(stream_decoder_complete(f->d));
}

/* One byte at a time: nothing may depend on where reads end. */
static void every_cut_gives_the_same_events(void **state)
{
    const struct made_stream_args args = {.return_path = true,
                                          .switchover = true,
                                          .flush = true,
                                          .xbzrle = true,
                                          .early_device = true};
    cleanup_buf struct buf whole = BUF_INIT;
    struct fixture *f = *state;

    made_stream(&f->stream, args);
    assert_int_equal(feed(f), 0);
    assert_true(stream_decoder_complete(f->d));
    whole = f->listener.trace;
    f->listener.trace = BUF_INIT;

    start_over(f);
    for (size_t i = 0; i < f->stream.len; i++) {
        assert_false(stream_decoder_complete(f->d));
        assert_int_equal(
            stream_decoder_feed(f->d, f->stream.data + i, 1, &f->err), 0);
    }

    assert_true(stream_decoder_complete(f->d));
    assert_string_equal(buf_str(&f->listener.trace), buf_str(&whole));
}

static void random_cuts_give_the_same_events(void **state)
{
    const struct made_stream_args args = {.xbzrle = true, .background = true};
    cleanup_buf struct buf whole = BUF_INIT;
    struct fixture *f = *state;
    unsigned seed = 1;

    made_stream(&f->stream, args);
    assert_int_equal(feed(f), 0);
    whole = f->listener.trace;
    f->listener.trace = BUF_INIT;

    for (int round = 0; round < 50; round++) {
        size_t at = 0;

        start_over(f);
        while (at < f->stream.len) {
            size_t n = 1 + (size_t)rand_r(&seed) % 9000;

            n = MIN(n, f->stream.len - at);
            assert_int_equal(
                stream_decoder_feed(f->d, f->stream.data + at, n, &f->err), 0);
            at += n;
        }
        assert_true(stream_decoder_complete(f->d));
        assert_string_equal(buf_str(&f->listener.trace), buf_str(&whole));
    }
}

static void no_prefix_of_a_stream_is_complete(void **state)
{
    struct fixture *f = *state;

    made_stream(&f->stream, (struct made_stream_args){.return_path = true});

    for (size_t len = 0; len < f->stream.len; len += len < 400 ? 1 : 97) {
        start_over(f);
        assert_int_equal(
            stream_decoder_feed(f->d, f->stream.data, len, &f->err), 0);
        assert_false(stream_decoder_complete(f->d));
        assert_int_equal(stream_decoder_finish(f->d, &f->err), ERR_PROTOCOL);
        assert_non_null(strstr(f->err.message, "the stream ends "));
    }
}

static void every_prefix_of_the_tail_is_incomplete(void **state)
{
    struct fixture *f = *state;
    size_t pages;

    made_stream(&f->stream, (struct made_stream_args){0});
    pages = f->stream.len - 1500;

    assert_int_equal(stream_decoder_feed(f->d, f->stream.data, pages, &f->err),
                     0);
    for (size_t at = pages; at < f->stream.len; at++) {
        assert_false(stream_decoder_complete(f->d));
        assert_int_equal(
            stream_decoder_feed(f->d, f->stream.data + at, 1, &f->err), 0);
    }
    assert_true(stream_decoder_complete(f->d));
}

/* Whatever a bit does: an error, an end that is missing, or other content;
 * never a crash, and never a tail that is said to be proved and cut wrongly. */
static void a_flipped_bit_never_goes_out_of_hand(void **state)
{
    struct fixture *f = *state;
    size_t accepted = 0;
    size_t refused = 0;

    made_stream(&f->stream, (struct made_stream_args){.xbzrle = true,
                                                      .early_device = true});

    for (size_t bit = 0; bit < f->stream.len * 8;
         bit += bit < 4000 || bit > (f->stream.len - 1500) * 8 ? 3 : 1009) {
        const struct device_state *devices;
        int rc;

        f->stream.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        start_over(f);
        f->err = ERROR_INIT;
        rc = feed(f);
        if (rc == 0)
            rc = stream_decoder_finish(f->d, &f->err);
        f->stream.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (rc < 0) {
            assert_true(f->err.message[0] != '\0');
            refused++;
            continue;
        }
        accepted++;
        devices = stream_decoder_device_state(f->d);
        assert_int_equal(devices->n_sections, 4);
        assert_int_equal(devices->sections[3].offset +
                             devices->sections[3].bytes,
                         devices->tail.len);
    }
    assert_true(refused > 1000);
    assert_true(accepted > 100);
}

static void an_error_of_the_client_ends_the_stream_and_stays(void **state)
{
    struct fixture *f = *state;
    uint64_t n_events;

    made_stream(&f->stream, (struct made_stream_args){.return_path = true,
                                                      .flush = true,
                                                      .xbzrle = true});
    assert_int_equal(feed(f), 0);
    n_events = f->listener.n_events;
    assert_true(n_events > 50);

    for (uint64_t n = 1; n <= n_events; n++) {
        start_over(f);
        f->listener.fail_at = n;
        assert_int_equal(feed(f), ERR_NOSPC);
        assert_int_equal(f->listener.n_events, n);
        assert_non_null(strstr(f->err.message, "is one too many"));
        assert_int_equal(stream_decoder_feed(f->d, "x", 1, &f->err), ERR_NOSPC);
        assert_int_equal(stream_decoder_finish(f->d, &f->err), ERR_NOSPC);
        assert_false(stream_decoder_complete(f->d));
        assert_int_equal(f->listener.n_events, n);
    }
}

static void bytes_behind_the_end_make_it_incomplete(void **state)
{
    struct fixture *f = *state;
    const struct device_state *devices = stream_decoder_device_state(f->d);
    size_t tail;

    made_stream(&f->stream, (struct made_stream_args){0});
    assert_int_equal(feed(f), 0);
    assert_true(stream_decoder_complete(f->d));
    tail = devices->tail.len;

    assert_int_equal(stream_decoder_feed(f->d, "x", 1, &f->err), 0);

    assert_false(stream_decoder_complete(f->d));
    assert_int_equal(devices->n_sections, 0);
    assert_int_equal(devices->vmdesc.len, 0);
    assert_true(devices->tail.len > tail);
    assert_int_equal(stream_decoder_finish(f->d, &f->err), ERR_PROTOCOL);
    assert_non_null(strstr(f->err.message, "bytes behind the device"));
}

/* --- what is refused, and how it is said --- */

static void other_first_bytes_are_named(void **state)
{
    static const struct {
        uint8_t bytes[8];
        int code;
        const char *piece;
    } cases[] = {
        {{0x16, 3, 1, 0, 0, 0, 0, 0}, ERR_UNSUPPORTED, "QEMU speaks TLS"},
        {{0x11, 0x22, 0x33, 0x44}, ERR_PROTOCOL, "a multifd channel"},
        {{'Q', 'E', 'V', 'M', 0, 0, 0, 2}, ERR_UNSUPPORTED, "of version 2"},
        {{'Q', 'E', 'V', 'X', 0, 0, 0, 3}, ERR_PROTOCOL, "begins with 0x5145"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        start_over(f);
        buf_reset(&f->stream);
        must(buf_append(&f->stream, cases[i].bytes, 8, &f->err), &f->err);
        assert_refused(f, cases[i].code, cases[i].piece);
    }
}

static void a_stream_without_configuration_is_refused(void **state)
{
    struct fixture *f = *state;

    must(stream_put_header(&f->stream, &f->err), &f->err);
    must(stream_put_eof(&f->stream, &f->err), &f->err);

    assert_refused(f, ERR_UNSUPPORTED,
                   "type 0x00 where the configuration belongs at stream "
                   "offset 8");
}

static void flags_that_are_not_taken_are_named(void **state)
{
    static const struct {
        uint64_t word;
        int code;
        const char *piece;
    } cases[] = {
        {0x001, ERR_UNSUPPORTED, "0x001 (full)"},
        {0x080, ERR_UNSUPPORTED, "hook: migration over RDMA"},
        {0x100, ERR_UNSUPPORTED, "compressed with zlib"},
        {0x400, ERR_PROTOCOL, "unknown RAM flags 0x400 at stream offset"},
        {0x00a, ERR_PROTOCOL, "unknown RAM flags 0x00a"},
        {0x030, ERR_PROTOCOL, "unknown RAM flags 0x030"},
        {0x000, ERR_PROTOCOL, "unknown RAM flags 0x000"},
        {0x1010, ERR_PROTOCOL, "unknown RAM flags 0x010"},
        {0x5004, ERR_PROTOCOL, "second RAM block list"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        start_over(f);
        buf_reset(&f->stream);
        begin_part(f);
        put_word(f, cases[i].word);
        put_name(f, "pc.ram");
        assert_refused(f, cases[i].code, cases[i].piece);
    }
}

static void a_page_outside_its_block_is_refused(void **state)
{
    struct fixture *f = *state;

    begin_part(f);
    put_word(f, 40 * PAGE_BYTES | QEMU_RAM_ZERO);
    put_name(f, "pc.ram");

    assert_refused(f, ERR_PROTOCOL,
                   "page 0x28000 lies behind the end of RAM block 'pc.ram'");
}

static void a_page_of_an_unknown_block_is_refused(void **state)
{
    struct fixture *f = *state;

    begin_part(f);
    put_word(f, QEMU_RAM_ZERO);
    put_name(f, "pc.rom");

    assert_refused(f, ERR_PROTOCOL, "page of unknown RAM block 'pc.rom'");
}

static void a_page_that_continues_nothing_is_refused(void **state)
{
    struct fixture *f = *state;

    begin_part(f);
    put_word(f, QEMU_RAM_ZERO | QEMU_RAM_CONTINUE);

    assert_refused(f, ERR_PROTOCOL, "continues no RAM block");
}

static void a_zero_page_filled_with_something_is_refused(void **state)
{
    struct fixture *f = *state;

    begin_part(f);
    put_word(f, QEMU_RAM_ZERO);
    put_name(f, "pc.ram");
    must(buf_append_u8(&f->stream, 0xaa, &f->err), &f->err);

    assert_refused(f, ERR_PROTOCOL, "zero page is filled with 0xaa");
}

static void a_page_before_the_block_list_is_refused(void **state)
{
    const struct section_name ram = {1, "ram", 0, 4};
    const struct machine_config config = {.machine = "pc"};
    struct fixture *f = *state;

    must(stream_put_header(&f->stream, &f->err), &f->err);
    must(stream_put_config(&f->stream, &config, &f->err), &f->err);
    must(stream_put_section_start(&f->stream, &ram, false, &f->err), &f->err);
    put_word(f, QEMU_RAM_PAGE);

    assert_refused(f, ERR_PROTOCOL, "before the RAM block list");
}

/* Sections that cannot be read: the code tells the job what to do. */
static void sections_of_others_are_refused(void **state)
{
    static const struct {
        struct section_name name;
        bool full;
        int code;
        const char *piece;
    } cases[] = {
        {{7, "0000:00:04.0/vfio", 0, 1}, false, ERR_INCOMPATIBLE, "/vfio'"},
        {{7, "ram", 1, 4}, false, ERR_INCOMPATIBLE, "'ram' instance 1"},
        {{7, "ram", 0, 3}, false, ERR_INCOMPATIBLE, "has version 3"},
        {{7, "timer", 0, 2}, true, ERR_UNSUPPORTED, "'timer' before RAM"},
        {{7, "0/virtio-mem-device-early", 0, 2},
         true,
         ERR_INCOMPATIBLE,
         "has version 2"},
    };
    const struct machine_config config = {.machine = "pc"};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        start_over(f);
        buf_reset(&f->stream);
        must(stream_put_header(&f->stream, &f->err), &f->err);
        must(stream_put_config(&f->stream, &config, &f->err), &f->err);
        must(stream_put_section_start(&f->stream, &cases[i].name, cases[i].full,
                                      &f->err),
             &f->err);
        assert_refused(f, cases[i].code, cases[i].piece);
    }
}

static void a_section_out_of_order_is_refused(void **state)
{
    static const struct {
        uint8_t bytes[6];
        const char *piece;
    } cases[] = {
        {{QEMU_SECTION_PART, 0, 0, 0, 9}, "section 9, which never started"},
        {{QEMU_SECTION_EOF}, "end of the stream before the end of RAM"},
        {{QEMU_SECTION_VMDESCRIPTION}, "unknown section type 0x06"},
        {{QEMU_SECTION_SUBSECTION}, "unknown section type 0x05"},
        {{QEMU_SECTION_CONFIGURATION}, "unknown section type 0x07"},
        {{0x33}, "unknown section type 0x33"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        start_over(f);
        buf_reset(&f->stream);
        begin_stream(f);
        must(buf_append(&f->stream, cases[i].bytes, 6, &f->err), &f->err);
        assert_refused(f, ERR_PROTOCOL, cases[i].piece);
    }
}

static void ram_that_starts_twice_is_refused(void **state)
{
    const struct section_name other_id = {9, "ram", 0, 4};
    const struct section_name same_id = {MADE_RAM_ID, "ram", 0, 4};
    struct fixture *f = *state;

    begin_stream(f);
    must(stream_put_section_start(&f->stream, &other_id, false, &f->err),
         &f->err);
    assert_refused(f, ERR_PROTOCOL, "section 'ram' starts again");

    start_over(f);
    buf_reset(&f->stream);
    begin_stream(f);
    must(stream_put_section_start(&f->stream, &same_id, false, &f->err),
         &f->err);
    assert_refused(f, ERR_PROTOCOL, "section 2 starts again");
}

static void a_part_behind_the_end_of_ram_is_refused(void **state)
{
    struct fixture *f = *state;

    begin_stream(f);
    for (int end = 1; end >= 0; end--) {
        must(stream_put_ram_section(&f->stream, MADE_RAM_ID, end, &f->err),
             &f->err);
        must(stream_put_ram_section_end(&f->stream, MADE_RAM_ID, &f->err),
             &f->err);
    }

    assert_refused(f, ERR_PROTOCOL, "part of section 2, which ended before");
}

static void a_second_block_list_is_refused_in_setup_as_well(void **state)
{
    const struct section_name ram = {1, "ram", 0, 4};
    const struct machine_config config = {.machine = "pc"};
    struct ramblock_list l = made_blocks();
    struct fixture *f = *state;

    must(stream_put_header(&f->stream, &f->err), &f->err);
    must(stream_put_config(&f->stream, &config, &f->err), &f->err);
    must(stream_put_section_start(&f->stream, &ram, false, &f->err), &f->err);
    must(ram_put_block_list(&f->stream, &l, false, &f->err), &f->err);
    must(ram_put_block_list(&f->stream, &l, false, &f->err), &f->err);
    ramblock_list_release(&l);

    assert_refused(f, ERR_PROTOCOL, "second RAM block list");
}

static void a_missing_footer_is_told(void **state)
{
    struct fixture *f = *state;

    begin_part(f);
    put_word(f, QEMU_RAM_EOS);
    must(stream_put_section_footer(&f->stream, 99, &f->err), &f->err);

    assert_refused(f, ERR_PROTOCOL, "section 'ram' has no footer");
}

static void commands_of_a_restore_are_refused(void **state)
{
    static const uint16_t commands[] = {4, 5, 6, 7, 8, 9, 10};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        start_over(f);
        buf_reset(&f->stream);
        begin_stream(f);
        must(stream_put_command(&f->stream, commands[i], NULL, 0, &f->err),
             &f->err);
        assert_refused(f, ERR_UNSUPPORTED, "has no place in a captured stream");
    }
}

static void advise_is_taken_only_if_the_block_list_stays_the_same(void **state)
{
    uint8_t body[16] = {0};
    struct fixture *f = *state;

    store_be64(body, PAGE_BYTES);
    store_be64(body + 8, PAGE_BYTES);
    begin_stream(f);
    must(stream_put_command(&f->stream, 3, body, 16, &f->err), &f->err);
    must(stream_put_command(&f->stream, 3, NULL, 0, &f->err), &f->err);
    assert_int_equal(feed(f), 0);

    start_over(f);
    store_be64(body, 0x201000);
    buf_reset(&f->stream);
    begin_stream(f);
    must(stream_put_command(&f->stream, 3, body, 16, &f->err), &f->err);
    assert_refused(f, ERR_UNSUPPORTED, "'postcopy-ram'");
}

static void an_unknown_command_is_skipped(void **state)
{
    struct fixture *f = *state;

    begin_stream(f);
    must(stream_put_command(&f->stream, 0x63, "abc", 3, &f->err), &f->err);

    assert_int_equal(feed(f), 0);

    assert_non_null(
        strstr(buf_str(&f->listener.trace), "command 99, 3 bytes, 63"));
}

static void ping_without_its_number_is_refused(void **state)
{
    struct fixture *f = *state;

    begin_stream(f);
    must(stream_put_command(&f->stream, QEMU_CMD_PING, "ab", 2, &f->err),
         &f->err);

    assert_refused(f, ERR_PROTOCOL, "PING with a body of 2 bytes");
}

static void a_block_list_must_add_up(void **state)
{
    const struct section_name ram = {1, "ram", 0, 4};
    const struct machine_config config = {.machine = "pc"};
    struct fixture *f = *state;

    must(stream_put_header(&f->stream, &f->err), &f->err);
    must(stream_put_config(&f->stream, &config, &f->err), &f->err);
    must(stream_put_section_start(&f->stream, &ram, false, &f->err), &f->err);
    put_word(f, 0x2000 | QEMU_RAM_MEM_SIZE);
    put_name(f, "pc.ram");
    put_word(f, 0x3000);

    assert_refused(f, ERR_PROTOCOL,
                   "'pc.ram' of 0x3000 bytes exceeds the total 0x2000");
}

static void setup_without_a_block_list_is_refused(void **state)
{
    const struct section_name ram = {1, "ram", 0, 4};
    const struct machine_config config = {.machine = "pc"};
    struct fixture *f = *state;

    must(stream_put_header(&f->stream, &f->err), &f->err);
    must(stream_put_config(&f->stream, &config, &f->err), &f->err);
    must(stream_put_section_start(&f->stream, &ram, false, &f->err), &f->err);
    put_word(f, QEMU_RAM_EOS);

    assert_refused(f, ERR_PROTOCOL, "without a block list");
}

/* A client whose pages must lie in the bytes that were fed. */
struct in_place {
    const struct buf *stream;
    size_t n_inside;
    size_t n_outside;
};

static int check_place(void *arg, uint32_t block, pgno_t pgno,
                       const uint8_t *data, struct error *err)
{
    struct in_place *p = arg;
    bool inside =
        data >= p->stream->data && data < p->stream->data + p->stream->len;

    p->n_inside += inside;
    p->n_outside += !inside;
    return 0;
}

static int ignore_zero(void *arg, uint32_t block, pgno_t pgno,
                       struct error *err)
{
    return 0;
}

static int ignore_blocks(void *arg, const struct ramblock_list *l,
                         struct error *err)
{
    return 0;
}

static int ignore_mark(void *arg, struct error *err)
{
    return 0;
}

static void pages_that_are_whole_are_not_copied(void **state)
{
    static const struct stream_decoder_ops ops = {
        .blocks = ignore_blocks,
        .page = check_place,
        .zero_page = ignore_zero,
        .section_end = ignore_mark,
        .ram_end = ignore_mark,
    };
    struct fixture *f = *state;
    struct in_place place = {.stream = &f->stream};
    cleanup(stream_decoder) struct stream_decoder *d = NULL;
    size_t half;

    made_stream(&f->stream, (struct made_stream_args){0});
    half = f->stream.len / 2;
    must(stream_decoder_new(&ops, &place, &d, &f->err), &f->err);

    must(stream_decoder_feed(d, f->stream.data, half, &f->err), &f->err);
    must(stream_decoder_feed(d, f->stream.data + half, f->stream.len - half,
                             &f->err),
         &f->err);

    assert_true(stream_decoder_complete(d));
    assert_true(place.n_inside > 30);
    assert_true(place.n_outside <= 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_precopy_stream_gives_its_last_pages),
        TEST(the_end_of_ram_is_told_once_behind_the_last_page),
        TEST(a_background_stream_has_no_end_section),
        TEST(xbzrle_deltas_are_applied_to_the_pages_before),
        TEST(xbzrle_is_refused_by_who_cannot_give_pages),
        TEST(blocks_without_a_page_are_left_out_by_ignore_shared),
        TEST(a_device_before_ram_is_kept_apart),
        TEST(a_device_before_ram_is_refused_by_who_cannot_keep_it),
        TEST(flush_marks_are_told_and_remembered_of_setup),
        TEST(flush_marks_mean_nothing_to_who_does_not_ask),
        TEST(every_cut_gives_the_same_events),
        TEST(random_cuts_give_the_same_events),
        TEST(no_prefix_of_a_stream_is_complete),
        TEST(every_prefix_of_the_tail_is_incomplete),
        TEST(a_flipped_bit_never_goes_out_of_hand),
        TEST(an_error_of_the_client_ends_the_stream_and_stays),
        TEST(bytes_behind_the_end_make_it_incomplete),
        TEST(pages_that_are_whole_are_not_copied),
        TEST(other_first_bytes_are_named),
        TEST(a_stream_without_configuration_is_refused),
        TEST(flags_that_are_not_taken_are_named),
        TEST(a_page_outside_its_block_is_refused),
        TEST(a_page_of_an_unknown_block_is_refused),
        TEST(a_page_that_continues_nothing_is_refused),
        TEST(a_zero_page_filled_with_something_is_refused),
        TEST(a_page_before_the_block_list_is_refused),
        TEST(sections_of_others_are_refused),
        TEST(a_section_out_of_order_is_refused),
        TEST(ram_that_starts_twice_is_refused),
        TEST(a_part_behind_the_end_of_ram_is_refused),
        TEST(a_second_block_list_is_refused_in_setup_as_well),
        TEST(a_missing_footer_is_told),
        TEST(commands_of_a_restore_are_refused),
        TEST(advise_is_taken_only_if_the_block_list_stays_the_same),
        TEST(an_unknown_command_is_skipped),
        TEST(ping_without_its_number_is_refused),
        TEST(a_block_list_must_add_up),
        TEST(setup_without_a_block_list_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
