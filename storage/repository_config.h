/*
 * repository_config.h - the file `config`: format, features, keys.
 *
 * One line of JSON whose last member is a checksum of all bytes before it, so
 * that any flipped bit is found. Pure, but for the random key of a new one.
 * The caller owns the struct; it holds secrets: never log it.
 */
#ifndef FIRN_STORAGE_REPOSITORY_CONFIG_H
#define FIRN_STORAGE_REPOSITORY_CONFIG_H

#include "core/base/buf.h"
#include "storage/packs/page_hash.h"

#define REPOSITORY_FORMAT           1
#define REPOSITORY_ID_LEN           32u
#define REPOSITORY_MAX_KEYS         16u
#define REPOSITORY_CONFIG_MAX_BYTES (64u << 10)

struct repository_config {
    char id[REPOSITORY_ID_LEN + 1];
    uint32_t frame_bytes;
    uint32_t hash_key_id; /* the key for what is written from now on */
    struct hash_key keys[REPOSITORY_MAX_KEYS];
    uint32_t n_keys;
};

/* A new id, one new key. */
int repository_config_make(struct repository_config *ret,
                           struct error *err) NODISCARD;
/* Appends the file's bytes, secrets included. */
int repository_config_print(const struct repository_config *c, struct buf *ret,
                            struct error *err) NODISCARD;
/* ERR_FORMAT: a format or a required feature that this program does not know.
 * ERR_CORRUPT: damaged. */
int repository_config_parse(const void *text, size_t len,
                            struct repository_config *ret,
                            struct error *err) NODISCARD;
/* NULL when there is no such key. */
const struct hash_key *repository_config_key(const struct repository_config *c,
                                             uint32_t id);

#endif
