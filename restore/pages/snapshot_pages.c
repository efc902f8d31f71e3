/*
 * snapshot_pages.c - a page source over a snapshot, for the one thread that
 * sends.
 *
 * Joins snapshot_frames.h (any thread) and a frame reader of its own, and turns
 * places into pointers. No I/O of its own; each call may read one frame.
 */
#include "restore/pages/page_source.h"
#include "storage/snapshot_frames.h"

/* Pages come one at a time here; what is read ahead has its own reader. */
#define DEPTH 1u

static int get_page(void *arg, uint32_t block, pgno_t pgno, const uint8_t **ret,
                    struct error *err)
{
    const struct snapshot_pages *p = arg;
    struct page_place place;
    const uint8_t *frame;
    uint32_t bytes;
    bool cached;
    int rc = snapshot_frames_locate(p->frames, block, pgno, &place, err);

    *ret = NULL;
    if (rc < 0 || place.zero)
        return rc;
    rc = frame_reader_get(p->reader, &place, &frame, &bytes, &cached, err);
    if (rc < 0)
        return error_wrap(err, "page %llu of block %u",
                          (unsigned long long)pgno, block);
    *ret = frame + (size_t)place.slot * PAGE_BYTES;
    return 0;
}

static int next_data(void *arg, uint32_t block, pgno_t from, pgno_t *ret,
                     struct error *err)
{
    const struct snapshot_pages *p = arg;

    return snapshot_frames_next_data(p->frames, block, from, ret, err);
}

static void find_near(void *arg, uint32_t block, pgno_t pgno, pgno_t *ret_first,
                      pgno_t *ret_end)
{
    const struct snapshot_pages *p = arg;

    snapshot_frames_around(p->frames, block, pgno, ret_first, ret_end);
}

static uint64_t read_bytes(void *arg)
{
    return snapshot_frames_total_read(((struct snapshot_pages *)arg)->frames);
}

static uint64_t image_bytes(void *arg)
{
    const struct snapshot_pages *p = arg;

    return snapshot_reader_image_bytes(snapshot_frames_facts(p->frames));
}

int snapshot_pages_init(struct snapshot_pages *pages,
                        struct snapshot_frames *frames, struct page_source *ret,
                        struct error *err)
{
    *pages = (struct snapshot_pages){.frames = frames};
    *ret = (struct page_source){
        .arg = pages,
        .page = get_page,
        .next_data = next_data,
        .near = find_near,
        .read_bytes = read_bytes,
        .image_bytes = image_bytes,
    };
    return frame_reader_new(frames, DEPTH, &pages->reader, err);
}

void snapshot_pages_release(struct snapshot_pages *pages)
{
    frame_reader_free(pages->reader);
    pages->reader = NULL;
}
