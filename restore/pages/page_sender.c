/*
 * A batch is a list of records, each a header and, unless the page is zero,
 * its content. What the source lends one page at a time is copied once, what
 * was brought before is sent from where it is; headers and contents go out
 * together by sendmsg.
 *
 * The batch is short on purpose: what is written cannot be overtaken, so a
 * request waits for the batch before it and for what the socket holds.
 */
#include "restore/pages/page_sender.h"

#include <limits.h>
#include <poll.h>
#include <sys/socket.h>

#include "core/base/clock.h"
#include "core/wire/stream_encoder.h"

#define BATCH_PAGES     16u /* 64 KiB: 50 µs of writing */
#define RECORD_HEAD_MAX (RAM_RECORD_HEADER_MAX + 1u)

struct record {
    uint8_t head[RECORD_HEAD_MAX];
    uint16_t head_len;
    const uint8_t *data; /* NULL: a zero page */
};

/* An urgent unit of the open batch. */
struct asked {
    uint32_t block;
    uint64_t ns;
};

/* Each has a "block named last" of its own. */
struct channel {
    int fd;
    struct ram_encoder encoder;
};

struct page_sender {
    struct page_sender_args args;
    struct channel main;
    struct channel urgent;
    struct channel *to; /* of the open batch */
    uint32_t capacity; /* records */
    struct record *records;
    uint32_t n_records;
    uint8_t *pages; /* capacity × PAGE_BYTES */
    struct iovec *iov;

    /* of the open batch, for the counts */
    uint32_t n_data;
    uint32_t n_turns[PAGE_TURN__COUNT];
    uint32_t n_data_units;
    uint32_t n_units;
    struct asked *asked;
    uint32_t n_asked;

    struct page_sender_stats stats;
    struct fault_stats *blocks; /* args.n_blocks */
};

int page_sender_new(const struct page_sender_args *args,
                    struct page_sender **ret, struct error *err)
{
    cleanup(page_sender) struct page_sender *s = calloc(1, sizeof(*s));

    assert(args->max_unit_pages <= PAGE_UNIT_MAX_PAGES);
    if (!s)
        return fail_nomem(err);
    s->args = *args;
    s->main.fd = args->fd;
    s->urgent.fd = args->urgent_fd;
    s->to = &s->main;
    s->capacity = BATCH_PAGES + args->max_unit_pages;
    s->records = calloc(s->capacity, sizeof(*s->records));
    s->pages = malloc((size_t)s->capacity * PAGE_BYTES);
    s->iov = calloc(2 * (size_t)s->capacity, sizeof(*s->iov));
    s->asked = calloc(s->capacity, sizeof(*s->asked));
    s->blocks = calloc(args->n_blocks + 1u, sizeof(*s->blocks));
    if (!s->records || !s->pages || !s->iov || !s->asked || !s->blocks)
        return fail_nomem(err);
    *ret = steal_ptr(&s);
    return 0;
}

void page_sender_free(struct page_sender *s)
{
    if (!s)
        return;
    free(s->records);
    free(s->pages);
    free(s->iov);
    free(s->asked);
    free(s->blocks);
    free(s);
}

/* All of `n` vectors, which it uses up. */
static int write_vectors(struct page_sender *s, int fd, struct iovec *iov,
                         size_t n, struct error *err)
{
    while (n > 0) {
        struct msghdr msg = {
            .msg_iov = iov,
            .msg_iovlen = MIN(n, (size_t)IOV_MAX),
        };
        ssize_t done = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
        int rc = 0;

        if (done < 0 && (errno == EPIPE || errno == ECONNRESET))
            return fail(err, ERR_PEER, "QEMU closed the migration socket");
        if (done < 0 && errno != EAGAIN && errno != EINTR)
            return fail_errno(err, ERR_IO, "cannot write to QEMU");
        if (done < 0 && errno == EAGAIN)
            rc = stopper_wait(s->args.stop, fd, POLLOUT, 0, err);
        if (rc < 0)
            return rc;
        for (; done > 0 && (size_t)done >= iov->iov_len; iov++, n--)
            done -= (ssize_t)iov->iov_len;
        if (done > 0) {
            iov->iov_base = (uint8_t *)iov->iov_base + done;
            iov->iov_len -= (size_t)done;
        }
    }
    return 0;
}

int page_sender_write(struct page_sender *s, const struct buf *bytes,
                      struct error *err)
{
    struct iovec iov = {.iov_base = bytes->data, .iov_len = bytes->len};

    assert(s->n_records == 0);
    return bytes->len > 0 ? write_vectors(s, s->main.fd, &iov, 1, err) : 0;
}

/* `data` stays where it is until the flush; NULL: zero. */
static void add_record(struct page_sender *s, pgno_t pgno, const char *idstr,
                       const uint8_t *data)
{
    struct record *r = &s->records[s->n_records++];
    struct ram_encoder *e = &s->to->encoder;
    size_t len = data ? ram_encoder_page(e, idstr, pgno, r->head)
                      : ram_encoder_zero(e, idstr, pgno, r->head);

    assert(len <= sizeof(r->head));
    r->head_len = (uint16_t)len;
    r->data = data;
    s->n_data += data != NULL;
}

static int add_page(struct page_sender *s, const struct page_unit *unit,
                    pgno_t pgno, const char *idstr, struct error *err)
{
    uint8_t *copy = s->pages + (size_t)s->n_records * PAGE_BYTES;
    const uint8_t *data = NULL;
    int rc = 0;

    if (unit->known)
        rc = s->args.source->page(s->args.source->arg, unit->block, pgno, &data,
                                  err);
    if (rc < 0)
        return rc;
    if (data)
        memcpy(copy, data, PAGE_BYTES);
    add_record(s, pgno, idstr, data ? copy : NULL);
    return 0;
}

/* The first unit decides where a batch goes: any page may take either way. */
static void choose_channel(struct page_sender *s, const struct page_unit *unit)
{
    if (s->n_records > 0)
        return;
    s->to = s->args.urgent_fd && unit->turn == PAGE_TURN_URGENT ? &s->urgent
                                                                : &s->main;
}

static void count_unit(struct page_sender *s, const struct page_unit *unit,
                       uint32_t n_data)
{
    assert(unit->turn < PAGE_TURN__COUNT && s->n_asked < s->capacity);
    if (unit->turn == PAGE_TURN_URGENT)
        s->asked[s->n_asked++] = (struct asked){
            .block = unit->known ? unit->block : UINT32_MAX,
            .ns = unit->asked_ns,
        };
    s->n_turns[unit->turn] += unit->pages;
    s->n_data_units += n_data > 0;
    s->n_units += unit->known;
}

int page_sender_add(struct page_sender *s, const struct page_unit *unit,
                    const char *idstr, struct error *err)
{
    struct ram_encoder encoder;
    uint32_t n_records = s->n_records;
    uint32_t n_data = s->n_data;
    int rc = 0;

    choose_channel(s, unit);
    encoder = s->to->encoder;
    assert(s->n_records + unit->pages <= s->capacity);
    for (uint32_t i = 0; rc == 0 && i < unit->pages; i++)
        rc = add_page(s, unit, unit->first + i, idstr, err);
    if (rc < 0) {
        s->to->encoder = encoder;
        s->n_records = n_records;
        s->n_data = n_data;
        return rc;
    }
    count_unit(s, unit, s->n_data - n_data);
    return 0;
}

void page_sender_add_brought(struct page_sender *s,
                             const struct page_unit *unit, const char *idstr,
                             const uint8_t *const *contents)
{
    uint32_t n_data = s->n_data;

    choose_channel(s, unit);
    assert(s->n_records + unit->pages <= s->capacity);
    for (uint32_t i = 0; i < unit->pages; i++)
        add_record(s, unit->first + i, idstr, contents[i]);
    count_unit(s, unit, s->n_data - n_data);
}

bool page_sender_full(const struct page_sender *s)
{
    return s->n_records >= BATCH_PAGES;
}

bool page_sender_empty(const struct page_sender *s)
{
    return s->n_records == 0;
}

/* The kernel calls a socket writable while three quarters of its buffer are
 * free: more than a batch. */
bool page_sender_has_room(const struct page_sender *s)
{
    struct pollfd polled = {.fd = s->main.fd, .events = POLLOUT};

    return !s->args.urgent_fd || poll(&polled, 1, 0) != 0;
}

static void count_batch(struct page_sender *s)
{
    uint64_t now = clock_monotonic_ns();

    for (uint32_t i = 0; i < s->n_asked; i++) {
        uint64_t took = now - s->asked[i].ns;

        fault_stats_add(&s->stats.faults, took);
        fault_stats_add(&s->blocks[MIN(s->asked[i].block, s->args.n_blocks)],
                        took);
    }
    for (unsigned i = 0; i < PAGE_TURN__COUNT; i++)
        s->stats.turns[i] += s->n_turns[i];
    s->stats.data_pages += s->n_data;
    s->stats.zero_pages += s->n_records - s->n_data;
    s->stats.data_units += s->n_data_units;
    s->stats.units += s->n_units;
    memset(s->n_turns, 0, sizeof(s->n_turns));
    s->n_records = s->n_data = s->n_asked = 0;
    s->n_data_units = s->n_units = 0;
}

int page_sender_flush(struct page_sender *s, struct error *err)
{
    size_t n = 0;
    int rc;

    for (uint32_t i = 0; i < s->n_records; i++) {
        struct record *r = &s->records[i];

        s->iov[n++] = (struct iovec){
            .iov_base = r->head,
            .iov_len = r->head_len,
        };
        if (r->data)
            s->iov[n++] = (struct iovec){
                .iov_base = (void *)(uintptr_t)r->data,
                .iov_len = PAGE_BYTES,
            };
    }
    rc = write_vectors(s, s->to->fd, s->iov, n, err);
    if (rc < 0)
        return rc;
    count_batch(s);
    return 0;
}

const struct page_sender_stats *page_sender_stats(const struct page_sender *s)
{
    return &s->stats;
}

const struct fault_stats *page_sender_faults(const struct page_sender *s,
                                             uint32_t block)
{
    return &s->blocks[MIN(block, s->args.n_blocks)];
}
