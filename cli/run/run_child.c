/*
 * run_child.c - one of our own commands as a child, its JSON lines as events.
 *
 * `run` calls snapshot, forget, prune and check as anybody would, by
 * /proc/self/exe and --json, so that a crash of one is one VM's failure. Its
 * output is read without waiting and given to the task line by line.
 */
#include "cli/run/run_child.h"

#include <fcntl.h>

/* A line of ours is never so long; what is, is dropped with its rest. */
#define LINE_MAX_BYTES (1u << 20)

int run_child_start(struct run_child *c, const struct run_words *words,
                    int keep_fd, struct error *err)
{
    const struct child_args args = {
        .argv = (const char *const *)words->items,
        .program = "/proc/self/exe",
        .err_fd = STDERR_FILENO,
        .keep_fd = keep_fd,
    };
    struct child_args with_pipe = args;
    int pipes[2];
    int rc;

    if (pipe2(pipes, O_CLOEXEC) < 0)
        return fail_errno(err, ERR_IO, "pipe failed");
    with_pipe.out_fd = pipes[1];
    rc = child_start(&with_pipe, &c->child, err);
    close(pipes[1]);
    if (rc < 0) {
        close(pipes[0]);
        return rc;
    }
    fcntl(pipes[0], F_SETFL, O_NONBLOCK);
    c->out_fd = pipes[0];
    buf_reset(&c->out);
    return 0;
}

static void take_line(struct run_task *t, const char *line, size_t len)
{
    cleanup_json json_t *value = NULL;
    struct error ignored;

    if (json_parse(line, len, &value, &ignored) == 0)
        run_task_told(t, value);
}

static void take_lines(struct run_child *c, struct run_task *t)
{
    for (;;) {
        const char *text = (const char *)c->out.data;
        const char *end = c->out.len ? memchr(text, '\n', c->out.len) : NULL;

        if (!end)
            break;
        take_line(t, text, (size_t)(end - text));
        buf_consume(&c->out, (size_t)(end - text) + 1);
    }
    if (c->out.len > LINE_MAX_BYTES)
        buf_reset(&c->out);
}

int run_child_read(struct run_child *c, struct run_task *t, struct error *err)
{
    char bytes[16384];
    ssize_t n;

    while (c->out_fd >= 0) {
        n = read(c->out_fd, bytes, sizeof(bytes));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            close(c->out_fd);
            c->out_fd = -1;
            break;
        }
        if (buf_append(&c->out, bytes, (size_t)n, err) < 0)
            return err->code;
        take_lines(c, t);
    }
    return 0;
}

int run_child_finish(struct run_child *c, struct run_task *t,
                     struct error *err)
{
    int status;
    int rc = child_wait(&c->child, NULL, 0, &status, err);

    /* Not to its end: a process it left behind may hold the pipe. */
    if (rc == 0)
        rc = run_child_read(c, t, err);
    if (c->out_fd >= 0)
        close(c->out_fd);
    c->out_fd = -1;
    if (rc == 0)
        run_task_ended(t, status);
    return rc;
}

void run_child_release(struct run_child *c)
{
    child_kill(&c->child);
    if (c->out_fd >= 0)
        close(c->out_fd);
    buf_release(&c->out);
    *c = RUN_CHILD_NONE;
}
