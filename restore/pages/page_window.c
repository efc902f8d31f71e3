/*
 * page_window.c - looks up a stretch of the guest and sorts it as the packs
 * lie.
 *
 * The fill reads each frame once, which needs all pages of a frame at hand when
 * it is read; a frame's pages are mostly neighbours in the guest, so a stretch
 * of 4 GiB holds most frames whole, at the price of 32 MiB. What the index
 * cannot tell (damage) is stepped over by segments: the queue's own pass over
 * the block meets it, and reports it once.
 */
#include "restore/pages/page_window.h"

#include "core/base/clock.h"

#define LOG_AREA "stock"
#include "core/base/log.h"

#define SEGMENT_PAGES 512u       /* of the index: found or lost together */
#define WINDOW_PAGES  (1u << 20) /* 4 GiB of pages, 32 MiB of entries */

static_assert(sizeof(struct window_entry) == 32, "see WINDOW_PAGES");

void page_window_release(struct page_window *w)
{
    free(w->entries);
    w->entries = NULL;
}

static int compare_entries(const void *a, const void *b)
{
    const struct window_entry *x = a;
    const struct window_entry *y = b;

    if (x->place.pack != y->place.pack)
        return x->place.pack < y->place.pack ? -1 : 1;
    if (x->place.frame != y->place.frame)
        return x->place.frame < y->place.frame ? -1 : 1;
    if (x->place.slot != y->place.slot)
        return x->place.slot < y->place.slot ? -1 : 1;
    return x->pgno < y->pgno ? -1 : x->pgno > y->pgno;
}

/* What the index does not tell is stepped over: the one who counts finds it
 * and says so. */
static pgno_t next_data(struct page_window *w, uint32_t block, pgno_t pages)
{
    while (w->next_pgno < pages) {
        struct error why = ERROR_INIT;
        pgno_t pgno;

        if (snapshot_frames_next_data(w->frames, block, w->next_pgno, &pgno,
                                      &why) == 0)
            return pgno;
        log_debug("left to others: %s", why.message);
        w->next_pgno += SEGMENT_PAGES - w->next_pgno % SEGMENT_PAGES;
    }
    return pages;
}

static bool next_entry(struct page_window *w, struct window_entry *ret)
{
    const struct ramblock_list *blocks = snapshot_frames_blocks(w->frames);

    while (w->next_block < blocks->n) {
        uint32_t block = w->next_block;
        pgno_t pages = ramblock_pages(&blocks->blocks[block]);
        struct error ignored = ERROR_INIT;
        pgno_t pgno = page_queue_unit_pages(w->queue, block) == 1
                          ? next_data(w, block, pages)
                          : pages;

        if (pgno >= pages) {
            w->next_block++;
            w->next_pgno = 0;
            continue;
        }
        w->next_pgno = pgno + 1;
        *ret = (struct window_entry){.block = block, .pgno = pgno};
        if (snapshot_frames_locate(w->frames, block, pgno, &ret->place,
                                   &ignored) == 0)
            return true;
    }
    return false;
}

int page_window_load(struct page_window *w, struct error *err)
{
    uint64_t begun_ns = clock_monotonic_ns();

    if (!w->entries)
        w->entries = malloc(WINDOW_PAGES * sizeof(*w->entries));
    if (!w->entries)
        return fail_nomem(err);
    w->at = 0;
    w->n = 0;
    while (w->n < WINDOW_PAGES && next_entry(w, &w->entries[w->n]))
        w->n++;
    qsort(w->entries, w->n, sizeof(*w->entries), compare_entries);
    log_debug("%zu places found and sorted in %llu us", w->n,
              (unsigned long long)(clock_monotonic_ns() - begun_ns) / 1000);
    return 0;
}

static bool same_frame(const struct page_window *w, size_t a, size_t b)
{
    return w->entries[a].place.pack == w->entries[b].place.pack &&
           w->entries[a].place.frame == w->entries[b].place.frame;
}

size_t page_window_take(struct page_window *w, size_t max)
{
    size_t most = MIN(w->at + max, w->n);
    size_t end = most;

    assert(w->at <= w->n);
    while (end < w->n && end > w->at && same_frame(w, end - 1, end))
        end--;
    /* One frame alone is more: it is read more than once. */
    w->at = end > w->at ? end : most;
    return w->at;
}
