/*
 * memory_map.h - where the data of a RAM block lies, as counts and a picture.
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

struct memory_map {
    uint64_t pages;      /* of the block */
    uint64_t data_pages; /* that are not zero */
    uint64_t cell_pages; /* a power of two */
    uint32_t n_cells;
    uint64_t *cells; /* data pages of each */
};

/* Walks the index of one block, not its data. */
int memory_map_init(struct memory_map *m, struct snapshot_reader *reader,
                    uint32_t block, struct stopper *stop,
                    struct error *err) NODISCARD;
/* All zero is fine. */
void memory_map_release(struct memory_map *m);

/* '.' no data, '#' nothing else, '-' '+' '*' by thirds between. */
char memory_map_char(const struct memory_map *m, uint32_t cell);

#endif
