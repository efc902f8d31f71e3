/*
 * frame_cache.c - a hash of chains, and one list in order of last use.
 *
 * A frame is one allocation, content behind its links, and is freed when it
 * goes; frames differ too much in length for a pool of equal rooms. The bound
 * is of content: links and chains come on top.
 */
#include "storage/frame_cache.h"

#define CHAINS 4096u /* 32 MiB of 16 KiB frames are 2048 */

struct cached_frame {
    struct cached_frame *chain;
    struct cached_frame *newer;
    struct cached_frame *older;
    uint32_t pack;
    uint32_t frame;
    size_t bytes;
    uint8_t data[];
};

struct frame_cache {
    size_t max_bytes;
    size_t bytes;
    struct cached_frame *newest;
    struct cached_frame *oldest;
    struct cached_frame *chains[CHAINS];
};

int frame_cache_new(size_t max_bytes, struct frame_cache **ret,
                    struct error *err)
{
    struct frame_cache *c = calloc(1, sizeof(*c));

    if (!c)
        return fail_nomem(err);
    c->max_bytes = max_bytes;
    *ret = c;
    return 0;
}

/* Where the pointer to a frame is, or to where it would be appended. */
static struct cached_frame **link_of(struct frame_cache *c, uint32_t pack,
                                     uint32_t frame)
{
    uint64_t key =
        ((uint64_t)pack << 32 | frame) * UINT64_C(0x9e3779b97f4a7c15);
    struct cached_frame **at = &c->chains[key >> 52];

    while (*at && ((*at)->pack != pack || (*at)->frame != frame))
        at = &(*at)->chain;
    return at;
}

static_assert(CHAINS == 1u << (64 - 52), "link_of() takes the top bits");

static void unlist(struct frame_cache *c, struct cached_frame *f)
{
    *(f->newer ? &f->newer->older : &c->newest) = f->older;
    *(f->older ? &f->older->newer : &c->oldest) = f->newer;
}

static void list_newest(struct frame_cache *c, struct cached_frame *f)
{
    f->newer = NULL;
    f->older = c->newest;
    *(f->older ? &f->older->newer : &c->oldest) = f;
    c->newest = f;
}

void frame_cache_drop(struct frame_cache *c, uint32_t pack, uint32_t frame)
{
    struct cached_frame **at = link_of(c, pack, frame);
    struct cached_frame *f = *at;

    if (!f)
        return;
    *at = f->chain;
    unlist(c, f);
    assert(c->bytes >= f->bytes);
    c->bytes -= f->bytes;
    free(f);
}

void frame_cache_free(struct frame_cache *c)
{
    if (!c)
        return;
    while (c->oldest)
        frame_cache_drop(c, c->oldest->pack, c->oldest->frame);
    free(c);
}

const uint8_t *frame_cache_find(struct frame_cache *c, uint32_t pack,
                                uint32_t frame)
{
    struct cached_frame *f = *link_of(c, pack, frame);

    if (!f)
        return NULL;
    unlist(c, f);
    list_newest(c, f);
    return f->data;
}

int frame_cache_add(struct frame_cache *c, uint32_t pack, uint32_t frame,
                    size_t bytes, uint8_t **ret, struct error *err)
{
    struct cached_frame **at;
    struct cached_frame *f;

    while (c->oldest && c->bytes + bytes > c->max_bytes)
        frame_cache_drop(c, c->oldest->pack, c->oldest->frame);
    f = malloc(sizeof(*f) + bytes);
    if (!f)
        return fail_nomem(err);
    at = link_of(c, pack, frame);
    assert(!*at);
    *f = (struct cached_frame){.pack = pack, .frame = frame, .bytes = bytes};
    *at = f;
    list_newest(c, f);
    c->bytes += bytes;
    *ret = f->data;
    return 0;
}

size_t frame_cache_bytes(const struct frame_cache *c)
{
    return c->bytes;
}
