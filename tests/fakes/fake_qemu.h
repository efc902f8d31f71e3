/*
 * fake_qemu.h - a QEMU as a capture sees it: a monitor and a migration source.
 *
 * Listens at a QMP socket of its own, answers what firn asks, and on `migrate`
 * plays a stream to the socket or into the file that it was given, with the
 * events and run states of the real one. A thread owns everything until
 * fake_qemu_stop(); the results are read after that.
 */
#ifndef FIRN_TESTS_FAKES_FAKE_QEMU_H
#define FIRN_TESTS_FAKES_FAKE_QEMU_H

#include <pthread.h>

#include "core/base/json.h"
#include "core/base/stopper.h"
#include "tests/core/wire/multifd_maker.h"

enum fake_trouble {
    FAKE_NO_TROUBLE = 0,
    FAKE_DIES,            /* half-way: every socket is closed */
    FAKE_BREAKS,          /* half-way: status failed, for a reason of its own */
    FAKE_STALLS,          /* half-way: sends no more */
    FAKE_STAYS_STOPPED,   /* at the end: needs `cont` */
    FAKE_NO_RESUME_EVENT, /* at the end: runs, and does not say so */
    FAKE_GETS_CANCELLED,  /* half-way, by somebody else */
    FAKE_CHANNEL_MISSING, /* the last multifd channel is never connected */
    FAKE_CHANNEL_CUT,     /* a multifd channel closes within a packet */
};

struct fake_qemu_args {
    int major;
    int minor;
    bool kvm;
    bool two_backends; /* of memory: a private one and 'ram0' */
    const char *run_state;       /* NULL: "running" */
    const char *name;            /* NULL: none */
    const char *uuid;            /* NULL: all zero */
    const char *tls_creds;       /* NULL: "" */
    const char *blocked_reason;  /* NULL: none */
    const char *qtree;           /* NULL: one device */
    const char *block_nodes;     /* JSON; NULL: none */
    const char *migration;       /* JSON, more for query-migrate; NULL */
    const char *refused_command; /* this one is answered by an error */
    const char *refused_method;  /* a multifd-compression it does not have */
    const char *refusal;         /* in these words; NULL: "the fake refuses" */
    const char *block_job;       /* at work on this device; NULL: none */
    int dirty_mib_per_s;         /* what it samples */
    const char *orphan_status;   /* an earlier migration is in this state ... */
    unsigned orphan_asks;        /* ... until it was asked for so often */
    bool orphan_background;      /* with this capability still on */
    unsigned untidy_asks;        /* so often it says that it is tidying up */
    enum fake_trouble trouble;
    unsigned pause_ms;        /* what the clock of the events says */
    const struct buf *stream; /* what it sends; borrowed */
    /* The same by channels, as many as are asked for; instead of `stream`. A
     * fake without them does not know the capability. */
    const struct made_multifd *multifd;
    bool channels_first;          /* they are connected before the main one */
    struct stopper *pull_at_half; /* pulled when half of it is sent */
    int pull_code;
};

struct fake_qemu {
    /* set before the thread starts, then read only */
    struct fake_qemu_args args;
    char folder[64];
    char path[96];
    int listen_fd;
    pthread_t thread;

    /* only the thread; results after stop() */
    int qmp_fd;
    int migration_fd;
    bool migration_is_file;
    int channel_fds[MULTIFD_CHANNELS_MAX];
    size_t channel_sent[MULTIFD_CHANNELS_MAX];
    unsigned n_channels;
    int kept_fd; /* by getfd or add-fd */
    char run_state[32];
    char status[32];
    char reason[64];
    size_t sent;
    bool was_running;
    bool ended;
    bool got_shut;
    bool throttled; /* auto-converge was on when the migration began */
    bool hurt; /* settings were changed while it was tidying up */
    unsigned n_cont;
    unsigned n_cancel;
    uint64_t event_ns;
    json_t *capabilities; /* name → bool */
    json_t *parameters;
    struct buf in;
    struct buf return_path;
    struct buf log; /* commands, a line each */
};

void fake_qemu_start(struct fake_qemu *q, const struct fake_qemu_args *args);
/* Joins and closes; the results stay until release(). */
void fake_qemu_stop(struct fake_qemu *q);
void fake_qemu_release(struct fake_qemu *q);

/* After stop(). */
bool fake_qemu_capability(const struct fake_qemu *q, const char *name);
bool fake_qemu_was_asked(struct fake_qemu *q, const char *command);

#endif
