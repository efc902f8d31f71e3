/*
 * One walk over the words serves both ways of parsing: options_parse() knows
 * every option and sorts the other words to the front, options_extract() takes
 * the global ones out and leaves what it does not know.
 */
#include "cli/options.h"

#include "cli/option_value.h"
#include "cli/suggest.h"
#include "cli/wrap.h"

/* The help of an option starts here; longer names get a line of their own. */
#define HELP_COLUMN 28u

static const struct option_spec *find_long(const struct option_spec *specs,
                                           const char *name, size_t len)
{
    for (const struct option_spec *s = specs; s && s->name; s++) {
        if (strlen(s->name) == len && memcmp(s->name, name, len) == 0)
            return s;
    }
    return NULL;
}

static const struct option_spec *find_letter(const struct option_spec *specs,
                                             char letter)
{
    for (const struct option_spec *s = specs; s && s->name; s++) {
        if (s->letter && s->letter == letter)
            return s;
    }
    return NULL;
}

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0' && strcmp(word, "--") != 0;
}

/* The spec of a word's (first) option, NULL if `specs` has none. */
static const struct option_spec *find(const struct option_spec *specs,
                                      const char *word)
{
    if (word[1] == '-')
        return find_long(specs, word + 2, strcspn(word + 2, "="));
    return find_letter(specs, word[1]);
}

/* `more` (may be NULL) are further options to suggest. */
static int fail_unknown(const struct option_spec *specs,
                        const struct option_spec *more, const char *word,
                        struct error *err)
{
    const char *best = NULL;
    char name[64];
    int len = (int)strcspn(word, "=");
    int rc;

    if (word[1] != '-')
        return fail(err, ERR_USAGE, "unknown option '-%c'", word[1]);
    rc = fail(err, ERR_USAGE, "unknown option '%.*s'", len, word);
    snprintf(name, sizeof(name), "%.*s", len - 2, word + 2);
    for (const struct option_spec *s = specs; s && s->name; s++)
        suggest_consider(name, s->name, &best);
    for (const struct option_spec *s = more; s && s->name; s++)
        suggest_consider(name, s->name, &best);
    if (best)
        error_hint(err, "did you mean '--%s'?", best);
    return rc;
}

/* The value in the next word; *i moves on to it. */
static int next_value(const struct option_spec *spec, int argc, char **argv,
                      int *i, const char **ret, struct error *err)
{
    const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;

    /* "--qmp --json" is a forgotten value far more often than a value. */
    if (!next || strncmp(next, "--", 2) == 0) {
        fail(err, ERR_USAGE, "option '--%s' needs a value: %s", spec->name,
             spec->arg);
        if (next && next[2])
            error_hint(err, "if '%s' is the value, write '--%s=%s'", next,
                       spec->name, next);
        return err->code;
    }
    *i += 1;
    *ret = next;
    return 0;
}

static int parse_long(const struct option_spec *specs, int argc, char **argv,
                      int *i, void *values, struct error *err)
{
    const char *word = argv[*i];
    const struct option_spec *spec = find(specs, word);
    const char *equals = strchr(word, '=');
    const char *value = equals ? equals + 1 : NULL;
    int rc = 0;

    if (!spec)
        return fail_unknown(specs, NULL, word, err);
    if (value && !option_kind_takes_value(spec->kind) &&
        spec->kind != OPTION_PERCENT)
        return fail(err, ERR_USAGE, "option '--%s' takes no value", spec->name);
    if (!value && option_kind_takes_value(spec->kind))
        rc = next_value(spec, argc, argv, i, &value, err);
    return rc < 0 ? rc : option_value_set(spec, value, values, err);
}

/* "-q", "-qv", "-nVALUE", "-n VALUE". */
static int parse_letters(const struct option_spec *specs, int argc, char **argv,
                         int *i, void *values, struct error *err)
{
    for (const char *p = argv[*i] + 1; *p; p++) {
        const struct option_spec *spec = find_letter(specs, *p);
        const char *value = NULL;
        bool takes_value;
        int rc = 0;

        if (!spec)
            return fail(err, ERR_USAGE, "unknown option '-%c'", *p);
        takes_value = option_kind_takes_value(spec->kind);
        if (takes_value && p[1])
            value = p + 1;
        else if (takes_value)
            rc = next_value(spec, argc, argv, i, &value, err);
        if (rc == 0)
            rc = option_value_set(spec, value, values, err);
        if (rc < 0 || takes_value)
            return rc;
    }
    return 0;
}

static int parse_word(const struct option_spec *specs, int argc, char **argv,
                      int *i, void *values, struct error *err)
{
    if (argv[*i][1] == '-')
        return parse_long(specs, argc, argv, i, values, err);
    return parse_letters(specs, argc, argv, i, values, err);
}

int options_parse(const struct option_spec *specs, int argc, char **argv,
                  void *values, struct option_words *ret, struct error *err)
{
    int n_rest = 0;
    int i;

    for (i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (is_option(argv[i])) {
            int rc = parse_word(specs, argc, argv, &i, values, err);

            if (rc < 0)
                return rc;
        } else {
            argv[1 + n_rest++] = argv[i];
        }
    }
    *ret = (struct option_words){
        .rest = argv + 1,
        .n_rest = n_rest,
        .behind = i < argc ? argv + i + 1 : NULL,
    };
    /* Never behind the end: at most the word that is now a copy, or `--`. */
    argv[1 + n_rest] = NULL;
    return 0;
}

int options_check_words(const struct option_words *words, int min, int max,
                        const char *what, struct error *err)
{
    if (words->n_rest < min)
        return fail(err, ERR_USAGE, "%s is missing", what);
    if (words->n_rest > max)
        return fail(err, ERR_USAGE, "one word too many: '%s'",
                    words->rest[max]);
    if (words->behind)
        return fail(err, ERR_USAGE, "nothing can stand behind '--' here");
    return 0;
}

/* How many words the option at argv[i] takes that stays where it is. */
static int kept_words(const struct option_spec *others, char **argv, int i)
{
    const struct option_spec *spec = find(others, argv[i]);
    bool has_inline =
        argv[i][1] == '-' ? strchr(argv[i], '=') != NULL : argv[i][2] != '\0';

    if (!spec || has_inline || !option_kind_takes_value(spec->kind))
        return 1;
    return argv[i + 1] && strncmp(argv[i + 1], "--", 2) != 0 ? 2 : 1;
}

int options_extract(const struct option_spec *specs,
                    const struct option_spec *others, int *argc, char **argv,
                    void *values, struct error *err)
{
    int kept = 1;
    int i;

    for (i = 1; i < *argc && strcmp(argv[i], "--") != 0; i++) {
        int words = 1;

        if (is_option(argv[i]) && find(specs, argv[i])) {
            int rc = parse_word(specs, *argc, argv, &i, values, err);

            if (rc < 0)
                return rc;
            continue;
        }
        if (is_option(argv[i]) && others && !find(others, argv[i]))
            return fail_unknown(others, specs, argv[i], err);
        if (is_option(argv[i]))
            words = kept_words(others, argv, i);
        while (words-- > 0)
            argv[kept++] = argv[words ? i++ : i];
    }
    for (; i < *argc; i++)
        argv[kept++] = argv[i];
    argv[kept] = NULL;
    *argc = kept;
    return 0;
}

static int append_names(const struct option_spec *s, struct buf *ret,
                        struct error *err)
{
    char letter[] = "    ";
    const char *before = "";
    const char *arg = "";
    const char *after = "";

    if (s->letter)
        snprintf(letter, sizeof(letter), "-%c, ", s->letter);
    if (s->arg) {
        before = s->kind == OPTION_PERCENT ? "[=" : " ";
        arg = s->arg;
        after = s->kind == OPTION_PERCENT ? "]" : "";
    }
    return buf_printf(ret, err, "  %s--%s%s%s%s", letter, s->name, before, arg,
                      after);
}

int options_help(const struct option_spec *specs, struct buf *ret,
                 struct error *err)
{
    for (const struct option_spec *s = specs; s && s->name; s++) {
        size_t start = ret->len;
        size_t column;
        int rc = append_names(s, ret, err);

        column = ret->len - start;
        if (rc == 0 && column + 2 > HELP_COLUMN) {
            rc = buf_append_u8(ret, '\n', err);
            column = 0;
        }
        if (rc == 0)
            rc = buf_printf(ret, err, "%*s", (int)(HELP_COLUMN - column), "");
        if (rc == 0)
            rc = wrap_text(ret, s->help, HELP_COLUMN, HELP_COLUMN, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}
