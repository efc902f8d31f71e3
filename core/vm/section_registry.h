/*
 * section_registry.h - who saves and loads which section of the stream.
 *
 * A *handler* is one thing of the machine that has sections of its own: RAM,
 * a device, later a disk. The registry knows it by idstr, instance and
 * version; the job and the decoder know no handler by name. It is the contract
 * of QEMU's SaveVMHandlers: the save side has setup, iterate, pending,
 * complete, cleanup; the load side setup, load, cleanup, resume. Handlers are
 * called in the order of their registration, which is the order in the stream.
 *
 * Bytes go in and out, nothing else: no I/O, no thread, no clock. One thread
 * at a time. Handlers, their names and args outlive the registry.
 */
#ifndef FIRN_CORE_VM_SECTION_REGISTRY_H
#define FIRN_CORE_VM_SECTION_REGISTRY_H

#include "core/base/buf.h"
#include "core/vm/input.h"

/* Which section of a handler: an iterable one has START PART* END, any other
 * is one FULL. */
enum section_part {
    SECTION_START = 0,
    SECTION_PART,
    SECTION_END,
    SECTION_FULL,
    SECTION_PART__COUNT,
};

/*
 * Bytes still to come, by when they may be sent. While the VM runs:
 * `precopy_only`; before or after the switchover: `compatible`; after it:
 * `postcopy_only`. The pause is as long as what is not postcopy's.
 */
struct section_pending {
    uint64_t precopy_only;
    uint64_t compatible;
    uint64_t postcopy_only;
};

/* What load() returns, besides a negative error. */
enum {
    SECTION_LOAD_ENDED = 0, /* the body is over; `in` stands behind it */
    SECTION_LOAD_MORE = 1,  /* an item is not whole: see `in->need` */
};

struct section_handler_ops {
    /* Save side. NULL: this handler has no such step. Bodies are appended to
     * `out`; headers and footers are the sink's. */
    int (*save_setup)(void *arg, struct buf *out, struct error *err);
    /* Some of what is pending, about `max_bytes`; *ret_done when nothing of
     * it is left for the time being. NULL: not iterable, one FULL section. */
    int (*save_iterate)(void *arg, uint64_t max_bytes, struct buf *out,
                        bool *ret_done, struct error *err);
    /* Adds to what is there already. */
    void (*save_pending)(void *arg, struct section_pending *sum);
    /* The VM is stopped: everything that is left. Never NULL on this side. */
    int (*save_complete)(void *arg, struct buf *out, struct error *err);
    /* Always called once after setup was tried, whatever happened since. */
    void (*save_cleanup)(void *arg);

    /* Load side. */
    int (*load_setup)(void *arg, struct error *err);
    /* Reads as much of the body as is at hand. */
    int (*load)(void *arg, enum section_part part, struct input *in,
                struct error *err);
    void (*load_cleanup)(void *arg);

    /* The channel was lost and another has taken its place: what was under
     * way on it must be thought of as never sent. NULL: nothing to do. */
    int (*resume)(void *arg, struct error *err);
};

struct section_handler {
    const char *idstr;
    uint32_t instance;
    uint32_t version_min; /* oldest that load() understands */
    uint32_t version;     /* what is saved, and the newest understood */
    /* A device's state may be called "PATH/idstr" as well, with any path and
     * any instance. */
    bool any_device;
    uint32_t section_id; /* on the save side; 0: given by order, from 1 */
    const struct section_handler_ops *ops;
    void *arg;
};

/* Where the save side writes: framing before and behind each body. */
struct section_sink {
    struct buf *out;
    int (*begin)(void *arg, enum section_part part,
                 const struct section_handler *h, struct buf *out,
                 struct error *err);
    int (*end)(void *arg, enum section_part part,
               const struct section_handler *h, struct buf *out,
               struct error *err);
    void *arg;
};

struct section_registry;

/* Without any handler. ERR_NOMEM is the only error. */
int section_registry_new(struct section_registry **ret,
                         struct error *err) NODISCARD;
/* Runs the clean-up of each side that was set up. */
void section_registry_free(struct section_registry *r);

/* ERR_EXISTS: this idstr and instance are taken. ERR_INVALID: no name, no
 * ops, or the section id is taken. */
int section_registry_add(struct section_registry *r,
                         const struct section_handler *h,
                         struct error *err) NODISCARD;
/* How many handlers there are. */
size_t section_registry_count(const struct section_registry *r);
/* In the order of registration; `i` below the count. */
const struct section_handler *
section_registry_at(const struct section_registry *r, size_t i);

/*
 * Whose section this is. *ret is NULL for a FULL section of nobody: it is kept
 * as bytes, not guessed at. ERR_INCOMPATIBLE: an iterable section of nobody
 * (its body has no length and cannot be skipped), or a version out of range.
 */
int section_registry_match(const struct section_registry *r,
                           enum section_part part, const char *idstr,
                           uint32_t instance, uint32_t version,
                           const struct section_handler **ret,
                           struct error *err) NODISCARD;

/* Save side, in this order. setup: a START of each iterable handler. */
int section_registry_save_setup(struct section_registry *r,
                                const struct section_sink *sink,
                                struct error *err) NODISCARD;
/* A PART of one handler after the other; the next gets its turn only when the
 * one before it is done. *ret_done: all are. */
int section_registry_save_iterate(struct section_registry *r,
                                  uint64_t max_bytes,
                                  const struct section_sink *sink,
                                  bool *ret_done, struct error *err) NODISCARD;
/* What all handlers together still have to send, in bytes; a guess of
 * theirs. */
void section_registry_save_pending(const struct section_registry *r,
                                   struct section_pending *ret);
/* END of each iterable handler, then a FULL of each other one. */
int section_registry_save_complete(struct section_registry *r,
                                   const struct section_sink *sink,
                                   struct error *err) NODISCARD;
/* After the last call of this side, whether it went well or not; once. */
void section_registry_save_cleanup(struct section_registry *r);

/* Load side: before the first section, in the order of registration; what fails
 * stops the rest, and load_cleanup() is due all the same. */
int section_registry_load_setup(struct section_registry *r,
                                struct error *err) NODISCARD;
/* After the last section, or when the stream broke off; once. */
void section_registry_load_cleanup(struct section_registry *r);
/* The channel is new: each handler forgets what was only on its way. */
int section_registry_resume(struct section_registry *r,
                            struct error *err) NODISCARD;

DEFINE_CLEANUP(section_registry, struct section_registry *,
               section_registry_free)

#endif
