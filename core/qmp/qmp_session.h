/*
 * qmp_session.h - a connection to QEMU's monitor.
 *
 * One thread at a time. Every wait ends with the stopper or its time limit:
 * a monitor may hang for as long as QEMU's main loop waits for a page. Events
 * that arrive meanwhile are queued in order. ERR_PEER: socket not reachable,
 * closed, silent, or no QMP; the text says which. What QEMU answers with an
 * error gives ERR_UNSUPPORTED with QEMU's own words; qmp_error_desc() has them
 * alone.
 */
#ifndef FIRN_CORE_QMP_QMP_SESSION_H
#define FIRN_CORE_QMP_QMP_SESSION_H

#include "core/base/channel.h"
#include "core/base/json.h"

struct qmp_session;

struct qmp_open_args {
    const char *path;
    struct stopper *stop;    /* must outlive the session */
    unsigned timeout_ms;     /* for the greeting and each answer; 0: 10 s */
    uint64_t retry_until_ns; /* keep trying to connect until then (a QEMU that
                                is being started); 0: once */
    bool oob;                /* negotiate out-of-band execution if offered */
};

/* Connects, hears the greeting and negotiates capabilities. ERR_PEER: see
 * above. `args` is not needed afterwards, but for its stopper. */
int qmp_session_open(const struct qmp_open_args *args, struct qmp_session **ret,
                     struct error *err) NODISCARD;
/* Closes the connection; QEMU goes on. Takes NULL. */
/* One that somebody else has negotiated, out-of-band execution included, and
 * left: `fd` is taken over, also when it fails. Of the peer nothing is known but
 * its process. */
int qmp_session_adopt(const struct qmp_open_args *args, int fd,
                      struct qmp_session **ret, struct error *err) NODISCARD;
void qmp_session_close(struct qmp_session *s);

/* For poll(); readable means qmp_session_poll_event() has something to read. */
int qmp_session_fd(const struct qmp_session *s);
/* The process that listens (SO_PEERCRED at connect time). */
pid_t qmp_session_peer_pid(const struct qmp_session *s);
/* Its user, found out the same way. */
uid_t qmp_session_peer_uid(const struct qmp_session *s);
/* From the greeting. */
void qmp_session_version(const struct qmp_session *s, int *ret_major,
                         int *ret_minor, int *ret_micro);
/* Out-of-band execution was asked for and granted. */
bool qmp_session_has_oob(const struct qmp_session *s);
/* Waits end by `stop` from here on: what must be put right after the first
 * stopper was pulled needs one that was not. */
void qmp_session_set_stopper(struct qmp_session *s, struct stopper *stop);
/* Each answer may take so long from here on; returns what it was. An answer that
 * comes later is dropped. */
unsigned qmp_session_set_timeout(struct qmp_session *s, unsigned ms);
/* Answers that did not come in time, nor until now. QEMU keeps seven commands
 * that wait for its main loop; behind the eighth it reads no more, not even
 * what is out of band. */
unsigned qmp_session_owed(const struct qmp_session *s);

/* Executes; `args` (a reference that is taken over; may be NULL) and *ret (the
 * "return" value, owned by the caller; may be NULL). */
int qmp_execute(struct qmp_session *s, const char *command, json_t *args,
                json_t **ret, struct error *err) NODISCARD;
/* The same out of band. */
int qmp_execute_oob(struct qmp_session *s, const char *command, json_t *args,
                    json_t **ret, struct error *err) NODISCARD;
/* The same with a copy of `fd` (`add-fd`). */
int qmp_execute_with_fd(struct qmp_session *s, const char *command,
                        json_t *args, int fd, json_t **ret,
                        struct error *err) NODISCARD;
/* `getfd`: deposits a copy of `fd` in QEMU under `name`. */
int qmp_send_fd(struct qmp_session *s, const char *name, int fd,
                struct error *err) NODISCARD;
/* The "desc" of the last error answer; "" if there was none. Borrowed. */
const char *qmp_error_desc(const struct qmp_session *s);

/* The oldest queued event (whole object, owned by the caller), reading what the
 * socket has without waiting; *ret is NULL when there is none. */
int qmp_session_poll_event(struct qmp_session *s, json_t **ret,
                           struct error *err) NODISCARD;
/* Waits for the next event until `deadline_ns`; ERR_TIMEOUT. */
int qmp_session_wait_event(struct qmp_session *s, uint64_t deadline_ns,
                           json_t **ret, struct error *err) NODISCARD;
/* "timestamp" of an event in ns of real time, 0 if absent. */
uint64_t qmp_event_time_ns(const json_t *event);

DEFINE_CLEANUP(qmp_session, struct qmp_session *, qmp_session_close)

#endif
