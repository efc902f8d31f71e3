/*
 * wrap.c - greedy: a word that does not fit starts the next line. What stands
 * in brackets is one word, so that "[--name VM]" is never torn.
 */
#include "cli/wrap.h"

/* Bytes until the blank or newline that ends a word; blanks within brackets
 * belong to it. */
static size_t word_len(const char *text)
{
    int depth = 0;
    size_t n;

    for (n = 0; text[n] && text[n] != '\n'; n++) {
        if (text[n] == ' ' && depth == 0)
            break;
        depth += (text[n] == '[') - (text[n] == ']');
    }
    return n;
}

static int new_line(struct buf *b, size_t indent, struct error *err)
{
    return buf_printf(b, err, "\n%*s", (int)indent, "");
}

int wrap_text(struct buf *b, const char *text, size_t column, size_t indent,
              struct error *err)
{
    bool fresh = true; /* nothing but the indentation stands on the line */

    while (*text) {
        size_t len = word_len(text);
        bool breaks = !fresh && column + 1 + len > WRAP_COLUMNS;
        int rc = 0;

        if (*text == '\n' || breaks) {
            rc = new_line(b, text[0] == '\n' && text[1] == '\n' ? 0 : indent,
                          err);
            column = indent;
            fresh = true;
            text += *text == '\n';
        } else if (len > 0) {
            rc = buf_printf(b, err, "%s%.*s", fresh ? "" : " ", (int)len, text);
            column += len + !fresh;
            fresh = false;
            text += len + (text[len] == ' ');
        } else {
            text++;
        }
        if (rc < 0)
            return rc;
    }
    return buf_append_u8(b, '\n', err);
}
