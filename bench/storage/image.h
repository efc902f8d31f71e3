/*
 * image.h - memory as a guest has it, made up: the same for the same seed.
 *
 * Shares of pages, in runs of 16 as files and heaps lie: a quarter of the RAM
 * untouched (zero); of the rest 15 % zero, 12 % copies of earlier runs, 25 %
 * random (compressed files, keys), 16 % text, 12 % code (of this machine's
 * shared libraries), 20 % heap (pointers, small numbers, short strings).
 */
#ifndef FIRN_BENCH_STORAGE_IMAGE_H
#define FIRN_BENCH_STORAGE_IMAGE_H

#include "core/vm/page.h"

#define IMAGE_RUN_PAGES 16u

/* `pages` × PAGE_BYTES of zeroed memory get their content. */
void image_fill(uint8_t *memory, uint64_t pages, uint64_t seed);
/* Rewrites single pages here and there: one in `one_in`. How many. */
uint64_t image_dirty(uint8_t *memory, uint64_t pages, uint64_t one_in,
                     uint64_t seed);

#endif
