/*
 * command_map.c - finds whole names inside of QEMU's options.
 *
 * A word of a command line is a list of properties, so a name stands between
 * separators, and behind the first one commas are doubled: rules are matched
 * and written in that form there. At the beginning of a word nothing is doubled
 * (it may be a path by itself). Text is copied byte by byte and never looked at
 * twice, so a NEW that contains an OLD does no harm.
 */
#include "restore/machine/command_map.h"

#include "core/base/cleanup.h"

int command_map_add(struct command_map *m, const char *text, struct error *err)
{
    const char *equals = strchr(text, '=');
    char *from;

    if (!equals || equals == text || !equals[1]) {
        fail(err, ERR_USAGE, "'%s' is no OLD=NEW", text);
        return error_hint(err, "as in --map /vm/a=/vm/b or "
                               "--map 52:54:00:00:00:01=52:54:00:00:00:02");
    }
    if (m->n == COMMAND_MAP_MAX)
        return fail(err, ERR_USAGE, "more than %u times --map",
                    COMMAND_MAP_MAX);
    from = strndup(text, (size_t)(equals - text));
    if (!from)
        return fail_nomem(err);
    for (size_t i = 0; i < m->n; i++) {
        if (strcmp(m->rules[i].from, from) == 0) {
            fail(err, ERR_USAGE, "'%s' is mapped twice", from);
            free(from);
            return err->code;
        }
    }
    m->rules[m->n++] =
        (struct command_map_rule){.from = from, .to = equals + 1};
    return 0;
}

/* How many characters of `at` stand for `text`, in which QEMU's options double
 * each comma; 0 if it is another text. */
static size_t match(const char *at, const char *text, bool doubled)
{
    const char *p = at;

    for (; *text; text++) {
        if (*p != *text)
            return 0;
        p++;
        if (*text == ',' && doubled) {
            if (*p != ',')
                return 0;
            p++;
        }
    }
    return (size_t)(p - at);
}

static bool is_end(const char *at, const char *from)
{
    return *at == '\0' || strchr(",:/\"", *at) ||
           from[strlen(from) - 1] == '/' ||
           /* A port: "hostfwd=tcp::2222-:22". */
           (*at == '-' && from[strspn(from, "0123456789")] == '\0');
}

/* The longest rule that fits at word[i]; its length there in *ret_len. */
static size_t find_rule(const struct command_map *m, const char *word, size_t i,
                        size_t *ret_len)
{
    size_t best = m->n;

    *ret_len = 0;
    if (i > 0 && !strchr("=,:\"", word[i - 1]))
        return best;
    for (size_t r = 0; r < m->n; r++) {
        const char *from = m->rules[r].from;
        size_t len = match(word + i, from, i > 0);

        if (len > *ret_len && is_end(word + i + len, from)) {
            *ret_len = len;
            best = r;
        }
    }
    return best;
}

static int put(struct buf *b, const char *text, bool doubled, struct error *err)
{
    int rc = 0;

    for (; rc == 0 && *text; text++) {
        rc = buf_append_u8(b, (uint8_t)*text, err);
        if (rc == 0 && *text == ',' && doubled)
            rc = buf_append_u8(b, ',', err);
    }
    return rc;
}

int command_map_apply(struct command_map *m, const char *word, struct buf *ret,
                      struct error *err)
{
    size_t i = 0;
    int rc = 0;

    while (rc == 0 && word[i]) {
        size_t len = 0;
        size_t r = m ? find_rule(m, word, i, &len) : 0;

        if (len == 0) {
            rc = buf_append_u8(ret, (uint8_t)word[i++], err);
            continue;
        }
        m->rules[r].used = true;
        rc = put(ret, m->rules[r].to, i > 0, err);
        i += len;
    }
    return rc;
}

bool command_map_touches(const struct command_map *m, const char *word)
{
    for (size_t i = 0; m && word[i]; i++) {
        size_t len;

        find_rule(m, word, i, &len);
        if (len > 0)
            return true;
    }
    return false;
}

int command_map_check_used(const struct command_map *m, struct error *err)
{
    for (size_t i = 0; i < m->n; i++) {
        if (m->rules[i].used)
            continue;
        fail(err, ERR_USAGE,
             "--map %s=%s: the recorded command line has no "
             "'%s'",
             m->rules[i].from, m->rules[i].to, m->rules[i].from);
        return error_hint(err, "'firn show SNAP' prints it; what is replaced "
                               "stands there as a whole, or is a folder of "
                               "what stands there");
    }
    return 0;
}

void command_map_release(struct command_map *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->rules[i].from);
    *m = (struct command_map){0};
}
