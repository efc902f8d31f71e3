/*
 * shared_frames.c - sixteen small caches, each with its own lock and bound.
 *
 * A frame belongs to a shard by its key, so threads rarely meet at a lock, and
 * each shard keeps a list by age. Under the lock only pointers move: frames
 * are allocated, filled and freed outside.
 */
#include "storage/shared_frames.h"

#include "core/base/lock.h"

#define SHARDS 16u
#define CHAINS 1024u

struct shard {
    struct lock lock; /* all of the shard */
    struct shared_frame *chains[CHAINS] GUARDED_BY(lock);
    struct shared_frame *newest GUARDED_BY(lock);
    struct shared_frame *oldest GUARDED_BY(lock);
    size_t bytes GUARDED_BY(lock);
};

struct shared_frames {
    size_t max_shard_bytes; /* set at birth */
    struct shard shards[SHARDS];
};

static uint64_t mix(uint64_t key)
{
    key *= UINT64_C(0x9e3779b97f4a7c15);
    return key ^ (key >> 29);
}

static struct shard *shard_of(struct shared_frames *c, uint64_t key)
{
    return &c->shards[mix(key) % SHARDS];
}

static struct shared_frame **chain_of(struct shard *s, uint64_t key)
{
    return &s->chains[mix(key) / SHARDS % CHAINS];
}

int shared_frames_new(size_t max_bytes, struct shared_frames **ret,
                      struct error *err)
{
    struct shared_frames *c = calloc(1, sizeof(*c));

    if (!c)
        return fail_nomem(err);
    c->max_shard_bytes = max_bytes / SHARDS;
    for (unsigned i = 0; i < SHARDS; i++)
        lock_init(&c->shards[i].lock);
    *ret = c;
    return 0;
}

static void free_frame(struct shared_frame *f)
{
    if (f)
        free(f->data);
    free(f);
}

void shared_frames_free(struct shared_frames *c)
{
    if (!c)
        return;
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shared_frame *f = c->shards[i].newest;

        while (f) {
            struct shared_frame *older = f->older;

            assert(f->holders == 0);
            free_frame(f);
            f = older;
        }
        lock_release(&c->shards[i].lock);
    }
    free(c);
}

static void unlist(struct shard *s, struct shared_frame *f)
{
    if (f->newer)
        f->newer->older = f->older;
    else
        s->newest = f->older;
    if (f->older)
        f->older->newer = f->newer;
    else
        s->oldest = f->newer;
}

static void list_newest(struct shard *s, struct shared_frame *f)
{
    f->newer = NULL;
    f->older = s->newest;
    if (s->newest)
        s->newest->newer = f;
    s->newest = f;
    if (!s->oldest)
        s->oldest = f;
}

static struct shared_frame *find_locked(struct shard *s, uint64_t key)
{
    struct shared_frame *f = *chain_of(s, key);

    while (f && f->key != key)
        f = f->chain;
    if (!f)
        return NULL;
    f->holders++;
    if (s->newest != f) {
        unlist(s, f);
        list_newest(s, f);
    }
    return f;
}

struct shared_frame *shared_frames_find(struct shared_frames *c, uint64_t key)
{
    struct shard *s = shard_of(c, key);
    LOCK_SCOPE(&s->lock);

    return find_locked(s, key);
}

int shared_frames_make(struct shared_frames *c, uint64_t key, uint32_t bytes,
                       struct shared_frame **ret, struct error *err)
{
    struct shared_frame *f = calloc(1, sizeof(*f));

    if (f)
        f->data = malloc(bytes);
    if (!f || !f->data) {
        free_frame(f);
        return fail_nomem(err);
    }
    f->key = key;
    f->bytes = bytes;
    f->holders = 1;
    *ret = f;
    return 0;
}

static void unchain(struct shard *s, struct shared_frame *f)
{
    struct shared_frame **at = chain_of(s, f->key);

    while (*at != f)
        at = &(*at)->chain;
    *at = f->chain;
}

/* Takes frames out until the shard is within its bound; *ret is the list of
 * those to be freed. What somebody holds is passed over. */
static struct shared_frame *shrink_locked(struct shared_frames *c,
                                          struct shard *s)
{
    struct shared_frame *f = s->oldest;
    struct shared_frame *out = NULL;

    while (f && s->bytes > c->max_shard_bytes) {
        struct shared_frame *newer = f->newer;

        if (f->holders == 0) {
            unlist(s, f);
            unchain(s, f);
            assert(s->bytes >= f->bytes);
            s->bytes -= f->bytes;
            f->chain = out;
            out = f;
        }
        f = newer;
    }
    return out;
}

static void free_list(struct shared_frame *f)
{
    while (f) {
        struct shared_frame *next = f->chain;

        free_frame(f);
        f = next;
    }
}

struct shared_frame *shared_frames_add(struct shared_frames *c,
                                       struct shared_frame *f)
{
    struct shard *s = shard_of(c, f->key);
    struct shared_frame *other;
    struct shared_frame *out = NULL;

    assert(!f->listed && f->holders == 1); /* made, and nobody else's yet */
    lock_take(&s->lock);
    other = find_locked(s, f->key);
    if (!other) {
        struct shared_frame **chain = chain_of(s, f->key);

        f->listed = true;
        f->chain = *chain;
        *chain = f;
        list_newest(s, f);
        s->bytes += f->bytes;
        out = shrink_locked(c, s);
    }
    lock_drop(&s->lock);
    free_list(out);
    if (!other)
        return f;
    free_frame(f);
    return other;
}

void shared_frames_put(struct shared_frames *c, struct shared_frame *f)
{
    struct shared_frame *out;
    struct shard *s;

    if (!f)
        return;
    if (!f->listed) {
        free_frame(f);
        return;
    }
    s = shard_of(c, f->key);
    lock_take(&s->lock);
    assert(f->holders > 0); /* given back once for each find() and add() */
    f->holders--;
    out = shrink_locked(c, s);
    lock_drop(&s->lock);
    free_list(out);
}

size_t shared_frames_bytes(struct shared_frames *c)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < SHARDS; i++) {
        lock_take(&c->shards[i].lock);
        bytes += c->shards[i].bytes;
        lock_drop(&c->shards[i].lock);
    }
    return bytes;
}
