/*
 * config.c - a file of lines `key = value`, read once at the start.
 *
 * One key exists. An unknown one is refused rather than passed over: a line
 * with a slip in it must not send a snapshot to another repository.
 */
#include "cli/config.h"

#include <fcntl.h>

#include "core/base/path.h"

/* Far above any file a person writes. */
#define CONFIG_MAX_BYTES (64u << 10)

#define SYSTEM_CONFIG "/etc/firn/config"

/* *start without the blanks around it; `len` bytes. */
static size_t trim(const char **start, size_t len)
{
    while (len > 0 && (**start == ' ' || **start == '\t')) {
        *start += 1;
        len--;
    }
    while (len > 0 && strchr(" \t\r", (*start)[len - 1]))
        len--;
    return len;
}

/* "~/x" → "/home/me/x"; only absolute paths mean the same to everybody. */
static int expand_path(const char *text, size_t len, char **ret,
                       struct error *err)
{
    const char *home = getenv("HOME");
    bool tilde = len >= 2 && memcmp(text, "~/", 2) == 0;
    cleanup_buf struct buf path = BUF_INIT;
    int rc;

    if (len == 0)
        return fail(err, ERR_USAGE, "'repository' has no value");
    if (text[0] != '/' && !tilde && !memmem(text, len, "://", 3))
        return fail(err, ERR_USAGE, "'%.*s' is not an absolute path", (int)len,
                    text);
    if (tilde && !home)
        return fail(err, ERR_USAGE, "'~' has no meaning: HOME is not set");
    rc = buf_printf(&path, err, "%s%.*s", tilde ? home : "",
                    (int)(tilde ? len - 1 : len), tilde ? text + 1 : text);
    if (rc < 0)
        return rc;
    free(*ret);
    *ret = strdup(buf_str(&path));
    return *ret ? 0 : fail_nomem(err);
}

static int parse_line(const char *line, size_t len, char **ret,
                      struct error *err)
{
    static const char key[] = "repository";
    const char *equals;
    const char *value;
    size_t key_len;

    len = trim(&line, len);
    if (len == 0 || line[0] == '#')
        return 0;
    equals = memchr(line, '=', len);
    if (!equals)
        return fail(err, ERR_USAGE, "'%.*s' is not of the form 'key = value'",
                    (int)len, line);
    key_len = (size_t)(equals - line);
    while (key_len > 0 && strchr(" \t", line[key_len - 1]))
        key_len--;
    if (key_len != strlen(key) || memcmp(line, key, key_len) != 0)
        return fail(err, ERR_USAGE, "unknown key '%.*s'", (int)key_len, line);
    value = equals + 1;
    len = trim(&value, (size_t)(line + len - value));
    return expand_path(value, len, ret, err);
}

int config_parse(const char *text, const char *name, char **ret_repository,
                 struct error *err)
{
    cleanup_free char *found = NULL;
    unsigned number = 1;

    while (*text) {
        size_t len = strcspn(text, "\n");

        if (parse_line(text, len, &found, err) < 0)
            return error_wrap(err, "%s:%u", name, number);
        text += len + (text[len] == '\n');
        number++;
    }
    *ret_repository = steal_ptr(&found);
    return 0;
}

/* *ret_exists: the file is there, and so decides. */
static int read_config(const char *name, bool *ret_exists, char **ret,
                       struct error *err)
{
    cleanup_buf struct buf text = BUF_INIT;

    *ret_exists = access(name, F_OK) == 0;
    if (!*ret_exists)
        return 0;
    if (path_read_file(AT_FDCWD, name, CONFIG_MAX_BYTES, &text, err) < 0)
        return err->code;
    return config_parse(buf_str(&text), name, ret, err);
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

int config_find_repository(char **ret, struct error *err)
{
    const char *variable = getenv("FIRN_REPOSITORY");
    cleanup_free char *name = NULL;
    bool exists = false;
    int rc;

    *ret = NULL;
    if (variable && *variable) {
        *ret = strdup(variable);
        return *ret ? 0 : fail_nomem(err);
    }
    rc = user_config(&name, err);
    if (rc == 0 && name)
        rc = read_config(name, &exists, ret, err);
    if (rc == 0 && !exists)
        rc = read_config(SYSTEM_CONFIG, &exists, ret, err);
    return rc;
}
