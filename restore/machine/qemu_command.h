/*
 * qemu_command.h - the command line that a QEMU is started with to be fed.
 *
 * The recorded (or given) arguments, without what belonged to the first run,
 * and with what a restore needs. Pure.
 */
#ifndef FIRN_RESTORE_MACHINE_QEMU_COMMAND_H
#define FIRN_RESTORE_MACHINE_QEMU_COMMAND_H

#include "core/base/json.h"
#include "restore/machine/command_map.h"

struct qemu_command_args {
    /* One of the two: recorded arguments (JSON strings), or given ones. */
    const json_t *recorded;
    char *const *given;        /* NULL-terminated */
    const char *qmp_path;      /* a socket of our own; an absolute path */
    bool paused;               /* the VM must come back standing still: -S */
    struct command_map *map;   /* NULL: nothing is replaced */
    const char *generation_id; /* of the vmgenid device; NULL: its own */
    /* Arguments behind all others, such as memory that was plugged in. */
    const json_t *more;
};

struct qemu_command {
    char **argv; /* NULL-terminated, owned with its strings */
    size_t n;
    /* Memory may hold something before it is fed: a kernel or firmware loader,
     * a file behind it. Then zero pages must be written as well. */
    bool preloads_ram;
    bool has_generation_id; /* there is a vmgenid device */
};

/* ERR_UNSUPPORTED names an option that needs a descriptor of the first run;
 * ERR_INVALID: no arguments at all, or no strings. */
int qemu_command_build(const struct qemu_command_args *args,
                       struct qemu_command *ret, struct error *err) NODISCARD;
/* Frees words and array; an empty command remains. */
void qemu_command_release(struct qemu_command *c);

static inline UNUSED void cleanup_qemu_command_fn(struct qemu_command *c)
{
    qemu_command_release(c);
}
#define cleanup_qemu_command cleanup(qemu_command)

#endif
