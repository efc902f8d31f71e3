/*
 * A machine is saved through a section registry and loaded through another:
 * RAM iterates while the guest writes, the switchover sends the rest, devices
 * follow, and the decoder holds the memory of the instant of the switchover.
 */
#include "tests/core/vm/assert_error.h"

#include "core/vm/dirty_bitmap.h"
#include "core/wire/qemu_wire.h"
#include "core/wire/stream_decoder.h"
#include "tests/core/wire/stream_maker.h"

/* A guest with the made blocks, and the handler that saves its RAM. */
struct guest {
    struct ramblock_list blocks;
    uint8_t *ram[MADE_BLOCKS];
    struct dirty_bitmap *dirty;
    struct dirty_cursor at;
    struct ram_encoder encoder;
    unsigned seed;
};

static int ram_setup(void *arg, struct buf *out, struct error *err)
{
    struct guest *g = arg;
    int rc = ram_put_block_list(out, &g->blocks, false, err);

    return rc < 0 ? rc : ram_put_eos(out, err);
}

static int put_page(struct guest *g, uint32_t block, pgno_t pgno,
                    struct buf *out, struct error *err)
{
    const uint8_t *page = g->ram[block] + pgno * PAGE_BYTES;
    const char *idstr = g->blocks.blocks[block].idstr;
    uint8_t head[RAM_RECORD_HEADER_MAX + 1];
    size_t n;
    int rc;

    if (page_is_zero(page)) {
        n = ram_encoder_zero(&g->encoder, idstr, pgno, head);
        return buf_append(out, head, n, err);
    }
    n = ram_encoder_page(&g->encoder, idstr, pgno, head);
    rc = buf_append(out, head, n, err);
    return rc < 0 ? rc : buf_append(out, page, PAGE_BYTES, err);
}

static int put_run(struct guest *g, const struct dirty_run *run,
                   struct buf *out, struct error *err)
{
    int rc = 0;

    for (uint64_t i = 0; i < run->count && rc == 0; i++)
        rc = put_page(g, run->block, run->first + i, out, err);
    return rc;
}

static int ram_iterate(void *arg, uint64_t max_bytes, struct buf *out,
                       bool *ret_done, struct error *err)
{
    struct guest *g = arg;
    uint64_t pages = max_bytes / PAGE_BYTES;
    struct dirty_run run;
    int rc = 0;

    while (rc == 0 && pages > 0) {
        if (!dirty_bitmap_take_run(g->dirty, &g->at, pages, &run)) {
            g->at = (struct dirty_cursor){0};
            break;
        }
        pages -= run.count;
        rc = put_run(g, &run, out, err);
    }
    *ret_done = dirty_bitmap_count(g->dirty) == 0;
    return rc < 0 ? rc : ram_put_eos(out, err);
}

static void ram_pending(void *arg, struct section_pending *sum)
{
    struct guest *g = arg;

    sum->compatible += dirty_bitmap_count(g->dirty) * PAGE_BYTES;
}

static int ram_complete(void *arg, struct buf *out, struct error *err)
{
    struct guest *g = arg;
    struct dirty_run run;
    int rc = 0;

    g->at = (struct dirty_cursor){0};
    while (rc == 0 && dirty_bitmap_take_run(g->dirty, &g->at, 8, &run))
        rc = put_run(g, &run, out, err);
    return rc < 0 ? rc : ram_put_eos(out, err);
}

static const struct section_handler_ops ram_ops = {
    .save_setup = ram_setup,
    .save_iterate = ram_iterate,
    .save_pending = ram_pending,
    .save_complete = ram_complete,
};

static int timer_complete(void *arg, struct buf *out, struct error *err)
{
    return buf_append(out, "tick tock", 9, err);
}

static const struct section_handler_ops timer_ops = {
    .save_complete = timer_complete,
};

/* The guest writes some pages, zeroes others. */
static void guest_runs(struct guest *g, int writes)
{
    for (int i = 0; i < writes; i++) {
        uint32_t block = (uint32_t)rand_r(&g->seed) % MADE_BLOCKS;
        uint64_t pages = ramblock_pages(&g->blocks.blocks[block]);
        pgno_t pgno = (uint64_t)rand_r(&g->seed) % pages;
        uint8_t *page = g->ram[block] + pgno * PAGE_BYTES;

        if (rand_r(&g->seed) % 3 == 0)
            memset(page, 0, PAGE_BYTES);
        else
            fill_page(page, block, pgno, (uint32_t)rand_r(&g->seed));
        dirty_bitmap_mark(g->dirty, block, pgno, 1);
    }
}

static void guest_init(struct guest *g, struct error *err)
{
    *g = (struct guest){.blocks = made_blocks(), .seed = 42};
    must(dirty_bitmap_new(&g->blocks, &g->dirty, err), err);
    for (uint32_t i = 0; i < MADE_BLOCKS; i++)
        g->ram[i] = calloc(1, g->blocks.blocks[i].used_bytes);
    guest_runs(g, 100);
    dirty_bitmap_mark_all(g->dirty);
}

static void guest_release(struct guest *g)
{
    for (uint32_t i = 0; i < MADE_BLOCKS; i++)
        free(g->ram[i]);
    dirty_bitmap_free(g->dirty);
    ramblock_list_release(&g->blocks);
}

/* Saves while the guest runs, until little is left, then stops it. */
static int save(struct guest *g, struct section_registry *r, struct buf *b,
                struct error *err)
{
    const struct machine_config config = {.machine = "pc-i440fx-10.0"};
    struct section_sink sink = stream_section_sink(b);
    struct section_pending left;
    bool done = false;
    int rounds = 0;

    must(stream_put_header(b, err), err);
    must(stream_put_config(b, &config, err), err);
    must(section_registry_save_setup(r, &sink, err), err);
    do {
        must(section_registry_save_iterate(r, 5 * PAGE_BYTES, &sink, &done,
                                           err),
             err);
        guest_runs(g, rounds < 20 ? 3 : 1);
        section_registry_save_pending(r, &left);
        rounds++;
    } while (left.compatible > 4 * PAGE_BYTES);
    must(section_registry_save_complete(r, &sink, err), err);
    return rounds;
}

static void put_description(struct buf *b, struct error *err)
{
    static const char text[] =
        "{\"devices\":[{\"name\":\"timer\",\"instance_id\":3,\"fields\":"
        "[{\"size\":9}]}]}";
    const struct buf json = {.data = (uint8_t *)text, .len = sizeof(text) - 1};

    must(stream_put_eof(b, err), err);
    must(stream_put_vmdesc(b, &json, err), err);
}

static void the_decoder_holds_the_memory_of_the_switchover(void **state)
{
    cleanup(section_registry) struct section_registry *r = NULL;
    cleanup(stream_decoder) struct stream_decoder *d = NULL;
    cleanup_buf struct buf b = BUF_INIT;
    struct listener listener = {0};
    struct error err;
    struct guest g;
    const struct section_handler ram = {.idstr = QEMU_RAM_IDSTR,
                                        .version = QEMU_RAM_VERSION,
                                        .section_id = 5,
                                        .ops = &ram_ops,
                                        .arg = &g};
    const struct section_handler timer = {
        .idstr = "timer", .instance = 3, .version = 2, .ops = &timer_ops};

    guest_init(&g, &err);
    must(section_registry_new(&r, &err), &err);
    must(section_registry_add(r, &ram, &err), &err);
    must(section_registry_add(r, &timer, &err), &err);
    must(stream_decoder_new(&listener_ops, &listener, &d, &err), &err);

    assert_true(save(&g, r, &b, &err) > 5);
    put_description(&b, &err);
    must(stream_decoder_feed(d, b.data, b.len, &err), &err);

    assert_true(stream_decoder_complete(d));
    for (uint32_t i = 0; i < MADE_BLOCKS; i++)
        assert_memory_equal(listener.content[i], g.ram[i],
                            g.blocks.blocks[i].used_bytes);
    assert_int_equal(stream_decoder_ram_section_id(d), 5);
    assert_int_equal(stream_decoder_device_state(d)->n_sections, 1);
    assert_int_equal(stream_decoder_device_state(d)->sections[0].instance, 3);
    assert_int_equal(stream_decoder_device_state(d)->sections[0].version, 2);
    listener_release(&listener);
    guest_release(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_decoder_holds_the_memory_of_the_switchover),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
