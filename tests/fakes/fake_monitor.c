#include "tests/fakes/fake_monitor.h"

#include <sys/socket.h>
#include <sys/un.h>

static bool trouble(struct fake_monitor *m, const char *what, const char *text)
{
    snprintf(m->trouble, sizeof(m->trouble), "%s: %.160s", what,
             text ? text : "");
    return false;
}

static bool send_all(struct fake_monitor *m, int fd, const char *text,
                     size_t chunk)
{
    size_t len = strlen(text);

    for (size_t i = 0; i < len; i += chunk) {
        size_t n = MIN(chunk, len - i);

        if (send(fd, text + i, n, MSG_NOSIGNAL) != (ssize_t)n)
            return trouble(m, "cannot send", text);
    }
    return true;
}

static bool send_line(struct fake_monitor *m, int fd, const char *text,
                      size_t chunk)
{
    char line[4096];

    snprintf(line, sizeof(line), "%s\r\n", text);
    return send_all(m, fd, line, chunk);
}

static void keep_passed_fd(struct fake_monitor *m, struct msghdr *msg)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(msg);

    if (c && c->cmsg_type == SCM_RIGHTS)
        memcpy(&m->received_fd, CMSG_DATA(c), sizeof(int));
}

/* One byte at a time: simple, and a descriptor comes with the first. */
static bool receive_line(struct fake_monitor *m, int fd, char *line, size_t max)
{
    size_t n = 0;

    m->received_fd = -1;
    while (n + 1 < max) {
        union {
            char space[CMSG_SPACE(sizeof(int))];
            struct cmsghdr align;
        } control;
        struct iovec iov = {.iov_base = line + n, .iov_len = 1};
        struct msghdr msg = {
            .msg_iov = &iov,
            .msg_iovlen = 1,
            .msg_control = control.space,
            .msg_controllen = sizeof(control.space),
        };

        if (recvmsg(fd, &msg, MSG_CMSG_CLOEXEC) != 1)
            return trouble(m, "the client closed before", "its next command");
        keep_passed_fd(m, &msg);
        if (line[n] == '\n')
            break;
        n++;
    }
    line[n] = '\0';
    return true;
}

static bool expect(struct fake_monitor *m, int fd, const struct fake_step *step)
{
    char line[65536];
    const char *id;

    if (!receive_line(m, fd, line, sizeof(line)))
        return false;
    if (!strstr(line, step->text))
        return trouble(m, step->text, line);
    id = strstr(line, "\"id\":");
    if (!id)
        return trouble(m, "a command without id", line);
    m->last_id = strtol(id + 5, NULL, 10);
    if (step->how == FAKE_EXPECT)
        return true;
    if (m->received_fd < 0)
        return trouble(m, "no descriptor with", line);
    if (step->how == FAKE_KEEP_FD) {
        if (m->n_kept == FAKE_KEPT_MAX)
            return trouble(m, "too many descriptors with", line);
        m->kept_fds[m->n_kept++] = m->received_fd;
        return true;
    }
    if (write(m->received_fd, "hello", 5) != 5)
        return trouble(m, "cannot write into the descriptor of", line);
    close(m->received_fd);
    return true;
}

static bool listen_at(struct fake_monitor *m, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, 4) < 0 || m->n_kept == FAKE_KEPT_MAX)
        return trouble(m, "cannot listen at", path);
    m->kept_fds[m->n_kept++] = fd;
    return true;
}

static bool answer(struct fake_monitor *m, int fd, const struct fake_step *step)
{
    char line[2048];

    if (step->how == FAKE_ANSWER)
        snprintf(line, sizeof(line), "{\"return\": %s, \"id\": %ld}",
                 step->text, m->last_id);
    else
        snprintf(line, sizeof(line),
                 "{\"error\": {\"class\": \"GenericError\", \"desc\": \"%s\"},"
                 " \"id\": %ld}",
                 step->text, m->last_id);
    return send_line(m, fd, line, sizeof(line));
}

static bool flood(int fd)
{
    static char junk[65536];

    memset(junk, 'x', sizeof(junk));
    while (send(fd, junk, sizeof(junk), MSG_NOSIGNAL) > 0)
        ;
    return true;
}

static bool hold(int fd)
{
    char byte;

    while (recv(fd, &byte, 1, 0) > 0)
        ;
    return true;
}

static bool play(struct fake_monitor *m, int fd, const struct fake_step *step)
{
    switch (step->how) {
    case FAKE_SEND:
        return send_line(m, fd, step->text, 4096);
    case FAKE_SEND_RAW:
        return send_all(m, fd, step->text, 65536);
    case FAKE_DRIP:
        return send_line(m, fd, step->text, 1);
    case FAKE_EXPECT:
    case FAKE_EXPECT_FD:
    case FAKE_KEEP_FD:
        return expect(m, fd, step);
    case FAKE_LISTEN:
        return listen_at(m, step->text);
    case FAKE_ANSWER:
    case FAKE_REFUSE:
        return answer(m, fd, step);
    case FAKE_FLOOD:
        return flood(fd);
    case FAKE_HOLD:
        return hold(fd);
    }
    return false;
}

static void *serve(void *arg)
{
    struct fake_monitor *m = arg;
    cleanup_close int fd = accept4(m->listen_fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0) {
        trouble(m, "nobody connected", "");
        return NULL;
    }
    for (size_t i = 0; i < m->n_steps; i++) {
        if (!play(m, fd, &m->steps[i]))
            break;
    }
    return NULL;
}

void fake_monitor_start(struct fake_monitor *m, const struct fake_step *steps,
                        size_t n_steps)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    *m = (struct fake_monitor){.steps = steps, .n_steps = n_steps};
    snprintf(m->folder, sizeof(m->folder), "/tmp/firn-test-XXXXXX");
    if (!mkdtemp(m->folder))
        abort();
    snprintf(m->path, sizeof(m->path), "%s/qmp", m->folder);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", m->path);
    m->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(m->listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(m->listen_fd, 1) < 0 ||
        pthread_create(&m->thread, NULL, serve, m) != 0)
        abort();
}

const char *fake_monitor_stop(struct fake_monitor *m)
{
    /* Wakes a server that still waits for its client. */
    shutdown(m->listen_fd, SHUT_RDWR);
    pthread_join(m->thread, NULL);
    close(m->listen_fd);
    unlink(m->path);
    rmdir(m->folder);
    return m->trouble;
}
