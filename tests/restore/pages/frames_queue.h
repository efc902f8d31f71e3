/*
 * frames_queue.h - a page queue over a captured sample VM, and its damage.
 *
 * Header only; after repo_fixture.h.
 */
#ifndef FIRN_TESTS_RESTORE_FRAMES_QUEUE_H
#define FIRN_TESTS_RESTORE_FRAMES_QUEUE_H

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* Flips bits of one byte in the pack that holds this page of pc.ram. */
static inline UNUSED void frames_damage(const struct fixture *f,
                                        struct snapshot_frames *frames,
                                        pgno_t pgno)
{
    const struct snapshot_pack *packs;
    struct page_place place;
    struct error err;
    char path[256];
    struct stat st;
    uint8_t byte = 0;
    size_t n;
    int fd;

    assert_ok(snapshot_frames_locate(frames, 0, pgno, &place, &err), &err);
    packs = snapshot_reader_packs(snapshot_frames_facts(frames), &n);
    snprintf(path, sizeof(path), "%s/packs/%.2s/%s", f->scratch.repo,
             packs[place.pack].id, packs[place.pack].id);
    assert_int_equal(chmod(path, 0600), 0);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    assert_int_equal(pread(fd, &byte, 1, st.st_size / 3), 1);
    byte ^= 0x55;
    assert_int_equal(pwrite(fd, &byte, 1, st.st_size / 3), 1);
    close(fd);
}

#endif
