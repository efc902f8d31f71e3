/*
 * output.h - data on stdout: JSON lines for programs, text for people.
 *
 * Names come from guests and from files: in text, control characters are shown
 * as '?', so that no name can steer the terminal. One thread.
 */
#ifndef FIRN_CLI_OUTPUT_H
#define FIRN_CLI_OUTPUT_H

#include "cli/command.h"

/* One JSON object as a line, flushed. Takes over the reference; a NULL (out of
 * memory while it was built) is an error. */
int output_json(json_t *object, struct error *err) NODISCARD;

/* Text, printf style; a failing stdout is found by output_flush(). */
void output_text(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* ERR_IO when something did not get through, now or before. */
int output_flush(struct error *err) NODISCARD;
/* The reader of stdout has gone away ("firn list | head"). */
bool output_reader_gone(void);

/* One write of a whole text to stderr, control characters masked. */
void output_message(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Replaces control characters but newline and tab by '?', in place. */
void output_mask(char *text);

/* "1.5 GiB", "300 ms", "2 m 3 s", "2026-11-21 14:34:58" (local time; "-" for
 * 0) into a buffer of at least 32 bytes. */
const char *output_size(uint64_t bytes, char text[static 32]);
const char *output_duration(uint64_t ms, char text[static 32]);
const char *output_time(uint64_t realtime_ns, char text[static 32]);

/* Columns aligned as wide as needed; cells are copied. A heading that starts
 * with '>' aligns its column to the right. */
struct output_table;
/* `headings` must outlive the table. */
int output_table_new(const char *const *headings, size_t n_columns,
                     struct output_table **ret, struct error *err) NODISCARD;
/* A cell for each column. */
int output_table_row(struct output_table *t, const char *const *cells,
                     struct error *err) NODISCARD;
/* All rows below the headings, on stdout. */
void output_table_print(const struct output_table *t);
/* NULL is fine. */
void output_table_free(struct output_table *t);

DEFINE_CLEANUP(output_table, struct output_table *, output_table_free)

#endif
