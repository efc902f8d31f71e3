/*
 * keeper.h - the process that stays beside a VM until all its pages are there.
 */
#ifndef FIRN_RESTORE_KEEPER_H
#define FIRN_RESTORE_KEEPER_H

#include "restore/link.h"
#include "restore/restore_job.h"

/*
 * The whole life of a keeper, in a process of its own that was just forked:
 * reports over `front` (restore_job.c says what) and returns when the restore
 * is over. `args` is memory of the front, of which the keeper has its copy.
 */
void keeper_main(const struct restore_args *args, uint64_t begun_ns,
                 pid_t front_pid, struct link *front);

#endif
