/*
 * spool.h - the file into which QEMU saves in background mode.
 *
 * Unnamed, on the repository's file system, with room for the worst case
 * reserved before anything begins: a QEMU before 9.0 whose background save
 * fails leaves its guest hanging for ever, so the disk must not turn out to be
 * full on the way. It vanishes with its last descriptor. Not for threads, but
 * the descriptor is.
 */
#ifndef FIRN_SNAPSHOT_SPOOL_H
#define FIRN_SNAPSHOT_SPOOL_H

#include "snapshot/qemu_source.h"

struct spool {
    int fd;
    uint64_t reserved_bytes;
    char uri[64]; /* what `migrate` is told */
    int fdset;    /* to be removed; -1: none */
};

#define SPOOL_INIT ((struct spool){.fd = -1, .fdset = -1})

/* The longest stream of a VM with these blocks ("ramblocks" of vm_facts.h). */
uint64_t spool_worst_case_bytes(const json_t *ramblocks);

/* ERR_NOSPC when the room is not there. */
int spool_open(struct spool *s, struct repository *repository,
               uint64_t worst_case_bytes, struct error *err) NODISCARD;
/* Gives QEMU a descriptor and sets `uri`. */
int spool_hand_over(struct spool *s, struct qemu_source *source,
                    struct error *err) NODISCARD;
/* The room again: some ways of writing begin by emptying the file. */
int spool_reserve(struct spool *s, struct error *err) NODISCARD;
/* Takes back what hand_over() left with QEMU. */
void spool_take_back(struct spool *s, struct qemu_source *source);
/* Our descriptor; QEMU's is taken back before. Harmless when there is none. */
void spool_close(struct spool *s);

#endif
