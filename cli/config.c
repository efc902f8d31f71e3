/*
 * config.c - the keys, and where their values go.
 *
 * An unknown key is refused rather than passed over, whichever command reads
 * the file: a line with a slip in it must not send a snapshot to another
 * repository. Values are checked here by the rules of the options they become,
 * so that a timer's first run is not the first to find a typing error.
 */
#include "cli/config.h"

#include <fcntl.h>

#include "cli/command.h"
#include "cli/config_lines.h"
#include "cli/option_value.h"
#include "cli/suggest.h"
#include "core/base/path.h"

/* Far above any file a person writes. */
#define CONFIG_MAX_BYTES (1u << 20)

#define SYSTEM_CONFIG "/etc/firn/config"

#define AT(field) offsetof(struct config, field)
const struct option_spec config_keys[] = {
    {"repository", 0, OPTION_STRING, AT(repository), "PATH",
     "the repository, unless --repo or FIRN_REPOSITORY names one"},
    {"jobs", 0, OPTION_UINT, AT(jobs), "N",
     "so many VMs side by side; 2 unless told"},
    {"max-duration", 0, OPTION_DURATION, AT(max_duration_ms), "DUR",
     "end after this time, whatever is still to be done"},
    {"random-delay", 0, OPTION_DURATION, AT(random_delay_ms), "DUR",
     "begin at a random moment within this time"},
    {"wait", 0, OPTION_DURATION, AT(wait_ms), "DUR",
     "wait so long for a VM that another run is working on"},
    {"prune-for", 0, OPTION_DURATION, AT(prune_for_ms), "DUR",
     "give space back for at most this time; 1m unless told, 0: never"},
    {"check-for", 0, OPTION_DURATION, AT(check_for_ms), "DUR",
     "check stored data for at most this time; 1m unless told, 0: never"},
    {"metrics-file", 0, OPTION_STRING, AT(metrics_file), "FILE",
     "write figures for Prometheus to this file"},
    {0},
};
#undef AT

#define AT(field) offsetof(struct config_vm, field)
const struct option_spec config_vm_keys[] = {
    {"socket", 0, OPTION_STRING, AT(socket), "SOCKET",
     "the VM's QMP socket; must be there"},
    {"repository", 0, OPTION_STRING, AT(repository), "PATH",
     "a repository of its own"},
    {"every", 0, OPTION_DURATION, AT(every_ms), "DUR",
     "a snapshot is due when nine tenths of this time have passed since the "
     "last; unless told, at each run"},
    {"required", 0, OPTION_ON_OFF, AT(required), "yes|no",
     "whether it is an error that the VM does not run; no unless told"},
    {0},
};
#undef AT

struct parser {
    struct config *config;
    struct config_vm defaults; /* only what it holds was allocated */
    struct config_vm *vm;      /* whose section this is; NULL: none yet */
};

static const struct option_spec *find_key(const struct option_spec *specs,
                                          const char *name, const char **best)
{
    for (const struct option_spec *s = specs; s->name; s++) {
        if (strcmp(s->name, name) == 0)
            return s;
        suggest_consider(name, s->name, best);
    }
    return NULL;
}

/* Those that `run` sets itself are no keys. */
static bool is_own(const char *name)
{
    return strcmp(name, "qmp") == 0 || strcmp(name, "name") == 0 ||
           strcmp(name, "metrics-file") == 0;
}

static int fail_unknown(const char *key, const char *best, struct error *err)
{
    fail(err, ERR_USAGE, "unknown key '%s'", key);
    return best ? error_hint(err, "did you mean '%s'?", best) : ERR_USAGE;
}

/* Values. */

static int keep_path(struct config *c, struct buf *path, const char **ret,
                     struct error *err)
{
    char **paths = realloc(c->paths, (c->n_paths + 1) * sizeof(*paths));

    if (!paths)
        return fail_nomem(err);
    c->paths = paths;
    paths[c->n_paths] = strdup(buf_str(path));
    if (!paths[c->n_paths])
        return fail_nomem(err);
    *ret = paths[c->n_paths++];
    return 0;
}

/* "~/x" → "/home/me/x"; only absolute paths mean the same to everybody. */
static int expand_path(struct config *c, const char *key, const char *text,
                       const char **ret, struct error *err)
{
    const char *home = getenv("HOME");
    cleanup_buf struct buf path = BUF_INIT;
    int rc;

    if (!text[0])
        return fail(err, ERR_USAGE, "'%s' has no value", key);
    if (text[0] == '/' || strstr(text, "://")) {
        *ret = text;
        return 0;
    }
    if (strncmp(text, "~/", 2) != 0)
        return fail(err, ERR_USAGE, "'%s' is not an absolute path", text);
    if (!home)
        return fail(err, ERR_USAGE, "'~' has no meaning: HOME is not set");
    rc = buf_printf(&path, err, "%s%s", home, text + 1);
    return rc < 0 ? rc : keep_path(c, &path, ret, err);
}

static int set_value(struct config *c, const struct option_spec *spec,
                     const char *text, void *values, struct error *err)
{
    int rc;

    if (spec->kind == OPTION_STRING)
        return expand_path(c, spec->name, text,
                           (const char **)((char *)values + spec->offset), err);
    rc = option_value_read(spec, text, values, err);
    return rc < 0 ? error_wrap(err, "'%s'", spec->name) : 0;
}

/* Words for other commands. */

static bool may_repeat(const struct option_spec *spec)
{
    return spec->kind == OPTION_LIST || spec->kind == OPTION_TAG;
}

static int add_word(struct config_words *words, const struct option_spec *spec,
                    const char *value, struct error *err)
{
    struct config_word *items;
    size_t i = 0;

    while (i < words->n && (may_repeat(spec) || words->items[i].spec != spec))
        i++;
    if (i == words->n) {
        items = realloc(words->items, (i + 1) * sizeof(*items));
        if (!items)
            return fail_nomem(err);
        words->items = items;
        words->n++;
    }
    words->items[i] = (struct config_word){.spec = spec, .value = value};
    return 0;
}

static int set_word(struct config_words *words, const struct option_spec *spec,
                    const char *value, struct error *err)
{
    int rc = option_value_check(spec, value, err);

    if (rc < 0)
        return error_wrap(err, "'%s'", spec->name);
    return add_word(words, spec, value, err);
}

static int copy_words(const struct config_words *from, struct config_words *to,
                      struct error *err)
{
    for (size_t i = 0; i < from->n; i++) {
        int rc = add_word(to, from->items[i].spec, from->items[i].value, err);

        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Lines. */

static int set_vm_key(struct parser *p, const char *key, const char *value,
                      struct error *err)
{
    const struct option_spec *spec;
    const char *best = NULL;

    spec = find_key(config_vm_keys, key, &best);
    if (spec)
        return set_value(p->config, spec, value, p->vm, err);
    spec = is_own(key) ? NULL : find_key(cmd_snapshot.options, key, &best);
    if (spec)
        return set_word(&p->vm->snapshot, spec, value, err);
    spec = strncmp(key, "keep-", 5) == 0
               ? find_key(cmd_forget.options, key, &best)
               : NULL;
    if (spec)
        return set_word(&p->vm->keep, spec, value, err);
    return fail_unknown(key, best, err);
}

static int set_key(struct parser *p, const struct config_line *l,
                   struct error *err)
{
    const struct option_spec *spec;
    const char *best = NULL;

    if (p->vm)
        return set_vm_key(p, l->key, l->value, err);
    spec = find_key(config_keys, l->key, &best);
    if (!spec)
        return fail_unknown(l->key, best, err);
    return set_value(p->config, spec, l->value, p->config, err);
}

static int begin_vm(struct parser *p, const struct config_line *l,
                    struct error *err)
{
    struct config *c = p->config;
    struct config_vm *vms;
    int rc;

    if (!l->name[0])
        return fail(err, ERR_USAGE, "a section [vm NAME] needs the name");
    if (config_find_vm(c, l->name))
        return fail(err, ERR_USAGE, "VM '%s' has a section already, in line %u",
                    l->name, config_find_vm(c, l->name)->line);
    vms = realloc(c->vms, (c->n_vms + 1) * sizeof(*vms));
    if (!vms)
        return fail_nomem(err);
    c->vms = vms;
    p->vm = &vms[c->n_vms++];
    *p->vm = p->defaults;
    p->vm->name = l->name;
    p->vm->line = l->number;
    p->vm->snapshot = (struct config_words){0};
    p->vm->keep = (struct config_words){0};
    rc = copy_words(&p->defaults.snapshot, &p->vm->snapshot, err);
    return rc < 0 ? rc : copy_words(&p->defaults.keep, &p->vm->keep, err);
}

static int begin_section(struct parser *p, const struct config_line *l,
                         struct error *err)
{
    if (strcmp(l->word, "vm") == 0)
        return begin_vm(p, l, err);
    if (strcmp(l->word, "defaults") != 0 || l->name[0]) {
        fail(err, ERR_USAGE, "unknown section '%s'", l->word);
        return error_hint(err, "there are [defaults] and [vm NAME]");
    }
    if (p->config->n_vms > 0)
        return fail(err, ERR_USAGE, "[defaults] must stand before all VMs");
    p->vm = &p->defaults;
    return 0;
}

static int take_line(void *arg, const struct config_line *l, struct error *err)
{
    struct parser *p = arg;

    return l->word ? begin_section(p, l, err) : set_key(p, l, err);
}

/* The whole file. */

const struct config_vm *config_find_vm(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->n_vms; i++) {
        if (strcmp(c->vms[i].name, name) == 0)
            return &c->vms[i];
    }
    return NULL;
}

static int check_vms(const struct config *c, const char *name,
                     struct error *err)
{
    for (size_t i = 0; i < c->n_vms; i++) {
        if (!c->vms[i].socket)
            return fail(err, ERR_USAGE, "%s:%u: VM '%s' has no 'socket'", name,
                        c->vms[i].line, c->vms[i].name);
    }
    return 0;
}

int config_parse(const char *text, const char *name, struct config *ret,
                 struct error *err)
{
    struct parser p = {.config = ret};
    int rc = 0;

    *ret = (struct config){
        .jobs = 2, .prune_for_ms = 60000, .check_for_ms = 60000};
    ret->text = strdup(text);
    if (!ret->text)
        return fail_nomem(err);
    rc = config_lines_read(ret->text, name, take_line, &p, err);
    free(p.defaults.snapshot.items);
    free(p.defaults.keep.items);
    return rc < 0 ? rc : check_vms(ret, name, err);
}

void config_release(struct config *c)
{
    for (size_t i = 0; i < c->n_vms; i++) {
        free(c->vms[i].snapshot.items);
        free(c->vms[i].keep.items);
    }
    for (size_t i = 0; i < c->n_paths; i++)
        free(c->paths[i]);
    free(c->vms);
    free(c->paths);
    free(c->text);
    *c = (struct config){0};
}

static int user_config(char **ret, struct error *err)
{
    const char *xdg = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");

    if (xdg && xdg[0] == '/')
        return path_join(xdg, "firn/config", ret, err);
    if (home && home[0] == '/')
        return path_join(home, ".config/firn/config", ret, err);
    return 0;
}

/* The usual file; a new string, NULL when there is none. */
static int find_file(char **ret, struct error *err)
{
    int rc = user_config(ret, err);

    if (rc < 0 || (*ret && access(*ret, F_OK) == 0))
        return rc;
    free(*ret);
    *ret = NULL;
    if (access(SYSTEM_CONFIG, F_OK) != 0)
        return 0;
    *ret = strdup(SYSTEM_CONFIG);
    return *ret ? 0 : fail_nomem(err);
}

int config_load(const char *path, struct config *ret, struct error *err)
{
    cleanup_buf struct buf text = BUF_INIT;
    cleanup_free char *found = NULL;
    int rc;

    *ret = (struct config){0};
    if (!path) {
        rc = find_file(&found, err);
        if (rc < 0)
            return rc;
        path = found;
    }
    if (!path)
        return fail(err, ERR_NOTFOUND, "there is no config file");
    rc = path_read_file(AT_FDCWD, path, CONFIG_MAX_BYTES, &text, err);
    if (rc < 0)
        return rc;
    if (memchr(text.data ? text.data : (uint8_t *)"", 0, text.len))
        return fail(err, ERR_USAGE, "'%s' is no text", path);
    return config_parse(buf_str(&text), path, ret, err);
}

int config_find_repository(char **ret, struct error *err)
{
    const char *variable = getenv("FIRN_REPOSITORY");
    struct config c;
    int rc = 0;

    *ret = NULL;
    if (variable && *variable) {
        *ret = strdup(variable);
        return *ret ? 0 : fail_nomem(err);
    }
    rc = config_load(NULL, &c, err);
    if (rc == 0 && c.repository) {
        *ret = strdup(c.repository);
        rc = *ret ? 0 : fail_nomem(err);
    }
    config_release(&c);
    return rc == ERR_NOTFOUND ? 0 : rc;
}
