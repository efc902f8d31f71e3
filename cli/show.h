/*
 * show.h - all that is known of one snapshot, gathered for `show`.
 *
 * The caller owns the struct and the reader behind it. `facts` are masked:
 * no secret of a command line is in here.
 */
#ifndef FIRN_CLI_SHOW_H
#define FIRN_CLI_SHOW_H

#include "cli/keeping.h"
#include "cli/memory_map.h"

struct show {
    struct snapshot_reader *reader; /* borrowed */
    struct memory_map *maps;        /* one a block */
    json_t *facts;
    struct kept kept;
    json_t *last_restore; /* its figures; NULL: there are none */
    bool with_map;
};

/* Walks the index of all blocks; for a map the list of older snapshots as well.
 * To be released even when it fails. */
int show_init(struct show *s, struct repository *repository,
              struct snapshot_reader *reader, bool with_map,
              struct stopper *stop, struct error *err) NODISCARD;
/* The reader stays open. */
void show_release(struct show *s);

/* One object with everything; the caller owns *ret. */
int show_json(const struct show *s, json_t **ret, struct error *err) NODISCARD;

/* The same for people, on stdout. */
int show_print(const struct show *s, struct error *err) NODISCARD;
/* The maps of all blocks alone. */
void show_print_maps(const struct show *s);
/* Two side by side, and what one of them lacks. */
int show_print_pair(const struct show *a, const struct show *b,
                    struct error *err) NODISCARD;

#endif
