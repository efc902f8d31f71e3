/*
 * qemu_source.h - a running QEMU, driven over QMP so that it migrates to us.
 *
 * Knows the order of the commands: look and remember, set up, start, follow,
 * cancel, put back. It reads no byte of the stream. Whatever happened, settle()
 * brings the VM to the run state in which examine() found it. One thread.
 */
#ifndef FIRN_SNAPSHOT_QEMU_SOURCE_H
#define FIRN_SNAPSHOT_QEMU_SOURCE_H

#include "core/qmp/qmp_session.h"
#include "snapshot/qemu_settings.h"

struct qemu_source {
    struct qmp_session *qmp; /* borrowed */
    struct stopper *stop;
    void (*note)(void *arg, const char *text); /* may be NULL */
    void *arg;

    /* what examine() found */
    int version;
    char found_state[32];
    struct qemu_settings settings;
    bool can_background;

    /* what was done */
    enum snapshot_mode mode;
    bool started;

    /* what the events told */
    bool ended;         /* completed, failed or cancelled */
    char status[32];    /* of the migration; "" before it began */
    unsigned rounds;    /* of precopy */
    uint64_t stop_ns;   /* real time of STOP; 0: none */
    uint64_t resume_ns; /* of the RESUME behind it */
    bool resumed;
    bool left_postmigrate; /* settle(): stopped, but called "postmigrate" */
};

/* Nothing is asked yet; both must outlive it. */
void qemu_source_init(struct qemu_source *s, struct qmp_session *qmp,
                      struct stopper *stop);
/* Frees what it remembers. QEMU is left as it is: settle() and put_back() come
 * before. */
void qemu_source_release(struct qemu_source *s);

static inline bool qemu_source_found_running(const struct qemu_source *s)
{
    return strcmp(s->found_state, "running") == 0;
}

/* Remembers run state, capabilities and parameters. Waits a little for what a
 * killed run left behind, at most until the deadline (0: none); refuses
 * (ERR_UNSUPPORTED, with a hint) a VM that cannot be migrated now. */
int qemu_source_examine(struct qemu_source *s, uint64_t deadline_ns,
                        struct error *err) NODISCARD;

/* Sets capabilities and parameters for the mode. */
int qemu_source_set_up(struct qemu_source *s, const struct qemu_wishes *wishes,
                       struct error *err) NODISCARD;
/* `migrate` to the URI; returns when QEMU has taken the command. */
int qemu_source_start(struct qemu_source *s, const char *uri,
                      struct error *err) NODISCARD;
/* Takes in the events that have come. */
int qemu_source_follow(struct qemu_source *s, struct error *err) NODISCARD;
/* The answer to query-migrate; the caller owns it. */
int qemu_source_ask(struct qemu_source *s, json_t **ret,
                    struct error *err) NODISCARD;
/* A cancel never harms the VM? */
bool qemu_source_may_cancel(const struct qemu_source *s);
/* Asks QEMU to give up; only if it may. */
void qemu_source_cancel(struct qemu_source *s);
/* Why the migration failed, as QEMU says; "" if it does not. */
int qemu_source_reason(struct qemu_source *s, char *text, size_t size,
                       struct error *err) NODISCARD;
/* Waits until the VM is in the state found, helping where it must. ERR_TIMEOUT
 * when the migration does not end by `deadline_ns`. */
int qemu_source_settle(struct qemu_source *s, uint64_t deadline_ns,
                       struct error *err) NODISCARD;
/* Capabilities and parameters as they were, as soon as QEMU has tidied up. */
int qemu_source_put_back(struct qemu_source *s, struct error *err) NODISCARD;

/* As after examine(): for a second capture when the first was given up, its
 * VM settled and its settings put back. */
void qemu_source_renew(struct qemu_source *s);

/* STOP to RESUME; 0 when the VM did not run. */
uint64_t qemu_source_downtime_ns(const struct qemu_source *s);

#endif
