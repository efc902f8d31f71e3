/*
 * segment_cache.c - a table in which each segment has one possible slot.
 *
 * No list, no ages: readers walk the guest in order or jump to a neighbourhood,
 * and neighbours have slots of their own. Two segments that share a slot push
 * one another out, which costs a second read and nothing else.
 */
#include "storage/segment_cache.h"

#define SLOTS 4096u

struct segment_cache {
    struct cached_segment slots[SLOTS];
};

int segment_cache_new(struct segment_cache **ret, struct error *err)
{
    *ret = calloc(1, sizeof(**ret));
    return *ret ? 0 : fail_nomem(err);
}

void segment_cache_free(struct segment_cache *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        free(c->slots[i].runs);
    free(c);
}

/* Neighbours take neighbouring slots; blocks are shifted against each other,
 * so that the small ones do not all fight for the first slots. */
static size_t slot_of(uint32_t block, uint64_t segno)
{
    return (size_t)((segno + block * UINT64_C(1021)) % SLOTS);
}

const struct cached_segment *segment_cache_find(const struct segment_cache *c,
                                                uint32_t block, uint64_t segno)
{
    const struct cached_segment *s = &c->slots[slot_of(block, segno)];

    return s->valid && s->block == block && s->segno == segno ? s : NULL;
}

int segment_cache_put(struct segment_cache *c, uint32_t block, uint64_t segno,
                      const struct segment *segment,
                      const struct cached_segment **ret, struct error *err)
{
    struct cached_segment *s = &c->slots[slot_of(block, segno)];
    size_t bytes = segment->n_runs * sizeof(*s->runs);
    struct segment_run *runs = malloc(MAX(bytes, sizeof(*runs)));

    if (!runs)
        return fail_nomem(err);
    memcpy(runs, segment->runs, bytes);
    free(s->runs);
    *s = (struct cached_segment){
        .valid = true,
        .block = block,
        .segno = segno,
        .n_runs = segment->n_runs,
        .runs = runs,
    };
    *ret = s;
    return 0;
}
