/*
 * frames_queue.h - a page queue over a captured sample VM.
 *
 * Header only; after repo_fixture.h.
 */
#ifndef FIRN_TESTS_RESTORE_FRAMES_QUEUE_H
#define FIRN_TESTS_RESTORE_FRAMES_QUEUE_H

#include "restore/pages/page_queue.h"
#include "storage/snapshot_frames.h"

static inline UNUSED int frames_queue_next_data(void *arg, uint32_t block,
                                                pgno_t from, pgno_t *ret,
                                                struct error *err)
{
    return snapshot_frames_next_data(arg, block, from, ret, err);
}

/* `unit_pages`: of pc.ram; the other blocks have pages of 4 KiB. */
static inline UNUSED struct page_queue *
frames_queue_new(const struct fixture *f, struct snapshot_frames *frames,
                 uint32_t unit_pages)
{
    struct page_queue_block blocks[SAMPLE_BLOCKS];
    const struct page_queue_args args = {.blocks = blocks,
                                         .n = SAMPLE_BLOCKS,
                                         .next_data = frames_queue_next_data,
                                         .arg = frames};
    struct page_queue *q;
    struct error err;

    for (uint32_t i = 0; i < SAMPLE_BLOCKS; i++)
        blocks[i] = (struct page_queue_block){
            .idstr = f->vm.blocks.blocks[i].idstr,
            .pages = ramblock_pages(&f->vm.blocks.blocks[i]),
            .unit_pages = i == 0 ? unit_pages : 1,
        };
    assert_ok(page_queue_new(&args, &q, &err), &err);
    return q;
}

#endif
