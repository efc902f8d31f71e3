/*
 * qmp_message.c - cuts what a monitor sends into lines, and lines into
 * messages.
 *
 * Bytes are looked at once: `scanned` remembers how far no newline was found,
 * so that a long answer that comes in small pieces is not searched from its
 * start at each of them. Lines are given out in place and the buffer is moved
 * up only now and then. What kind a message is follows from the one member that
 * only this kind has; an answer without an id is one to a line that QEMU could
 * not parse.
 */
#include "core/qmp/qmp_message.h"

/* Bytes given out are dropped when they are this many, not line by line. */
#define COMPACT_BYTES 65536u

void qmp_reader_release(struct qmp_reader *r)
{
    buf_release(&r->bytes);
    *r = QMP_READER_INIT;
}

static void compact(struct qmp_reader *r)
{
    if (r->start < r->bytes.len && r->start < COMPACT_BYTES)
        return;
    buf_consume(&r->bytes, r->start);
    r->scanned -= r->start;
    r->start = 0;
}

int qmp_reader_feed(struct qmp_reader *r, const void *data, size_t len,
                    struct error *err)
{
    compact(r);
    return buf_append(&r->bytes, data, len, err);
}

/* The line at `start`, without its end; NULL when it is not whole yet. */
static const uint8_t *next_line(struct qmp_reader *r, size_t *ret_len)
{
    const uint8_t *line = r->bytes.data + r->start;
    const uint8_t *end;

    assert(r->start <= r->scanned && r->scanned <= r->bytes.len);
    if (r->scanned == r->bytes.len)
        return NULL;
    end = memchr(r->bytes.data + r->scanned, '\n', r->bytes.len - r->scanned);
    if (!end) {
        r->scanned = r->bytes.len;
        return NULL;
    }
    *ret_len = (size_t)(end - line);
    r->start += *ret_len + 1;
    r->scanned = r->start;
    return line;
}

static bool is_blank(const uint8_t *line, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (line[i] != '\r' && line[i] != ' ' && line[i] != '\t')
            return false;
    }
    return true;
}

static int classify(const json_t *body, struct qmp_message *ret,
                    struct error *err)
{
    const json_t *id = json_object_get(body, "id");

    ret->id = json_is_integer(id) ? (int64_t)json_integer_value(id) : QMP_NO_ID;
    if (json_is_object(json_object_get(body, "QMP")))
        ret->kind = QMP_GREETING;
    else if (json_object_get(body, "return"))
        ret->kind = QMP_RETURN;
    else if (json_is_object(json_object_get(body, "error")))
        ret->kind = QMP_ERROR;
    else if (json_is_string(json_object_get(body, "event")))
        ret->kind = QMP_EVENT;
    else
        return fail(err, ERR_PROTOCOL,
                    "an object that is no greeting, answer or event");
    return 0;
}

static int parse_line(const uint8_t *line, size_t len, struct qmp_message *ret,
                      struct error *err)
{
    cleanup_json json_t *body = NULL;
    struct qmp_message m;
    int rc = json_parse(line, len, &body, err);

    if (rc < 0)
        return rc;
    rc = classify(body, &m, err);
    if (rc < 0)
        return rc;
    m.body = steal_ptr(&body);
    *ret = m;
    return 0;
}

int qmp_reader_next(struct qmp_reader *r, struct qmp_message *ret,
                    bool *ret_got, struct error *err)
{
    const uint8_t *line;
    size_t len = 0;
    int rc;

    do {
        line = next_line(r, &len);
    } while (line && is_blank(line, len));

    if (!line)
        len = r->bytes.len - r->start;
    if (len > QMP_LINE_MAX)
        return fail(err, ERR_PROTOCOL, "a line of more than %u bytes",
                    QMP_LINE_MAX);
    if (!line) {
        *ret_got = false;
        return 0;
    }
    rc = parse_line(line, len, ret, err);
    if (rc < 0)
        return rc;
    *ret_got = true;
    return 0;
}

int qmp_put_command(struct buf *b, const struct qmp_command *c,
                    struct error *err)
{
    cleanup_json json_t *line = NULL;
    int rc =
        json_build(&line, err, "{s:s, s:I}", c->oob ? "exec-oob" : "execute",
                   c->name, "id", (json_int_t)c->id);

    if (rc < 0)
        return rc;
    if (c->args && json_object_set(line, "arguments", (json_t *)c->args) < 0)
        return fail_nomem(err);
    rc = json_print(line, b, err);
    if (rc < 0)
        return rc;
    return buf_append(b, "\r\n", 2, err);
}

const json_t *qmp_find_capability(const json_t *capabilities, const char *name)
{
    const json_t *item;
    size_t i;

    json_array_foreach(capabilities, i, item)
    {
        if (strcmp(json_path_str(item, "capability", ""), name) == 0)
            return item;
    }
    return NULL;
}
