/*
 * pack_stream.c - one buffer is filled while the others are written.
 *
 * A buffer belongs to the stream from take to flush, then to the ring until its
 * write is done. `written` counts bytes that were handed over, not bytes on
 * disk: who reads back what lies before it waits for the ring first. Data is
 * synced once, at the end, by finish().
 */
#include "storage/packs/pack_stream.h"

#define LOG_AREA "pack"
#include "core/base/log.h"
#include "core/base/path.h"

static int take_buffer(struct pack_stream *s, struct error *err)
{
    enum cpu_stage before;
    int rc;

    if (s->buffer)
        return 0;
    s->used = 0;
    before = stage_clock_enter(s->clock, CPU_WRITE);
    rc = ring_take_buffer(s->ring, &s->buffer, err);
    stage_clock_enter(s->clock, before);
    return rc;
}

static int flush(struct pack_stream *s, struct error *err)
{
    uint8_t *full = steal_ptr(&s->buffer);
    size_t len = s->used;
    uint64_t offset = s->written;
    enum cpu_stage before = stage_clock_enter(s->clock, CPU_WRITE);
    int rc;

    s->written += len;
    s->used = 0;
    rc = ring_write(s->ring, s->fd, full, len, offset, err);
    stage_clock_enter(s->clock, before);
    return rc;
}

int pack_stream_advance(struct pack_stream *s, size_t len, struct error *err)
{
    assert(s->buffer && len <= ring_buffer_bytes(s->ring) - s->used);
    s->used += len;
    return s->used == ring_buffer_bytes(s->ring) ? flush(s, err) : 0;
}

int pack_stream_append(struct pack_stream *s, const void *data, size_t len,
                       struct error *err)
{
    const uint8_t *p = data;

    while (len > 0) {
        size_t step;
        int rc = take_buffer(s, err);

        if (rc < 0)
            return rc;
        step = MIN(len, ring_buffer_bytes(s->ring) - s->used);
        memcpy(s->buffer + s->used, p, step);
        rc = pack_stream_advance(s, step, err);
        if (rc < 0)
            return rc;
        p += step;
        len -= step;
    }
    return 0;
}

int pack_stream_room(struct pack_stream *s, size_t len, uint8_t **ret,
                     struct error *err)
{
    int rc = take_buffer(s, err);

    if (rc < 0)
        return rc;
    *ret = ring_buffer_bytes(s->ring) - s->used >= len ? s->buffer + s->used
                                                       : NULL;
    return 0;
}

int pack_stream_read(struct pack_stream *s, uint64_t offset, size_t len,
                     void *dst, struct error *err)
{
    uint8_t *p = dst;
    size_t in_file = 0;
    int rc;

    assert(offset + len <= pack_stream_bytes(s));
    if (offset < s->written) {
        in_file = (size_t)MIN(len, s->written - offset);
        rc = s->ring ? ring_wait(s->ring, err) : 0;
        if (rc < 0)
            return rc;
        rc = path_read_at(s->fd, p, in_file, offset, err);
        if (rc < 0)
            return rc;
    }
    if (in_file < len)
        memcpy(p + in_file, s->buffer + (offset + in_file - s->written),
               len - in_file);
    return 0;
}

int pack_stream_finish(struct pack_stream *s, struct error *err)
{
    int rc = s->buffer ? flush(s, err) : 0;

    if (rc < 0)
        return rc;
    rc = ring_sync(s->ring, s->fd, err);
    if (rc < 0)
        return rc;
    s->ring = NULL;
    return 0;
}

void pack_stream_abandon(struct pack_stream *s)
{
    struct error ignored = ERROR_INIT;

    if (!s->ring)
        return;
    if (s->buffer)
        ring_give_buffer(s->ring, steal_ptr(&s->buffer));
    /* The error was told to the caller, or nobody wants the file. */
    if (ring_wait(s->ring, &ignored) < 0)
        log_debug("given up with an error: %s", ignored.message);
    s->ring = NULL;
}
