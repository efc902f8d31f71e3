/*
 * memory_map.c - one walk over the index of a block counts its data pages into
 * cells; zero pages cost nothing, since the index has no runs for them.
 */
#include "cli/memory_map.h"

void memory_map_release(struct memory_map *m)
{
    free(m->cells);
    m->cells = NULL;
}

static int lay_out(struct memory_map *m, uint64_t pages, struct error *err)
{
    uint64_t most = (uint64_t)MEMORY_MAP_COLUMNS * MEMORY_MAP_ROWS;

    *m = (struct memory_map){.pages = pages, .cell_pages = 1};
    while ((pages + m->cell_pages - 1) / m->cell_pages > most)
        m->cell_pages *= 2;
    m->n_cells = (uint32_t)((pages + m->cell_pages - 1) / m->cell_pages);
    m->cells = calloc(m->n_cells + 1, sizeof(*m->cells));
    return m->cells ? 0 : fail_nomem(err);
}

int memory_map_init(struct memory_map *m, struct snapshot_reader *reader,
                    uint32_t block, struct stopper *stop, struct error *err)
{
    const struct ramblock *b = &snapshot_reader_blocks(reader)->blocks[block];
    pgno_t page = 0;
    int rc = lay_out(m, ramblock_pages(b), err);

    while (rc == 0) {
        rc = snapshot_reader_next_data(reader, block, page, &page, err);
        if (rc < 0 || page >= m->pages)
            return rc;
        m->cells[page / m->cell_pages]++;
        m->data_pages++;
        page++;
        /* 64 GiB are 16 million pages: some seconds. */
        if (page % 4096 == 0 && stopper_pulled(stop))
            return stopper_error(stop, err);
    }
    return rc;
}

char memory_map_char(const struct memory_map *m, uint32_t cell)
{
    uint64_t first = cell * m->cell_pages;
    uint64_t pages = MIN(m->cell_pages, m->pages - first);
    uint64_t data = m->cells[cell];

    if (data == 0)
        return '.';
    if (data == pages)
        return '#';
    return "-+*"[data * 3 / pages];
}
