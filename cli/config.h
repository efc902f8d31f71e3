/*
 * config.h - the config file: which repository is meant, and what `run` does.
 *
 * $XDG_CONFIG_HOME/firn/config (~/.config/firn/config without the variable),
 * else /etc/firn/config: the first that exists, no other. Keys before the first
 * section are about the whole program, those of [defaults] about every VM,
 * those of [vm NAME] about one. A VM has the keys of config_vm_keys, and each
 * option of `snapshot` and each --keep-... of `forget` as a key of that name:
 * they are handed to these commands as they stand here.
 */
#ifndef FIRN_CLI_CONFIG_H
#define FIRN_CLI_CONFIG_H

#include "cli/options.h"

/* A key that is an option of another command. */
struct config_word {
    const struct option_spec *spec;
    const char *value;
};

struct config_words {
    struct config_word *items;
    size_t n;
};

struct config_vm {
    const char *name;
    unsigned line; /* of its section */

    /* keys */
    const char *socket;
    const char *repository; /* NULL: that of the config */
    uint64_t every_ms;      /* 0: each time */
    bool required;

    struct config_words snapshot; /* words for `snapshot` */
    struct config_words keep;     /* words for `forget` */
};

struct config {
    char *text; /* what the strings are pieces of; but: */
    char **paths;
    size_t n_paths; /* those that had to be made */

    /* keys of the whole program */
    const char *repository;
    uint64_t jobs;
    uint64_t max_duration_ms; /* 0: none */
    uint64_t random_delay_ms;
    uint64_t wait_ms;
    uint64_t prune_for_ms; /* 0: never */
    uint64_t check_for_ms;
    const char *metrics_file;

    struct config_vm *vms;
    size_t n_vms;
};

/* For the manual and for help: every key with its help. */
extern const struct option_spec config_keys[];
extern const struct option_spec config_vm_keys[];

/* Borrowed; NULL: there is none. */
const struct config_vm *config_find_vm(const struct config *c,
                                       const char *name);

/* The text of one file, called `name` in messages. ERR_USAGE names the line.
 * To be released in any case; all zero is fine. */
int config_parse(const char *text, const char *name, struct config *ret,
                 struct error *err) NODISCARD;
/* `path`, or NULL for the first of the usual files that exists; ERR_NOTFOUND
 * when there is none. */
int config_load(const char *path, struct config *ret,
                struct error *err) NODISCARD;
/* Frees everything that was read. */
void config_release(struct config *c);

/* The repository by FIRN_REPOSITORY, else by the config; a new string, NULL
 * when none is named. */
int config_find_repository(char **ret, struct error *err) NODISCARD;

#endif
