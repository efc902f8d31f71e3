/*
 * target.h - the QEMU that is restored into: started here, or found waiting.
 *
 * What it is asked and told over QMP before and after the pages, and how it is
 * ended. Owned by the keeper; one thread. Between the package and `completed`
 * its monitor may be silent for as long as its main loop waits for a page, so
 * nothing is asked then that the pages depend on.
 */
#ifndef FIRN_RESTORE_TARGET_H
#define FIRN_RESTORE_TARGET_H

#include "core/base/json.h"
#include "core/base/stopper.h"
#include "core/qmp/qmp_session.h"
#include "restore/connection.h"
#include "restore/qemu_process.h"

struct target {
    bool ours;                   /* started here: ended by us as well */
    struct qemu_process process; /* if ours */
    struct qmp_session *qmp;
    char *qmp_path;
    pid_t pid; /* of QEMU; 0: not known */
    uint64_t start_ticks;
    struct stopper *stop; /* borrowed */
};

struct target_start_args {
    char *const *argv;
    const char *cwd; /* NULL: ours */
    const char *qmp_path;
    const char *log_path;
    int log_fd; /* the same file, open; borrowed */
};

/* Starts QEMU and waits until its monitor answers. ERR_PEER with what QEMU
 * said when it ends before. */
int target_start(struct target *t, const struct target_start_args *args,
                 struct error *err) NODISCARD;
/* A QEMU with -incoming defer at this socket. ERR_INCOMPATIBLE when it does
 * not wait. */
int target_attach(struct target *t, const char *qmp_path,
                  struct error *err) NODISCARD;

/* A QEMU that runs, of this pid, behind this socket. */
int target_adopt(struct target *t, const char *qmp_path, pid_t pid,
                 struct error *err) NODISCARD;
/* The same by a monitor that an earlier keeper had; `fd` is taken over. Its main
 * loop may be waiting for a page. */
int target_inherit(struct target *t, const char *qmp_path, pid_t pid, int fd,
                   struct error *err) NODISCARD;

struct target_capabilities {
    bool postcopy;  /* postcopy-ram */
    bool preempt;   /* postcopy-preempt, for which target_check_preempt() */
    bool blocktime; /* postcopy-blocktime; false: as it was */
};

/* All in one call: as asked, events on, everything else off. ERR_UNSUPPORTED
 * with what would help, when QEMU cannot. */
int target_set_capabilities(struct target *t,
                            const struct target_capabilities *wanted,
                            struct error *err) NODISCARD;
/* Whether a second connection is safe with this QEMU: ERR_UNSUPPORTED. */
int target_check_preempt(struct target *t, struct error *err) NODISCARD;
/* Memory behind which lazy restore cannot work, by the facts of this QEMU:
 * ERR_UNSUPPORTED with the reason. */
int target_check_backends(struct target *t, const json_t *facts,
                          struct error *err) NODISCARD;
/* migrate-incoming at `path` (which must be free), connected. */
int target_connect(struct target *t, const char *path, bool preempt,
                   struct connection *ret, struct error *err) NODISCARD;

/* "running", "paused", "inmigrate", ...; the caller frees. */
int target_run_state(struct target *t, char **ret, struct error *err) NODISCARD;
/* Status of query-migrate ("completed", "postcopy-paused", ..., "" if there is
 * none); the caller frees. */
int target_migration_state(struct target *t, char **ret,
                           struct error *err) NODISCARD;

/* What QEMU itself counted of a restore that is completed: the members of
 * query-migrate that begin with "postcopy-", by QEMU's names. An empty object
 * when it was not asked to count. */
int target_postcopy_figures(struct target *t, json_t **ret,
                            struct error *err) NODISCARD;

/* Waits up to `limit_ns` for the end of a QEMU of ours; true if it ended. */
bool target_wait_end(struct target *t, uint64_t limit_ns);
/* Why it failed, when it has: QEMU's own words if it was started here, else
 * `err` stays as it is. */
int target_explain(struct target *t, struct error *err);
/* Ends QEMU, started here or not. */
void target_kill(struct target *t);
/* Lets go; QEMU lives on. */
void target_release(struct target *t);

#endif
