/*
 * read_ring.c - reads through io_uring where it may be had.
 *
 * Requests are collected and shown to the kernel when somebody waits: one
 * system call submits the batch and waits for the first. A short read goes on
 * from where it stopped.
 */
#include "storage/objects/read_ring.h"

#include <liburing.h>

#define LOG_AREA "ring"
#include "core/base/log.h"

struct read_ring {
    struct io_uring uring;
    bool has_uring;
    unsigned depth;
    unsigned in_flight;
    struct read_request *finished; /* by pread */
};

int read_ring_new(unsigned depth, bool no_uring, struct read_ring **ret,
                  struct error *err)
{
    struct read_ring *r = calloc(1, sizeof(*r));
    int rc;

    if (!r)
        return fail_nomem(err);
    r->depth = depth;
    if (!no_uring) {
        rc = io_uring_queue_init(depth, &r->uring, 0);
        r->has_uring = rc == 0;
        if (rc < 0)
            log_debug("reads by pread: io_uring is refused: %s", strerror(-rc));
    }
    *ret = r;
    return 0;
}

void read_ring_free(struct read_ring *r)
{
    struct read_request *q = NULL;
    struct error ignored;

    if (!r)
        return;
    /* The kernel writes into buffers that are about to be freed. */
    while (r->in_flight > 0 && read_ring_next(r, &q, &ignored) == 0 && q)
        continue;
    if (r->has_uring)
        io_uring_queue_exit(&r->uring);
    free(r);
}

bool read_ring_is_uring(const struct read_ring *r)
{
    return r->has_uring;
}

unsigned read_ring_in_flight(const struct read_ring *r)
{
    return r->in_flight;
}

static void read_now(struct read_ring *r, struct read_request *q)
{
    while (q->done < q->len) {
        ssize_t n = pread(q->fd, q->data + q->done, q->len - q->done,
                          (off_t)(q->offset + q->done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            q->sys_errno = n < 0 ? errno : ENODATA;
            break;
        }
        q->done += (size_t)n;
    }
    q->next = r->finished;
    r->finished = q;
}

static void queue_rest(struct read_ring *r, struct read_request *q)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);

    assert(sqe); /* depth entries, and each has at most one request */
    io_uring_prep_read(sqe, q->fd, q->data + q->done,
                       (unsigned)(q->len - q->done), q->offset + q->done);
    io_uring_sqe_set_data(sqe, q);
}

int read_ring_add(struct read_ring *r, struct read_request *q,
                  struct error *err)
{
    assert(r->in_flight < r->depth && q->len <= UINT32_MAX);
    q->done = 0;
    q->sys_errno = 0;
    r->in_flight++;
    if (r->has_uring)
        queue_rest(r, q);
    else
        read_now(r, q);
    return 0;
}

/* True: it is finished. False: the rest was queued once more. */
static bool finish(struct read_ring *r, struct read_request *q, int result)
{
    if (result > 0)
        q->done += (size_t)result;
    if (q->done == q->len)
        return true;
    if (result > 0 || result == -EINTR || result == -EAGAIN) {
        queue_rest(r, q);
        return false;
    }
    q->sys_errno = result < 0 ? -result : ENODATA;
    return true;
}

static int wait_uring(struct read_ring *r, struct read_request **ret,
                      struct error *err)
{
    for (;;) {
        struct io_uring_cqe *cqe;
        struct read_request *q;
        int result;
        int rc = io_uring_submit_and_wait(&r->uring, 1);

        if (rc == -EINTR)
            continue;
        if (rc >= 0)
            rc = io_uring_peek_cqe(&r->uring, &cqe);
        if (rc == -EAGAIN)
            continue;
        if (rc < 0) {
            errno = -rc;
            return fail_errno(err, ERR_IO, "io_uring failed");
        }
        q = io_uring_cqe_get_data(cqe);
        result = cqe->res;
        io_uring_cqe_seen(&r->uring, cqe);
        if (finish(r, q, result)) {
            *ret = q;
            return 0;
        }
    }
}

int read_ring_next(struct read_ring *r, struct read_request **ret,
                   struct error *err)
{
    int rc = 0;

    *ret = NULL;
    if (r->in_flight == 0)
        return 0;
    if (r->has_uring) {
        rc = wait_uring(r, ret, err);
    } else {
        assert(r->finished);
        *ret = r->finished;
        r->finished = r->finished->next;
    }
    if (rc == 0)
        r->in_flight--;
    return rc;
}
