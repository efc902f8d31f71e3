/*
 * ring.c - writes of one thread, through io_uring where it may be had.
 *
 * Each buffer is one slot: FREE, TAKEN by the caller, or IN_FLIGHT from
 * ring_write() until its whole length is in the file. The slot's number is the
 * request's user data. Requests are put into the submission queue one by one
 * and handed to the kernel in batches, or as soon as somebody must wait.
 *
 * What the kernel did not take is sent again from where it stopped. A write
 * that comes back cancelled is such a rest, too: the kernel cancels what a
 * thread had in flight when this thread ends, and a ring may be drained by
 * another thread than the one that filled it.
 *
 * The first failure is kept until ring_wait() tells it. Later writes of the
 * batch go on; the file is lost anyway, and its owner is told once.
 */
#include "storage/objects/ring.h"

#include <liburing.h>

#define LOG_AREA "ring"
#include "core/base/bytes.h"
#include "core/base/log.h"
#include "core/base/path.h"

#define DEFAULT_BUFFER_BYTES (256u << 10)
#define DEFAULT_BUFFERS      8u
/* Direct I/O and registered memory both want whole pages. */
#define BUFFER_ALIGN 4096u
/* User data of the one request that is no write of a slot. */
#define SYNC_REQUEST UINT64_MAX

enum slot_state { SLOT_FREE = 0, SLOT_TAKEN, SLOT_IN_FLIGHT };

struct slot {
    uint8_t *data;
    enum slot_state state;
    int fd;
    size_t len;
    size_t done; /* bytes the kernel has taken */
    uint64_t offset;
};

struct ring {
    struct io_uring uring;
    bool has_uring;
    char kind[160];
    size_t buffer_bytes;
    unsigned n_slots;
    unsigned batch; /* requests that are worth a system call */
    uint8_t *memory;
    struct slot *slots;
    unsigned unsubmitted; /* in the queue, not yet shown to the kernel */
    unsigned in_flight;   /* slots, unsubmitted ones included */
    bool syncing;
    int sync_result;
    struct error first;
    struct ring_stats stats;
};

static bool can_write(struct io_uring *uring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(uring);
    bool can = probe && io_uring_opcode_supported(probe, IORING_OP_WRITE) &&
               io_uring_opcode_supported(probe, IORING_OP_FSYNC);

    io_uring_free_probe(probe);
    return can;
}

static void register_buffers(struct ring *r)
{
    cleanup_free struct iovec *iov = calloc(r->n_slots, sizeof(*iov));
    int rc;

    if (!iov)
        return;
    for (unsigned i = 0; i < r->n_slots; i++)
        iov[i] = (struct iovec){r->slots[i].data, r->buffer_bytes};
    rc = io_uring_register_buffers(&r->uring, iov, r->n_slots);
    /* ENOMEM: more than RLIMIT_MEMLOCK. Only a little speed is lost. */
    if (rc < 0)
        log_debug("buffers not registered: %s", strerror(-rc));
    r->stats.registered = rc == 0;
}

static void start_uring(struct ring *r)
{
    /* One entry more than slots: the sync. */
    int rc = io_uring_queue_init(r->n_slots + 1, &r->uring, 0);

    if (rc < 0) {
        snprintf(r->kind, sizeof(r->kind), "pwrite: io_uring is refused: %s",
                 strerror(-rc));
        return;
    }
    if (!can_write(&r->uring)) {
        io_uring_queue_exit(&r->uring);
        snprintf(r->kind, sizeof(r->kind),
                 "pwrite: this kernel's io_uring cannot write files");
        return;
    }
    snprintf(r->kind, sizeof(r->kind), "io_uring");
    r->has_uring = true;
    register_buffers(r);
}

static int allocate(struct ring *r, struct error *err)
{
    uint64_t bytes;
    void *memory;

    if (!is_aligned(r->buffer_bytes, BUFFER_ALIGN) ||
        r->buffer_bytes > UINT32_MAX / 2 ||
        !mul_checked(r->buffer_bytes, r->n_slots, &bytes))
        return fail(err, ERR_INVALID, "a ring cannot have buffers of %zu bytes",
                    r->buffer_bytes);
    r->slots = calloc(r->n_slots, sizeof(*r->slots));
    if (!r->slots || posix_memalign(&memory, BUFFER_ALIGN, bytes) != 0)
        return fail_nomem(err);
    r->memory = memory;
    for (unsigned i = 0; i < r->n_slots; i++)
        r->slots[i].data = r->memory + (size_t)i * r->buffer_bytes;
    return 0;
}

int ring_new(const struct ring_args *args, struct ring **ret, struct error *err)
{
    cleanup(ring) struct ring *r = calloc(1, sizeof(*r));
    int rc;

    if (!r)
        return fail_nomem(err);
    r->buffer_bytes =
        args->buffer_bytes ? args->buffer_bytes : DEFAULT_BUFFER_BYTES;
    r->n_slots = args->buffers ? args->buffers : DEFAULT_BUFFERS;
    r->batch = MAX(1u, r->n_slots / 4);
    rc = allocate(r, err);
    if (rc < 0)
        return rc;
    if (args->no_uring)
        snprintf(r->kind, sizeof(r->kind), "pwrite: io_uring was not wanted");
    else
        start_uring(r);
    log_debug("%s, %u buffers of %zu bytes%s", r->kind, r->n_slots,
              r->buffer_bytes, r->stats.registered ? ", registered" : "");
    *ret = steal_ptr(&r);
    return 0;
}

bool ring_is_uring(const struct ring *r)
{
    return r->has_uring;
}

const char *ring_kind(const struct ring *r)
{
    return r->kind;
}

size_t ring_buffer_bytes(const struct ring *r)
{
    return r->buffer_bytes;
}

void ring_stats(const struct ring *r, struct ring_stats *ret)
{
    *ret = r->stats;
}

static void keep_first(struct ring *r, const struct error *why)
{
    if (r->first.code == 0)
        error_copy(&r->first, why);
}

static void end_write(struct ring *r, struct slot *s)
{
    assert(s->state == SLOT_IN_FLIGHT && r->in_flight > 0);
    s->state = SLOT_FREE;
    r->in_flight--;
}

static void fail_write(struct ring *r, struct slot *s, int sys_errno)
{
    struct error why = ERROR_INIT;

    errno = sys_errno;
    fail_errno(&why, ERR_IO, "cannot write at offset %llu",
               (unsigned long long)(s->offset + s->done));
    keep_first(r, &why);
    end_write(r, s);
}

static struct io_uring_sqe *next_request(struct ring *r)
{
    /* There are as many entries as requests that can wait for one. */
    struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);

    assert(sqe);
    r->unsubmitted++;
    return sqe;
}

static void queue_rest(struct ring *r, struct slot *s)
{
    struct io_uring_sqe *sqe = next_request(r);
    unsigned number = (unsigned)(s - r->slots);
    unsigned len = (unsigned)(s->len - s->done);

    if (r->stats.registered)
        io_uring_prep_write_fixed(sqe, s->fd, s->data + s->done, len,
                                  s->offset + s->done, (int)number);
    else
        io_uring_prep_write(sqe, s->fd, s->data + s->done, len,
                            s->offset + s->done);
    io_uring_sqe_set_data64(sqe, number);
}

static bool worth_another_try(int result)
{
    return result == -EINTR || result == -EAGAIN || result == -ECANCELED;
}

static void complete_write(struct ring *r, struct slot *s, int result)
{
    if (result < 0 && !worth_another_try(result)) {
        fail_write(r, s, -result);
        return;
    }
    if (result == 0) {
        /* Never for a file that has room; going on would spin. */
        fail_write(r, s, EIO);
        return;
    }
    if (result > 0) {
        s->done += (size_t)result;
        r->stats.bytes += (uint64_t)result;
    }
    if (s->done == s->len) {
        end_write(r, s);
        return;
    }
    r->stats.continued++;
    queue_rest(r, s);
}

static void queue_sync(struct ring *r, int fd)
{
    struct io_uring_sqe *sqe = next_request(r);

    io_uring_prep_fsync(sqe, fd, 0);
    io_uring_sqe_set_data64(sqe, SYNC_REQUEST);
    r->syncing = true;
    r->sync_result = 0;
}

/* The completions that are there, without waiting. */
static void reap(struct ring *r)
{
    struct io_uring_cqe *cqe;

    while (io_uring_peek_cqe(&r->uring, &cqe) == 0) {
        uint64_t request = cqe->user_data;
        int result = cqe->res;

        io_uring_cqe_seen(&r->uring, cqe);
        if (request == SYNC_REQUEST) {
            r->syncing = false;
            r->sync_result = result;
        } else {
            assert(request < r->n_slots);
            complete_write(r, &r->slots[request], result);
        }
    }
}

/* Hands over what is queued and waits for at least `wait_for` completions. */
static int submit(struct ring *r, unsigned wait_for, struct error *err)
{
    int n = io_uring_submit_and_wait(&r->uring, wait_for);

    if (n > 0) {
        r->unsubmitted -= MIN((unsigned)n, r->unsubmitted);
        r->stats.submits++;
    }
    /* EAGAIN, EBUSY: the kernel is short of something until work ends, which
     * the reaping that follows lets it do. */
    if (n < 0 && n != -EINTR && n != -EAGAIN && n != -EBUSY) {
        errno = -n;
        return fail_errno(err, ERR_IO, "io_uring does not take requests");
    }
    reap(r);
    return 0;
}

static int drain(struct ring *r, struct error *err)
{
    while (r->in_flight > 0 || r->syncing) {
        int rc = submit(r, 1, err);

        if (rc < 0)
            return rc;
    }
    return 0;
}

void ring_free(struct ring *r)
{
    struct error ignored = ERROR_INIT;

    if (!r)
        return;
    if (r->has_uring) {
        /* The kernel must not read from memory that is given back. */
        if (drain(r, &ignored) < 0)
            log_debug("left with writes in flight: %s", ignored.message);
        io_uring_queue_exit(&r->uring);
    }
    free(r->slots);
    free(r->memory);
    free(r);
}

static struct slot *free_slot(struct ring *r)
{
    for (unsigned i = 0; i < r->n_slots; i++) {
        if (r->slots[i].state == SLOT_FREE)
            return &r->slots[i];
    }
    return NULL;
}

int ring_take_buffer(struct ring *r, uint8_t **ret, struct error *err)
{
    struct slot *s;

    if (r->has_uring)
        reap(r);
    while (!(s = free_slot(r))) {
        int rc;

        /* Else the caller has taken them all and would wait for itself. */
        assert(r->in_flight > 0);
        /* Waiting for a batch at once lets the next one be a batch, too. */
        rc = submit(r, MIN(r->batch, r->in_flight), err);
        if (rc < 0)
            return rc;
    }
    if (r->first.code != 0)
        return error_copy(err, &r->first);
    s->state = SLOT_TAKEN;
    *ret = s->data;
    return 0;
}

static struct slot *slot_of(struct ring *r, const uint8_t *buffer)
{
    size_t number = (size_t)(buffer - r->memory) / r->buffer_bytes;

    assert(number < r->n_slots && r->slots[number].data == buffer);
    assert(r->slots[number].state == SLOT_TAKEN);
    return &r->slots[number];
}

void ring_give_buffer(struct ring *r, uint8_t *buffer)
{
    slot_of(r, buffer)->state = SLOT_FREE;
}

static int write_plainly(struct ring *r, struct slot *s, struct error *err)
{
    int rc = path_write_at(s->fd, s->data, s->len, s->offset, err);

    s->state = SLOT_FREE;
    if (rc < 0) {
        keep_first(r, err);
        return rc;
    }
    r->stats.bytes += s->len;
    return 0;
}

int ring_write(struct ring *r, int fd, uint8_t *buffer, size_t len,
               uint64_t offset, struct error *err)
{
    struct slot *s = slot_of(r, buffer);

    assert(len > 0 && len <= r->buffer_bytes);
    if (r->first.code != 0) {
        s->state = SLOT_FREE;
        return error_copy(err, &r->first);
    }
    s->fd = fd;
    s->len = len;
    s->done = 0;
    s->offset = offset;
    r->stats.writes++;
    if (!r->has_uring)
        return write_plainly(r, s, err);
    s->state = SLOT_IN_FLIGHT;
    r->in_flight++;
    r->stats.most_in_flight = MAX(r->stats.most_in_flight, r->in_flight);
    queue_rest(r, s);
    return r->unsubmitted >= r->batch ? submit(r, 0, err) : 0;
}

int ring_wait(struct ring *r, struct error *err)
{
    int rc = r->has_uring ? drain(r, err) : 0;

    if (rc == 0 && r->first.code != 0)
        rc = error_copy(err, &r->first);
    r->first = ERROR_INIT;
    return rc;
}

static int sync_plainly(int fd, struct error *err)
{
    int rc;

    do {
        rc = fsync(fd);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? fail_errno(err, ERR_IO, "cannot sync a file") : 0;
}

int ring_sync(struct ring *r, int fd, struct error *err)
{
    int rc = ring_wait(r, err);

    if (rc < 0)
        return rc;
    r->stats.syncs++;
    if (!r->has_uring)
        return sync_plainly(fd, err);
    do {
        queue_sync(r, fd);
        rc = drain(r, err);
        if (rc < 0)
            return rc;
    } while (worth_another_try(r->sync_result));
    if (r->sync_result < 0) {
        errno = -r->sync_result;
        return fail_errno(err, ERR_IO, "cannot sync a file");
    }
    return 0;
}
