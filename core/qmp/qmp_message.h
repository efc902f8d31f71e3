/*
 * qmp_message.h - QMP as lines: bytes in, messages out, and commands as text.
 *
 * Pure: no socket, no clock, no thread. The monitor sends one JSON object a
 * line. A reader collects bytes cut anywhere and gives whole messages; what is
 * no QMP (not JSON, a line without end, an object of no known kind) ends in
 * ERR_PROTOCOL and the reader must not be used further. The caller owns the
 * struct; nothing allocates more than a line's length, QMP_LINE_MAX.
 */
#ifndef FIRN_CORE_QMP_QMP_MESSAGE_H
#define FIRN_CORE_QMP_QMP_MESSAGE_H

#include "core/base/json.h"

/* Far above any answer (query-qmp-schema: 300 KB), far below harm. */
#define QMP_LINE_MAX (16u << 20)

#define QMP_NO_ID INT64_C(-1)

enum qmp_message_kind {
    QMP_GREETING = 1, /* {"QMP": {"version": …, "capabilities": […]}} */
    QMP_RETURN,       /* {"return": …, "id": …} */
    QMP_ERROR,        /* {"error": {"class": …, "desc": …}, "id": …} */
    QMP_EVENT,        /* {"event": …, "data": …, "timestamp": …} */
};

struct qmp_message {
    enum qmp_message_kind kind;
    int64_t id;   /* of an answer; QMP_NO_ID when it names none */
    json_t *body; /* the whole object; whoever got the message owns it */
};

struct qmp_reader {
    struct buf bytes;
    size_t start;   /* first byte that was not given out yet */
    size_t scanned; /* no newline between `start` and here */
};

#define QMP_READER_INIT ((struct qmp_reader){0})

/* Frees the bytes; an empty reader remains. */
void qmp_reader_release(struct qmp_reader *r);

/* Takes bytes in; ERR_NOMEM is the only error. To be followed by next() until
 * it has none: that is where lines are parsed and their length is bounded. */
int qmp_reader_feed(struct qmp_reader *r, const void *data, size_t len,
                    struct error *err) NODISCARD;

/* The next whole message; *ret_got is false when more bytes are needed.
 * ERR_PROTOCOL: no QMP, or a line of more than QMP_LINE_MAX. */
int qmp_reader_next(struct qmp_reader *r, struct qmp_message *ret,
                    bool *ret_got, struct error *err) NODISCARD;

struct qmp_command {
    const char *name;
    const json_t *args; /* NULL: none */
    int64_t id;
    bool oob;
};

/* Appends the command's line. */
int qmp_put_command(struct buf *b, const struct qmp_command *c,
                    struct error *err) NODISCARD;

/* The entry of a capability in an answer to query-migrate-capabilities, NULL if
 * this QEMU does not know it; borrowed. */
const json_t *qmp_find_capability(const json_t *capabilities, const char *name);

#endif
