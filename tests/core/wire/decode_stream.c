/*
 * decode_stream FILE OUTDIR: decodes a captured stream, writes each RAM block
 * to OUTDIR/N.block and what was learned to standard output as JSON. Compared
 * by golden_stream.py with what is known of the stream.
 */

#include "core/base/json.h"
#include "core/wire/stream_decoder.h"

/* Odd, so that pages, words and names get cut at every place. */
#define CHUNK_BYTES 65521u

struct tool {
    const struct ramblock_list *blocks;
    uint8_t **content;
};

static int on_blocks(void *arg, const struct ramblock_list *blocks,
                     struct error *err)
{
    struct tool *t = arg;

    t->blocks = blocks;
    t->content = calloc(blocks->n, sizeof(*t->content));
    if (!t->content)
        return fail_nomem(err);
    for (uint32_t i = 0; i < blocks->n; i++) {
        t->content[i] = calloc(1, blocks->blocks[i].used_bytes + 1);
        if (!t->content[i])
            return fail_nomem(err);
    }
    return 0;
}

static int on_page(void *arg, uint32_t block, pgno_t pgno, const uint8_t *data,
                   struct error *err)
{
    struct tool *t = arg;

    memcpy(t->content[block] + pgno * PAGE_BYTES, data, PAGE_BYTES);
    return 0;
}

static int on_zero(void *arg, uint32_t block, pgno_t pgno, struct error *err)
{
    struct tool *t = arg;

    memset(t->content[block] + pgno * PAGE_BYTES, 0, PAGE_BYTES);
    return 0;
}

static int on_current(void *arg, uint32_t block, pgno_t pgno, uint8_t *page,
                      struct error *err)
{
    struct tool *t = arg;

    memcpy(page, t->content[block] + pgno * PAGE_BYTES, PAGE_BYTES);
    return 0;
}

static int on_mark(void *arg, struct error *err)
{
    return 0;
}

static const struct stream_decoder_ops ops = {
    .blocks = on_blocks,
    .page = on_page,
    .zero_page = on_zero,
    .current_page = on_current,
    .section_end = on_mark,
    .ram_end = on_mark,
};

static int decode_file(struct stream_decoder *d, const char *path,
                       struct error *err)
{
    cleanup_fclose FILE *f = fopen(path, "rb");
    static uint8_t chunk[CHUNK_BYTES];
    size_t n;
    int rc = 0;

    if (!f)
        return fail_errno(err, ERR_IO, "cannot open '%s'", path);
    while (rc == 0 && (n = fread(chunk, 1, sizeof(chunk), f)) > 0)
        rc = stream_decoder_feed(d, chunk, n, err);
    return rc < 0 ? rc : stream_decoder_finish(d, err);
}

static int write_block(const struct tool *t, uint32_t i, const char *outdir,
                       struct error *err)
{
    uint64_t n = t->blocks->blocks[i].used_bytes;
    cleanup_fclose FILE *f = NULL;
    char path[4096];

    snprintf(path, sizeof(path), "%s/%u.block", outdir, i);
    f = fopen(path, "wb");
    if (!f || fwrite(t->content[i], 1, n, f) != n || fflush(f) != 0)
        return fail_errno(err, ERR_IO, "cannot write '%s'", path);
    return 0;
}

static json_t *blocks_json(const struct ramblock_list *blocks)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < blocks->n; i++)
        json_array_append_new(
            list, json_pack("{s:s, s:I, s:b}", "name", blocks->blocks[i].idstr,
                            "bytes", (json_int_t)blocks->blocks[i].used_bytes,
                            "left_out", blocks->blocks[i].left_out));
    return list;
}

static json_t *sections_json(const struct device_state *s)
{
    json_t *list = json_array();

    for (size_t i = 0; i < s->n_sections; i++)
        json_array_append_new(
            list,
            json_pack("{s:s, s:I, s:I, s:I, s:I}", "name", s->sections[i].name,
                      "instance", (json_int_t)s->sections[i].instance,
                      "version", (json_int_t)s->sections[i].version, "offset",
                      (json_int_t)s->sections[i].offset, "bytes",
                      (json_int_t)s->sections[i].bytes));
    return list;
}

static json_t *facts(struct stream_decoder *d)
{
    const struct machine_config *config = stream_decoder_config(d);
    const struct device_state *s = stream_decoder_device_state(d);
    const struct stream_decoder_stats *stats = stream_decoder_stats(d);
    json_t *o = json_object();

    json_object_set_new(o, "machine", json_text(config->machine));
    json_object_set_new(o, "ram_section_id",
                        json_integer(stream_decoder_ram_section_id(d)));
    json_object_set_new(o, "flush_in_setup",
                        json_boolean(stream_decoder_flush_in_setup(d)));
    json_object_set_new(o, "blocks", blocks_json(stream_decoder_blocks(d)));
    json_object_set_new(o, "pages", json_integer((json_int_t)stats->pages));
    json_object_set_new(o, "zero_pages",
                        json_integer((json_int_t)stats->zero_pages));
    json_object_set_new(o, "xbzrle_pages",
                        json_integer((json_int_t)stats->xbzrle_pages));
    json_object_set_new(o, "ram_sections",
                        json_integer((json_int_t)stats->sections));
    json_object_set_new(o, "stream_bytes",
                        json_integer((json_int_t)stats->bytes));
    json_object_set_new(o, "tail_bytes", json_integer((json_int_t)s->tail.len));
    json_object_set_new(o, "vmdesc_bytes",
                        json_integer((json_int_t)s->vmdesc.len));
    json_object_set_new(o, "run_state", json_text(s->run_state));
    json_object_set_new(o, "searched", json_integer((json_int_t)s->n_searched));
    json_object_set_new(o, "devices", sections_json(s));
    return o;
}

int main(int argc, char **argv)
{
    cleanup(stream_decoder) struct stream_decoder *d = NULL;
    cleanup_json json_t *o = NULL;
    struct error err = ERROR_INIT;
    struct tool t = {0};
    int rc;

    if (argc != 3)
        return 2;
    rc = stream_decoder_new(&ops, &t, &d, &err);
    if (rc == 0)
        rc = decode_file(d, argv[1], &err);
    for (uint32_t i = 0; rc == 0 && i < t.blocks->n; i++)
        rc = write_block(&t, i, argv[2], &err);
    if (rc < 0) {
        fprintf(stderr, "decode_stream: %s (%s)\n", err.message, err.hint);
        return 1;
    }
    o = facts(d);
    json_dumpf(o, stdout, JSON_INDENT(1));
    for (uint32_t i = 0; i < t.blocks->n; i++)
        free(t.content[i]);
    free(t.content);
    return 0;
}
