/*
 * pager_process.h - the pager as its keeper sees it: a child and a link.
 *
 * The keeper holds a copy of the pager's socket to see whether QEMU reads: a
 * pager that is silent because nobody takes its pages does not hang. The copy
 * is closed with the pager, or QEMU would not learn of its end.
 */
#ifndef FIRN_RESTORE_PAGER_PROCESS_H
#define FIRN_RESTORE_PAGER_PROCESS_H

#include <sys/types.h>

#include "restore/connection.h"
#include "restore/link.h"

struct pager_process {
    pid_t pid; /* 0: none */
    struct link link;
    int socket;         /* a copy of the pager's; -1: none */
    uint64_t heard_ns;  /* when it last said anything */
    uint64_t looked_ns; /* when somebody last asked whether it hangs */
};

#define PAGER_PROCESS_INIT \
    ((struct pager_process){.link = LINK_INIT, .socket = -1})

/* Starts a pager on connection `c` (it gets a copy) with the assignment `feed`
 * (pager.c says what is in it). */
int pager_process_start(struct pager_process *p, const struct connection *c,
                        const json_t *feed, struct error *err) NODISCARD;
/* A report was read. */
void pager_process_heard(struct pager_process *p, uint64_t now_ns);
/* Whether it said nothing for `limit_ns`, though QEMU would take its pages. To
 * be asked every second at least: what passes while nobody asks (we ourselves
 * were stopped) is not counted. */
bool pager_process_hangs(struct pager_process *p, uint64_t now_ns,
                         uint64_t limit_ns);
/* It has ended, or does so now that its link is closed: reaps it. */
void pager_process_reap(struct pager_process *p);
/* Kills and reaps it; harmless when there is none. */
void pager_process_kill(struct pager_process *p);
/* Lets go; the pager lives on, without a keeper. */
void pager_process_release(struct pager_process *p);

#endif
