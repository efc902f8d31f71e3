/*
 * snapshot_cost.h - what a capture cost firn itself, as JSON.
 *
 * {"cpu_us": {"receive": N, "zero": N, ...}, "peak_bytes": N, "segments": N,
 * "places": N, "rejoined_pages": N}: numbers, members may be added. Lies in a
 * snapshot's facts as "cost". Pure.
 */
#ifndef FIRN_STORAGE_SNAPSHOT_COST_H
#define FIRN_STORAGE_SNAPSHOT_COST_H

#include "storage/repository.h"

/* NULL when there is no memory. The caller owns it. */
json_t *snapshot_cost_json(const struct snapshot_cost *cost);
/* What is missing or no number is 0: it is only told to people. */
void snapshot_cost_parse(const json_t *object, struct snapshot_cost *ret);

#endif
