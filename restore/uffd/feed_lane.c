/*
 * feed_lane.c - how one thread brings pages: reads, then places.
 *
 * A scan reads many pages by few reads and places each run of them as it
 * arrives. A huge page is gathered whole, then placed: the kernel takes it in
 * one piece.
 */
#include "restore/uffd/snapshot_feed_inside.h"

#include <sys/mman.h>
#include <time.h>

#define DEPTH 8u

#define BUSY_FIRST_NS 20000L
#define BUSY_LAST_NS  2000000L

void feed_lane_release(struct lane *l)
{
    frame_reader_free(l->reader);
    if (l->staging)
        munmap(l->staging, (size_t)CHUNK_PAGES * PAGE_BYTES);
    free(l->wants);
}

int feed_lane_init(struct lane *l, struct snapshot_feed *f, struct error *err)
{
    l->feed = f;
    /* Taken from the system page by page: a lane that only answers faults
     * needs none of it. */
    l->staging =
        mmap(NULL, (size_t)CHUNK_PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (l->staging == MAP_FAILED) {
        l->staging = NULL;
        return fail_nomem(err);
    }
    l->wants = calloc(CHUNK_PAGES, sizeof(*l->wants));
    if (!l->wants)
        return fail_nomem(err);
    return frame_reader_new(f->args.frames, DEPTH, &l->reader, err);
}

/* ---- Placing ---- */

struct uffd_space *feed_main_space(struct snapshot_feed *f)
{
    return uffd_engine_space(f->engine, 0);
}

bool feed_is_settled(struct snapshot_feed *f, const struct uffd_space *s,
                     pgno_t pgno)
{
    uint64_t host = pgno / f->per_page;

    return page_marks_test(&s->received, host) ||
           page_marks_test(&s->removed, host);
}

int feed_tell_damage(struct snapshot_feed *f, pgno_t pgno,
                     const struct error *why, struct error *err)
{
    if (page_marks_set(&f->bad, pgno))
        return 0;
    return f->args.damaged(f->args.arg, pgno, why, err);
}

/* Places all of it. A worker waits while an event keeps it from being placed;
 * a fault thread must not, for it is the one who reads the event. */
static int place_run(struct lane *l, pgno_t pgno, const uint8_t *data,
                     uint64_t pages, struct error *err)
{
    struct snapshot_feed *f = l->feed;
    struct uffd_space *space = feed_main_space(f);
    uint64_t offset = pgno * PAGE_BYTES;
    uint64_t len = pages * PAGE_BYTES;
    uint64_t done;
    struct timespec pause = {.tv_nsec = BUSY_FIRST_NS};

    while (len > 0 && !f->stop) {
        enum uffd_outcome outcome =
            uffd_engine_place(f->engine, space, offset, data, len, l->quietly,
                              &done, err);

        offset += done;
        len -= done;
        data += done;
        if (outcome == UFFD_FAILED)
            return err->code;
        if (outcome == UFFD_EXITED)
            f->stop = true;
        if (outcome == UFFD_BUSY && !l->waits)
            break;
        if (outcome == UFFD_BUSY) {
            nanosleep(&pause, NULL);
            pause.tv_nsec = MIN(pause.tv_nsec * 2, BUSY_LAST_NS);
        }
    }
    return 0;
}

/* ---- Scans ---- */

static int scan_ready(void *arg, const struct frame_want *wants, size_t n,
                      struct error *err)
{
    struct lane *l = arg;
    size_t at = 0;
    int rc = 0;

    while (at < n && rc == 0 && !l->quiet) {
        size_t end = at + 1;

        while (end < n && wants[end].tag == wants[end - 1].tag + 1 &&
               wants[end].to == wants[end - 1].to + PAGE_BYTES)
            end++;
        rc = place_run(l, wants[at].tag, wants[at].to, end - at, err);
        *l->counter += end - at;
        at = end;
    }
    return rc;
}

static int scan_damaged(void *arg, const struct frame_want *wants, size_t n,
                        const struct error *why, struct error *err)
{
    struct lane *l = arg;
    int rc = 0;

    l->failed = true;
    error_copy(&l->why, why);
    for (size_t i = 0; i < n && rc == 0 && !l->quiet; i++)
        rc = feed_tell_damage(l->feed, wants[i].tag, why, err);
    return rc;
}

int feed_lane_scan(struct lane *l, struct error *err)
{
    const struct frame_scan scan = {.arg = l,
                                    .views = !l->quiet,
                                    .ready = scan_ready,
                                    .damaged = scan_damaged};

    l->failed = false;
    return frame_reader_scan(l->reader, l->wants, l->n_wants, &scan, err);
}

void feed_lane_want(struct lane *l, const struct page_place *place, pgno_t pgno,
                    size_t slot)
{
    l->wants[l->n_wants++] = (struct frame_want){
        .place = *place, .to = l->staging + slot * PAGE_BYTES, .tag = pgno};
}

/* ---- Huge pages: all of one, then placed ---- */

int feed_lane_gather(struct lane *l, pgno_t pgno, const uint8_t **ret,
                     struct error *err)
{
    struct snapshot_feed *f = l->feed;
    int rc = 0;

    l->n_wants = 0;
    l->quiet = true;
    for (unsigned i = 0; i < f->per_page && rc == 0; i++) {
        struct page_place place;

        rc = snapshot_frames_locate(f->args.frames, f->args.block, pgno + i,
                                    &place, err);
        if (rc == 0 && place.zero)
            memset(l->staging + (size_t)i * PAGE_BYTES, 0, PAGE_BYTES);
        else if (rc == 0)
            feed_lane_want(l, &place, pgno + i, i);
    }
    if (rc == 0)
        rc = feed_lane_scan(l, err);
    l->quiet = false;
    if (rc == 0 && l->failed)
        rc = error_copy(err, &l->why);
    *ret = l->n_wants ? l->staging : NULL;
    return rc;
}

int feed_lane_place_huge(struct lane *l, pgno_t pgno, struct error *err)
{
    struct snapshot_feed *f = l->feed;
    struct error why = ERROR_INIT;
    const uint8_t *data;

    if (feed_is_settled(f, feed_main_space(f), pgno))
        return 0;
    if (feed_lane_gather(l, pgno, &data, &why) < 0)
        return feed_tell_damage(f, pgno, &why, err);
    *l->counter += data ? f->per_page : 0;
    return data ? place_run(l, pgno, data, f->per_page, err) : 0;
}
