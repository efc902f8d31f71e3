/*
 * generation_id.h - the number by which a guest sees that it is a copy.
 *
 * The device `vmgenid` shows the guest a GUID, which is a property of the
 * device and not of the snapshot: a QEMU that loads its state writes its own
 * GUID into the guest's memory and raises the notification. Linux then mixes
 * fresh entropy into its random numbers. Pure but for generation_id_new().
 */
#ifndef FIRN_RESTORE_MACHINE_GENERATION_ID_H
#define FIRN_RESTORE_MACHINE_GENERATION_ID_H

#include "core/base/buf.h"

#define GENERATION_ID_LEN 36u

/* A random one. */
int generation_id_new(char ret[static GENERATION_ID_LEN + 1],
                      struct error *err) NODISCARD;

/* Whether the value of a -device option makes the device. */
bool generation_id_is_device(const char *value);

/* The value with this GUID in place of its own. ERR_INVALID: a JSON value that
 * is none. */
int generation_id_put(const char *value, const char *guid, struct buf *ret,
                      struct error *err) NODISCARD;

#endif
