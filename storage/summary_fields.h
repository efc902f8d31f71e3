/*
 * summary_fields.h - a snapshot's summary as a row and as JSON.
 *
 * One table in the source names each field once: its name in both forms, and
 * where it lies. Tags are apart: they are JSON themselves. Not for threads.
 */
#ifndef FIRN_STORAGE_SUMMARY_FIELDS_H
#define FIRN_STORAGE_SUMMARY_FIELDS_H

#include "storage/index/sql.h"
#include "storage/repository.h"

/* Columns in a row of the manifest, tags not counted. */
#define SUMMARY_N_COLUMNS 21

/* Parameters 1 to SUMMARY_N_COLUMNS. `s` is borrowed until the step. */
void summary_bind(const struct snapshot_summary *s, struct sql_row *row);
/* Columns 0 to SUMMARY_N_COLUMNS - 1. */
int summary_read(struct sql_row *row, struct snapshot_summary *ret,
                 struct error *err) NODISCARD;

/* As one line of JSON, tags included: for the catalog. */
int summary_print(const struct snapshot_summary *s, struct buf *ret,
                  struct error *err) NODISCARD;
/* ERR_CORRUPT when a field is missing or of another type. */
int summary_parse(const void *text, size_t len, struct snapshot_summary *ret,
                  struct error *err) NODISCARD;

/* `tags` is an object of strings, or NULL. */
bool summary_tags_are_strings(const json_t *tags);

#endif
