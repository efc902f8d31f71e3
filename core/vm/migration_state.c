#include "core/vm/migration_state.h"

#define LOG_AREA "migration"
#include "core/base/log.h"

/*
 * from            -> to              [who]
 * none            -> setup           [the job, as it sends `migrate`]
 * setup           -> active          [first bytes of the stream]
 * active          -> pre-switchover  [event, only with that capability]
 * active          -> device          [STOP, or the end of RAM]
 * active          -> completed       [background: the tail is proved]
 * pre-switchover  -> device          [migrate-continue]
 * device          -> completed       [the tail is proved]
 * any of these    -> failed, cancelling
 * cancelling      -> cancelled       [QEMU let go]
 */

#define BIT(state) (1u << (state))

#define ENDS_BADLY (BIT(MIGRATION_FAILED) | BIT(MIGRATION_CANCELLING))

static const uint32_t moves[] = {
    [MIGRATION_NONE] = BIT(MIGRATION_SETUP) | BIT(MIGRATION_FAILED),
    [MIGRATION_SETUP] = BIT(MIGRATION_ACTIVE) | ENDS_BADLY,
    [MIGRATION_ACTIVE] = BIT(MIGRATION_PRE_SWITCHOVER) | BIT(MIGRATION_DEVICE) |
                         BIT(MIGRATION_COMPLETED) | ENDS_BADLY,
    [MIGRATION_PRE_SWITCHOVER] = BIT(MIGRATION_DEVICE) | ENDS_BADLY,
    [MIGRATION_DEVICE] = BIT(MIGRATION_COMPLETED) | ENDS_BADLY,
    [MIGRATION_COMPLETED] = 0,
    [MIGRATION_FAILED] = 0,
    [MIGRATION_CANCELLING] = BIT(MIGRATION_CANCELLED),
    [MIGRATION_CANCELLED] = 0,
};
static_assert(ARRAY_LEN(moves) == MIGRATION__COUNT, "moves of each state");
static_assert(MIGRATION__COUNT <= 32, "a state is a bit");

static const char *const names[] = {
    [MIGRATION_NONE] = "none",
    [MIGRATION_SETUP] = "setup",
    [MIGRATION_ACTIVE] = "active",
    [MIGRATION_PRE_SWITCHOVER] = "pre-switchover",
    [MIGRATION_DEVICE] = "device",
    [MIGRATION_COMPLETED] = "completed",
    [MIGRATION_FAILED] = "failed",
    [MIGRATION_CANCELLING] = "cancelling",
    [MIGRATION_CANCELLED] = "cancelled",
};
static_assert(ARRAY_LEN(names) == MIGRATION__COUNT, "a name for each state");

const char *migration_state_name(enum migration_state s)
{
    assert(s < MIGRATION__COUNT);
    return names[s];
}

bool migration_state_parse(const char *status, enum migration_state *ret)
{
    for (unsigned i = 0; i < MIGRATION__COUNT; i++) {
        if (strcmp(names[i], status) == 0) {
            *ret = (enum migration_state)i;
            return true;
        }
    }
    return false;
}

bool migration_state_is_final(enum migration_state s)
{
    assert(s < MIGRATION__COUNT);
    return moves[s] == 0;
}

bool migration_state_reaches(enum migration_state from, enum migration_state to)
{
    uint32_t reached = BIT(from);
    uint32_t before;

    assert(from < MIGRATION__COUNT && to < MIGRATION__COUNT);

    do {
        before = reached;
        for (unsigned i = 0; i < MIGRATION__COUNT; i++) {
            if (reached & BIT(i))
                reached |= moves[i];
        }
    } while (reached != before);
    return reached & BIT(to);
}

int migration_state_move(struct migration *m, enum migration_state from,
                         enum migration_state to, struct error *err)
{
    assert(from < MIGRATION__COUNT && to < MIGRATION__COUNT);
    if (m->state != from)
        return fail(err, ERR_INVALID,
                    "migration is '%s', not '%s', and cannot become '%s'",
                    names[m->state], names[from], names[to]);
    if (!(moves[from] & BIT(to)))
        return fail(err, ERR_INVALID, "migration cannot go from '%s' to '%s'",
                    names[from], names[to]);
    log_debug("migration: %s -> %s", names[from], names[to]);
    m->state = to;
    assert(migration_state_check(m));
    return 0;
}

bool migration_state_check(const struct migration *m)
{
    switch (m->state) {
    case MIGRATION_NONE:
    case MIGRATION_SETUP:
        return !m->blocks_known && !m->tail_proved && !m->vm_stopped;
    case MIGRATION_ACTIVE:
        return !m->tail_proved || m->blocks_known;
    case MIGRATION_PRE_SWITCHOVER:
        return m->vm_stopped && !m->tail_proved;
    case MIGRATION_DEVICE:
        return m->vm_stopped;
    case MIGRATION_COMPLETED:
        return m->blocks_known && m->tail_proved;
    case MIGRATION_FAILED:
    case MIGRATION_CANCELLING:
    case MIGRATION_CANCELLED:
        return true;
    case MIGRATION__COUNT:
        break;
    }
    return false;
}
