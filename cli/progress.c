/*
 * Updates store a text; one thread draws it. So an update costs a vsnprintf(),
 * the last text before a long silence is drawn as well, and SIGUSR1 is
 * answered while every other thread waits for something. The signal handler
 * has no parameter: `watched` is the one progress of the process, set before
 * the handler is installed and cleared after it is removed.
 *
 * Lines go out as one write(2) each, without the lock: messages of others
 * (notes, warnings) may stand between two of them, never inside one.
 */
#include "cli/progress.h"

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "cli/output.h"
#include "core/base/worker.h"

#define TEXT_BYTES 512u
#define REDRAW_MS  100

/* Back to the first column, and away with what stands there. */
#define CLEAR_LINE "\r\033[K"

struct progress {
    /* set before the thread starts, then read only */
    bool draw; /* stderr is a terminal, and nobody asked for silence */
    bool quiet;
    int wake_fd;
    struct sigaction old_action;
    struct worker_group thread;

    /* flags: SIGUSR1 came; the end; the line stands on the terminal */
    _Atomic bool asked;
    _Atomic bool ended;
    _Atomic bool drawn;

    /* protected by `lock` */
    struct lock lock; /* text, changed */
    char text[TEXT_BYTES] GUARDED_BY(lock);
    bool changed GUARDED_BY(lock);
};

static struct progress *watched;

static void wake(struct progress *p)
{
    static const uint64_t one = 1;
    int saved = errno;

    if (write(p->wake_fd, &one, sizeof(one)) < 0) {
        /* EAGAIN: it is readable already, which is all that is wanted. */
    }
    errno = saved;
}

static void on_usr1(int number)
{
    if (watched) {
        watched->asked = true;
        wake(watched);
    }
}

static void set_text(struct progress *p, const char *text)
{
    LOCK_SCOPE(&p->lock);

    memcpy(p->text, text, TEXT_BYTES);
    p->changed = true;
}

static void touch(struct progress *p)
{
    LOCK_SCOPE(&p->lock);

    p->changed = true;
}

/* The text, and whether it has changed since the last call. */
static bool take_text(struct progress *p, char text[static TEXT_BYTES])
{
    LOCK_SCOPE(&p->lock);
    bool changed = p->changed;

    memcpy(text, p->text, TEXT_BYTES);
    p->changed = false;
    return changed;
}

/* `stays`: the line is left for the next one to clear. That is noted before it
 * is written: a message that comes between clears one line too many, which is
 * harmless, and never stands behind a text. */
static void write_line(struct progress *p, const char *text, bool stays)
{
    char line[TEXT_BYTES + 32];
    int len = snprintf(line, sizeof(line), "%s%s%s",
                       atomic_exchange(&p->drawn, stays) ? CLEAR_LINE : "",
                       text, stays || !text[0] ? "" : "\n");

    if (write(STDERR_FILENO, line, (size_t)len) < 0) {
        /* Nobody is left to be told. */
    }
}

/* A line longer than the terminal is wide could not be cleared. */
static void draw(struct progress *p, char *text)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 &&
        strlen(text) >= size.ws_col)
        text[size.ws_col - 1] = '\0';
    write_line(p, text, true);
}

static int draw_loop(void *arg, struct error *err)
{
    struct progress *p = arg;
    char text[TEXT_BYTES];

    while (!p->ended) {
        struct pollfd polled = {.fd = p->wake_fd, .events = POLLIN};
        uint64_t count;
        bool changed;

        if (poll(&polled, 1, p->draw ? REDRAW_MS : -1) > 0 &&
            read(p->wake_fd, &count, sizeof(count)) < 0)
            continue;
        changed = take_text(p, text);
        if (atomic_exchange(&p->asked, false)) {
            write_line(p, text[0] ? text : "firn: nothing done yet", false);
            changed = true;
        }
        if (p->draw && changed && text[0] && !p->ended)
            draw(p, text);
    }
    return 0;
}

/* The thread's loop waits for nothing but wake_fd. */
static void end_loop(void *arg)
{
    struct progress *p = arg;

    p->ended = true;
    wake(p);
}

static int watch_usr1(struct progress *p, struct error *err)
{
    struct sigaction act = {.sa_handler = on_usr1, .sa_flags = SA_RESTART};

    watched = p;
    if (sigaction(SIGUSR1, &act, &p->old_action) < 0) {
        watched = NULL;
        return fail_errno(err, ERR_IO, "sigaction failed");
    }
    return 0;
}

int progress_new(const struct cli *cli, struct progress **ret,
                 struct error *err)
{
    cleanup(progress) struct progress *p = calloc(1, sizeof(*p));
    int rc;

    if (!p)
        return fail_nomem(err);
    lock_init(&p->lock);
    worker_group_init(&p->thread, end_loop, p);
    p->draw = isatty(STDERR_FILENO) && !cli->quiet && !cli->json;
    p->quiet = cli->quiet;
    p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->wake_fd < 0)
        return fail_errno(err, ERR_IO, "eventfd failed");
    rc = worker_start(&p->thread, "progress", draw_loop, p, err);
    if (rc < 0)
        return rc;
    rc = watch_usr1(p, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&p);
    return 0;
}

void progress_update(struct progress *p, const char *fmt, ...)
{
    char text[TEXT_BYTES] = "";
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    output_mask(text);
    set_text(p, text);
}

void progress_say(struct progress *p, const char *fmt, ...)
{
    char text[TEXT_BYTES] = "";
    va_list ap;

    if (p->quiet)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    output_mask(text);
    write_line(p, text, false);
    touch(p);
}

void progress_clear(struct progress *p)
{
    if (!p->drawn)
        return;
    write_line(p, "", false);
    touch(p);
}

void progress_free(struct progress *p)
{
    if (!p)
        return;
    if (watched == p) {
        sigaction(SIGUSR1, &p->old_action, NULL);
        watched = NULL;
    }
    if (p->wake_fd >= 0)
        end_loop(p);
    worker_group_release(&p->thread);
    if (p->drawn)
        write_line(p, "", false);
    if (p->wake_fd >= 0)
        close(p->wake_fd);
    lock_release(&p->lock);
    free(p);
}
