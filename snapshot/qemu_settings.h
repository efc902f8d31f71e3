/*
 * qemu_settings.h - QEMU's migration capabilities and parameters: as found, as
 * a capture wants them, and as found again.
 *
 * Of the capabilities none is inherited, since some change the stream: all are
 * set in one call. Of the parameters only ours are touched. What was found lies
 * in a memo meanwhile, where a kill cannot reach. One thread.
 */
#ifndef FIRN_SNAPSHOT_QEMU_SETTINGS_H
#define FIRN_SNAPSHOT_QEMU_SETTINGS_H

#include "core/qmp/qmp_session.h"
#include "snapshot/capture_mode.h"
#include "snapshot/settings_memo.h"

struct qemu_settings {
    struct qmp_session *qmp; /* borrowed */
    json_t *capabilities;    /* as found */
    json_t *parameters;
    struct settings_memo memo;
    bool changed; /* something is to be put back */
};

struct qemu_wishes {
    enum snapshot_mode mode; /* not AUTO */
    bool auto_converge;      /* QEMU may throttle the guest */
    uint64_t downtime_limit_ms;
    uint64_t bandwidth_bytes_per_s; /* 0: no limit */
    unsigned channels;              /* of multifd; 0: without it */
    const char *method;             /* multifd-compression */
};

/* Forgets what was found; puts nothing back. */
void qemu_settings_release(struct qemu_settings *s);

/* As they are now, into `capabilities`. */
int qemu_settings_read_capabilities(struct qemu_settings *s,
                                    struct error *err) NODISCARD;
/* ERR_UNSUPPORTED, with a hint, when they do not allow a capture. */
int qemu_settings_read_parameters(struct qemu_settings *s,
                                  struct error *err) NODISCARD;
/* A killed capture's settings are no user's: what it had found counts. */
void qemu_settings_recall(struct qemu_settings *s);

/* As found: whether this QEMU knows the capability, and whether it was on. */
bool qemu_settings_has(const struct qemu_settings *s, const char *capability);
/* False as well when it does not know it. */
bool qemu_settings_is_on(const struct qemu_settings *s, const char *capability);

/* All or, when QEMU refuses (ERR_UNSUPPORTED, with a hint), none of them. */
int qemu_settings_apply(struct qemu_settings *s,
                        const struct qemu_wishes *wishes,
                        struct error *err) NODISCARD;
/* Also while a migration runs. */
int qemu_settings_limit_downtime(struct qemu_settings *s, uint64_t limit_ms,
                                 struct error *err) NODISCARD;
/* Everything as it was found; nothing to do if nothing was changed. QEMU
 * refuses while a migration runs (ERR_UNSUPPORTED): to be tried again. */
int qemu_settings_put_back(struct qemu_settings *s,
                           struct error *err) NODISCARD;

#endif
