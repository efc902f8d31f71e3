/*
 * host_facts.h - what the host knows of a QEMU that QMP does not tell.
 */
#ifndef FIRN_SNAPSHOT_HOST_FACTS_H
#define FIRN_SNAPSHOT_HOST_FACTS_H

#include <sys/types.h>

#include "core/base/json.h"

/* The "process" object of vm_facts.h; the caller owns it. What /proc does not
 * show (another user's QEMU) is left out. */
int host_facts_process(pid_t pid, json_t **ret, struct error *err) NODISCARD;

#endif
