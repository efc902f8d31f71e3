/*
 * request_reader.c - decodes the return path into an inbox with one lock.
 *
 * Two arrays change places when the inbox is taken: the sender reads the one
 * while the reader fills the other, and no request is copied under the lock but
 * by swapping pointers. Names of blocks are kept once and for good, so a
 * request points to its name; that they are bounded, as requests and bitmaps
 * are, keeps a QEMU gone mad from eating our memory.
 */
#include "restore/pages/request_reader.h"

#include <sys/eventfd.h>

#include "core/base/channel.h"
#include "core/base/clock.h"
#include "core/base/worker.h"
#include "core/vm/ramblock.h"
#include "core/wire/return_path.h"

#define REQUESTS_MAX                                                       \
    65536u                /* not yet taken: far more than QEMU has threads \
                           */
#define NAMES_MAX   8192u /* block names, each kept once */
#define BITMAPS_MAX RAMBLOCK_MAX

struct request_array {
    struct page_request *items;
    size_t n;
    size_t cap;
};

struct request_reader {
    /* set before the threads start, then read only */
    int fd;
    int wake; /* eventfd */
    struct stopper stop;
    struct worker_group group;

    /* protected by `lock` */
    struct lock lock; /* what was read and not yet taken */
    struct request_array fresh GUARDED_BY(lock);
    struct told_bitmap *bitmaps GUARDED_BY(lock);
    size_t n_bitmaps GUARDED_BY(lock);
    struct inbox_news news GUARDED_BY(lock);

    /* only the reading thread; freed when it has ended */
    char **names;
    size_t n_names;
    struct return_path_decoder *decoder;

    /* only the taking thread */
    struct request_array taken;
    struct told_bitmap *taken_bitmaps;
    size_t n_taken_bitmaps;
};

/* The reading thread. */

static const char *keep_name(struct request_reader *r, const char *idstr,
                             struct error *err)
{
    char **names;

    for (size_t i = 0; i < r->n_names; i++) {
        if (strcmp(r->names[i], idstr) == 0)
            return r->names[i];
    }
    if (r->n_names == NAMES_MAX) {
        fail(err, ERR_PROTOCOL, "QEMU names more than %u blocks", NAMES_MAX);
        return NULL;
    }
    names = realloc(r->names, (r->n_names + 1) * sizeof(*names));
    if (names) {
        r->names = names;
        names[r->n_names] = strdup(idstr);
    }
    if (!names || !names[r->n_names]) {
        fail_nomem(err);
        return NULL;
    }
    return names[r->n_names++];
}

static int push_request(struct request_array *a,
                        const struct page_request *request, struct error *err)
{
    if (a->n == a->cap) {
        size_t cap = MAX(a->cap * 2, (size_t)64);
        struct page_request *items;

        if (a->n == REQUESTS_MAX)
            return fail(err, ERR_PROTOCOL,
                        "more than %u requests wait for an answer",
                        REQUESTS_MAX);
        items = realloc(a->items, cap * sizeof(*items));
        if (!items)
            return fail_nomem(err);
        a->items = items;
        a->cap = cap;
    }
    a->items[a->n++] = *request;
    return 0;
}

static int on_request(void *arg, const char *idstr, uint64_t start,
                      uint32_t len, struct error *err)
{
    struct request_reader *r = arg;
    struct page_request request = {
        .idstr = keep_name(r, idstr, err),
        .start = start,
        .len = len,
        .read_ns = clock_monotonic_ns(),
    };

    if (!request.idstr)
        return err->code;
    LOCK_SCOPE(&r->lock);
    return push_request(&r->fresh, &request, err);
}

static int on_shut(void *arg, uint32_t status, struct error *err)
{
    struct request_reader *r = arg;

    LOCK_SCOPE(&r->lock);
    r->news.shut = true;
    r->news.shut_status = status;
    return 0;
}

static int on_pong(void *arg, uint32_t value, struct error *err)
{
    struct request_reader *r = arg;

    LOCK_SCOPE(&r->lock);
    r->news.last_pong = value;
    return 0;
}

static int on_resume_ack(void *arg, uint32_t value, struct error *err)
{
    struct request_reader *r = arg;

    if (value != 1)
        return fail(err, ERR_PROTOCOL, "RESUME was answered with %u", value);
    LOCK_SCOPE(&r->lock);
    r->news.resume_ack = true;
    return 0;
}

static int push_bitmap(struct request_reader *r,
                       const struct told_bitmap *bitmap, struct error *err)
{
    struct told_bitmap *bitmaps;

    LOCK_SCOPE(&r->lock);
    if (r->n_bitmaps == BITMAPS_MAX)
        return fail(err, ERR_PROTOCOL, "QEMU sends more than %u bitmaps",
                    BITMAPS_MAX);
    bitmaps = realloc(r->bitmaps, (r->n_bitmaps + 1) * sizeof(*bitmaps));
    if (!bitmaps)
        return fail_nomem(err);
    r->bitmaps = bitmaps;
    bitmaps[r->n_bitmaps++] = *bitmap;
    return 0;
}

static int on_bitmap(void *arg, const char *idstr, const uint64_t *words,
                     uint64_t n_pages_rounded, struct error *err)
{
    struct request_reader *r = arg;
    size_t bytes = (size_t)(n_pages_rounded / 8);
    struct told_bitmap bitmap = {
        .idstr = keep_name(r, idstr, err),
        .words = malloc(MAX(bytes, (size_t)1)),
        .n_pages = n_pages_rounded,
    };
    int rc = bitmap.idstr ? 0 : err->code;

    if (rc == 0 && !bitmap.words)
        rc = fail_nomem(err);
    if (rc == 0) {
        memcpy(bitmap.words, words, bytes);
        rc = push_bitmap(r, &bitmap, err);
    }
    if (rc < 0)
        free(bitmap.words);
    return rc;
}

static const struct return_path_ops ops = {
    .shut = on_shut,
    .pong = on_pong,
    .request = on_request,
    .bitmap = on_bitmap,
    .resume_ack = on_resume_ack,
};

void request_reader_wake(struct request_reader *r)
{
    static const uint64_t one = 1;

    if (write(r->wake, &one, sizeof(one)) < 0) {
        /* Full: it is readable already. */
    }
}

static int read_all(struct request_reader *r, struct error *err)
{
    uint8_t data[16384];
    size_t n;

    for (;;) {
        int rc = channel_read(r->fd, data, sizeof(data), &r->stop, 0, &n, err);

        if (rc < 0 || n == 0)
            return rc;
        rc = return_path_decoder_feed(r->decoder, data, n, err);
        if (rc < 0)
            return rc;
        request_reader_wake(r);
    }
}

static int reader_main(void *arg, struct error *err)
{
    struct request_reader *r = arg;
    struct error why = ERROR_INIT;
    int rc = read_all(r, &why);

    lock_take(&r->lock);
    r->news.ended = true;
    if (rc < 0)
        error_copy(&r->news.why, &why);
    lock_drop(&r->lock);
    request_reader_wake(r);
    return 0;
}

/* The taking thread. */

static void no_cancel(void *arg)
{
}

int request_reader_start(int fd, struct request_reader **ret, struct error *err)
{
    cleanup(request_reader) struct request_reader *r = calloc(1, sizeof(*r));
    int rc;

    if (!r)
        return fail_nomem(err);
    r->fd = fd;
    r->wake = -1;
    r->stop.fd = -1;
    lock_init(&r->lock);
    worker_group_init(&r->group, no_cancel, NULL);
    rc = stopper_init(&r->stop, err);
    if (rc < 0)
        return rc;
    r->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->wake < 0)
        return fail_errno(err, ERR_IO, "eventfd failed");
    rc = return_path_decoder_new(&ops, r, &r->decoder, err);
    if (rc == 0)
        rc = worker_start(&r->group, "return path", reader_main, r, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&r);
    return 0;
}

static void free_bitmaps(struct told_bitmap *bitmaps, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(bitmaps[i].words);
    free(bitmaps);
}

void request_reader_stop(struct request_reader *r)
{
    if (!r)
        return;
    if (r->stop.fd >= 0)
        stopper_pull(&r->stop, ERR_CANCELLED);
    worker_group_release(&r->group);
    return_path_decoder_free(r->decoder);
    for (size_t i = 0; i < r->n_names; i++)
        free(r->names[i]);
    free(r->names);
    free(r->fresh.items);
    free(r->taken.items);
    free_bitmaps(r->bitmaps, r->n_bitmaps);
    free_bitmaps(r->taken_bitmaps, r->n_taken_bitmaps);
    if (r->wake >= 0)
        close(r->wake);
    stopper_release(&r->stop);
    lock_release(&r->lock);
    free(r);
}

int request_reader_fd(const struct request_reader *r)
{
    return r->wake;
}

/* Bitmaps of a recovery are few: they move once and stay. */
static void take_bitmaps(struct request_reader *r) REQUIRES(r->lock)
{
    if (r->n_taken_bitmaps > 0 || !r->news.resume_ack)
        return;
    r->taken_bitmaps = r->bitmaps;
    r->n_taken_bitmaps = r->n_bitmaps;
    r->bitmaps = NULL;
    r->n_bitmaps = 0;
}

void request_reader_take(struct request_reader *r, struct inbox_news *ret)
{
    struct request_array empty = r->taken;
    uint64_t count;

    if (read(r->wake, &count, sizeof(count)) < 0) {
        /* EAGAIN: nothing came since; the state is told all the same. */
    }
    empty.n = 0;

    LOCK_SCOPE(&r->lock);
    r->taken = r->fresh;
    r->fresh = empty;
    take_bitmaps(r);
    *ret = r->news;
    ret->requests = r->taken.items;
    ret->n_requests = r->taken.n;
    ret->bitmaps = r->taken_bitmaps;
    ret->n_bitmaps = r->n_taken_bitmaps;
}
