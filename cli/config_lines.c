/*
 * config_lines.c - an INI file, line by line, cut in place.
 *
 * The text is the caller's and is cut up where it lies: a line's words point
 * into it. What a section or a key means is not known here, config.c says.
 */
#include "cli/config_lines.h"

#define BLANKS " \t\r"

/* Without the blanks around it, in place. */
static char *trim(char *text)
{
    size_t len;

    text += strspn(text, BLANKS);
    len = strlen(text);
    while (len > 0 && strchr(BLANKS, text[len - 1]))
        text[--len] = '\0';
    return text;
}

/* "[vm web1]": all behind the first blank is the name. */
static int cut_section(char *text, struct config_line *l, struct error *err)
{
    size_t len = strlen(text);
    char *word, *name;

    if (text[len - 1] != ']')
        return fail(err, ERR_USAGE, "'%s' has no ']' at its end", text);
    text[len - 1] = '\0';
    word = trim(text + 1);
    name = word + strcspn(word, BLANKS);
    if (*name)
        *name++ = '\0';
    l->word = word;
    l->name = trim(name);
    return 0;
}

static int cut_key(char *text, struct config_line *l, struct error *err)
{
    char *equals = strchr(text, '=');

    if (!equals)
        return fail(err, ERR_USAGE, "'%s' is not of the form 'key = value'",
                    text);
    *equals = '\0';
    l->key = trim(text);
    l->value = trim(equals + 1);
    return 0;
}

int config_lines_read(char *text, const char *name,
                      int (*line)(void *arg, const struct config_line *l,
                                  struct error *err),
                      void *arg, struct error *err)
{
    struct config_line l = {0};
    int rc = 0;

    while (rc == 0 && text) {
        char *end = strchr(text, '\n');
        char *part;

        if (end)
            *end++ = '\0';
        part = trim(text);
        text = end;
        l = (struct config_line){.number = l.number + 1};
        if (!*part || *part == '#')
            continue;
        rc = *part == '[' ? cut_section(part, &l, err) : cut_key(part, &l, err);
        if (rc == 0)
            rc = line(arg, &l, err);
    }
    return rc < 0 ? error_wrap(err, "%s:%u", name, l.number) : 0;
}
