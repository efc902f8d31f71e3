/*
 * serve_job.h - door: a page server for VMMs that hand over their memory.
 *
 * Listens at a socket, takes what clients hand over (handover.h) and serves
 * each from one snapshot until it hangs up. All callbacks come from the thread
 * that called serve_job_run().
 */
#ifndef FIRN_RESTORE_UFFD_SERVE_JOB_H
#define FIRN_RESTORE_UFFD_SERVE_JOB_H

#include "core/base/stopper.h"
#include "storage/repository.h"

enum serve_on_error { SERVE_ON_ERROR_HANG = 0, SERVE_ON_ERROR_KILL };

#define SERVE_CLIENTS_MAX 256u
#define SERVE_WORKERS_MAX 32u

/* A client that was served, or still is. */
struct serve_client {
    pid_t pid;
    bool running;         /* asked for by report_fd */
    bool resident;        /* every page was placed */
    uint64_t elapsed_ms;  /* since it connected */
    uint64_t resident_us; /* until every page was placed; 0: never */
    uint64_t faults;
    uint64_t fault_p50_us;
    uint64_t fault_p99_us;
    uint64_t prefetched_pages;
    uint64_t prefetch_sampled; /* hints kept back to see who asks for them */
    uint64_t prefetch_unasked; /* of these: nobody did */
    uint64_t filled_pages;
    uint64_t near_pages;
    uint64_t removed_pages;
    uint64_t damaged_pages;
    uint64_t read_bytes;
    uint64_t worker_cpu_us; /* of prefetch and fill */
    struct error error;     /* code 0 unless it ended with one */
};

struct serve_args {
    struct repository *repository;
    const char *id; /* full id */
    const char *socket_path;
    bool once;        /* one client, then the end */
    unsigned clients; /* at one time; 0: 16 */
    bool prefetch;
    bool fill;
    enum serve_on_error on_error;
    unsigned workers;   /* of each client; 0: as many as cores, up to 4 */
    size_t cache_bytes; /* decompressed frames, of all clients; 0: 256 MiB */
    struct stopper *stop;
    int report_fd; /* eventfd; readable: tell of the clients that run */
    void (*listening)(void *arg); /* the socket is there; may be NULL */
    void (*client)(void *arg, const struct serve_client *c);
    void (*note)(void *arg, const char *text);
    void *arg;
};

/*
 * Until the stopper is pulled, or with `once` its client is gone. Pulled, it
 * first gives every client the pages it lacks, then lets go. 0 when all went
 * well; with `once` the error of its client; ERR_CORRUPT when some page could
 * not be had. ERR_EXISTS: somebody else listens there.
 */
int serve_job_run(const struct serve_args *args, struct error *err) NODISCARD;

#endif
