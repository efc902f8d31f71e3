/*
 * link.h - what front, keeper and pager say to each other: JSON lines.
 *
 * Each pair is joined by a socketpair. A line is one object with a "type" and
 * short: it fits into the socket's buffer, so that sending never waits. A
 * reader that is gone is no error of the sender: processes outlive each other
 * on purpose. One thread at a time an end.
 */
#ifndef FIRN_RESTORE_LINK_H
#define FIRN_RESTORE_LINK_H

#include "core/base/json.h"
#include "core/base/stopper.h"

#define LINK_LINE_MAX (1u << 20)

struct link {
    int fd; /* owned; -1: none */
    struct buf in;
    bool ended; /* the other end is closed and all its lines were taken */
};

#define LINK_INIT ((struct link){.fd = -1})

/* Both ends, close-on-exec. */
int link_pair(struct link *ret_a, struct link *ret_b,
              struct error *err) NODISCARD;
/* Closes our end; what was not read is dropped. */
void link_release(struct link *l);

/* Takes the reference over. A peer that is gone is no error. */
int link_send(struct link *l, json_t *message, struct error *err) NODISCARD;

/* The next line that is there, without waiting; NULL: none, see `ended`. */
int link_poll(struct link *l, json_t **ret, struct error *err) NODISCARD;
/* Waits for a line; NULL when the other end is closed. */
int link_wait(struct link *l, struct stopper *stop, uint64_t deadline_ns,
              json_t **ret, struct error *err) NODISCARD;

/* {"type":"error","code","message","hint"} and back; the code survives. */
json_t *link_error_message(const struct error *why);
/* Returns the code. One that is missing or makes no sense reads as ERR_IO. */
int link_error_of(const json_t *message, struct error *err);
/* Whether a message is of this type. */
bool link_is(const json_t *message, const char *type);

static inline UNUSED void cleanup_link_fn(struct link *l)
{
    link_release(l);
}
#define cleanup_link cleanup(link)

#endif
