#include "core/vm/postcopy_state.h"

#define LOG_AREA "postcopy"
#include "core/base/log.h"

/*
 * from       -> to         [by]
 * none       -> advise     [ADVISE]
 * advise     -> discard    [the first DISCARD]
 * discard    -> listening  [LISTEN]
 * listening  -> running    [RUN]
 * running    -> paused     [the channels broke]
 * paused     -> recover    [new channels]
 * recover    -> running    [RESUME]
 * recover    -> paused     [the new channels broke as well]
 * running, none, advise -> end  [EOF; the first two end like a precopy]
 * any        -> end        [the destination is gone]
 *
 * LISTEN and ADVISE are refused once the guest runs: QEMU overwrites its state
 * before it checks it, and the VM is lost.
 */

#define BIT(n) (1u << (n))

static const uint32_t moves[] = {
    [POSTCOPY_NONE] = BIT(POSTCOPY_ADVISE) | BIT(POSTCOPY_END),
    [POSTCOPY_ADVISE] = BIT(POSTCOPY_DISCARD) | BIT(POSTCOPY_END),
    [POSTCOPY_DISCARD] = BIT(POSTCOPY_LISTENING) | BIT(POSTCOPY_END),
    [POSTCOPY_LISTENING] = BIT(POSTCOPY_RUNNING) | BIT(POSTCOPY_END),
    [POSTCOPY_RUNNING] = BIT(POSTCOPY_PAUSED) | BIT(POSTCOPY_END),
    [POSTCOPY_END] = 0,
    [POSTCOPY_PAUSED] = BIT(POSTCOPY_RECOVER) | BIT(POSTCOPY_END),
    [POSTCOPY_RECOVER] =
        BIT(POSTCOPY_RUNNING) | BIT(POSTCOPY_PAUSED) | BIT(POSTCOPY_END),
};
static_assert(ARRAY_LEN(moves) == POSTCOPY__COUNT, "moves of each state");

static const char *const names[] = {
    [POSTCOPY_NONE] = "none",       [POSTCOPY_ADVISE] = "advise",
    [POSTCOPY_DISCARD] = "discard", [POSTCOPY_LISTENING] = "listening",
    [POSTCOPY_RUNNING] = "running", [POSTCOPY_END] = "end",
    [POSTCOPY_PAUSED] = "paused",   [POSTCOPY_RECOVER] = "recover",
};
static_assert(ARRAY_LEN(names) == POSTCOPY__COUNT, "a name for each state");

static const char *const message_names[] = {
    [POSTCOPY_SEND_CONFIG] = "CONFIG",
    [POSTCOPY_SEND_OPEN_RETURN_PATH] = "OPEN_RETURN_PATH",
    [POSTCOPY_SEND_PING] = "PING",
    [POSTCOPY_SEND_ADVISE] = "ADVISE",
    [POSTCOPY_SEND_RAM_SETUP] = "RAM block list",
    [POSTCOPY_SEND_RAM_PAGES] = "pages",
    [POSTCOPY_SEND_DISCARD] = "DISCARD",
    [POSTCOPY_SEND_PACKAGED] = "PACKAGED",
    [POSTCOPY_SEND_LISTEN] = "LISTEN",
    [POSTCOPY_SEND_DEVICES] = "device state",
    [POSTCOPY_SEND_RUN] = "RUN",
    [POSTCOPY_SEND_RECV_BITMAP] = "RECV_BITMAP",
    [POSTCOPY_SEND_RESUME] = "RESUME",
    [POSTCOPY_SEND_EOF] = "end of the stream",
};
static_assert(ARRAY_LEN(message_names) == POSTCOPY_SEND__COUNT,
              "a name for each message");

/* Messages that QEMU takes in each state of its own. */
static const uint32_t legal[] = {
    [POSTCOPY_NONE] =
        BIT(POSTCOPY_SEND_CONFIG) | BIT(POSTCOPY_SEND_OPEN_RETURN_PATH) |
        BIT(POSTCOPY_SEND_PING) | BIT(POSTCOPY_SEND_ADVISE) |
        BIT(POSTCOPY_SEND_RAM_SETUP) | BIT(POSTCOPY_SEND_RAM_PAGES) |
        BIT(POSTCOPY_SEND_DEVICES) | BIT(POSTCOPY_SEND_EOF),
    [POSTCOPY_ADVISE] = BIT(POSTCOPY_SEND_OPEN_RETURN_PATH) |
                        BIT(POSTCOPY_SEND_PING) | BIT(POSTCOPY_SEND_RAM_SETUP) |
                        BIT(POSTCOPY_SEND_RAM_PAGES) |
                        BIT(POSTCOPY_SEND_DISCARD) |
                        BIT(POSTCOPY_SEND_DEVICES) | BIT(POSTCOPY_SEND_EOF),
    [POSTCOPY_DISCARD] = BIT(POSTCOPY_SEND_DISCARD) | BIT(POSTCOPY_SEND_PING) |
                         BIT(POSTCOPY_SEND_PACKAGED) |
                         BIT(POSTCOPY_SEND_LISTEN),
    [POSTCOPY_LISTENING] = BIT(POSTCOPY_SEND_DEVICES) |
                           BIT(POSTCOPY_SEND_PING) | BIT(POSTCOPY_SEND_RUN) |
                           BIT(POSTCOPY_SEND_RAM_PAGES),
    [POSTCOPY_RUNNING] =
        BIT(POSTCOPY_SEND_RAM_PAGES) | BIT(POSTCOPY_SEND_PING) |
        BIT(POSTCOPY_SEND_OPEN_RETURN_PATH) | BIT(POSTCOPY_SEND_EOF),
    [POSTCOPY_END] = 0,
    [POSTCOPY_PAUSED] = 0,
    [POSTCOPY_RECOVER] =
        BIT(POSTCOPY_SEND_RECV_BITMAP) | BIT(POSTCOPY_SEND_RESUME),
};
static_assert(ARRAY_LEN(legal) == POSTCOPY__COUNT, "messages of each state");
static_assert(POSTCOPY_SEND__COUNT <= 32, "a message is a bit");

const char *postcopy_state_name(enum postcopy_state s)
{
    assert(s < POSTCOPY__COUNT);
    return names[s];
}

const char *postcopy_message_name(enum postcopy_message m)
{
    assert(m < POSTCOPY_SEND__COUNT);
    return message_names[m];
}

bool postcopy_state_allows(const struct postcopy *p, enum postcopy_message m)
{
    assert(p->state < POSTCOPY__COUNT && m < POSTCOPY_SEND__COUNT);
    if (!(legal[p->state] & BIT(m)))
        return false;
    /* ADVISE changes what the block list holds, so it comes before it; DISCARD
     * names blocks of it; without a return path nobody can ask for pages. */
    if (m == POSTCOPY_SEND_ADVISE || m == POSTCOPY_SEND_RAM_SETUP)
        return !p->setup_sent;
    if (m == POSTCOPY_SEND_RAM_PAGES || m == POSTCOPY_SEND_DISCARD)
        return p->setup_sent;
    if (m == POSTCOPY_SEND_LISTEN || m == POSTCOPY_SEND_PACKAGED)
        return p->return_path;
    return true;
}

/* Where a message leads. */
static enum postcopy_state after(const struct postcopy *p,
                                 enum postcopy_message m)
{
    switch (m) {
    case POSTCOPY_SEND_ADVISE:
        return POSTCOPY_ADVISE;
    case POSTCOPY_SEND_DISCARD:
        return POSTCOPY_DISCARD;
    case POSTCOPY_SEND_LISTEN:
        return POSTCOPY_LISTENING;
    case POSTCOPY_SEND_RUN:
    case POSTCOPY_SEND_RESUME:
        return POSTCOPY_RUNNING;
    case POSTCOPY_SEND_EOF:
        return POSTCOPY_END;
    case POSTCOPY_SEND_CONFIG:
    case POSTCOPY_SEND_OPEN_RETURN_PATH:
    case POSTCOPY_SEND_PING:
    case POSTCOPY_SEND_RAM_SETUP:
    case POSTCOPY_SEND_RAM_PAGES:
    case POSTCOPY_SEND_PACKAGED:
    case POSTCOPY_SEND_DEVICES:
    case POSTCOPY_SEND_RECV_BITMAP:
    case POSTCOPY_SEND__COUNT:
        break;
    }
    return p->state;
}

int postcopy_state_send(struct postcopy *p, enum postcopy_message m,
                        struct error *err)
{
    enum postcopy_state to = after(p, m);

    if (!postcopy_state_allows(p, m))
        return fail(err, ERR_INVALID,
                    "%s must not be sent in postcopy state '%s'",
                    message_names[m], names[p->state]);
    if (m == POSTCOPY_SEND_OPEN_RETURN_PATH)
        p->return_path = true;
    if (m == POSTCOPY_SEND_RAM_SETUP)
        p->setup_sent = true;
    return to == p->state ? 0 : postcopy_state_move(p, p->state, to, err);
}

int postcopy_state_move(struct postcopy *p, enum postcopy_state from,
                        enum postcopy_state to, struct error *err)
{
    assert(from < POSTCOPY__COUNT && to < POSTCOPY__COUNT);
    if (p->state != from)
        return fail(err, ERR_INVALID,
                    "postcopy is '%s', not '%s', and cannot become '%s'",
                    names[p->state], names[from], names[to]);
    if (!(moves[from] & BIT(to)))
        return fail(err, ERR_INVALID, "postcopy cannot go from '%s' to '%s'",
                    names[from], names[to]);
    log_debug("postcopy: %s -> %s", names[from], names[to]);
    p->state = to;
    assert(postcopy_state_check(p));
    return 0;
}

bool postcopy_state_check(const struct postcopy *p)
{
    switch (p->state) {
    case POSTCOPY_NONE:
    case POSTCOPY_ADVISE:
    case POSTCOPY_END:
        return true;
    case POSTCOPY_DISCARD:
        return p->setup_sent;
    case POSTCOPY_LISTENING:
    case POSTCOPY_RUNNING:
    case POSTCOPY_PAUSED:
    case POSTCOPY_RECOVER:
        return p->setup_sent && p->return_path;
    case POSTCOPY__COUNT:
        break;
    }
    return false;
}
