/*
 * QEMU takes each option with one dash or two ("-S", "--S"), a value as the
 * next word. The words are copied but for those of the tables below. A word
 * that is the value of another option is never looked at as an option: which
 * options have none is known for those that matter, since every other option
 * is copied together with whatever follows.
 */
#include "restore/machine/qemu_command.h"

#include "restore/machine/generation_id.h"

struct dropped {
    const char *name;
    bool has_value;
    /* A recorded -S said how the first QEMU began, long before the instant
     * that was captured; a given one says how this one shall begin. */
    bool only_recorded;
};

static const struct dropped dropped_options[] = {
    {.name = "incoming", .has_value = true},
    {.name = "loadvm", .has_value = true},
    {.name = "pidfile", .has_value = true},
    {.name = "daemonize"},
    {.name = "S", .only_recorded = true},
};

/* Options whose value may well look like an option ("-append -S"): the value
 * is copied without being looked at. */
static const char *const opaque_options[] = {"append", "name", "smbios"};

static const char *option_name(const char *word)
{
    if (word[0] != '-' || word[1] == '\0')
        return NULL;
    return word[1] == '-' ? word + 2 : word + 1;
}

static const struct dropped *find_dropped(const char *name, bool recorded)
{
    for (size_t i = 0; name && i < ARRAY_LEN(dropped_options); i++) {
        const struct dropped *d = &dropped_options[i];

        if (strcmp(d->name, name) == 0 && (recorded || !d->only_recorded))
            return d;
    }
    return NULL;
}

static bool is_opaque(const char *name)
{
    for (size_t i = 0; name && i < ARRAY_LEN(opaque_options); i++) {
        if (strcmp(opaque_options[i], name) == 0)
            return true;
    }
    return false;
}

/* A property "fd=N" (also fds=, vhostfd=, vhostfds=, sock fd) in a value. */
static bool has_fd_property(const char *value)
{
    static const char *const keys[] = {"fd=", "fds=", "vhostfd=", "vhostfds="};

    for (const char *p = value; p; p = strchr(p, ',')) {
        p += *p == ',';
        for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
            if (strncmp(p, keys[i], strlen(keys[i])) == 0)
                return true;
        }
    }
    return false;
}

static int refuse_descriptor(const char *option, const char *value,
                             struct error *err)
{
    fail(err, ERR_UNSUPPORTED,
         "option '%s %s' needs a descriptor that the first QEMU inherited",
         option, value);
    return error_hint(err, "give a command line of your own behind --, or "
                           "start QEMU with -incoming defer and use --qmp");
}

static int check_descriptors(const char *option, const char *value,
                             struct error *err)
{
    const char *name = option_name(option);

    if (!name || !value || is_opaque(name))
        return 0;
    if (strcmp(name, "add-fd") == 0)
        return refuse_descriptor(option, value, err);
    if (has_fd_property(value) || strstr(value, "/dev/fd/") ||
        strstr(value, "/proc/self/fd/") || strstr(value, "/dev/fdset/"))
        return refuse_descriptor(option, value, err);
    return 0;
}

static int push(struct qemu_command *c, const char *word, struct error *err)
{
    char **argv = realloc(c->argv, (c->n + 2) * sizeof(*argv));

    if (!argv)
        return fail_nomem(err);
    c->argv = argv;
    argv[c->n] = strdup(word);
    if (!argv[c->n])
        return fail_nomem(err);
    argv[++c->n] = NULL;
    return 0;
}

static bool word_preloads_ram(const char *word)
{
    static const char *const signs[] = {
        "kernel",   "initrd", "loader",    "memory-backend-file",
        "mem-path", "-dtb",   "multiboot", "fw_cfg",
    };

    for (size_t i = 0; i < ARRAY_LEN(signs); i++) {
        if (strstr(word, signs[i]))
            return true;
    }
    return false;
}

/* Kernel parameters and tables are in the snapshot's memory already. */
static bool is_mapped(const char *name)
{
    return !name ||
           (strcmp(name, "append") != 0 && strcmp(name, "smbios") != 0);
}

static int push_mapped(const struct qemu_command_args *args, const char *word,
                       struct qemu_command *c, struct error *err)
{
    cleanup_buf struct buf b = BUF_INIT;
    int rc = command_map_apply(args->map, word, &b, err);

    return rc < 0 ? rc : push(c, buf_str(&b), err);
}

/* What is dropped may have been what somebody wanted to replace. */
static int mark_dropped(const struct qemu_command_args *args, const char *value,
                        struct error *err)
{
    cleanup_buf struct buf ignored = BUF_INIT;

    return command_map_apply(args->map, value, &ignored, err);
}

static int push_generation_id(const struct qemu_command_args *args,
                              const char *value, struct qemu_command *c,
                              struct error *err)
{
    cleanup_buf struct buf b = BUF_INIT;
    int rc;

    c->has_generation_id = true;
    if (!args->generation_id)
        return push_mapped(args, value, c, err);
    rc = generation_id_put(value, args->generation_id, &b, err);
    return rc < 0 ? rc : push(c, buf_str(&b), err);
}

static bool is_generation_id(const char *name, const char *value)
{
    return name && value && strcmp(name, "device") == 0 &&
           generation_id_is_device(value);
}

/* The value of an option, where it must not be looked at by itself. */
static int copy_value(const struct qemu_command_args *args, const char *name,
                      const char *value, struct qemu_command *c,
                      size_t *ret_used, struct error *err)
{
    int rc = 0;

    if (is_generation_id(name, value))
        rc = push_generation_id(args, value, c, err);
    else if (value && is_opaque(name))
        rc = is_mapped(name) ? push_mapped(args, value, c, err)
                             : push(c, value, err);
    else
        return 0;
    *ret_used = 2;
    return rc;
}

/* The monitor that an earlier restore of ours gave this VM:
 * unix:FOLDER/ID-PID.qmp.sock,... */
static bool is_our_monitor(const char *name, const char *value)
{
    const char *slash = value ? strrchr(value, '/') : NULL;
    size_t digits;

    if (!name || !slash || strcmp(name, "qmp") != 0 ||
        strspn(slash + 1, "0123456789abcdef") != 16 || slash[17] != '-')
        return false;
    digits = strspn(slash + 18, "0123456789");
    return digits > 0 && strncmp(slash + 18 + digits, ".qmp.sock,", 10) == 0;
}

/* Copies words[i] and, with it, what must not be looked at by itself; sets
 * *ret_used to the number of words done. */
static int copy_word(const struct qemu_command_args *args, char *const *words,
                     size_t i, struct qemu_command *c, size_t *ret_used,
                     struct error *err)
{
    const char *name = option_name(words[i]);
    const struct dropped *drop = find_dropped(name, !args->given);
    int rc;

    if (drop) {
        *ret_used = drop->has_value && words[i + 1] ? 2 : 1;
        return *ret_used == 2 ? mark_dropped(args, words[i + 1], err) : 0;
    }
    if (!args->given && is_our_monitor(name, words[i + 1])) {
        *ret_used = 2;
        return 0;
    }
    rc = check_descriptors(words[i], words[i + 1], err);
    if (rc == 0)
        rc = push_mapped(args, words[i], c, err);
    *ret_used = 1;
    if (word_preloads_ram(words[i]))
        c->preloads_ram = true;
    if (rc == 0)
        rc = copy_value(args, name, words[i + 1], c, ret_used, err);
    return rc;
}

static int copy_words(const struct qemu_command_args *args, char *const *words,
                      struct qemu_command *c, struct error *err)
{
    size_t used;
    int rc;

    if (!words[0])
        return fail(err, ERR_INVALID, "the command line of QEMU is empty");
    rc = push(c, words[0], err);
    for (size_t i = 1; rc == 0 && words[i]; i += used)
        rc = copy_word(args, words, i, c, &used, err);
    return rc;
}

static int copy_recorded(const struct qemu_command_args *args,
                         struct qemu_command *c, struct error *err)
{
    const json_t *recorded = args->recorded;
    size_t n = json_array_size(recorded);
    cleanup_free char **words = calloc(n + 1, sizeof(*words));

    if (!words)
        return fail_nomem(err);
    for (size_t i = 0; i < n; i++) {
        words[i] = (char *)json_string_value(json_array_get(recorded, i));
        if (!words[i])
            return fail(err, ERR_INVALID,
                        "the recorded command line is no list of strings");
    }
    return copy_words(args, words, c, err);
}

static int push_more(const struct qemu_command_args *args,
                     struct qemu_command *c, struct error *err)
{
    const json_t *word;
    size_t i;
    int rc = 0;

    json_array_foreach((json_t *)args->more, i, word)
    {
        const char *text = json_string_value(word);

        if (rc == 0 && text)
            rc = push_mapped(args, text, c, err);
        if (text && word_preloads_ram(text))
            c->preloads_ram = true;
    }
    return rc;
}

static int push_ours(const struct qemu_command_args *args,
                     struct qemu_command *c, struct error *err)
{
    cleanup_buf struct buf qmp = BUF_INIT;
    const char *ours[] = {"-incoming", "defer", "-qmp", NULL, "-S"};
    /* A comma ends a value in QEMU's options; two stand for one. */
    int rc = buf_printf(&qmp, err, "unix:");

    for (const char *p = args->qmp_path; rc == 0 && *p; p++)
        rc = buf_printf(&qmp, err, "%s%c", *p == ',' ? "," : "", *p);
    if (rc == 0)
        rc = buf_printf(&qmp, err, ",server=on,wait=off");
    ours[3] = rc == 0 ? buf_str(&qmp) : NULL;
    for (size_t i = 0; rc == 0 && i < (args->paused ? 5u : 4u); i++)
        rc = push(c, ours[i], err);
    return rc;
}

int qemu_command_build(const struct qemu_command_args *args,
                       struct qemu_command *ret, struct error *err)
{
    cleanup_qemu_command struct qemu_command c = {0};
    int rc = args->given ? copy_words(args, args->given, &c, err)
                         : copy_recorded(args, &c, err);

    if (rc == 0)
        rc = push_more(args, &c, err);
    if (rc == 0 && args->map)
        rc = command_map_check_used(args->map, err);
    if (rc == 0)
        rc = push_ours(args, &c, err);
    if (rc < 0)
        return rc;
    *ret = c;
    c = (struct qemu_command){0};
    return 0;
}

void qemu_command_release(struct qemu_command *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->argv[i]);
    free(c->argv);
    *c = (struct qemu_command){0};
}
