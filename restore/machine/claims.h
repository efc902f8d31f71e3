/*
 * claims.h - what a command line takes for itself, and who has it already.
 *
 * Two VMs on one listening socket or one disk image: QEMU refuses the second
 * in its own words and in the middle of its start, or steals the socket. So it
 * is looked at before. Lists are JSON arrays of strings, as in preflight.h.
 */
#ifndef FIRN_RESTORE_MACHINE_CLAIMS_H
#define FIRN_RESTORE_MACHINE_CLAIMS_H

#include "core/base/json.h"
#include "restore/machine/command_map.h"

/* Adds a sentence for each listening socket of the command that answers
 * already, and each image (of the recorded facts, through the map) that
 * another QEMU has locked. `argv` ends with NULL. */
int claims_check(char *const *argv, const json_t *facts,
                 const struct command_map *map, json_t *ret,
                 struct error *err) NODISCARD;

#endif
