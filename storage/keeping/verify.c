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
#include "storage/keeping/verify.h"

#define LOG_AREA "verify"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "storage/keeping/check_state.h"
#include "storage/lease.h"
#include "storage/repository_inside.h"
#include "storage/snapshot_reader_inside.h"
#include "storage/verify_pack.h"

#define FINDINGS_AN_OBJECT 16u

enum look { LOOK_NONE, LOOK_SOUND, LOOK_DAMAGED };

/* A snapshot whose structure was checked, and what it refers to. */
struct checked {
    char id[SNAPSHOT_ID_LEN + 1];
    uint32_t *packs; /* numbers in the set */
    uint32_t n_packs;
    bool sound;
};

struct verification {
    struct repository *repository;
    const struct verify_args *args;
    struct verify_report *report;
    struct frame_codec *codec;
    struct pack_set ids;         /* of the packs referred to */
    struct manifest_pack *packs; /* as described, in the order of the set */
    uint64_t total_bytes;
    uint64_t done_bytes;
    uint64_t deadline_ns;       /* monotonic; 0: none */
    struct check_state *before; /* what was checked until now */
    struct check_state *now;    /* what is new */
    struct checked *snapshots;
    size_t n_snapshots;
    enum look *looks; /* one for each pack of the set */
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

static bool time_is_up(const struct verification *v)
{
    return v->deadline_ns && clock_monotonic_ns() >= v->deadline_ns;
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

static int note_packs(struct verification *v, struct checked *c,
                      const struct manifest_pack *packs, uint32_t n,
                      struct error *err)
{
    int rc = 0;

    c->packs = calloc((size_t)n + 1, sizeof(*c->packs));
    if (!c->packs)
        return fail_nomem(err);
    for (; rc == 0 && c->n_packs < n; c->n_packs++) {
        rc = note_pack(v, &packs[c->n_packs], err);
        if (rc == 0)
            c->packs[c->n_packs] =
                pack_set_find_text(&v->ids, packs[c->n_packs].id);
    }
    return rc;
}

static int check_snapshot(struct verification *v, struct checked *c,
                          struct error *err)
{
    const char *id = c->id;
    cleanup(snapshot_reader) struct snapshot_reader *reader = NULL;
    const struct manifest_pack *packs;
    struct error why;
    uint32_t n;
    int rc = check_stop(v, err);

    if (rc < 0)
        return rc;
    begin_object(v, "snapshot", id);
    rc = snapshot_reader_open(v->repository, id, &reader, &why);
    if (rc == ERR_NOTFOUND && v->args->n_ids == 0)
        return 0; /* forgotten since it was listed */
    v->report->snapshots++;
    if (rc < 0) {
        tell(v, &why);
        return rc == ERR_NOMEM ? error_copy(err, &why) : 0;
    }
    packs = manifest_packs(snapshot_reader_manifest(reader), &n);
    rc = note_packs(v, c, packs, n, err);
    if (rc == 0)
        rc = check_index(v, reader, err);
    c->sound = v->n_findings == 0;
    end_object(v);
    return rc;
}

static int add_snapshot(void *arg, const char *id, struct error *err)
{
    struct verification *v = arg;
    size_t n = v->n_snapshots;

    /* Room comes in powers of two, so it is full when n is one. */
    if (!(n & (n - 1))) {
        void *all =
            realloc(v->snapshots, (n ? n * 2 : 1) * sizeof(*v->snapshots));

        if (!all)
            return fail_nomem(err);
        v->snapshots = all;
    }
    v->snapshots[n] = (struct checked){.n_packs = 0};
    snprintf(v->snapshots[n].id, sizeof(v->snapshots[n].id), "%s", id);
    v->n_snapshots++;
    return 0;
}

/* What was checked longest ago comes first. */
static int compare_snapshots(const void *a, const void *b, void *arg)
{
    const struct check_state *s = arg;
    const struct checked *x = a, *y = b;
    uint64_t tx = check_state_snapshot(s, x->id).structure_ns;
    uint64_t ty = check_state_snapshot(s, y->id).structure_ns;

    return tx != ty ? (tx < ty ? -1 : 1) : strcmp(x->id, y->id);
}

/* Half of the time at most, so that data comes round as well. */
static int check_snapshots(struct verification *v, struct error *err)
{
    struct object_folder folder =
        layout_snapshots(repository_snapshots_dirfd(v->repository));
    uint64_t now = clock_monotonic_ns(), until = v->deadline_ns;
    size_t n = 0;
    int rc = 0;

    if (v->args->n_ids == 0)
        rc = object_list(&folder, add_snapshot, v, err);
    for (size_t i = 0; rc == 0 && i < v->args->n_ids; i++)
        rc = add_snapshot(v, v->args->ids[i], err);
    if (v->n_snapshots > 0)
        qsort_r(v->snapshots, v->n_snapshots, sizeof(*v->snapshots),
                compare_snapshots, v->before);
    if (until && v->args->read_data_percent)
        until = now + (until - MIN(until, now)) / 2;
    for (; rc == 0 && n < v->n_snapshots; n++) {
        if (n > 0 && until && clock_monotonic_ns() >= until)
            break;
        rc = check_snapshot(v, &v->snapshots[n], err);
    }
    if (n < v->n_snapshots)
        v->report->finished = false;
    return rc;
}

/* First the pack whose check is under way, then the one read longest ago. */
static int compare_packs(const void *a, const void *b, void *arg)
{
    const struct verification *v = arg;
    const char *x = v->packs[*(const uint32_t *)a].id;
    const char *y = v->packs[*(const uint32_t *)b].id;
    struct checked_pack cx = check_state_pack(v->before, x);
    struct checked_pack cy = check_state_pack(v->before, y);

    if ((cx.next_frame > 0) != (cy.next_frame > 0))
        return cx.next_frame > 0 ? -1 : 1;
    return cx.data_ns != cy.data_ns ? (cx.data_ns < cy.data_ns ? -1 : 1)
                                    : strcmp(x, y);
}

static uint64_t data_budget(const struct verification *v)
{
    unsigned percent = v->args->read_data_percent;

    if (percent == 0 || percent >= 100)
        return percent ? UINT64_MAX : 0;
    return MAX(v->total_bytes / 100 * percent, 1u);
}

/* What is damaged counts as never checked, so that it is told again. */
static int note_checked(struct verification *v, const char *id,
                        const struct verify_pack_report *one, struct error *err)
{
    struct checked_pack is = check_state_pack(v->before, id);

    if (v->n_findings > 0)
        return check_state_set_pack(v->now, id, (struct checked_pack){0}, err);
    if (one->bytes_read == 0)
        return 0;
    is.next_frame = one->next_frame;
    if (is.next_frame == 0)
        is.data_ns = clock_realtime_ns();
    return check_state_set_pack(v->now, id, is, err);
}

static int check_pack(struct verification *v, uint32_t number,
                      uint64_t max_bytes, struct error *err)
{
    const struct manifest_pack *pack = &v->packs[number];
    struct verify_pack_report one;
    struct verify_pack_args args = {
        .repository = v->repository,
        .expected = pack,
        .codec = v->codec,
        .max_bytes = max_bytes,
        .first_frame = check_state_pack(v->before, pack->id).next_frame,
        .deadline_ns = v->deadline_ns,
        .stop = v->args->stop,
        .finding = tell,
        .arg = v,
    };
    struct error why;
    int rc, noted;

    begin_object(v, "pack", pack->id);
    rc = verify_pack(&args, &one, err);
    end_object(v);
    noted = note_checked(v, pack->id, &one, &why);
    if (one.next_frame > 0)
        v->report->finished &= !time_is_up(v);
    v->looks[number] = v->n_findings ? LOOK_DAMAGED : LOOK_SOUND;
    v->report->packs++;
    v->report->frames_read += one.frames_read;
    v->report->pages_hashed += one.pages_hashed;
    v->report->read_bytes += one.bytes_read;
    v->done_bytes += pack->bytes;
    tell_progress(v);
    return rc < 0 || noted == 0 ? rc : error_copy(err, &why);
}

static int check_packs(struct verification *v, struct error *err)
{
    uint64_t budget = data_budget(v), n = v->ids.n;
    cleanup_free uint32_t *order = calloc(n + 1, sizeof(*order));
    int rc = 0;

    v->looks = calloc(n + 1, sizeof(*v->looks));
    if (!order || !v->looks)
        return fail_nomem(err);
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    if (n > 0)
        qsort_r(order, n, sizeof(*order), compare_packs, v);
    tell_progress(v);
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        uint64_t left = budget - MIN(budget, v->report->read_bytes);

        if (time_is_up(v)) {
            v->report->finished = false;
            break;
        }
        rc = check_pack(v, order[i], budget == UINT64_MAX ? budget : left, err);
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

    if (rc == 0)
        rc = check_state_load(v->repository, &v->before, err);
    if (rc == 0)
        rc = check_state_new(&v->now, err);
    if (rc < 0)
        return rc;
    begin_object(v, LAYOUT_CONFIG, "");
    if (repository_check_config(v->repository, &why) < 0)
        tell(v, &why);
    rc = check_snapshots(v, err);
    if (rc == 0)
        rc = check_packs(v, err);
    if (rc == 0 && v->args->n_ids == 0 && v->report->finished)
        rc = object_list(&packs, look_at_pack, v, err);
    return rc;
}

/* The oldest data check of what a snapshot refers to; 0: some of it never. */
static uint64_t oldest_data(const struct verification *v,
                            const struct checked *c)
{
    uint64_t oldest = UINT64_MAX;

    for (uint32_t i = 0; i < c->n_packs; i++) {
        const char *id = v->packs[c->packs[i]].id;
        struct checked_pack is = check_state_pack(v->now, id);

        if (is.data_ns == 0 && is.next_frame == 0)
            is = check_state_pack(v->before, id);
        oldest = MIN(oldest, is.data_ns);
    }
    return c->n_packs ? oldest : clock_realtime_ns();
}

/* A snapshot was checked when its object and all of its packs were; one that
 * is damaged counts as never checked. */
static int note_snapshots(struct verification *v, struct error *err)
{
    uint64_t now = clock_realtime_ns();
    int rc = 0;

    for (size_t i = 0; rc == 0 && v->looks && i < v->n_snapshots; i++) {
        const struct checked *c = &v->snapshots[i];
        struct checked_snapshot is = {.structure_ns = now};
        bool damaged = !c->sound, whole = true;

        for (uint32_t j = 0; j < c->n_packs; j++) {
            damaged |= v->looks[c->packs[j]] == LOOK_DAMAGED;
            whole &= v->looks[c->packs[j]] != LOOK_NONE;
        }
        if (!c->packs || (!whole && !damaged))
            continue;
        is.data_ns = oldest_data(v, c);
        if (damaged)
            is = (struct checked_snapshot){0};
        rc = check_state_set_snapshot(v->now, c->id, is, err);
    }
    return rc;
}

/* A repository that cannot be written is checked all the same. */
static void record(struct verification *v)
{
    struct error why;
    int rc = v->now ? note_snapshots(v, &why) : 0;

    if (rc == 0 && v->now)
        rc = check_state_store(v->repository, v->now, &why);
    if (rc < 0)
        log_debug("not recorded: %s", why.message);
}

static void release(struct verification *v)
{
    frame_codec_free(v->codec);
    check_state_free(v->before);
    check_state_free(v->now);
    pack_set_release(&v->ids);
    for (size_t i = 0; i < v->n_snapshots; i++)
        free(v->snapshots[i].packs);
    free(v->snapshots);
    free(v->looks);
    free(v->packs);
}

int verify_run(struct repository *r, const struct verify_args *args,
               struct verify_report *ret, struct error *err)
{
    struct verify_report report = {.finished = true};
    struct verification v = {.repository = r, .args = args, .report = &report};
    cleanup(lease) struct lease *l = NULL;
    int rc = lease_acquire(r, "check", NULL, &l, err);

    if (args->max_duration_ms)
        v.deadline_ns =
            clock_monotonic_ns() + args->max_duration_ms * NS_PER_MS;
    if (rc == 0)
        rc = run(&v, err);
    record(&v);
    release(&v);
    if (rc < 0)
        return error_wrap(err, "the check did not end");
    *ret = report;
    return 0;
}
