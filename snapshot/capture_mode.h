/*
 * capture_mode.h - which mode a VM can be captured in, and why. Pure.
 */
#ifndef FIRN_SNAPSHOT_CAPTURE_MODE_H
#define FIRN_SNAPSHOT_CAPTURE_MODE_H

#include "snapshot/snapshot_job.h"

/* 7.2 is 702, 10.0 is 1000. */
#define QEMU_VERSION(major, minor) ((major)*100 + (minor))

/* From here on a background save that fails or is cancelled lets go of the
 * guest's memory; before, the guest would hang for ever. */
#define QEMU_BACKGROUND_MAY_FAIL QEMU_VERSION(9, 0)
/* From here on live precopy sees every write of a guest under TCG, if all its
 * memory is one backend. */
#define QEMU_TCG_PRECOPY_RIGHT QEMU_VERSION(9, 0)
/* From here on a background save leaves a paused VM paused. */
#define QEMU_BACKGROUND_KEEPS_PAUSE QEMU_VERSION(10, 0)

struct capture_vm {
    int version;
    bool tcg;
    bool running;
    bool can_background; /* the capability is known */
    size_t n_backends;   /* of memory, those that were plugged in as well */
};

struct capture_choice {
    enum snapshot_mode mode; /* not AUTO */
    const char *reason;      /* half a sentence, behind "mode NAME: " */
    bool unusual;            /* to be told to the user unasked */
};

/* ERR_UNSUPPORTED, with a hint, when the mode asked for would harm the VM or
 * give a wrong snapshot. */
int capture_mode_choose(enum snapshot_mode asked, const struct capture_vm *vm,
                        struct capture_choice *ret,
                        struct error *err) NODISCARD;
/* The same once a stream was given up because it did not converge. */
int capture_mode_choose_again(const struct capture_vm *vm,
                              struct capture_choice *ret,
                              struct error *err) NODISCARD;

/* A stream of this VM is right only while it stands still, from the beginning
 * to the end; `running` does not matter. */
bool capture_mode_needs_standstill(const struct capture_vm *vm);

/* "stream", "background". */
const char *capture_mode_name(enum snapshot_mode mode);

#endif
