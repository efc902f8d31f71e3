/*
 * summary.h - a snapshot's summary as JSON and as words. Pure.
 */
#ifndef FIRN_CLI_SUMMARY_H
#define FIRN_CLI_SUMMARY_H

#include "storage/repository.h"

/* A new object with every field under the names that `snapshot` and `show`
 * print, "type" first; NULL without memory. */
json_t *summary_json(const struct snapshot_summary *s);

/* The same with how the capture went ("capture" of the facts; may be NULL), as
 * "capture", and its "mode_reason" once more beside "mode". */
json_t *summary_and_capture_json(const struct snapshot_summary *s,
                                 json_t *capture);

/* "a=1, b=2" appended, nothing without tags. */
int summary_append_tags(const json_t *tags, struct buf *ret,
                        struct error *err) NODISCARD;

/* "2.31 CPU seconds a GiB of RAM: receive 0.120, ...; at most 45 MB of memory"
 */
int summary_append_cost(const struct snapshot_cost *cost, uint64_t ram_bytes,
                        struct buf *ret, struct error *err) NODISCARD;

#endif
