/*
 * verify_pack.c - does a pack hold what its tables and a snapshot say?
 *
 * Three witnesses must agree: the snapshot's row (kind, length, items), the
 * pack's own tables with their checksums, and the data, of which each item is
 * hashed again with the key it was stored under. Damage is a finding and the
 * walk goes on, so that one report has all of it; only trouble of our own (no
 * memory, a stopper) ends it early.
 */
#include "storage/verify_pack.h"

#include "core/base/clock.h"
#include "core/vm/page.h"
#include "storage/packs/pack_reader.h"
#include "storage/repository_inside.h"

/* Frames are read in order, so one read may reach far. */
#define LINEAR_WINDOW_BYTES (1u << 20)

struct pack_check {
    const struct verify_pack_args *args;
    struct verify_pack_report *report;
    struct pack_reader *reader;
    const struct page_hash *hashes;
    const struct hash_key *key;
    struct buf frame;
};

/* What is no damage but our own trouble ends the check. */
static int tell(const struct pack_check *c, const struct error *why,
                struct error *err)
{
    if (why->code == ERR_NOMEM)
        return error_copy(err, why);
    c->args->finding(c->args->arg, why);
    return 0;
}

static bool is_enough(const struct pack_check *c)
{
    return c->report->bytes_read >= c->args->max_bytes ||
           (c->args->deadline_ns &&
            clock_monotonic_ns() >= c->args->deadline_ns);
}

static int check_items(struct pack_check *c, uint32_t frame, struct error *why)
{
    bool pages = c->args->expected->kind == PACK_PAGES;
    size_t item_bytes = pages ? PAGE_BYTES : c->frame.len;
    uint32_t item = pack_reader_frame_first_item(c->reader, frame);

    for (size_t at = 0; at < c->frame.len; at += item_bytes, item++) {
        struct page_hash hash =
            page_hash_of(c->key, c->frame.data + at, item_bytes);

        if (!page_hash_equal(hash, c->hashes[item]))
            return fail(why, ERR_CORRUPT,
                        "frame %u: item %u is not what its hash says", frame,
                        item);
        c->report->pages_hashed += pages;
    }
    return 0;
}

static int check_frame(struct pack_check *c, uint32_t frame, struct error *why)
{
    uint32_t bytes = pack_reader_frame_raw_bytes(c->reader, frame);
    int rc;

    buf_reset(&c->frame);
    rc = buf_reserve(&c->frame, bytes, why);
    if (rc == 0)
        rc = pack_reader_frame(c->reader, frame, c->args->codec, c->frame.data,
                               why);
    if (rc < 0)
        return rc;
    c->frame.len = bytes;
    c->report->frames_read++;
    return check_items(c, frame, why);
}

static int check_data(struct pack_check *c, struct error *err)
{
    uint32_t key_id = pack_reader_hash_key_id(c->reader);
    uint32_t n = pack_reader_n_frames(c->reader);
    struct error why;
    int rc = 0;

    c->key = repository_key(c->args->repository, key_id);
    if (!c->key) {
        fail(&why, ERR_CORRUPT,
             "its hashes have the key %u, which 'config' "
             "does not have",
             key_id);
        return tell(c, &why, err);
    }
    pack_reader_set_window(c->reader, LINEAR_WINDOW_BYTES);
    c->report->next_frame = c->args->first_frame < n ? c->args->first_frame : 0;
    for (uint32_t i = c->report->next_frame; rc == 0 && i < n; i++) {
        c->report->next_frame = i;
        if (c->args->stop && stopper_pulled(c->args->stop))
            return stopper_error(c->args->stop, err);
        if (is_enough(c))
            return 0;
        c->report->bytes_read += pack_reader_frame_stored_bytes(c->reader, i);
        if (check_frame(c, i, &why) < 0)
            rc = tell(c, &why, err);
    }
    c->report->next_frame = 0;
    return rc;
}

static int check_structure(struct pack_check *c, struct error *why)
{
    const struct manifest_pack *expected = c->args->expected;
    int rc = pack_reader_open(repository_packs_dirfd(c->args->repository),
                              expected->id, expected->kind, &c->reader, why);

    if (rc == ERR_NOTFOUND)
        return fail(why, ERR_CORRUPT, "it is missing");
    if (rc < 0)
        return rc;
    if (pack_reader_bytes(c->reader) != expected->bytes ||
        pack_reader_n_items(c->reader) != expected->items)
        return fail(why, ERR_CORRUPT,
                    "it has %llu bytes and %u items, a snapshot says %llu and "
                    "%u",
                    (unsigned long long)pack_reader_bytes(c->reader),
                    pack_reader_n_items(c->reader),
                    (unsigned long long)expected->bytes, expected->items);
    return pack_reader_hashes(c->reader, &c->hashes, why);
}

int verify_pack(const struct verify_pack_args *args,
                struct verify_pack_report *ret, struct error *err)
{
    struct pack_check c = {.args = args, .report = ret};
    struct error why;
    int rc;

    *ret = (struct verify_pack_report){0};
    if (check_structure(&c, &why) < 0)
        rc = tell(&c, &why, err);
    else
        rc = args->max_bytes ? check_data(&c, err) : 0;
    pack_reader_close(c.reader);
    buf_release(&c.frame);
    return rc;
}

static void keep_first(void *arg, const struct error *what)
{
    struct error *first = arg;

    if (first->code == 0)
        error_copy(first, what);
}

int verify_pack_whole(struct repository *repository,
                      const struct manifest_pack *expected,
                      struct stopper *stop, struct error *err)
{
    cleanup(frame_codec) struct frame_codec *codec = NULL;
    struct verify_pack_report report = {0};
    struct error first = ERROR_INIT;
    struct verify_pack_args args = {
        .repository = repository,
        .expected = expected,
        .max_bytes = UINT64_MAX,
        .stop = stop,
        .finding = keep_first,
        .arg = &first,
    };
    int rc = frame_codec_new(0, &codec, err);

    if (rc < 0)
        return rc;
    args.codec = codec;
    rc = verify_pack(&args, &report, err);
    if (rc < 0)
        return rc;
    return first.code == 0 ? 0 : error_copy(err, &first);
}
