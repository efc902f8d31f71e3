#include "core/wire/intake.h"

/*
 * `need` is exact at each stage of an item: an item that becomes whole with
 * exactly the bytes it asked for leaves nothing in the carry, and the rest of
 * what was fed is decoded in place again.
 */

static int run(struct intake *t, struct input *in, intake_decode_fn decode,
               void *arg, struct error *err)
{
    int rc;

    in->base = t->offset;
    in->need = 0;
    rc = decode(arg, in, err);
    if (rc < 0)
        return rc;
    /* Who stops without saying what it waits for would be asked for ever. */
    assert(in->need > cursor_left(&in->at) || cursor_left(&in->at) == 0);
    t->offset += in->at.pos;
    t->need = in->need;
    return 0;
}

/* Completes the item in the carry from `rest`, as far as it goes. */
static int feed_carry(struct intake *t, struct cursor *rest,
                      intake_decode_fn decode, void *arg, struct error *err)
{
    size_t n = MIN(t->need - t->carry.len, cursor_left(rest));
    struct input in;
    int rc = buf_append(&t->carry, rest->data + rest->pos, n, err);

    if (rc < 0)
        return rc;
    rest->pos += n;
    if (t->carry.len < t->need)
        return 0;
    in = (struct input){.at = cursor_of(t->carry.data, t->carry.len)};
    rc = run(t, &in, decode, arg, err);
    if (rc == 0)
        buf_consume(&t->carry, in.at.pos);
    return rc;
}

static int feed_in_place(struct intake *t, struct cursor *rest,
                         intake_decode_fn decode, void *arg, struct error *err)
{
    size_t left = cursor_left(rest);
    struct input in = {.at = cursor_of(rest->data + rest->pos, left)};
    int rc = run(t, &in, decode, arg, err);

    if (rc < 0)
        return rc;
    rest->pos = rest->len;
    return buf_append(&t->carry, input_here(&in), cursor_left(&in.at), err);
}

int intake_feed(struct intake *t, const void *data, size_t len,
                intake_decode_fn decode, void *arg, struct error *err)
{
    struct cursor rest = cursor_of(data, len);
    int rc = 0;

    if (t->broken.code)
        return error_copy(err, &t->broken);
    while (rc == 0 && cursor_left(&rest) > 0) {
        if (t->carry.len > 0)
            rc = feed_carry(t, &rest, decode, arg, err);
        else
            rc = feed_in_place(t, &rest, decode, arg, err);
    }
    if (rc < 0)
        error_copy(&t->broken, err);
    return rc;
}

void intake_release(struct intake *t)
{
    buf_release(&t->carry);
    *t = (struct intake){0};
}
