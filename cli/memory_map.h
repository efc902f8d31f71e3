/*
 * memory_map.h - what a RAM block holds and where, as counts and a picture.
 *
 * A page of zeros costs nothing; of the others, those in frames that did not
 * get smaller are *incompressible*, those in packs of older snapshots *shared*,
 * the rest is *new*.
 *
 * A map has at most 1024 cells of equally many pages (the last may be short).
 * The caller owns the struct. Not for threads: it reads through a snapshot
 * reader.
 */
#ifndef FIRN_CLI_MEMORY_MAP_H
#define FIRN_CLI_MEMORY_MAP_H

#include "core/base/stopper.h"
#include "storage/snapshot_reader.h"

#define MEMORY_MAP_COLUMNS 64u
#define MEMORY_MAP_ROWS    16u

enum memory_kind {
    MEMORY_NEW,
    MEMORY_SHARED,
    MEMORY_INCOMPRESSIBLE,
    MEMORY_KINDS
};

struct memory_map {
    uint64_t pages;               /* of the block */
    uint64_t data_pages;          /* that are not zero */
    uint64_t kinds[MEMORY_KINDS]; /* the same by kind */
    uint64_t cell_pages;          /* a power of two */
    uint32_t n_cells;
    uint64_t (*cells)[MEMORY_KINDS]; /* pages of each */
};

/* Walks the index of one block, not its data. `shared` tells by the number of
 * a pack whether an older snapshot has it too; without it (NULL) all data
 * counts as new, and no pack is opened. */
int memory_map_init(struct memory_map *m, struct snapshot_reader *reader,
                    uint32_t block, const bool *shared, struct stopper *stop,
                    struct error *err) NODISCARD;
/* All zero is fine. */
void memory_map_release(struct memory_map *m);

/* '.' for zeros alone; else the kind of most data: '+' new, '-' shared, 'x'
 * incompressible, and '#', '=', 'X' where data fills half of the cell. */
#define MEMORY_MAP_LEGEND ". zero   + # new   - = shared   x X incompressible"
/* What one cell is drawn as. */
char memory_map_char(const struct memory_map *m, uint32_t cell);

#endif
