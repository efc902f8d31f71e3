/*
 * link.c - JSON lines over a socketpair, never waiting to send.
 *
 * The keeper must not hang because a front was stopped with Ctrl-Z, nor a pager
 * because its keeper is busy; so a line that does not fit at once is lost, and
 * messages are small and few enough that it does not happen while the other end
 * reads. It is lost whole: the kernel takes what is shorter than half the
 * socket's buffer (some 100 KB) in one piece or not at all. Lines that came before the end of the other side are still given out;
 * `ended` is told only behind them.
 */
#include "restore/link.h"

#include <poll.h>
#include <sys/socket.h>

#define LOG_AREA "link"
#include "core/base/log.h"

int link_pair(struct link *ret_a, struct link *ret_b, struct error *err)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return fail_errno(err, ERR_IO, "cannot make a pair of sockets");
    *ret_a = (struct link){.fd = fds[0]};
    *ret_b = (struct link){.fd = fds[1]};
    return 0;
}

void link_release(struct link *l)
{
    if (l->fd >= 0)
        close(l->fd);
    buf_release(&l->in);
    *l = LINK_INIT;
}

/* A peer that does not read, or is gone, loses the line: nobody waits. */
static void send_line(struct link *l, const struct buf *line)
{
    size_t sent = 0;

    while (sent < line->len) {
        ssize_t n = send(l->fd, line->data + sent, line->len - sent,
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            log_debug("a line of %zu bytes is lost: errno %d", line->len,
                      errno);
            return;
        }
        sent += (size_t)n;
    }
}

int link_send(struct link *l, json_t *message, struct error *err)
{
    cleanup_json json_t *owned = message;
    cleanup_buf struct buf line = BUF_INIT;
    int rc;

    if (!owned)
        return fail_nomem(err);
    rc = json_print(owned, &line, err);
    if (rc == 0)
        rc = buf_append_u8(&line, '\n', err);
    if (rc < 0)
        return rc;
    if (l->fd >= 0)
        send_line(l, &line);
    return 0;
}

static int take_line(struct link *l, json_t **ret, struct error *err)
{
    uint8_t *end = l->in.len ? memchr(l->in.data, '\n', l->in.len) : NULL;
    size_t len;
    int rc;

    *ret = NULL;
    if (!end) {
        if (l->in.len > LINK_LINE_MAX)
            return fail(err, ERR_PROTOCOL, "a line of the link is too long");
        return 0;
    }
    len = (size_t)(end - l->in.data);
    rc = json_parse(l->in.data, len, ret, err);
    buf_consume(&l->in, len + 1);
    return rc;
}

static int fill(struct link *l, struct error *err)
{
    ssize_t n;
    int rc = buf_reserve(&l->in, 4096, err);

    if (rc < 0)
        return rc;
    do {
        n = recv(l->fd, l->in.data + l->in.len, l->in.cap - l->in.len,
                 MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n > 0)
        l->in.len += (size_t)n;
    else if (n == 0 || errno == ECONNRESET)
        l->ended = true;
    else if (errno != EAGAIN)
        return fail_errno(err, ERR_IO, "cannot read from a link");
    return n > 0;
}

int link_poll(struct link *l, json_t **ret, struct error *err)
{
    for (;;) {
        int rc = take_line(l, ret, err);

        if (rc < 0 || *ret)
            return rc;
        if (l->fd < 0 || l->ended)
            return 0;
        rc = fill(l, err);
        if (rc <= 0)
            return rc;
    }
}

int link_wait(struct link *l, struct stopper *stop, uint64_t deadline_ns,
              json_t **ret, struct error *err)
{
    for (;;) {
        int rc = link_poll(l, ret, err);

        if (rc < 0 || *ret || l->ended)
            return rc;
        rc = stopper_wait(stop, l->fd, POLLIN, deadline_ns, err);
        if (rc < 0)
            return rc;
    }
}

json_t *link_error_message(const struct error *why)
{
    return json_pack("{s:s, s:i, s:o, s:o}", "type", "error", "code", why->code,
                     "message", json_text(why->message), "hint",
                     json_text(why->hint));
}

int link_error_of(const json_t *message, struct error *err)
{
    int code = (int)json_path_int(message, "code", ERR_IO);

    fail(err, code < 0 ? code : ERR_IO, "%s",
         json_path_str(message, "message", "failed without a reason"));
    return error_hint(err, "%s", json_path_str(message, "hint", ""));
}

bool link_is(const json_t *message, const char *type)
{
    return strcmp(json_path_str(message, "type", ""), type) == 0;
}
