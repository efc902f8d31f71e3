/*
 * sync_points.c - counting marks instead of waiting at them.
 *
 * QEMU's own destination stops all channels at a sync point until the last one
 * is there. Here pages only go into a store that can tell the newer content by
 * a number, so a channel may run ahead; all that is left to check is the end,
 * where each count must equal the main channel's. A stream without any mark
 * would have no order at all and is refused.
 */
#include "snapshot/sync_points.h"

void sync_points_init(struct sync_points *s, unsigned n_channels)
{
    assert(n_channels <= MULTIFD_CHANNELS_MAX);
    *s = (struct sync_points){.n_channels = n_channels};
}

void sync_points_mark(struct sync_points *s)
{
    s->main++;
}

static int behind_the_end(unsigned channel, struct error *err)
{
    return fail(err, ERR_PROTOCOL,
                "multifd channel %u goes on behind the last sync point",
                channel);
}

int sync_points_pages(struct sync_points *s, unsigned channel,
                      struct error *err)
{
    assert(channel < s->n_channels);
    if (s->complete)
        return behind_the_end(channel, err);
    s->channels[channel].pages_behind = true;
    return 0;
}

int sync_points_pass(struct sync_points *s, unsigned channel, struct error *err)
{
    assert(channel < s->n_channels);
    if (s->complete)
        return behind_the_end(channel, err);
    s->channels[channel].passed++;
    s->channels[channel].pages_behind = false;
    return 0;
}

void sync_points_end(struct sync_points *s, unsigned channel)
{
    assert(channel < s->n_channels);
    s->channels[channel].ended = true;
}

static int check_channel(const struct sync_points *s, unsigned i, bool *ret,
                         struct error *err)
{
    uint64_t passed = s->channels[i].passed;

    if (passed > s->main || (passed == s->main && s->channels[i].pages_behind))
        return behind_the_end(i, err);
    if (passed < s->main && s->channels[i].ended)
        return fail(err, ERR_PROTOCOL,
                    "multifd channel %u ends after %lu of %lu sync points", i,
                    passed, s->main);
    *ret = passed == s->main;
    return 0;
}

int sync_points_check(struct sync_points *s, bool *ret, struct error *err)
{
    bool all = true;

    if (s->main == 0)
        return fail(err, ERR_PROTOCOL,
                    "a stream with multifd channels and no sync point");
    for (unsigned i = 0; i < s->n_channels; i++) {
        bool one = false;
        int rc = check_channel(s, i, &one, err);

        if (rc < 0)
            return rc;
        all = all && one;
    }
    s->complete = all;
    *ret = all;
    return 0;
}
