/*
 * manifest_inside.h - an open manifest, as its own sources see it. No door.
 *
 * Readers of rows and columns take nothing on trust: wrong values are
 * ERR_CORRUPT, with the snapshot and the column in the message.
 */
#ifndef FIRN_STORAGE_MANIFEST_INSIDE_H
#define FIRN_STORAGE_MANIFEST_INSIDE_H

#include "storage/index/sql.h"
#include "storage/manifest.h"

struct manifest {
    char what[40]; /* "snapshot '...'", for messages */
    struct manifest_file file;
    struct sql *sql; /* of file.image */
    struct snapshot_summary summary;
    struct ramblock_list blocks;
    struct machine_config config;
    struct device_state devices;
    json_t *facts;
    uint32_t ram_section_id;
    struct manifest_pack *packs;
    struct pack_set pack_ids;
};

/* ERR_CORRUPT with this reason. */
int manifest_bad(const struct manifest *m, const char *reason,
                 struct error *err) NODISCARD;

/* The statement, at its one and only row. */
int manifest_only_row(struct manifest *m, enum sql_statement which,
                      struct sql_row **ret, struct error *err) NODISCARD;
/* Gives every row of a statement to `load`. */
int manifest_load_rows(struct manifest *m, enum sql_statement which,
                       int (*load)(struct manifest *m, struct sql_row *row,
                                   struct error *err),
                       struct error *err) NODISCARD;

/* An object; the caller has a reference. */
int manifest_column_json(struct manifest *m, struct sql_row *row, int at,
                         json_t **ret, struct error *err) NODISCARD;
/* Appends up to `max` bytes. */
int manifest_column_buf(struct sql_row *row, int at, size_t max,
                        struct buf *ret, struct error *err) NODISCARD;
/* From 0 to `max`; and 0 or 1. ERR_CORRUPT for anything else. */
int manifest_column_u32(struct sql_row *row, int at, uint32_t max,
                        uint32_t *ret, struct error *err) NODISCARD;
int manifest_column_bool(struct sql_row *row, int at, bool *ret,
                         struct error *err) NODISCARD;

/* One row of table `pack`, for manifest_load_rows(). */
int manifest_load_pack(struct manifest *m, struct sql_row *row,
                       struct error *err) NODISCARD;

#endif
