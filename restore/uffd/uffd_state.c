/*
 * uffd_state.c - the table of an engine's moves, and the one setter.
 *
 * Discard is optional: memory of others comes with nothing in it, our own may
 * have to be emptied first. From every state there is a way to the end, since
 * the end is also where failures go.
 */
#include "restore/uffd/uffd_state.h"

#define LOG_AREA "uffd"
#include "core/base/log.h"

static const char *const state_names[] = {"none",      "advise",  "discard",
                                          "listening", "running", "end"};
static_assert(ARRAY_LEN(state_names) == UFFD_STATE__COUNT, "a name each");

#define TO(state) (1u << UFFD_STATE_##state)
static const unsigned state_moves[] = {
    [UFFD_STATE_NONE] = TO(ADVISE) | TO(END),
    [UFFD_STATE_ADVISE] = TO(DISCARD) | TO(LISTENING) | TO(END),
    /* Any number of ranges may be discarded, one after the other. */
    [UFFD_STATE_DISCARD] = TO(DISCARD) | TO(LISTENING) | TO(END),
    [UFFD_STATE_LISTENING] = TO(RUNNING) | TO(END),
    [UFFD_STATE_RUNNING] = TO(END),
    [UFFD_STATE_END] = 0,
};
static_assert(ARRAY_LEN(state_moves) == UFFD_STATE__COUNT, "moves of each");

const char *uffd_state_name(enum uffd_state s)
{
    assert(s < UFFD_STATE__COUNT);
    return state_names[s];
}

bool uffd_state_allows(enum uffd_state from, enum uffd_state to)
{
    assert(from < UFFD_STATE__COUNT && to < UFFD_STATE__COUNT);
    return state_moves[from] & (1u << to);
}

int uffd_state_move(enum uffd_state *s, enum uffd_state to, struct error *err)
{
    if (!uffd_state_allows(*s, to))
        return fail(err, ERR_INVALID,
                    "an engine that is in state '%s' cannot go to '%s'",
                    state_names[*s], state_names[to]);
    log_debug("%s -> %s", state_names[*s], state_names[to]);
    *s = to;
    return 0;
}
