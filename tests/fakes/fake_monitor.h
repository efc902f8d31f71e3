/*
 * fake_monitor.h - the far side of a QMP socket, playing a list of steps.
 *
 * Listens at a path of its own and serves one client from a thread. A step
 * that cannot be played (a line without the words expected, an early end) is
 * kept and told by fake_monitor_stop(), which the test compares with "".
 */
#ifndef FIRN_TESTS_FAKES_FAKE_MONITOR_H
#define FIRN_TESTS_FAKES_FAKE_MONITOR_H

#include <pthread.h>

#include "core/base/cleanup.h"

enum fake_how {
    FAKE_SEND = 1,  /* `text`, and a line end */
    FAKE_SEND_RAW,  /* `text` as it is */
    FAKE_DRIP,      /* `text` and a line end, a byte a write */
    FAKE_EXPECT,    /* the next line holds `text` */
    FAKE_EXPECT_FD, /* the same, with a descriptor: writes "hello" into it */
    FAKE_KEEP_FD,   /* the same, and keeps it: the test's to close */
    FAKE_LISTEN,    /* at the path `text`; kept as well, to be accepted from */
    FAKE_ANSWER,    /* {"return": TEXT, "id": of the last line expected} */
    FAKE_REFUSE,    /* an error with the description `text`, the same id */
    FAKE_FLOOD,     /* 'x' without a line end until the client is gone */
    FAKE_HOLD,      /* until the client closes */
};

struct fake_step {
    enum fake_how how;
    const char *text;
};

#define FAKE_GREETING                                                  \
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 2, \"minor\": 0, " \
    "\"major\": 10}, \"package\": \"\"}, \"capabilities\": [\"oob\"]}}"

/* Greeting and capabilities went well; then the test's own steps follow. */
#define FAKE_OPENING                                                   \
    {FAKE_SEND, FAKE_GREETING}, {FAKE_EXPECT, "\"enable\":[\"oob\"]"}, \
    {                                                                  \
        FAKE_ANSWER, "{}"                                              \
    }

#define FAKE_KEPT_MAX 16u

struct fake_monitor {
    char folder[64];
    char path[96];
    int listen_fd;
    const struct fake_step *steps;
    size_t n_steps;
    pthread_t thread;
    char trouble[256];
    long last_id;
    int received_fd;
    int kept_fds[FAKE_KEPT_MAX]; /* in their order */
    unsigned n_kept;
};

void fake_monitor_start(struct fake_monitor *m, const struct fake_step *steps,
                        size_t n_steps);
/* "" when all steps were played. The text lives in `m`. */
const char *fake_monitor_stop(struct fake_monitor *m);

#endif
