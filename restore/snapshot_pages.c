#include "restore/page_source.h"
#include "storage/snapshot_reader.h"

/* How far the neighbourhood of a fault may reach, in pages on each side, and
 * in frames of the pack: one read of 64 KiB brings about so many frames. */
#define NEAR_PAGES  16u
#define NEAR_FRAMES 4u

static int get_page(void *arg, uint32_t block, pgno_t pgno, const uint8_t **ret,
                    struct error *err)
{
    return snapshot_reader_page(arg, block, pgno, ret, err);
}

static int next_data(void *arg, uint32_t block, pgno_t from, pgno_t *ret,
                     struct error *err)
{
    return snapshot_reader_next_data(arg, block, from, ret, err);
}

/* Stored beside `at`, or nothing to read at all. */
static bool is_near(struct snapshot_reader *reader, uint32_t block, pgno_t pgno,
                    const struct page_place *at)
{
    struct error ignored = ERROR_INIT;
    struct page_place place;

    if (snapshot_reader_locate(reader, block, pgno, &place, &ignored) < 0)
        return false;
    if (place.zero)
        return true;
    return place.pack == at->pack && place.frame + NEAR_FRAMES >= at->frame &&
           place.frame <= at->frame + NEAR_FRAMES;
}

static void find_near(void *arg, uint32_t block, pgno_t pgno, pgno_t *ret_first,
                      pgno_t *ret_end)
{
    struct snapshot_reader *reader = arg;
    pgno_t pages =
        ramblock_pages(&snapshot_reader_blocks(reader)->blocks[block]);
    pgno_t low = pgno > NEAR_PAGES ? pgno - NEAR_PAGES : 0;
    pgno_t high = MIN(pgno + NEAR_PAGES, pages);
    struct error ignored = ERROR_INIT;
    struct page_place at;

    *ret_first = pgno;
    *ret_end = pgno + 1;
    if (snapshot_reader_locate(reader, block, pgno, &at, &ignored) < 0 ||
        at.zero)
        return;
    while (*ret_first > low && is_near(reader, block, *ret_first - 1, &at))
        (*ret_first)--;
    while (*ret_end < high && is_near(reader, block, *ret_end, &at))
        (*ret_end)++;
}

static uint64_t read_bytes(void *arg)
{
    return snapshot_reader_read_bytes(arg);
}

static uint64_t image_bytes(void *arg)
{
    return snapshot_reader_image_bytes(arg);
}

struct page_source snapshot_pages(struct snapshot_reader *reader)
{
    return (struct page_source){
        .arg = reader,
        .page = get_page,
        .next_data = next_data,
        .near = find_near,
        .read_bytes = read_bytes,
        .image_bytes = image_bytes,
    };
}
