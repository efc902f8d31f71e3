/*
 * check_state.h - door: what was checked, and when.
 *
 * One file in checks/ (JSON). For each pack the time at which its last data
 * check ended, and the frame at which the one under way goes on; for each
 * snapshot the time of its structure check, and the oldest data check of its
 * packs: 0 is never. It may be missing, lost or deleted: then everything counts
 * as never checked. One thread.
 */
#ifndef FIRN_STORAGE_KEEPING_CHECK_STATE_H
#define FIRN_STORAGE_KEEPING_CHECK_STATE_H

#include "storage/repository.h"

struct check_state;

struct checked_pack {
    uint64_t data_ns;    /* real time */
    uint32_t next_frame; /* 0: none is under way */
};

struct checked_snapshot {
    uint64_t structure_ns;
    uint64_t data_ns;
};

/* Empty when there is none, or a damaged one. */
int check_state_load(struct repository *r, struct check_state **ret,
                     struct error *err) NODISCARD;
/* With nothing checked: to collect what changes. */
int check_state_new(struct check_state **ret, struct error *err) NODISCARD;
/* Takes NULL; does not store. */
void check_state_free(struct check_state *s);

/* All zero for what is not known. */
struct checked_pack check_state_pack(const struct check_state *s,
                                     const char *id);
/* The same for a snapshot, by its id. */
struct checked_snapshot check_state_snapshot(const struct check_state *s,
                                             const char *id);
/* In memory alone; see store(). ERR_NOMEM. */
int check_state_set_pack(struct check_state *s, const char *id,
                         struct checked_pack is, struct error *err) NODISCARD;
/* The same for a snapshot. */
int check_state_set_snapshot(struct check_state *s, const char *id,
                             struct checked_snapshot is,
                             struct error *err) NODISCARD;

/* Puts what `changed` says over what is stored now, leaves out what is no more,
 * and replaces the file. */
int check_state_store(struct repository *r, const struct check_state *changed,
                      struct error *err) NODISCARD;

/* The file's bytes. Pure. ERR_CORRUPT. */
int check_state_parse(const void *text, size_t len, struct check_state **ret,
                      struct error *err) NODISCARD;
/* Appends what check_state_parse() reads. */
int check_state_print(const struct check_state *s, struct buf *ret,
                      struct error *err) NODISCARD;

DEFINE_CLEANUP(check_state, struct check_state *, check_state_free)

#endif
