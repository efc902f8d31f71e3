/*
 * output.c - stdout is a buffered stream whose errors are kept by the stream
 * and asked for at each flush; stderr gets each message in one write(2).
 */
#include "cli/output.h"

#include <poll.h>
#include <stdarg.h>

#include "core/base/clock.h"

void output_mask(char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7f)
            *text = '?';
    }
}

/* Formats into `fixed`, or into new memory when that is too small; NULL when
 * there is none. */
static char *format(char *fixed, size_t size, const char *fmt, va_list ap)
    PRINTF_LIKE(3, 0);

static char *format(char *fixed, size_t size, const char *fmt, va_list ap)
{
    va_list again;
    char *text = fixed;
    int n;

    va_copy(again, ap);
    n = vsnprintf(fixed, size, fmt, again);
    va_end(again);
    if (n < 0)
        return NULL;
    if ((size_t)n >= size) {
        text = malloc((size_t)n + 1);
        if (text)
            vsnprintf(text, (size_t)n + 1, fmt, ap);
    }
    if (text)
        output_mask(text);
    return text;
}

void output_text(const char *fmt, ...)
{
    char fixed[1024];
    char *text;
    va_list ap;

    va_start(ap, fmt);
    text = format(fixed, sizeof(fixed), fmt, ap);
    va_end(ap);
    /* The stream remembers a failure, output_flush() tells it. */
    fputs(text ? text : "(out of memory)\n", stdout);
    if (text != fixed)
        free(text);
}

void output_message(const char *fmt, ...)
{
    char fixed[2048];
    char *text;
    va_list ap;

    va_start(ap, fmt);
    text = format(fixed, sizeof(fixed), fmt, ap);
    va_end(ap);
    if (text && write(STDERR_FILENO, text, strlen(text)) < 0) {
        /* Nobody is left to be told. */
    }
    if (text != fixed)
        free(text);
}

int output_flush(struct error *err)
{
    if (fflush(stdout) != 0)
        return fail_errno(err, ERR_IO, "cannot write to standard output");
    if (ferror(stdout))
        return fail(err, ERR_IO, "cannot write to standard output");
    return 0;
}

bool output_reader_gone(void)
{
    struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

    return ferror(stdout) && poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
}

int output_json(json_t *object, struct error *err)
{
    cleanup_json json_t *owned = object;
    cleanup_buf struct buf line = BUF_INIT;
    int rc;

    if (!owned)
        return fail_nomem(err);
    rc = json_print(owned, &line, err);
    if (rc < 0)
        return rc;
    rc = buf_append_u8(&line, '\n', err);
    if (rc < 0)
        return rc;
    fwrite(line.data, 1, line.len, stdout);
    return output_flush(err);
}

const char *output_size(uint64_t bytes, char text[static 32])
{
    static const char *const units[] = {"B",   "KiB", "MiB", "GiB",
                                        "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;

    /* 1023.95 would be printed as 1024.0. */
    while (value >= 1023.95 && unit + 1 < ARRAY_LEN(units)) {
        value /= 1024;
        unit++;
    }
    if (unit == 0)
        snprintf(text, 32, "%u B", (unsigned)bytes);
    else
        snprintf(text, 32, "%.1f %s", value, units[unit]);
    return text;
}

const char *output_duration(uint64_t ms, char text[static 32])
{
    uint64_t s = ms / 1000;

    if (ms < 1000)
        snprintf(text, 32, "%u ms", (unsigned)ms);
    else if (s < 60)
        snprintf(text, 32, "%u.%u s", (unsigned)s, (unsigned)(ms % 1000 / 100));
    else if (s < 3600)
        snprintf(text, 32, "%u m %u s", (unsigned)(s / 60), (unsigned)(s % 60));
    else
        snprintf(text, 32, "%llu h %u m", (unsigned long long)(s / 3600),
                 (unsigned)(s / 60 % 60));
    return text;
}

const char *output_time(uint64_t realtime_ns, char text[static 32])
{
    time_t seconds = (time_t)(realtime_ns / NS_PER_SEC);
    struct tm local;

    if (realtime_ns == 0 || !localtime_r(&seconds, &local) ||
        strftime(text, 32, "%Y-%m-%d %H:%M:%S", &local) == 0)
        snprintf(text, 32, "-");
    return text;
}

#define COLUMNS_MAX 16u

struct output_table {
    const char *const *headings;
    size_t n_columns;
    char **cells; /* row by row; owned */
    size_t n_cells;
    size_t cap;
};

int output_table_new(const char *const *headings, size_t n_columns,
                     struct output_table **ret, struct error *err)
{
    struct output_table *t = calloc(1, sizeof(*t));

    assert(n_columns <= COLUMNS_MAX);
    if (!t)
        return fail_nomem(err);
    t->headings = headings;
    t->n_columns = n_columns;
    *ret = t;
    return 0;
}

void output_table_free(struct output_table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n_cells; i++)
        free(t->cells[i]);
    free(t->cells);
    free(t);
}

int output_table_row(struct output_table *t, const char *const *cells,
                     struct error *err)
{
    if (t->n_cells + t->n_columns > t->cap) {
        size_t cap = (t->cap + t->n_columns) * 2;
        char **bigger = realloc(t->cells, cap * sizeof(*bigger));

        if (!bigger)
            return fail_nomem(err);
        t->cells = bigger;
        t->cap = cap;
    }
    for (size_t i = 0; i < t->n_columns; i++) {
        char *cell = strdup(cells[i]);

        if (!cell)
            return fail_nomem(err);
        t->cells[t->n_cells++] = cell;
    }
    return 0;
}

/* Columns on the screen: UTF-8 characters, each taken as one wide. */
static size_t text_width(const char *text)
{
    size_t width = 0;

    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static bool is_right(const struct output_table *t, size_t column)
{
    return t->headings[column][0] == '>';
}

static const char *heading(const struct output_table *t, size_t column)
{
    return t->headings[column] + is_right(t, column);
}

static size_t column_width(const struct output_table *t, size_t column)
{
    size_t width = text_width(heading(t, column));

    for (size_t i = column; i < t->n_cells; i += t->n_columns)
        width = MAX(width, text_width(t->cells[i]));
    return width;
}

/* One row, without the blanks that would stand at its end. */
static void print_row(const struct output_table *t, const size_t *widths,
                      const char *const *cells)
{
    size_t blanks = 0;

    for (size_t i = 0; i < t->n_columns; i++) {
        size_t padding = widths[i] - text_width(cells[i]);

        if (is_right(t, i))
            blanks += padding;
        if (cells[i][0]) {
            output_text("%*s%s", (int)blanks, "", cells[i]);
            blanks = 0;
        }
        blanks += 2 + (is_right(t, i) ? 0 : padding);
    }
    output_text("\n");
}

void output_table_print(const struct output_table *t)
{
    const char *headings[COLUMNS_MAX];
    size_t widths[COLUMNS_MAX];

    for (size_t i = 0; i < t->n_columns; i++) {
        headings[i] = heading(t, i);
        widths[i] = column_width(t, i);
    }
    print_row(t, widths, headings);
    for (size_t i = 0; i < t->n_cells; i += t->n_columns)
        print_row(t, widths, (const char *const *)t->cells + i);
}
