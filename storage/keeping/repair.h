/*
 * repair.h - door: catalog.db anew, from packs and snapshots alone.
 *
 * Reads every snapshot object and the tables of every pack, writes the catalog
 * again, and tells what it could not explain: names that belong to nothing,
 * packs that nobody refers to, snapshots and packs that cannot be read. Removes
 * nothing but the old catalog.
 */
#ifndef FIRN_STORAGE_KEEPING_REPAIR_H
#define FIRN_STORAGE_KEEPING_REPAIR_H

#include "core/base/stopper.h"
#include "storage/repository.h"

struct repair_args {
    struct repository *repository;
    struct stopper *stop; /* may be NULL */
    /* Each thing that is not explained: its name in the repository and why;
     * with code 0 it is harmless. */
    void (*finding)(void *arg, const char *name, const struct error *what);
    void *arg;
};

struct repair_report {
    uint64_t snapshots; /* in the catalog */
    uint64_t packs;     /* whose tables are sound */
    uint64_t strange;   /* harmless findings */
    uint64_t damaged;
};

/* 0 when it came to its end, whatever it found. */
int repair_index(const struct repair_args *args, struct repair_report *ret,
                 struct error *err) NODISCARD;

#endif
