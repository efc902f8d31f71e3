/*
 * One DISCARD is necessary though there is nothing to discard: without it
 * LISTEN does the first discard's work itself, falls back to an earlier state
 * and hangs. The captured device sections go in as they are; commands of the
 * captured stream do not (one of them would send QEMU 7.2 into COLO).
 */
#include "restore/pages/postcopy_prologue.h"

#include "core/wire/postcopy_commands.h"
#include "core/wire/stream_encoder.h"

struct step {
    enum postcopy_message message;
    int (*put)(struct buf *b, const struct postcopy_args *args,
               struct error *err);
};

static int put_config(struct buf *b, const struct postcopy_args *args,
                      struct error *err)
{
    int rc = stream_put_header(b, err);

    return rc < 0 ? rc : stream_put_config(b, args->config, err);
}

static int put_return_path(struct buf *b, const struct postcopy_args *args,
                           struct error *err)
{
    return stream_put_open_return_path(b, err);
}

static int put_ping_config(struct buf *b, const struct postcopy_args *args,
                           struct error *err)
{
    return stream_put_ping(b, POSTCOPY_PING_CONFIG, err);
}

static int put_advise(struct buf *b, const struct postcopy_args *args,
                      struct error *err)
{
    uint64_t sizes = 0;

    for (uint32_t i = 0; i < args->blocks->n; i++)
        sizes |= args->blocks->blocks[i].host_page_bytes;
    return postcopy_put_advise(b, sizes, PAGE_BYTES, err);
}

static int put_setup(struct buf *b, const struct postcopy_args *args,
                     struct error *err)
{
    return stream_put_ram_setup(b, args->ram_section_id, args->blocks, true,
                                err);
}

static int put_discard(struct buf *b, const struct postcopy_args *args,
                       struct error *err)
{
    const struct ramblock *first = &args->blocks->blocks[0];
    struct discard_range range = {.start = 0, .bytes = first->host_page_bytes};

    return postcopy_put_discard(b, first->idstr, &range, 1, err);
}

static int put_listen(struct buf *b, const struct postcopy_args *args,
                      struct error *err)
{
    return postcopy_put_listen(b, err);
}

static int put_devices(struct buf *b, const struct postcopy_args *args,
                       struct error *err)
{
    return buf_append(b, args->devices->tail.data, args->devices->tail.len,
                      err);
}

static int put_ping_devices(struct buf *b, const struct postcopy_args *args,
                            struct error *err)
{
    return stream_put_ping(b, POSTCOPY_PING_DEVICES, err);
}

static int put_run(struct buf *b, const struct postcopy_args *args,
                   struct error *err)
{
    return postcopy_put_run(b, err);
}

static const struct step outside[] = {
    {POSTCOPY_SEND_CONFIG, put_config},
    {POSTCOPY_SEND_OPEN_RETURN_PATH, put_return_path},
    {POSTCOPY_SEND_PING, put_ping_config},
    {POSTCOPY_SEND_ADVISE, put_advise},
    {POSTCOPY_SEND_RAM_SETUP, put_setup},
    {POSTCOPY_SEND_DISCARD, put_discard},
};

static const struct step packaged[] = {
    {POSTCOPY_SEND_LISTEN, put_listen},
    {POSTCOPY_SEND_DEVICES, put_devices},
    {POSTCOPY_SEND_PING, put_ping_devices},
    {POSTCOPY_SEND_RUN, put_run},
};

static int put_steps(struct buf *b, const struct step *steps, size_t n,
                     const struct postcopy_args *args, struct postcopy *state,
                     struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        int rc = postcopy_state_send(state, steps[i].message, err);

        if (rc == 0)
            rc = steps[i].put(b, args, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int postcopy_put_prologue(struct buf *b, const struct postcopy_args *args,
                          struct postcopy *state, struct error *err)
{
    cleanup_buf struct buf package = BUF_INIT;
    int rc;

    if (args->blocks->n == 0)
        return fail(err, ERR_CORRUPT, "the snapshot has no RAM block");
    rc = put_steps(b, outside, ARRAY_LEN(outside), args, state, err);
    if (rc == 0)
        rc = postcopy_state_send(state, POSTCOPY_SEND_PACKAGED, err);
    if (rc == 0)
        rc = put_steps(&package, packaged, ARRAY_LEN(packaged), args, state,
                       err);
    if (rc == 0)
        rc = postcopy_put_packaged(b, &package, err);
    return rc;
}

int postcopy_put_recovery(struct buf *b, const struct ramblock_list *blocks,
                          struct error *err)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < blocks->n; i++)
        rc = postcopy_put_recv_bitmap(b, blocks->blocks[i].idstr, err);
    if (rc == 0)
        rc = postcopy_put_resume(b, err);
    return rc;
}
