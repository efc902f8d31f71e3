/*
 * cmd_diff.c - `diff`: two snapshots, block by block and device by device.
 *
 * Blocks are paired by name and devices by name and instance; what only one
 * side has is told as such. Content is compared by storage/snapshot_diff.h,
 * which reads places and hashes and hardly ever a page.
 */
#include <inttypes.h>

#include "cli/command.h"
#include "cli/device_diff.h"
#include "cli/options.h"
#include "cli/output.h"
#include "storage/lease.h"
#include "storage/snapshot_diff.h"
#include "storage/snapshot_reader.h"

struct diff_options {
    bool ranges;
};

static const struct option_spec options[] = {
    {"ranges", 0, OPTION_FLAG, offsetof(struct diff_options, ranges), NULL,
     "tell each range of memory that differs"},
    {0},
};

#define NO_BLOCK UINT32_MAX

/* A block of either side; NO_BLOCK: not there, or not in the snapshot. */
struct block_pair {
    uint32_t a, b;
    const struct ramblock *block; /* of A, else of B */
    struct block_diff diff;       /* of blocks that both have */
};

struct diff {
    struct snapshot_reader *a, *b;
    struct block_pair *blocks;
    size_t n_blocks;
    struct device_diff devices;
};

static uint32_t find_block(const struct ramblock_list *in, const char *idstr)
{
    for (uint32_t i = 0; i < in->n; i++) {
        if (strcmp(in->blocks[i].idstr, idstr) == 0)
            return in->blocks[i].left_out ? NO_BLOCK : i;
    }
    return NO_BLOCK;
}

static int pair_blocks(struct diff *d, struct error *err)
{
    const struct ramblock_list *a = snapshot_reader_blocks(d->a);
    const struct ramblock_list *b = snapshot_reader_blocks(d->b);

    d->blocks = calloc((size_t)a->n + b->n + 1, sizeof(*d->blocks));
    if (!d->blocks)
        return fail_nomem(err);
    for (uint32_t i = 0; i < a->n; i++) {
        d->blocks[d->n_blocks++] = (struct block_pair){
            .a = a->blocks[i].left_out ? NO_BLOCK : i,
            .b = find_block(b, a->blocks[i].idstr),
            .block = &a->blocks[i],
        };
    }
    for (uint32_t i = 0; i < b->n; i++) {
        if (find_block(a, b->blocks[i].idstr) == NO_BLOCK &&
            !b->blocks[i].left_out)
            d->blocks[d->n_blocks++] = (struct block_pair){
                .a = NO_BLOCK, .b = i, .block = &b->blocks[i]};
    }
    return 0;
}

static bool in_both(const struct block_pair *p)
{
    return p->a != NO_BLOCK && p->b != NO_BLOCK;
}

static int gather(struct diff *d, struct stopper *stop, struct error *err)
{
    int rc = pair_blocks(d, err);

    for (size_t i = 0; rc == 0 && i < d->n_blocks; i++) {
        struct block_pair *p = &d->blocks[i];

        if (in_both(p))
            rc = block_diff_init(&p->diff, d->a, p->a, d->b, p->b, stop, err);
    }
    if (rc == 0)
        rc = device_diff_init(&d->devices, snapshot_reader_devices(d->a),
                              snapshot_reader_devices(d->b), err);
    return rc;
}

static void release(struct diff *d)
{
    for (size_t i = 0; i < d->n_blocks; i++)
        block_diff_release(&d->blocks[i].diff);
    free(d->blocks);
    device_diff_release(&d->devices);
    snapshot_reader_close(d->a);
    snapshot_reader_close(d->b);
}

static const char *only_in(bool a, bool b)
{
    return a ? b ? NULL : "A" : b ? "B" : "neither";
}

/* [[offset, bytes], ...] */
static json_t *ranges_json(const struct block_diff *d)
{
    json_t *ranges = json_array();

    for (size_t i = 0; ranges && i < d->n_ranges; i++) {
        if (json_array_append_new(
                ranges,
                json_pack("[I, I]",
                          (json_int_t)(d->ranges[i].first * PAGE_BYTES),
                          (json_int_t)(d->ranges[i].pages * PAGE_BYTES))) < 0) {
            json_decref(ranges);
            return NULL;
        }
    }
    return ranges;
}

static json_t *block_json(const struct block_pair *p, bool with_ranges)
{
    const char *only = only_in(p->a != NO_BLOCK, p->b != NO_BLOCK);

    return json_pack("{s:o, s:I, s:s*, s:{s:I, s:I, s:I, s:I}, s:I, s:o*}",
                     "name", json_text(p->block->idstr), "bytes",
                     (json_int_t)p->block->used_bytes, "only_in", only, "pages",
                     "same", (json_int_t)p->diff.same, "changed",
                     (json_int_t)p->diff.changed, "filled",
                     (json_int_t)p->diff.filled, "cleared",
                     (json_int_t)p->diff.cleared, "n_ranges",
                     (json_int_t)p->diff.n_ranges, "ranges",
                     with_ranges ? ranges_json(&p->diff) : NULL);
}

static json_t *device_json(const struct device_pair *p)
{
    const struct device_section *any = p->a ? p->a : p->b;

    return json_pack("{s:o, s:I, s:b, s:s*, s:I, s:I, s:I}", "name",
                     json_text(any->name), "instance",
                     (json_int_t)any->instance, "same", p->same, "only_in",
                     only_in(p->a, p->b), "bytes_a",
                     (json_int_t)(p->a ? p->a->bytes : 0), "bytes_b",
                     (json_int_t)(p->b ? p->b->bytes : 0), "differing_bytes",
                     (json_int_t)p->differing_bytes);
}

static int print_json(const struct diff *d, bool with_ranges, struct error *err)
{
    cleanup_json json_t *blocks = json_array();
    cleanup_json json_t *devices = json_array();

    for (size_t i = 0; i < d->n_blocks; i++) {
        if (json_array_append_new(blocks,
                                  block_json(&d->blocks[i], with_ranges)) < 0)
            return fail_nomem(err);
    }
    for (size_t i = 0; i < d->devices.n; i++) {
        if (json_array_append_new(devices, device_json(&d->devices.pairs[i])) <
            0)
            return fail_nomem(err);
    }
    return output_json(json_pack("{s:s, s:s, s:s, s:O, s:O}", "type", "diff",
                                 "a", snapshot_reader_summary(d->a)->id, "b",
                                 snapshot_reader_summary(d->b)->id, "blocks",
                                 blocks, "devices", devices),
                       err);
}

static void number(uint64_t n, char text[static 32])
{
    snprintf(text, 32, "%" PRIu64, n);
}

static int print_blocks(const struct diff *d, struct error *err)
{
    static const char *const headings[] = {"BLOCK",    ">SIZE",   ">SAME",
                                           ">CHANGED", ">FILLED", ">CLEARED",
                                           ">RANGES",  ""};
    cleanup(output_table) struct output_table *table = NULL;
    int rc = output_table_new(headings, ARRAY_LEN(headings), &table, err);

    for (size_t i = 0; rc == 0 && i < d->n_blocks; i++) {
        const struct block_pair *p = &d->blocks[i];
        const char *only = only_in(p->a != NO_BLOCK, p->b != NO_BLOCK);
        char size[32], same[32], changed[32], filled[32], cleared[32],
            ranges[32], note[32] = "";

        output_size(p->block->used_bytes, size);
        number(p->diff.same, same);
        number(p->diff.changed, changed);
        number(p->diff.filled, filled);
        number(p->diff.cleared, cleared);
        number(p->diff.n_ranges, ranges);
        if (only)
            snprintf(note, sizeof(note), "only in %s", only);
        rc = output_table_row(table,
                              (const char *const[]){p->block->idstr, size, same,
                                                    changed, filled, cleared,
                                                    ranges, note},
                              err);
    }
    if (rc == 0)
        output_table_print(table);
    return rc;
}

static void print_ranges(const struct diff *d)
{
    for (size_t i = 0; i < d->n_blocks; i++) {
        const struct block_pair *p = &d->blocks[i];

        if (p->diff.n_ranges > 0)
            output_text("\nRANGES of %s: offset, bytes\n", p->block->idstr);
        for (size_t j = 0; j < p->diff.n_ranges; j++)
            output_text("%14" PRIx64 " %" PRIu64 "\n",
                        p->diff.ranges[j].first * PAGE_BYTES,
                        p->diff.ranges[j].pages * PAGE_BYTES);
    }
}

static int add_device(struct output_table *table, const struct device_pair *p,
                      struct error *err)
{
    const struct device_section *any = p->a ? p->a : p->b;
    char instance[32], of_a[32] = "-", of_b[32] = "-", differs[48];

    number(any->instance, instance);
    if (p->a)
        number(p->a->bytes, of_a);
    if (p->b)
        number(p->b->bytes, of_b);
    if (p->differing_bytes > 0)
        snprintf(differs, sizeof(differs), "%" PRIu64 " bytes",
                 p->differing_bytes);
    else
        snprintf(differs, sizeof(differs), "%s",
                 p->a && p->b ? "length"
                 : p->a       ? "only in A"
                              : "only in B");
    return output_table_row(
        table, (const char *const[]){any->name, instance, of_a, of_b, differs},
        err);
}

static int print_devices(const struct diff *d, struct error *err)
{
    static const char *const headings[] = {"DEVICE", ">INSTANCE", ">BYTES A",
                                           ">BYTES B", ">DIFFERS"};
    cleanup(output_table) struct output_table *table = NULL;
    int rc = output_table_new(headings, ARRAY_LEN(headings), &table, err);

    for (size_t i = 0; rc == 0 && i < d->devices.n; i++) {
        if (!d->devices.pairs[i].same)
            rc = add_device(table, &d->devices.pairs[i], err);
    }
    if (rc < 0)
        return rc;
    output_text("\n");
    if (d->devices.n_same < d->devices.n)
        output_table_print(table);
    output_text("%zu of %zu devices are equal\n", d->devices.n_same,
                d->devices.n);
    return 0;
}

static void print_head(const char *label, const struct snapshot_summary *s)
{
    char time[32];

    output_text("%s  %s  %s  %s\n", label, s->id, output_time(s->time_ns, time),
                s->vm);
}

static int print(const struct diff *d, bool with_ranges, struct error *err)
{
    int rc;

    print_head("A", snapshot_reader_summary(d->a));
    print_head("B", snapshot_reader_summary(d->b));
    output_text("\n");
    rc = print_blocks(d, err);
    if (rc == 0 && with_ranges)
        print_ranges(d);
    if (rc == 0)
        rc = print_devices(d, err);
    return rc < 0 ? rc : output_flush(err);
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    cleanup(repository) struct repository *repository = NULL;
    cleanup(lease) struct lease *lease = NULL;
    struct diff_options o = {0};
    struct option_words words;
    struct diff d = {0};
    int rc = options_parse(options, argc, argv, &o, &words, err);

    if (rc == 0)
        rc = options_check_words(&words, 2, 2, "SNAP", err);
    if (rc == 0)
        rc = cli_open_repository(cli, &repository, err);
    if (rc == 0)
        rc = lease_acquire(repository, "read", NULL, &lease, err);
    if (rc == 0)
        rc = cli_open_snapshot(repository, words.rest[0], &d.a, err);
    if (rc == 0)
        rc = cli_open_snapshot(repository, words.rest[1], &d.b, err);
    if (rc == 0)
        rc = gather(&d, cli->stop, err);
    if (rc == 0)
        rc = cli->json ? print_json(&d, o.ranges, err)
                       : print(&d, o.ranges, err);
    release(&d);
    return rc;
}

const struct command cmd_diff = {
    .name = "diff",
    .summary = "tell what differs between two snapshots",
    .usage = "diff A B [--ranges]",
    .options = options,
    .details =
        "Pages are compared by where they are stored and by their content "
        "hashes, so that little is read. FILLED pages are zero in A, CLEARED "
        "ones in B; neighbouring pages that differ are one range. Devices are "
        "matched by name and instance.",
    .run = run,
};
