/*
 * handover.c - the message has no length, so its end is found by counting
 * brackets outside of strings; what the bytes mean is for the JSON parser, once
 * they are all there. A client may send one byte at a time, or too much, or
 * nothing: all that is bounded in bytes and in time.
 */
#include "restore/uffd/handover.h"

#include <poll.h>
#include <sys/socket.h>

#include "core/base/bytes.h"
#include "core/base/json.h"
#include "core/vm/page.h"

#define HUGE_PAGE_BYTES (UINT64_C(2) << 20)
/* Descriptors a message may carry so that they can be told apart from one; the
 * kernel closes what does not fit. */
#define FDS_MAX 8u

void handover_release(struct handover *h)
{
    if (h->fd >= 0)
        close(h->fd);
    free(h->regions);
    *h = HANDOVER_INIT;
}

int handover_measure(const char *text, size_t len, size_t *ret_len,
                     struct error *err)
{
    size_t start = 0;
    unsigned depth = 0;
    bool in_string = false;

    *ret_len = 0;
    while (start < len && strchr(" \t\r\n", text[start]) && text[start])
        start++;
    if (start < len && text[start] != '[')
        return fail(err, ERR_PROTOCOL, "the message is no JSON array");
    for (size_t i = start; i < len; i++) {
        if (in_string) {
            if (text[i] == '\\')
                i++;
            else
                in_string = text[i] != '"';
        } else if (text[i] == '"') {
            in_string = true;
        } else if (text[i] == '[' || text[i] == '{') {
            depth++;
        } else if (text[i] == ']' || text[i] == '}') {
            if (--depth == 0) {
                *ret_len = i + 1;
                return 0;
            }
        }
    }
    return 0;
}

static int get_number(const json_t *region, size_t i, const char *name,
                      uint64_t *ret, struct error *err)
{
    const json_t *v = json_object_get(region, name);

    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return fail(err, ERR_PROTOCOL, "region %zu: '%s' is no number", i,
                    name);
    *ret = (uint64_t)json_integer_value(v);
    return 0;
}

static int parse_page_size(const json_t *region, size_t i, struct handover *h,
                           struct error *err)
{
    const char *name =
        json_object_get(region, "page_size") ? "page_size" : "page_size_kib";
    uint64_t bytes = 0;
    int rc = get_number(region, i, name, &bytes, err);

    if (rc < 0)
        return rc;
    if (bytes != PAGE_BYTES && bytes != HUGE_PAGE_BYTES)
        return fail(err, ERR_PROTOCOL,
                    "region %zu: pages of %llu bytes are not known; there are "
                    "4096 and 2097152",
                    i, (unsigned long long)bytes);
    if (h->page_bytes != 0 && h->page_bytes != bytes)
        return fail(err, ERR_PROTOCOL,
                    "region %zu: its page size differs from the first one's",
                    i);
    h->page_bytes = (uint32_t)bytes;
    return 0;
}

static int check_region(const struct handover *h, size_t i,
                        uint64_t image_bytes, struct error *err)
{
    const struct space_region *r = &h->regions[i];
    uint64_t end;

    if (r->len == 0)
        return fail(err, ERR_PROTOCOL, "region %zu: its size is 0", i);
    if (!is_aligned(r->start | r->len | r->offset, h->page_bytes))
        return fail(err, ERR_PROTOCOL,
                    "region %zu: address, size or offset is no multiple of "
                    "the page size",
                    i);
    if (!add_checked(r->start, r->len, &end))
        return fail(err, ERR_PROTOCOL, "region %zu: its addresses wrap", i);
    if (!add_checked(r->offset, r->len, &end) || end > image_bytes)
        return fail(err, ERR_PROTOCOL,
                    "region %zu: offset %llu and size %llu reach past the "
                    "image of %llu bytes",
                    i, (unsigned long long)r->offset,
                    (unsigned long long)r->len,
                    (unsigned long long)image_bytes);
    return 0;
}

static int parse_region(const json_t *region, size_t i, uint64_t image_bytes,
                        struct handover *h, struct error *err)
{
    struct space_region *r = &h->regions[i];
    int rc;

    if (!json_is_object(region))
        return fail(err, ERR_PROTOCOL, "region %zu is no object", i);
    rc = get_number(region, i, "base_host_virt_addr", &r->start, err);
    if (rc == 0)
        rc = get_number(region, i, "size", &r->len, err);
    if (rc == 0)
        rc = get_number(region, i, "offset", &r->offset, err);
    if (rc == 0)
        rc = parse_page_size(region, i, h, err);
    return rc < 0 ? rc : check_region(h, i, image_bytes, err);
}

/* Overlaps are found by the map that will hold the regions. */
static int check_overlaps(const struct handover *h, struct error *err)
{
    cleanup(address_map) struct address_map map = {0};
    int rc = 0;

    for (uint32_t i = 0; i < h->n_regions && rc == 0; i++) {
        struct address_extent x = {h->regions[i].start, h->regions[i].len,
                                   h->regions[i].offset};

        rc = address_map_add(&map, &x, err);
    }
    return rc;
}

int handover_parse(const char *text, size_t len, uint64_t image_bytes,
                   struct handover *ret, struct error *err)
{
    cleanup(handover) struct handover h = HANDOVER_INIT;
    cleanup_json json_t *array = NULL;
    size_t n;
    int rc = json_parse(text, len, &array, err);

    if (rc < 0)
        return rc;
    n = json_array_size(array); /* 0 as well for what is no array */
    if (n == 0 || n > HANDOVER_MAX_REGIONS)
        return fail(err, ERR_PROTOCOL,
                    "the message has %zu regions, not 1 to %u", n,
                    HANDOVER_MAX_REGIONS);
    h.regions = calloc(n, sizeof(*h.regions));
    if (!h.regions)
        return fail_nomem(err);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = parse_region(json_array_get(array, i), i, image_bytes, &h, err);
    h.n_regions = (uint32_t)n;
    if (rc == 0)
        rc = check_overlaps(&h, err);
    if (rc < 0)
        return rc;
    ret->regions = steal_ptr(&h.regions);
    ret->n_regions = h.n_regions;
    ret->page_bytes = h.page_bytes;
    return 0;
}

/* ---- The socket ---- */

/* Takes the descriptors of one message; all but a single first one are closed
 * again, and `n` counts them. */
static void take_descriptors(struct msghdr *msg, int *fd, unsigned *n)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t fds;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < fds; i++) {
            int got;

            memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(got));
            if ((*n)++ == 0)
                *fd = got;
            else
                close(got);
        }
    }
    if (msg->msg_flags & MSG_CTRUNC)
        *n = MAX(*n, 2u);
}

/* Some bytes more; *ret_end at end of file. */
static int receive_some(int sock, struct buf *text, struct handover *h,
                        unsigned *n_fds, bool *ret_end, struct error *err)
{
    union {
        char space[CMSG_SPACE(FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov;
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};
    ssize_t n;
    int rc = buf_reserve(text, 4096, err);

    if (rc < 0)
        return rc;
    iov = (struct iovec){text->data + text->len, 4096};
    n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n < 0 && errno != ECONNRESET)
        return fail_errno(err, ERR_IO, "cannot read from a client");
    take_descriptors(&msg, &h->fd, n_fds);
    *ret_end = n <= 0;
    if (n > 0)
        text->len += (size_t)n;
    if (*n_fds > 1)
        return fail(err, ERR_PROTOCOL,
                    "more than one descriptor came; a guest_memfd is not "
                    "supported");
    return 0;
}

static bool is_blank(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!text[i] || !strchr(" \t\r\n", text[i]))
            return false;
    }
    return true;
}

static int receive_text(int sock, struct stopper *stop, uint64_t deadline_ns,
                        struct buf *text, struct handover *h, size_t *ret_len,
                        struct error *err)
{
    unsigned n_fds = 0;

    for (;;) {
        bool end = false;
        int rc = stopper_wait(stop, sock, POLLIN, deadline_ns, err);

        if (rc == 0)
            rc = receive_some(sock, text, h, &n_fds, &end, err);
        if (rc == 0)
            rc = handover_measure((char *)text->data, text->len, ret_len, err);
        if (rc < 0)
            return rc;
        if (*ret_len > 0)
            return 0;
        if (end)
            return fail(err, ERR_PROTOCOL,
                        "the client left after %zu bytes of its message",
                        text->len);
        if (text->len > HANDOVER_MAX_BYTES)
            return fail(err, ERR_PROTOCOL,
                        "the message is longer than %u bytes",
                        HANDOVER_MAX_BYTES);
    }
}

int handover_receive(int sock, uint64_t image_bytes, struct stopper *stop,
                     uint64_t deadline_ns, struct handover *ret,
                     struct error *err)
{
    cleanup(handover) struct handover h = HANDOVER_INIT;
    cleanup_buf struct buf text = BUF_INIT;
    unsigned ignored;
    size_t len = 0;
    int rc = receive_text(sock, stop, deadline_ns, &text, &h, &len, err);

    if (rc < 0)
        return rc;
    if (!is_blank((char *)text.data + len, text.len - len))
        return fail(err, ERR_PROTOCOL, "something follows the message");
    if (h.fd < 0)
        return fail(err, ERR_PROTOCOL, "no descriptor came with the message");
    rc = uffd_describe(h.fd, &ignored, err);
    if (rc == 0)
        rc = handover_parse((char *)text.data, len, image_bytes, &h, err);
    if (rc < 0)
        return rc;
    *ret = h;
    h = HANDOVER_INIT;
    return 0;
}
