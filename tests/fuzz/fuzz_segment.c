/*
 * What is decoded encodes to the very same bytes, and holds what a segment
 * may: pages in order, below 512, in packs that it names.
 */
#include "storage/index/segment.h"
#include "tests/fuzz/fuzz.h"

static void check(const struct segment *s)
{
    uint32_t end = 0;

    promise(s->n_packs <= SEGMENT_PAGES && s->n_runs <= SEGMENT_PAGES);
    for (uint32_t i = 0; i < s->n_runs; i++) {
        const struct segment_run *run = &s->runs[i];

        promise(run->count > 0 && run->first >= end);
        end = (uint32_t)run->first + run->count;
        promise(end <= SEGMENT_PAGES && run->pack < s->n_packs);
        promise(segment_run_find(s->runs, s->n_runs, run->first) == run);
        promise(segment_run_next(s->runs, s->n_runs, end - 1) == end - 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct segment s;
    cleanup_buf struct buf again = BUF_INIT;
    struct error err;

    if (segment_decode(data, size, &s, &err) < 0) {
        promise(err.code == ERR_CORRUPT);
        return 0;
    }
    check(&s);
    promise(segment_encode(&s, &again, &err) == 0);
    promise(again.len == size && memcmp(again.data, data, size) == 0);
    return 0;
}
