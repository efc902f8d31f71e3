/*
 * keeper_inside.h - what the sources of a keeper share; nobody else's.
 */
#ifndef FIRN_RESTORE_KEEPER_INSIDE_H
#define FIRN_RESTORE_KEEPER_INSIDE_H

#include "restore/feeding.h"
#include "restore/keeper.h"
#include "restore/machine/command_map.h"
#include "restore/machine/preflight.h"
#include "restore/owed_vm.h"
#include "restore/target.h"
#include "storage/lease.h"
#include "storage/snapshot_reader.h"

struct keeper {
    const struct restore_args *args;
    uint64_t begun_ns;
    pid_t front_pid;
    struct link *front;
    struct stopper stop;
    char *repository_path; /* absolute */
    char *folder;          /* of runtime files */
    char *log_path;        /* of QEMU */
    int log_fd;
    char *own_log_path; /* ours and the pagers': empty unless one crashes */
    int own_log_fd;
    int door; /* listening; for those who come later */
    char *door_path;
    struct owed_vm vm; /* its path is NULL until it is written */
    struct repository *repository;
    struct lease *lease;
    struct snapshot_reader *reader;
    const json_t *facts; /* the reader's */
    struct preflight_lists lists;
    struct command_map map;
    struct target target;
    bool inherited; /* its monitor, from a service manager */
    json_t *target_facts;
    uint64_t head_start_ms; /* of a QEMU that we start; 0: none */
    bool preloads_ram;      /* memory of the target may hold something */
    struct connection connection;
    struct recovery recovery;
};

/* To the front. */
void keeper_tell(struct keeper *k, json_t *message);
/* A sentence for the user, by way of the front. */
void keeper_note(struct keeper *k, const char *text);

/* keeper_process.c: a session, signals, files and folders of its own. */
int keeper_begin(struct keeper *k, struct error *err) NODISCARD;
/* The VM stood still when it was captured. */
bool keeper_was_paused(const struct keeper *k);
/* Repository, lease and snapshot. */
int keeper_open_snapshot(struct keeper *k, struct error *err) NODISCARD;
/* Connections for later pagers, while the monitor answers. */
int keeper_stock_up(struct keeper *k, struct error *err) NODISCARD;
/* The state file, made of what `vm.state` holds, with a door. */
int keeper_settle(struct keeper *k, json_t *state, struct error *err) NODISCARD;
/* Follows what `assignment` begins, or began long ago, to its end. */
int keeper_feed(struct keeper *k, json_t *assignment, bool *ret_ran,
                struct error *err) NODISCARD;

/* successor.c: a VM that runs already, whose keeper is gone. */
int keeper_succeed(struct keeper *k, bool *ret_ran,
                   struct error *err) NODISCARD;

#endif
