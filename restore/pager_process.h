/*
 * pager_process.h - the pager as its keeper sees it: a child and a link.
 */
#ifndef FIRN_RESTORE_PAGER_PROCESS_H
#define FIRN_RESTORE_PAGER_PROCESS_H

#include <sys/types.h>

#include "restore/link.h"

struct pager_process {
    pid_t pid; /* 0: none */
    struct link link;
};

#define PAGER_PROCESS_INIT ((struct pager_process){.link = LINK_INIT})

/* Starts a pager on `socket` (it gets a copy) with the assignment `feed`
 * (pager.c says what is in it). */
int pager_process_start(struct pager_process *p, int socket, const json_t *feed,
                        struct error *err) NODISCARD;
/* It has ended, or does so now that its link is closed: reaps it. */
void pager_process_reap(struct pager_process *p);
/* Kills and reaps it; harmless when there is none. */
void pager_process_kill(struct pager_process *p);
/* Lets go; the pager lives on, without a keeper. */
void pager_process_release(struct pager_process *p);

#endif
