/*
 * options.h - option tables: one array gives parsing, usage and completion.
 *
 * Values land in a struct of the command's own, at `offset`, by kind. Options
 * may stand anywhere before a `--`; "--name=value", "--name value", "-n value".
 */
#ifndef FIRN_CLI_OPTIONS_H
#define FIRN_CLI_OPTIONS_H

#include "core/base/json.h"

enum option_kind {
    OPTION_FLAG = 1, /* bool */
    OPTION_ON_OFF,   /* bool, "on" or "off"; "yes" or "no" */
    OPTION_STRING,   /* const char *, borrowed from argv */
    OPTION_UINT,     /* uint64_t */
    OPTION_SIZE,     /* uint64_t bytes: 64K, 1.5G, 100M (powers of 1024) */
    OPTION_RATE,     /* uint64_t bytes a second: as SIZE, "/s" may follow */
    OPTION_DURATION, /* uint64_t ms: 300ms, 5s, 2m, 1h; a bare number: seconds
                      */
    OPTION_CHOICE,   /* int: index in `choices` */
    OPTION_TAG,      /* json_t *: object, K=V may be repeated; owned */
    OPTION_PERCENT,  /* unsigned, 1 to 100; value may be left out: 100 */
    OPTION_LIST,     /* struct option_list: may be repeated */
    OPTION_COUNT,    /* int: one more each time it is given */
    OPTION_LEVEL,    /* int: as option_parse_level() */
};

#define OPTION_LIST_MAX 64u

struct option_list {
    const char *items[OPTION_LIST_MAX]; /* borrowed from argv */
    size_t n;
};

struct option_spec {
    const char *name; /* without "--" */
    char letter;      /* or 0 */
    enum option_kind kind;
    size_t offset;
    const char *arg; /* name of the value in usage: "SOCKET" */
    const char *help;
    const char *const *choices; /* NULL-terminated */
};

/* Words that are no options: borrowed from argv, each list ends with NULL. */
struct option_words {
    char **rest;
    int n_rest;
    char **behind; /* what follows `--`; NULL when there was none */
};

/* Parses argv[1..argc-1] (argv[argc] is NULL) and sorts the words of argv
 * anew. ERR_USAGE names the word that is wrong. */
int options_parse(const struct option_spec *specs, int argc, char **argv,
                  void *values, struct option_words *ret,
                  struct error *err) NODISCARD;

/* At least `min` and at most `max` words that are no options, and no `--`;
 * `what` names a missing word ("SNAP"). ERR_USAGE. */
int options_check_words(const struct option_words *words, int min, int max,
                        const char *what, struct error *err) NODISCARD;

/*
 * Takes the options of `specs` out of argv[1..], wherever they stand before
 * `--`, and leaves the other words in their order (*argc shrinks). `others`
 * are the options that stay: the word behind one that takes a value is never
 * taken for an option, and what is in neither list is ERR_USAGE. NULL: they
 * are not known, everything else stays.
 */
int options_extract(const struct option_spec *specs,
                    const struct option_spec *others, int *argc, char **argv,
                    void *values, struct error *err) NODISCARD;

/* One value as a text; ERR_USAGE says what was expected. */

/* What --compression takes: zstd's levels -7 to -1 and 1 to 19 (the strongest
 * that needs no special decoder settings), "none" (FRAME_CODEC_NONE),
 * "fastest" and "default". */
int option_parse_level(const char *text, int *ret, struct error *err) NODISCARD;
/* The same in the help of an option. */
#define OPTION_COMPRESSION_HELP \
    "none, fastest, default (zstd level 1), or a level from -7 to 19"

/* Bytes: "512M", "1.5G"; K, M, G, T are powers of 1024. */
int option_parse_size(const char *text, uint64_t *ret,
                      struct error *err) NODISCARD;
/* Local time, "2026-11-21 14:00:00", or UTC, "2026-11-21T13:00:00Z" as JSON
 * has it → ns since 1970. */
int option_parse_time(const char *text, uint64_t *ret_ns,
                      struct error *err) NODISCARD;
/* "300ms", "10s", "5m", "36h", "7d", "4w"; a bare number is seconds. */
int option_parse_duration(const char *text, uint64_t *ret_ms,
                          struct error *err) NODISCARD;

/* Appends the help of the options, within 80 columns. */
int options_help(const struct option_spec *specs, struct buf *ret,
                 struct error *err) NODISCARD;

#endif
