/*
 * memory_map.c - one walk over the index of a block counts its data pages into
 * cells; zero pages cost nothing, since the index has no runs for them. What
 * kind a page is of is told by its pack and by the pack's frame table.
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

static int kind_of(struct snapshot_reader *reader, uint32_t block, pgno_t page,
                   const bool *shared, enum memory_kind *ret, struct error *err)
{
    struct page_place place;
    bool raw = false;
    int rc;

    *ret = MEMORY_NEW;
    if (!shared)
        return 0;
    rc = snapshot_reader_locate(reader, block, page, &place, err);
    if (rc == 0)
        rc = snapshot_reader_is_raw(reader, &place, &raw, err);
    if (rc < 0)
        return rc;
    if (raw)
        *ret = MEMORY_INCOMPRESSIBLE;
    else if (shared[place.pack])
        *ret = MEMORY_SHARED;
    return 0;
}

int memory_map_init(struct memory_map *m, struct snapshot_reader *reader,
                    uint32_t block, const bool *shared, struct stopper *stop,
                    struct error *err)
{
    const struct ramblock *b = &snapshot_reader_blocks(reader)->blocks[block];
    enum memory_kind kind;
    pgno_t page = 0;
    int rc = lay_out(m, ramblock_pages(b), err);

    while (rc == 0) {
        rc = snapshot_reader_next_data(reader, block, page, &page, err);
        if (rc < 0 || page >= m->pages)
            return rc;
        rc = kind_of(reader, block, page, shared, &kind, err);
        if (rc < 0)
            return rc;
        m->cells[page / m->cell_pages][kind]++;
        m->kinds[kind]++;
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
    uint64_t pages = MIN(m->cell_pages, m->pages - cell * m->cell_pages);
    const uint64_t *of = m->cells[cell];
    uint64_t data =
        of[MEMORY_NEW] + of[MEMORY_SHARED] + of[MEMORY_INCOMPRESSIBLE];
    enum memory_kind most = MEMORY_NEW;

    if (data == 0)
        return '.';
    for (enum memory_kind k = MEMORY_SHARED; k < MEMORY_KINDS; k++) {
        if (of[k] > of[most])
            most = k;
    }
    return (2 * data >= pages ? "#=X" : "+-x")[most];
}
