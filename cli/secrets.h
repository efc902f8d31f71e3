/*
 * secrets.h - passwords and keys in a command line, masked. Pure.
 *
 * A recorded command line is replayed as it was, but never shown so: values of
 * `data=` (of secret objects), `password=` and the like, in QEMU's key=value
 * and in its JSON form, passwords within URLs, and systemd credentials handed
 * over by SMBIOS become "***".
 */
#ifndef FIRN_CLI_SECRETS_H
#define FIRN_CLI_SECRETS_H

#include "core/base/json.h"

/* Appends `text`, masked. */
int secrets_mask_text(const char *text, struct buf *ret,
                      struct error *err) NODISCARD;

/* A deep copy with every string masked; the caller owns *ret. */
int secrets_mask_json(const json_t *value, json_t **ret,
                      struct error *err) NODISCARD;

#endif
