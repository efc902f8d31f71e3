/*
 * serve_session.h - one client, from its first byte to its hang-up.
 *
 * A thread of its own, which starts the engine's and the feed's. The job's
 * thread makes it, may ask it to finish, and joins it when over_fd says so.
 */
#ifndef FIRN_RESTORE_UFFD_SERVE_SESSION_H
#define FIRN_RESTORE_UFFD_SERVE_SESSION_H

#include "restore/uffd/serve_job.h"
#include "storage/hints.h"
#include "storage/snapshot_frames.h"

struct serve_session;

struct serve_session_args {
    const struct serve_args *job;   /* borrowed, as all here */
    struct snapshot_frames *frames; /* of the block that is served */
    uint32_t block;
    uint64_t image_bytes;
    const struct hints *hints; /* NULL: none */
    int over_fd;               /* written to when the session has ended */
};

/* Takes `sock` over, whatever comes back. */
int serve_session_start(const struct serve_session_args *args, int sock,
                        struct serve_session **ret,
                        struct error *err) NODISCARD;
/* Gives the client all it lacks, then ends. Any thread. */
void serve_session_finish(struct serve_session *s);
/* The thread has nothing more to do: free() will not wait. Any thread. */
bool serve_session_is_over(const struct serve_session *s);
/* How it stands. */
void serve_session_report(struct serve_session *s, struct serve_client *ret);
/* What it asked for; once it is over. */
int serve_session_store_run(struct serve_session *s, size_t min_pages,
                            struct error *err) NODISCARD;
/* It got as far as having its faults answered. */
bool serve_session_was_served(const struct serve_session *s);
/* Joins. */
void serve_session_free(struct serve_session *s);

#endif
