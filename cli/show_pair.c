/*
 * show_pair.c - two snapshots side by side, a column each.
 *
 * A row whose two cells differ is marked, so that the eye finds it; what is
 * inside the memory is for `diff` to tell.
 */
#include <inttypes.h>

#include "cli/output.h"
#include "cli/show.h"
#include "cli/summary.h"

struct pair {
    const struct show *a, *b;
    const struct snapshot_summary *of_a, *of_b;
    struct output_table *table;
};

static int row(struct pair *p, const char *name, const char *a, const char *b,
               struct error *err)
{
    return output_table_row(
        p->table,
        (const char *const[]){strcmp(a, b) == 0 ? "" : "*", name, a, b}, err);
}

static int row_size(struct pair *p, const char *name, uint64_t a, uint64_t b,
                    struct error *err)
{
    char of_a[32], of_b[32];

    return row(p, name, output_size(a, of_a), output_size(b, of_b), err);
}

static int row_duration(struct pair *p, const char *name, uint64_t a,
                        uint64_t b, struct error *err)
{
    char of_a[32], of_b[32];

    return row(p, name, output_duration(a, of_a), output_duration(b, of_b),
               err);
}

static int row_count(struct pair *p, const char *name, uint64_t a, uint64_t b,
                     struct error *err)
{
    char of_a[32], of_b[32];

    snprintf(of_a, sizeof(of_a), "%" PRIu64, a);
    snprintf(of_b, sizeof(of_b), "%" PRIu64, b);
    return row(p, name, of_a, of_b, err);
}

static int row_fact(struct pair *p, const char *name, const char *path,
                    struct error *err)
{
    return row(p, name, json_path_str(p->a->facts, path, "-"),
               json_path_str(p->b->facts, path, "-"), err);
}

static int add_identity(struct pair *p, struct error *err)
{
    const struct snapshot_summary *a = p->of_a, *b = p->of_b;
    char of_a[32], of_b[32];
    int rc = row(p, "VM", a->vm, b->vm, err);

    if (rc == 0)
        rc = row(p, "time", output_time(a->time_ns, of_a),
                 output_time(b->time_ns, of_b), err);
    if (rc == 0)
        rc = row(p, "machine", a->machine, b->machine, err);
    if (rc == 0)
        rc = row(p, "QEMU", a->qemu_version, b->qemu_version, err);
    if (rc == 0)
        rc = row_fact(p, "accelerator", "accelerator", err);
    if (rc == 0)
        rc = row_fact(p, "CPU", "cpus.model", err);
    if (rc == 0)
        rc = row_count(p, "CPUs",
                       (uint64_t)json_path_int(p->a->facts, "cpus.count", 0),
                       (uint64_t)json_path_int(p->b->facts, "cpus.count", 0),
                       err);
    if (rc == 0)
        rc = row_fact(p, "host", "process.host", err);
    return rc;
}

static int add_capture(struct pair *p, struct error *err)
{
    const struct snapshot_summary *a = p->of_a, *b = p->of_b;
    int rc = row(p, "mode", a->mode, b->mode, err);

    if (rc == 0)
        rc = row(p, "VM was", a->run_state, b->run_state, err);
    if (rc == 0)
        rc = row_count(p, "rounds", a->rounds, b->rounds, err);
    if (rc == 0)
        rc = row_count(p, "channels", a->channels, b->channels, err);
    if (rc == 0)
        rc = row_duration(p, "downtime", a->downtime_ms, b->downtime_ms, err);
    if (rc == 0)
        rc = row_duration(p, "duration", a->duration_ms, b->duration_ms, err);
    return rc;
}

static int add_sizes(struct pair *p, struct error *err)
{
    const struct snapshot_summary *a = p->of_a, *b = p->of_b;
    int rc = row_size(p, "RAM", a->ram_bytes, b->ram_bytes, err);

    if (rc == 0)
        rc = row_count(p, "pages zero", a->pages_zero, b->pages_zero, err);
    if (rc == 0)
        rc = row_count(p, "pages duplicate", a->pages_duplicate,
                       b->pages_duplicate, err);
    if (rc == 0)
        rc =
            row_count(p, "pages stored", a->pages_stored, b->pages_stored, err);
    if (rc == 0)
        rc = row_size(p, "stored new", a->stored_bytes, b->stored_bytes, err);
    if (rc == 0 && p->a->kept.sized && p->b->kept.sized)
        rc = row_size(p, "here alone", p->a->kept.usage.unique_bytes,
                      p->b->kept.usage.unique_bytes, err);
    if (rc == 0)
        rc = row_size(p, "whole image",
                      snapshot_reader_image_bytes(p->a->reader),
                      snapshot_reader_image_bytes(p->b->reader), err);
    if (rc == 0)
        rc = row_size(p, "devices", a->device_bytes, b->device_bytes, err);
    return rc;
}

static int add_tags(struct pair *p, struct error *err)
{
    cleanup_buf struct buf a = BUF_INIT;
    cleanup_buf struct buf b = BUF_INIT;
    int rc = summary_append_tags(p->of_a->tags, &a, err);

    if (rc == 0)
        rc = summary_append_tags(p->of_b->tags, &b, err);
    if (rc < 0 || (a.len == 0 && b.len == 0))
        return rc;
    return row(p, "tags", buf_str(&a), buf_str(&b), err);
}

/* The data of a block, "-" where there is no such block. */
static void block_text(const struct show *s, const char *idstr, char *text,
                       size_t size)
{
    const struct ramblock_list *blocks = snapshot_reader_blocks(s->reader);
    char bytes[32];

    snprintf(text, size, "-");
    for (uint32_t i = 0; i < blocks->n; i++) {
        if (strcmp(blocks->blocks[i].idstr, idstr) == 0)
            snprintf(text, size, "%" PRIu64 " data pages of %s",
                     s->maps[i].data_pages,
                     output_size(blocks->blocks[i].used_bytes, bytes));
    }
}

static bool has_block(const struct show *s, const char *idstr)
{
    char text[96];

    block_text(s, idstr, text, sizeof(text));
    return strcmp(text, "-") != 0;
}

static int add_block(struct pair *p, const char *idstr, struct error *err)
{
    char of_a[96], of_b[96];

    block_text(p->a, idstr, of_a, sizeof(of_a));
    block_text(p->b, idstr, of_b, sizeof(of_b));
    return row(p, idstr, of_a, of_b, err);
}

static int add_blocks(struct pair *p, struct error *err)
{
    const struct ramblock_list *a = snapshot_reader_blocks(p->a->reader);
    const struct ramblock_list *b = snapshot_reader_blocks(p->b->reader);
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < a->n; i++)
        rc = add_block(p, a->blocks[i].idstr, err);
    for (uint32_t i = 0; rc == 0 && i < b->n; i++) {
        if (!has_block(p->a, b->blocks[i].idstr))
            rc = add_block(p, b->blocks[i].idstr, err);
    }
    return rc;
}

int show_print_pair(const struct show *a, const struct show *b,
                    struct error *err)
{
    struct pair p = {.a = a, .b = b};
    const char *headings[] = {"", "SNAPSHOT", NULL, NULL};
    cleanup(output_table) struct output_table *table = NULL;
    int rc;

    p.of_a = snapshot_reader_summary(a->reader);
    p.of_b = snapshot_reader_summary(b->reader);
    headings[2] = p.of_a->id;
    headings[3] = p.of_b->id;
    rc = output_table_new(headings, ARRAY_LEN(headings), &table, err);
    p.table = table;
    if (rc == 0)
        rc = add_identity(&p, err);
    if (rc == 0)
        rc = add_capture(&p, err);
    if (rc == 0)
        rc = add_sizes(&p, err);
    if (rc == 0)
        rc = add_tags(&p, err);
    if (rc == 0)
        rc = add_blocks(&p, err);
    if (rc < 0)
        return rc;
    output_table_print(table);
    if (a->with_map) {
        show_print_maps(a);
        show_print_maps(b);
    }
    return output_flush(err);
}
