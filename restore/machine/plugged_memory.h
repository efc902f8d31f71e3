/*
 * plugged_memory.h - memory that was plugged into a VM while it ran.
 *
 * The recorded command line does not know it, the snapshot has its pages. So
 * the arguments that make it are made of the recorded facts: the module with
 * its slot and address, behind it anonymous memory, whatever it was at first:
 * the guest sees no difference. Pure.
 */
#ifndef FIRN_RESTORE_MACHINE_PLUGGED_MEMORY_H
#define FIRN_RESTORE_MACHINE_PLUGGED_MEMORY_H

#include "core/base/json.h"

/* An array of words; the caller owns it. Adds a sentence to `notes` for each
 * module. */
int plugged_memory_arguments(const json_t *facts, json_t *notes, json_t **ret,
                             struct error *err) NODISCARD;

#endif
