/*
 * device_diff.c - sections matched by name and instance, then by their bytes.
 */
#include "cli/device_diff.h"

/* Type byte and section number, and the number again behind the footer's
 * type: which number a device gets depends on the stream, not on the device. */
#define NUMBER_AT_HEAD 5u
#define NUMBER_AT_FOOT 4u

static bool same_device(const struct device_section *a,
                        const struct device_section *b)
{
    return a->instance == b->instance && strcmp(a->name, b->name) == 0;
}

/* Most often the two sides have one order: look there first. */
static const struct device_section *find(const struct device_state *in,
                                         const struct device_section *what,
                                         size_t guess)
{
    if (guess < in->n_sections && same_device(what, &in->sections[guess]))
        return &in->sections[guess];
    for (size_t i = 0; i < in->n_sections; i++) {
        if (same_device(what, &in->sections[i]))
            return &in->sections[i];
    }
    return NULL;
}

static bool in_tail(const struct device_state *d,
                    const struct device_section *s)
{
    return s->offset <= d->tail.len && s->bytes <= d->tail.len - s->offset;
}

static void compare(struct device_pair *p, const struct device_state *a,
                    const struct device_state *b)
{
    const uint8_t *of_a, *of_b;
    uint64_t end = p->a->bytes;

    if (p->a->bytes != p->b->bytes || !in_tail(a, p->a) || !in_tail(b, p->b))
        return;
    of_a = a->tail.data + p->a->offset;
    of_b = b->tail.data + p->b->offset;
    end = end > NUMBER_AT_FOOT ? end - NUMBER_AT_FOOT : 0;
    for (uint64_t i = NUMBER_AT_HEAD; i < end; i++)
        p->differing_bytes += of_a[i] != of_b[i];
    p->same = p->differing_bytes == 0;
}

int device_diff_init(struct device_diff *d, const struct device_state *a,
                     const struct device_state *b, struct error *err)
{
    *d = (struct device_diff){0};
    d->pairs =
        calloc(a->n_sections + b->n_sections + 1, sizeof(struct device_pair));
    if (!d->pairs)
        return fail_nomem(err);
    for (size_t i = 0; i < a->n_sections; i++) {
        struct device_pair *p = &d->pairs[d->n++];

        p->a = &a->sections[i];
        p->b = find(b, p->a, i);
        if (p->b)
            compare(p, a, b);
        d->n_same += p->same;
    }
    for (size_t i = 0; i < b->n_sections; i++) {
        if (!find(a, &b->sections[i], i))
            d->pairs[d->n++].b = &b->sections[i];
    }
    return 0;
}

void device_diff_release(struct device_diff *d)
{
    free(d->pairs);
    *d = (struct device_diff){0};
}
