/*
 * address_map.c - a sorted array of extents, cut and moved as the kernel tells.
 *
 * Looked up by address for every fault (binary search), by place in the image
 * for every page that is brought (a walk: there are few extents). Changes are
 * rare and may move the array. add() and cut() make room before they change
 * anything; a move that fails halfway leaves a map that nobody should go on
 * with, and ends its client.
 */
#include "restore/uffd/address_map.h"

#include "core/base/bytes.h"

void address_map_release(struct address_map *m)
{
    free(m->extents);
    *m = (struct address_map){0};
}

static int reserve(struct address_map *m, uint32_t n, struct error *err)
{
    struct address_extent *bigger;
    uint32_t cap = MAX(m->cap, 8u);

    if (n > ADDRESS_MAP_MAX)
        return fail(err, ERR_PROTOCOL, "the memory is in more than %u pieces",
                    ADDRESS_MAP_MAX);
    if (n <= m->cap)
        return 0;
    while (cap < n)
        cap *= 2;
    bigger = realloc(m->extents, cap * sizeof(*bigger));
    if (!bigger)
        return fail_nomem(err);
    m->extents = bigger;
    m->cap = cap;
    return 0;
}

int address_map_copy(struct address_map *to, const struct address_map *from,
                     struct error *err)
{
    struct address_map m = {0};
    int rc = reserve(&m, from->n, err);

    if (rc < 0)
        return rc;
    if (from->n > 0)
        memcpy(m.extents, from->extents, from->n * sizeof(*m.extents));
    m.n = from->n;
    *to = m;
    return 0;
}

/* The number of the first extent that ends behind `address`. */
static uint32_t find(const struct address_map *m, uint64_t address)
{
    uint32_t low = 0;
    uint32_t high = m->n;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct address_extent *x = &m->extents[middle];

        if (x->start + x->len <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void insert(struct address_map *m, uint32_t at,
                   const struct address_extent *x)
{
    assert(at <= m->n && m->n < m->cap); /* reserve() came before */
    memmove(m->extents + at + 1, m->extents + at,
            (m->n - at) * sizeof(*m->extents));
    m->extents[at] = *x;
    m->n++;
}

static void erase(struct address_map *m, uint32_t at)
{
    assert(at < m->n);
    m->n--;
    memmove(m->extents + at, m->extents + at + 1,
            (m->n - at) * sizeof(*m->extents));
}

static bool ranges_meet(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
    return a < b + b_len && b < a + a_len;
}

int address_map_add(struct address_map *m, const struct address_extent *x,
                    struct error *err)
{
    uint64_t ignored;
    int rc;

    if (x->len == 0)
        return fail(err, ERR_PROTOCOL, "a region is empty");
    if (!add_checked(x->start, x->len, &ignored) ||
        !add_checked(x->offset, x->len, &ignored))
        return fail(err, ERR_PROTOCOL, "region at %#llx of %llu bytes wraps",
                    (unsigned long long)x->start, (unsigned long long)x->len);
    for (uint32_t i = 0; i < m->n; i++) {
        const struct address_extent *o = &m->extents[i];

        if (ranges_meet(x->start, x->len, o->start, o->len) ||
            ranges_meet(x->offset, x->len, o->offset, o->len))
            return fail(err, ERR_PROTOCOL, "regions at %#llx and %#llx overlap",
                        (unsigned long long)x->start,
                        (unsigned long long)o->start);
    }
    rc = reserve(m, m->n + 1, err);
    if (rc < 0)
        return rc;
    insert(m, find(m, x->start), x);
    return 0;
}

bool address_map_offset(const struct address_map *m, uint64_t address,
                        uint64_t *ret_offset)
{
    uint32_t i = find(m, address);

    if (i == m->n || address < m->extents[i].start)
        return false;
    *ret_offset = m->extents[i].offset + (address - m->extents[i].start);
    return true;
}

bool address_map_address(const struct address_map *m, uint64_t offset,
                         uint64_t *ret_address, uint64_t *ret_run)
{
    uint64_t next = UINT64_MAX;

    for (uint32_t i = 0; i < m->n; i++) {
        const struct address_extent *x = &m->extents[i];

        if (offset >= x->offset && offset - x->offset < x->len) {
            *ret_address = x->start + (offset - x->offset);
            *ret_run = x->len - (offset - x->offset);
            return true;
        }
        if (x->offset > offset)
            next = MIN(next, x->offset - offset);
    }
    *ret_run = next;
    return false;
}

int address_map_cut(struct address_map *m, uint64_t start, uint64_t end,
                    struct error *err)
{
    uint32_t i = find(m, start);
    /* A cut out of the middle leaves two extents for one. */
    int rc = reserve(m, m->n + 1, err);

    if (rc < 0)
        return rc;
    while (i < m->n && m->extents[i].start < end) {
        struct address_extent *x = &m->extents[i];
        uint64_t x_end = x->start + x->len;
        struct address_extent tail = {
            .start = end,
            .len = x_end > end ? x_end - end : 0,
            .offset = x->offset + (end - x->start),
        };

        if (x->start < start) {
            x->len = start - x->start;
            i++;
        } else {
            erase(m, i);
        }
        if (tail.len > 0) {
            insert(m, i, &tail);
            break;
        }
    }
    return 0;
}

int address_map_move(struct address_map *m, uint64_t from, uint64_t len,
                     uint64_t to, struct error *err)
{
    cleanup(address_map) struct address_map moved = {0};
    uint64_t end;
    int rc = 0;

    if (!add_checked(from, len, &end) || to + len < to)
        return fail(err, ERR_PROTOCOL, "a move wraps");
    for (uint32_t i = find(m, from); i < m->n && rc == 0; i++) {
        const struct address_extent *x = &m->extents[i];
        uint64_t first = MAX(x->start, from);
        uint64_t last = MIN(x->start + x->len, end);

        if (first >= last)
            break;
        rc = reserve(&moved, moved.n + 1, err);
        if (rc == 0)
            insert(&moved, moved.n,
                   &(struct address_extent){.start = to + (first - from),
                                            .len = last - first,
                                            .offset = x->offset +
                                                      (first - x->start)});
    }
    if (rc == 0)
        rc = address_map_cut(m, from, end, err);
    if (rc == 0)
        rc = address_map_cut(m, to, to + len, err);
    for (uint32_t i = 0; i < moved.n && rc == 0; i++)
        rc = address_map_add(m, &moved.extents[i], err);
    return rc;
}
