/*
 * sample_vm.h - a made-up machine: its memory, and captures of it.
 *
 * Memory is an array a block; a page is filled by a number: 0 is all zero,
 * each other number is some content, half of it well compressible.
 */
#ifndef FIRN_TESTS_STORAGE_SAMPLE_VM_H
#define FIRN_TESTS_STORAGE_SAMPLE_VM_H

#include "storage/snapshot_reader.h"
#include "storage/snapshot_writer.h"

#define SAMPLE_BLOCKS 3u

struct sample_vm {
    struct ramblock_list blocks;
    uint8_t *memory[SAMPLE_BLOCKS];
    const char *name;
    const char *uuid;
    uint64_t time_ns; /* of the next capture; counts up */
    bool verifies;    /* commit() reads everything back first */
    bool churns;      /* pages are sent with other contents before */
};

/* pc.ram of `pages` pages, a small block, one of a single page. */
void sample_vm_make(struct sample_vm *vm, uint64_t pages);
void sample_vm_release(struct sample_vm *vm);

void sample_page_fill(uint8_t *page, uint64_t number);
/* Page `i` of pc.ram gets number `first` + i; every fifth is zero. */
void sample_vm_fill(struct sample_vm *vm, uint64_t first);

/* Puts all pages in order, 128 a batch, batches numbered from `seq`. */
int sample_vm_put(struct sample_vm *vm, struct snapshot_writer *w,
                  unsigned lane, uint64_t seq, struct error *err);
/* The whole capture with one lane. */
int sample_vm_capture(struct sample_vm *vm, struct repository *r,
                      struct snapshot_summary *ret, struct error *err);
/* commit() with a record that has something of everything. */
int sample_vm_commit(struct sample_vm *vm, struct snapshot_writer *w,
                     bool unseen_as_zero, struct snapshot_summary *ret,
                     struct error *err);

/* All pages of a snapshot: 0 when each is as in memory; ERR_INVALID when one
 * came out wrong; else the reader's own error. */
int sample_vm_compare(struct sample_vm *vm, struct repository *r,
                      const char *id, struct error *err);

#endif
