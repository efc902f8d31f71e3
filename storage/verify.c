/*
 * verify.c - config, then snapshots, then each pack that they refer to, once.
 *
 * Every finding is told and the check goes on, so that one damaged pack does
 * not hide another. A missing index pack would be told by every segment in it:
 * of one object only the first findings are told, the rest is counted.
 *
 * Snapshots that share packs describe them with length and number of items; a
 * pack is checked against the first description, and a second one that differs
 * is a finding of its snapshot.
 */
#include "storage/verify.h"

#include <sys/random.h>

#include "storage/repository_inside.h"
#include "storage/snapshot_reader_inside.h"
#include "storage/verify_pack.h"

#define FINDINGS_AN_OBJECT 16u

struct verification {
    struct repository *repository;
    const struct verify_args *args;
    struct verify_report *report;
    struct frame_codec *codec;
    struct pack_set ids;         /* of the packs referred to */
    struct manifest_pack *packs; /* as described, in the order of the set */
    uint64_t total_bytes;
    uint64_t done_bytes;
    uint64_t random;
    /* The object at hand. */
    char object[64];
    unsigned n_findings;
};

static void begin_object(struct verification *v, const char *kind,
                         const char *id)
{
    snprintf(v->object, sizeof(v->object), "%s%s%s", kind, *id ? " " : "", id);
    v->n_findings = 0;
}

static void tell(void *arg, const struct error *what)
{
    struct verification *v = arg;

    v->n_findings++;
    v->report->errors++;
    if (v->n_findings <= FINDINGS_AN_OBJECT && v->args->finding)
        v->args->finding(v->args->arg, v->object, what);
}

/* Information about an object: no error. */
static void mention(struct verification *v, const char *text)
{
    struct error what = ERROR_INIT;

    snprintf(what.message, sizeof(what.message), "%s", text);
    if (v->args->finding)
        v->args->finding(v->args->arg, v->object, &what);
}

static void end_object(struct verification *v)
{
    char text[64];

    if (v->n_findings <= FINDINGS_AN_OBJECT)
        return;
    snprintf(text, sizeof(text), "and %u more findings like these",
             v->n_findings - FINDINGS_AN_OBJECT);
    mention(v, text);
}

static void tell_progress(struct verification *v)
{
    if (v->args->progress)
        v->args->progress(v->args->arg, v->done_bytes, v->total_bytes);
}

static int check_stop(const struct verification *v, struct error *err)
{
    if (v->args->stop && stopper_pulled(v->args->stop))
        return stopper_error(v->args->stop, err);
    return 0;
}

/* Room comes in powers of two, so it is full when n is one. */
static int reserve_pack(struct verification *v, struct error *err)
{
    size_t n = v->ids.n;
    void *packs;

    if (n & (n - 1))
        return 0;
    packs = realloc(v->packs, (n ? n * 2 : 1) * sizeof(*v->packs));
    if (!packs)
        return fail_nomem(err);
    v->packs = packs;
    return 0;
}

static int note_pack(struct verification *v, const struct manifest_pack *pack,
                     struct error *err)
{
    uint8_t id[LAYOUT_PACK_ID_BYTES];
    struct error why;
    uint32_t number, n = v->ids.n;
    int rc = reserve_pack(v, err);

    if (rc < 0 || !layout_id_bytes(pack->id, id, sizeof(id)))
        return rc;
    rc = pack_set_add(&v->ids, id, &number, err);
    if (rc < 0)
        return rc;
    if (v->ids.n > n) {
        v->packs[number] = *pack;
        v->total_bytes += pack->bytes;
        return 0;
    }
    if (v->packs[number].bytes != pack->bytes ||
        v->packs[number].items != pack->items ||
        v->packs[number].kind != pack->kind) {
        fail(&why, ERR_CORRUPT,
             "it describes pack '%s' in another way than other snapshots",
             pack->id);
        tell(v, &why);
    }
    return 0;
}

static int check_block(struct verification *v, struct snapshot_reader *reader,
                       uint32_t block, uint64_t *n_segments, struct error *err)
{
    struct manifest *m = snapshot_reader_manifest(reader);
    struct manifest_segment row = {0};
    struct error why;
    bool found;
    int rc;

    for (uint64_t segno = 0;; segno = row.segno + 1) {
        rc = check_stop(v, err);
        if (rc < 0)
            return rc;
        rc = manifest_next_segment(m, block, segno, &row, &found, &why);
        if (rc < 0) {
            /* The next row cannot be found behind one that is no good. */
            tell(v, &why);
            return 0;
        }
        if (!found)
            return 0;
        (*n_segments)++;
        if (snapshot_reader_check_segment(reader, block, &row, &why) < 0)
            tell(v, &why);
    }
}

static int check_index(struct verification *v, struct snapshot_reader *reader,
                       struct error *err)
{
    uint32_t n_blocks = snapshot_reader_blocks(reader)->n;
    uint64_t seen = 0, rows;
    struct error why;
    int rc = 0;

    for (uint32_t b = 0; rc == 0 && b < n_blocks; b++)
        rc = check_block(v, reader, b, &seen, err);
    if (rc < 0)
        return rc;
    rc = manifest_count_segments(snapshot_reader_manifest(reader), &rows, &why);
    if (rc == 0 && rows != seen && v->n_findings == 0)
        rc = fail(&why, ERR_CORRUPT, "%llu segments belong to no block",
                  (unsigned long long)(rows - seen));
    if (rc < 0)
        tell(v, &why);
    return 0;
}

static int check_snapshot(void *arg, const char *id, struct error *err)
{
    struct verification *v = arg;
    cleanup(snapshot_reader) struct snapshot_reader *reader = NULL;
    const struct manifest_pack *packs;
    struct error why;
    uint32_t n;
    int rc = check_stop(v, err);

    if (rc < 0)
        return rc;
    begin_object(v, "snapshot", id);
    v->report->snapshots++;
    rc = snapshot_reader_open(v->repository, id, &reader, &why);
    if (rc < 0) {
        tell(v, &why);
        return rc == ERR_NOMEM ? error_copy(err, &why) : 0;
    }
    packs = manifest_packs(snapshot_reader_manifest(reader), &n);
    for (uint32_t i = 0; rc == 0 && i < n; i++)
        rc = note_pack(v, &packs[i], err);
    if (rc == 0)
        rc = check_index(v, reader, err);
    end_object(v);
    return rc;
}

static int check_snapshots(struct verification *v, struct error *err)
{
    struct object_folder folder =
        layout_snapshots(repository_snapshots_dirfd(v->repository));
    int rc = 0;

    if (v->args->n_ids == 0)
        return object_list(&folder, check_snapshot, v, err);
    for (size_t i = 0; rc == 0 && i < v->args->n_ids; i++)
        rc = check_snapshot(v, v->args->ids[i], err);
    return rc;
}

static int check_packs(struct verification *v, struct error *err)
{
    struct verify_pack_report one;
    struct verify_pack_args args = {
        .repository = v->repository,
        .codec = v->codec,
        .read_data_percent = v->args->read_data_percent,
        .random = &v->random,
        .stop = v->args->stop,
        .finding = tell,
        .arg = v,
    };
    int rc = 0;

    tell_progress(v);
    for (uint32_t i = 0; rc == 0 && i < v->ids.n; i++) {
        args.expected = &v->packs[i];
        begin_object(v, "pack", v->packs[i].id);
        rc = verify_pack(&args, &one, err);
        end_object(v);
        v->report->packs++;
        v->report->frames_read += one.frames_read;
        v->report->pages_hashed += one.pages_hashed;
        v->done_bytes += v->packs[i].bytes;
        tell_progress(v);
    }
    return rc;
}

static int look_at_pack(void *arg, const char *id, struct error *err)
{
    struct verification *v = arg;

    if (pack_set_find_text(&v->ids, id) != PACK_SET_NONE)
        return 0;
    v->report->unreferenced_packs++;
    begin_object(v, "pack", id);
    mention(v, "no snapshot refers to it");
    return 0;
}

static int run(struct verification *v, struct error *err)
{
    struct object_folder packs =
        layout_packs(repository_packs_dirfd(v->repository));
    struct error why;
    int rc = frame_codec_new(0, &v->codec, err);

    if (rc == 0 && getrandom(&v->random, sizeof(v->random), 0) < 0)
        rc = fail_errno(err, ERR_IO, "no random numbers");
    if (rc < 0)
        return rc;
    v->random |= 1;
    begin_object(v, LAYOUT_CONFIG, "");
    if (repository_check_config(v->repository, &why) < 0)
        tell(v, &why);
    rc = check_snapshots(v, err);
    if (rc == 0)
        rc = check_packs(v, err);
    if (rc == 0 && v->args->n_ids == 0)
        rc = object_list(&packs, look_at_pack, v, err);
    return rc;
}

int verify_run(struct repository *r, const struct verify_args *args,
               struct verify_report *ret, struct error *err)
{
    struct verify_report report = {0};
    struct verification v = {.repository = r, .args = args, .report = &report};
    int rc = run(&v, err);

    frame_codec_free(v.codec);
    pack_set_release(&v.ids);
    free(v.packs);
    if (rc < 0)
        return error_wrap(err, "the check did not end");
    *ret = report;
    return 0;
}
