/*
 * A batch is a list of records, each a header and, unless the page is zero,
 * its content. The contents are copied once, since the source lends one page
 * at a time; headers and contents go out together by sendmsg.
 *
 * The batch is short on purpose: what is written cannot be overtaken, so a
 * request waits for the batch before it and for what the socket holds.
 */
#include "restore/page_sender.h"

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
    bool has_page; /* its content is in `pages`, at the record's place */
};

struct page_sender {
    struct page_sender_args args;
    struct ram_encoder encoder;
    uint32_t capacity; /* records */
    struct record *records;
    uint32_t n_records;
    uint8_t *pages; /* capacity × PAGE_BYTES */
    struct iovec *iov;

    /* of the open batch, for the counts */
    uint32_t n_data;
    uint32_t n_prefetched;
    uint32_t n_data_units;
    uint64_t *asked_ns; /* of its urgent units */
    uint32_t n_asked;

    struct page_sender_stats stats;
};

int page_sender_new(const struct page_sender_args *args,
                    struct page_sender **ret, struct error *err)
{
    cleanup(page_sender) struct page_sender *s = calloc(1, sizeof(*s));

    assert(args->max_unit_pages <= PAGE_UNIT_MAX_PAGES);
    if (!s)
        return fail_nomem(err);
    s->args = *args;
    s->capacity = BATCH_PAGES + args->max_unit_pages;
    s->records = calloc(s->capacity, sizeof(*s->records));
    s->pages = malloc((size_t)s->capacity * PAGE_BYTES);
    s->iov = calloc(2 * (size_t)s->capacity, sizeof(*s->iov));
    s->asked_ns = calloc(s->capacity, sizeof(*s->asked_ns));
    if (!s->records || !s->pages || !s->iov || !s->asked_ns)
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
    free(s->asked_ns);
    free(s);
}

/* All of `n` vectors, which it uses up. */
static int write_vectors(struct page_sender *s, struct iovec *iov, size_t n,
                         struct error *err)
{
    while (n > 0) {
        struct msghdr msg = {
            .msg_iov = iov,
            .msg_iovlen = MIN(n, (size_t)IOV_MAX),
        };
        ssize_t done = sendmsg(s->args.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
        int rc = 0;

        if (done < 0 && (errno == EPIPE || errno == ECONNRESET))
            return fail(err, ERR_PEER, "QEMU closed the migration socket");
        if (done < 0 && errno != EAGAIN && errno != EINTR)
            return fail_errno(err, ERR_IO, "cannot write to QEMU");
        if (done < 0 && errno == EAGAIN)
            rc = stopper_wait(s->args.stop, s->args.fd, POLLOUT, 0, err);
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
    return bytes->len > 0 ? write_vectors(s, &iov, 1, err) : 0;
}

static int add_page(struct page_sender *s, const struct page_unit *unit,
                    pgno_t pgno, const char *idstr, struct error *err)
{
    struct record *r = &s->records[s->n_records];
    const uint8_t *data = NULL;

    if (unit->known) {
        int rc = s->args.source->page(s->args.source->arg, unit->block, pgno,
                                      &data, err);

        if (rc < 0)
            return rc;
    }
    r->has_page = data != NULL;
    if (data) {
        memcpy(s->pages + (size_t)s->n_records * PAGE_BYTES, data, PAGE_BYTES);
        r->head_len =
            (uint16_t)ram_encoder_page(&s->encoder, idstr, pgno, r->head);
        s->n_data++;
    } else {
        r->head_len =
            (uint16_t)ram_encoder_zero(&s->encoder, idstr, pgno, r->head);
    }
    s->n_records++;
    return 0;
}

int page_sender_add(struct page_sender *s, const struct page_unit *unit,
                    const char *idstr, struct error *err)
{
    struct ram_encoder encoder = s->encoder;
    uint32_t n_records = s->n_records;
    uint32_t n_data = s->n_data;
    int rc = 0;

    assert(s->n_records + unit->pages <= s->capacity);
    for (uint32_t i = 0; rc == 0 && i < unit->pages; i++)
        rc = add_page(s, unit, unit->first + i, idstr, err);
    if (rc < 0) {
        s->encoder = encoder;
        s->n_records = n_records;
        s->n_data = n_data;
        return rc;
    }
    if (unit->turn == PAGE_TURN_URGENT)
        s->asked_ns[s->n_asked++] = unit->asked_ns;
    else
        s->n_prefetched += s->n_data - n_data;
    s->n_data_units += s->n_data > n_data;
    return 0;
}

bool page_sender_full(const struct page_sender *s)
{
    return s->n_records >= BATCH_PAGES;
}

bool page_sender_empty(const struct page_sender *s)
{
    return s->n_records == 0;
}

static void count_batch(struct page_sender *s)
{
    uint64_t now = clock_monotonic_ns();

    for (uint32_t i = 0; i < s->n_asked; i++)
        fault_stats_add(&s->stats.faults, now - s->asked_ns[i]);
    s->stats.data_pages += s->n_data;
    s->stats.prefetched_pages += s->n_prefetched;
    s->stats.zero_pages += s->n_records - s->n_data;
    s->stats.data_units += s->n_data_units;
    s->n_records = s->n_data = s->n_prefetched = s->n_data_units = 0;
    s->n_asked = 0;
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
        if (r->has_page)
            s->iov[n++] = (struct iovec){
                .iov_base = s->pages + (size_t)i * PAGE_BYTES,
                .iov_len = PAGE_BYTES,
            };
    }
    rc = write_vectors(s, s->iov, n, err);
    if (rc < 0)
        return rc;
    count_batch(s);
    return 0;
}

const struct page_sender_stats *page_sender_stats(const struct page_sender *s)
{
    return &s->stats;
}
