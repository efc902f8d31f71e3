/*
 * metrics.c - a text file read, changed and written whole.
 *
 * Prometheus' collector reads the file at any instant, so it is replaced, not
 * written into. One table has each figure's name and help; lines of others, or
 * of an older version of ours, are not kept.
 */
#include "cli/metrics.h"

#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>

#include "core/base/path.h"

/* Far more than a line for each figure of a thousand VMs. */
#define FILE_MAX_BYTES (4u << 20)

static const struct {
    const char *name;
    const char *help;
} metrics[METRICS] = {
#define X(constant, name, help) [constant] = {name, help},
    METRICS_OF_VMS(X) METRICS_OF_RUNS(X)
#undef X
};

static struct metric_value *find(const struct metrics *m, enum metric metric,
                                 const char *vm)
{
    for (size_t i = 0; i < m->n; i++) {
        if (m->values[i].metric == metric && strcmp(m->values[i].vm, vm) == 0)
            return &m->values[i];
    }
    return NULL;
}

int metrics_set(struct metrics *m, enum metric metric, const char *vm,
                double value, struct error *err)
{
    struct metric_value *at = find(m, metric, vm);
    struct metric_value *values;

    if (!at) {
        values = realloc(m->values, (m->n + 1) * sizeof(*values));
        if (!values)
            return fail_nomem(err);
        m->values = values;
        at = &values[m->n];
        *at = (struct metric_value){.metric = metric, .vm = strdup(vm)};
        if (!at->vm)
            return fail_nomem(err);
        m->n++;
    }
    at->value = value;
    return 0;
}

/* A figure that one of the program's own has another unit for. */
static int set_scaled(struct metrics *m, enum metric metric, const char *vm,
                      uint64_t value, double unit, struct error *err)
{
    return metrics_set(m, metric, vm, (double)value / unit, err);
}

static int set_snapshot(struct metrics *m, const struct metrics_of_vm *f,
                        struct error *err)
{
    int rc = set_scaled(m, METRIC_DURATION, f->vm, f->duration_ms, 1e3, err);

    if (rc == 0)
        rc = set_scaled(m, METRIC_DOWNTIME, f->vm, f->downtime_ms, 1e3, err);
    if (rc == 0)
        rc = set_scaled(m, METRIC_BYTES, f->vm, f->stored_bytes, 1, err);
    if (rc == 0)
        rc = set_scaled(m, METRIC_FAULTS, f->vm, f->qemu_faults, 1, err);
    return rc;
}

int metrics_set_vm(struct metrics *m, const struct metrics_of_vm *f,
                   struct error *err)
{
    int rc = metrics_set(m, METRIC_SUCCESS, f->vm, f->success, err);

    if (rc == 0)
        rc = metrics_set(m, METRIC_RUNNING, f->vm, f->runs, err);
    if (rc == 0 && f->last_ns)
        rc = set_scaled(m, METRIC_LAST_SUCCESS, f->vm, f->last_ns / 1000000,
                        1e3, err);
    if (rc == 0 && f->checked_ns)
        rc = set_scaled(m, METRIC_LAST_CHECK, f->vm, f->checked_ns / 1000000,
                        1e3, err);
    if (rc == 0 && f->taken)
        rc = set_snapshot(m, f, err);
    return rc;
}

void metrics_retain(struct metrics *m, bool (*wanted)(void *arg, const char *vm),
                    void *arg)
{
    size_t kept = 0;

    for (size_t i = 0; i < m->n; i++) {
        if (!m->values[i].vm[0] || wanted(arg, m->values[i].vm))
            m->values[kept++] = m->values[i];
        else
            free(m->values[i].vm);
    }
    m->n = kept;
}

void metrics_release(struct metrics *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->values[i].vm);
    free(m->values);
    *m = (struct metrics){0};
}

/* Reading. */

/* `"web\"1"` → web"1, in place; the text behind the closing quote, or NULL. */
static char *unquote(char *text, char **ret)
{
    char *to = text;

    if (*text++ != '"')
        return NULL;
    *ret = to;
    for (; *text && *text != '"'; text++) {
        char c = *text;

        if (c == '\\') {
            c = *++text;
            if (!c)
                return NULL;
            c = c == 'n' ? '\n' : c;
        }
        *to++ = c;
    }
    if (*text != '"')
        return NULL;
    *to = '\0';
    return text + 1;
}

/* A line that is none of ours is 0 as well. */
static int take_line(struct metrics *m, char *line, struct error *err)
{
    static const char label[] = "{vm=";
    size_t len = strcspn(line, "{ ");
    char *vm = (char *)"";
    char *rest = line + len;
    char *end;
    double value;

    for (int i = 0; i < METRICS; i++) {
        if (strlen(metrics[i].name) != len ||
            memcmp(metrics[i].name, line, len) != 0)
            continue;
        if (strncmp(rest, label, strlen(label)) == 0) {
            rest = unquote(rest + strlen(label), &vm);
            if (!rest || *rest++ != '}')
                return 0;
        }
        value = strtod(rest, &end);
        if (end == rest || *end || !isfinite(value))
            return 0;
        return metrics_set(m, (enum metric)i, vm, value, err);
    }
    return 0;
}

int metrics_load(const char *path, struct metrics *ret, struct error *err)
{
    cleanup_buf struct buf text = BUF_INIT;
    char *line, *next;
    int rc = 0;

    *ret = (struct metrics){0};
    if (access(path, F_OK) < 0)
        return 0;
    rc = path_read_file(AT_FDCWD, path, FILE_MAX_BYTES, &text, err);
    if (rc == 0)
        rc = buf_append_u8(&text, 0, err);
    for (line = (char *)text.data; rc == 0 && line && *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next)
            *next++ = '\0';
        rc = take_line(ret, line, err);
    }
    return rc;
}

/* Writing. */

static int append_label(struct buf *b, const char *vm, struct error *err)
{
    int rc = buf_printf(b, err, "{vm=\"");

    for (; rc == 0 && *vm; vm++) {
        if (*vm == '\n')
            rc = buf_printf(b, err, "\\n");
        else if (*vm == '\\' || *vm == '"')
            rc = buf_printf(b, err, "\\%c", *vm);
        else
            rc = buf_append_u8(b, (uint8_t)*vm, err);
    }
    return rc < 0 ? rc : buf_printf(b, err, "\"}");
}

/* A metric's lines stand together, behind its help and type. */
static int append_metric(struct buf *b, const struct metrics *m,
                         enum metric metric, struct error *err)
{
    bool first = true;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < m->n; i++) {
        const struct metric_value *v = &m->values[i];

        if (v->metric != metric)
            continue;
        if (first)
            rc = buf_printf(b, err, "# HELP %s %s\n# TYPE %s gauge\n",
                            metrics[metric].name, metrics[metric].help,
                            metrics[metric].name);
        first = false;
        if (rc == 0)
            rc = buf_printf(b, err, "%s", metrics[metric].name);
        if (rc == 0 && v->vm[0])
            rc = append_label(b, v->vm, err);
        if (rc == 0)
            rc = buf_printf(b, err, " %.15g\n", v->value);
    }
    return rc;
}

static int write_all(int fd, const char *path, const struct buf *b,
                     struct error *err)
{
    int rc = path_write_at(fd, b->data, b->len, 0, err);

    /* The collector is another user. */
    if (rc == 0 && fchmod(fd, 0644) < 0)
        rc = fail_errno(err, ERR_IO, "cannot make '%s' readable", path);
    if (rc == 0 && fsync(fd) < 0)
        rc = fail_errno(err, ERR_IO, "cannot write '%s'", path);
    return rc;
}

int metrics_write(const struct metrics *m, const char *path, struct error *err)
{
    cleanup_buf struct buf b = BUF_INIT;
    cleanup_close int fd = -1;
    cleanup_free char *temporary = NULL;
    int rc = 0;

    for (int i = 0; rc == 0 && i < METRICS; i++)
        rc = append_metric(&b, m, (enum metric)i, err);
    if (rc < 0)
        return rc;
    /* Not *.prom: the collector must not read it. */
    if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
        return fail_nomem(err);
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return fail_errno(err, ERR_IO, "cannot write beside '%s'", path);
    rc = write_all(fd, path, &b, err);
    if (rc == 0 && rename(temporary, path) < 0)
        rc = fail_errno(err, ERR_IO, "cannot put '%s' in place", path);
    if (rc < 0)
        unlink(temporary);
    return rc;
}
