/*
 * stopper.c - an eventfd that becomes readable and stays so.
 *
 * Nobody ever reads the eventfd: readable is a level, not an event, so that any
 * number of threads in any number of polls see it, also those that come later.
 * The reason is a word beside it, set once by compare-and-swap and written
 * before the descriptor: who wakes up finds it. Both are safe in a signal
 * handler.
 */
#include "core/base/stopper.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "core/base/clock.h"

static const int watched_signals[] = {SIGINT, SIGTERM, SIGHUP};

/*
 * Signal handlers have no parameter: the one stopper that signals pull, and
 * what was done with them before. Set before the handlers are installed,
 * cleared after they are removed.
 */
static struct stopper *watched;
static struct sigaction before[ARRAY_LEN(watched_signals)];

int stopper_init(struct stopper *s, struct error *err)
{
    s->why = 0;
    s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->fd < 0)
        return fail_errno(err, ERR_IO, "eventfd failed");
    return 0;
}

void stopper_release(struct stopper *s)
{
    if (watched == s) {
        for (size_t i = 0; i < ARRAY_LEN(watched_signals); i++)
            sigaction(watched_signals[i], &before[i], NULL);
        watched = NULL;
    }
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

void stopper_pull(struct stopper *s, int code)
{
    static const uint64_t one = 1;
    int none = 0;
    int saved = errno;

    assert(code < 0);
    atomic_compare_exchange_strong_explicit(
        &s->why, &none, code, memory_order_seq_cst, memory_order_seq_cst);
    if (write(s->fd, &one, sizeof(one)) < 0) {
        /* EAGAIN: it is readable already, which is all that is wanted. */
    }
    errno = saved;
}

bool stopper_pulled(struct stopper *s)
{
    return s->why != 0;
}

int stopper_error(struct stopper *s, struct error *err)
{
    int code = s->why;

    assert(code != 0);
    if (code == ERR_INTERRUPTED)
        return fail(err, code, "interrupted");
    if (code == ERR_TERMINATED)
        return fail(err, code, "ended by a signal");
    if (code == ERR_TIMEOUT)
        return fail(err, code, "the time limit is over");
    return fail(err, code, "%s", error_code_sentence(code));
}

static void on_signal(int number)
{
    if (watched)
        stopper_pull(watched,
                     number == SIGINT ? ERR_INTERRUPTED : ERR_TERMINATED);
}

int stopper_watch_signals(struct stopper *s, struct error *err)
{
    /* Not SA_RESTART: a plain read must come back and look at the stopper.
     * The second signal of a kind ends the process at once: whatever waits for
     * an orderly end is built to survive that. */
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};

    watched = s;
    for (size_t i = 0; i < ARRAY_LEN(watched_signals); i++) {
        if (sigaction(watched_signals[i], NULL, &before[i]) < 0)
            return fail_errno(err, ERR_IO, "sigaction failed");
        /* nohup(1), or a shell's background job: it stays ignored. */
        if (before[i].sa_handler == SIG_IGN)
            continue;
        if (sigaction(watched_signals[i], &act, NULL) < 0)
            return fail_errno(err, ERR_IO, "sigaction failed");
    }
    return 0;
}

int stopper_wait(struct stopper *s, int fd, short events, uint64_t deadline_ns,
                 struct error *err)
{
    struct pollfd polled[] = {
        {.fd = fd, .events = events},
        {.fd = s->fd, .events = POLLIN},
    };

    for (;;) {
        int n = poll(polled, ARRAY_LEN(polled), clock_poll_ms(deadline_ns));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, ERR_IO, "poll failed");
        if (polled[1].revents || stopper_pulled(s))
            return stopper_error(s, err);
        if (polled[0].revents)
            return 0;
        if (deadline_ns && clock_monotonic_ns() >= deadline_ns)
            return fail(err, ERR_TIMEOUT, "the time limit is over");
    }
}
