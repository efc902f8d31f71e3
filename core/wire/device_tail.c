#include "core/wire/device_tail.h"

#include "core/base/cursor.h"
#include "core/wire/qemu_wire.h"
#include "core/wire/vmdesc.h"

/*
 * The stream ends with EOF and VMDESC: `00 06 u32(n) '{' ...`, n bytes of JSON
 * that end at the last byte. QEMU keeps the connection open behind it, so the
 * end must be recognised by itself, at any length the tail has.
 *
 * The JSON is text and holds no byte 0. So the last byte 0 of all that came is
 * the EOF itself or one of the four bytes of n, and the EOF is that byte or at
 * most five before it. Where the last 0 is, is kept as bytes come; asking
 * costs six comparisons, and the walk is made only when a length fits to the
 * byte.
 *
 * What a guest put into a device's body may look like an EOF and a
 * description. It would have to end at the last byte received and to describe
 * every section so far with its footer; and when the rest comes the tail is
 * unproved again.
 */

#define EOF_BYTES         1u
#define VMDESC_HEAD_BYTES 5u
#define END_HEAD_BYTES    (EOF_BYTES + VMDESC_HEAD_BYTES)

/* The largest tail that is taken, with its description. */
#define TAIL_MAX_BYTES \
    ((uint64_t)DEVICE_TAIL_MAX_BYTES + END_HEAD_BYTES + VMDESC_MAX_BYTES)

static_assert(sizeof(((struct device_state *)0)->run_state) ==
                  QEMU_GLOBALSTATE_NAME_BYTES + 1,
              "a run state of any length fits, with its NUL");

static void note_nul(struct device_tail *t, size_t from)
{
    const uint8_t *data = t->state.tail.data;
    const uint8_t *nul = memrchr(data + from, 0, t->state.tail.len - from);

    if (nul)
        t->last_nul = 1 + (size_t)(nul - data);
}

static int append(struct device_tail *t, const void *data, size_t len,
                  struct error *err)
{
    size_t from = t->state.tail.len;
    int rc;

    if (len > TAIL_MAX_BYTES - from)
        return fail(err, ERR_PROTOCOL,
                    "device state is longer than %lu MiB and has no end",
                    TAIL_MAX_BYTES >> 20);
    rc = buf_append(&t->state.tail, data, len, err);
    if (rc == 0 && len > 0)
        note_nul(t, from);
    return rc;
}

static void drop_sections(struct device_state *s)
{
    free(s->sections);
    s->sections = NULL;
    s->n_sections = 0;
    s->n_searched = 0;
    s->run_state[0] = '\0';
}

/* Puts back together what a proof took apart. */
static int unprove(struct device_tail *t, struct error *err)
{
    uint8_t head[END_HEAD_BYTES] = {QEMU_SECTION_EOF,
                                    QEMU_SECTION_VMDESCRIPTION};
    int rc;

    store_be32(head + 2, (uint32_t)t->state.vmdesc.len);
    rc = append(t, head, sizeof(head), err);
    if (rc == 0)
        rc = append(t, t->state.vmdesc.data, t->state.vmdesc.len, err);
    if (rc < 0)
        return rc;
    t->proved = false;
    buf_reset(&t->state.vmdesc);
    drop_sections(&t->state);
    fail(&t->why, ERR_PROTOCOL, "bytes behind the device description");
    return 0;
}

int device_tail_append(struct device_tail *t, const void *data, size_t len,
                       struct error *err)
{
    int rc = t->proved && len > 0 ? unprove(t, err) : 0;

    return rc < 0 ? rc : append(t, data, len, err);
}

/* Whether an EOF at `at` would have its description end at the last byte. */
static bool ends_at(const struct buf *b, size_t at)
{
    const uint8_t *p = b->data + at;

    if (b->len - at <= END_HEAD_BYTES)
        return false;
    return p[0] == QEMU_SECTION_EOF && p[1] == QEMU_SECTION_VMDESCRIPTION &&
           p[END_HEAD_BYTES] == '{' &&
           load_be32(p + 2) == b->len - at - END_HEAD_BYTES;
}

/* The run state that the section says; "" when it says none. */
static int read_run_state(const struct device_state *s,
                          const struct device_section *section, char *ret,
                          struct error *err)
{
    struct cursor c = cursor_of(s->tail.data + section->offset, section->bytes);
    const size_t name_max = QEMU_GLOBALSTATE_NAME_BYTES;
    const uint8_t *name;
    size_t n;

    if (!cursor_skip(&c, 1 + 4 + 1 + strlen(section->name) + 4 + 4 + 4) ||
        !cursor_bytes(&c, name_max, &name))
        return fail(err, ERR_PROTOCOL, "section 'globalstate' is too short");
    n = strnlen((const char *)name, name_max);
    for (size_t i = 0; i < n; i++) {
        if (name[i] <= ' ' || name[i] > '~')
            return fail(err, ERR_PROTOCOL,
                        "section 'globalstate' holds no run state");
    }
    memcpy(ret, name, n);
    ret[n] = '\0';
    return 0;
}

static int find_run_state(struct device_state *s, struct error *err)
{
    for (size_t i = 0; i < s->n_sections; i++) {
        if (strcmp(s->sections[i].name, QEMU_GLOBALSTATE) == 0)
            return read_run_state(s, &s->sections[i], s->run_state, err);
    }
    return 0;
}

static int prove_at(struct device_tail *t, size_t at, struct error *err)
{
    struct device_state *s = &t->state;
    const uint8_t *json = s->tail.data + at + END_HEAD_BYTES;
    size_t json_len = s->tail.len - at - END_HEAD_BYTES;
    struct vmdesc_cut cut;
    int rc;

    if (at > DEVICE_TAIL_MAX_BYTES || json_len > VMDESC_MAX_BYTES)
        return fail(err, ERR_PROTOCOL, "device state of %zu bytes is too long",
                    s->tail.len);
    rc = vmdesc_walk(json, json_len, cursor_of(s->early.data, s->early.len),
                     cursor_of(s->tail.data, at), &cut, err);
    if (rc < 0)
        return rc;
    drop_sections(s);
    s->sections = cut.sections;
    s->n_sections = cut.n;
    s->n_searched = cut.n_searched;
    rc = find_run_state(s, err);
    if (rc == 0)
        rc = buf_append(&s->vmdesc, json, json_len, err);
    if (rc < 0) {
        drop_sections(s);
        return rc;
    }
    s->tail.len = at;
    t->last_nul = 0;
    note_nul(t, 0);
    t->proved = true;
    return 0;
}

bool device_tail_prove(struct device_tail *t)
{
    const struct buf *b = &t->state.tail;
    size_t first;

    if (t->proved)
        return true;
    if (t->last_nul == 0 || t->tried_len == b->len)
        return false;
    t->tried_len = b->len;
    first = t->last_nul > END_HEAD_BYTES ? t->last_nul - END_HEAD_BYTES : 0;
    for (size_t at = first; at < t->last_nul; at++) {
        if (ends_at(b, at) && prove_at(t, at, &t->why) == 0)
            return true;
    }
    return false;
}

int device_tail_explain(const struct device_tail *t, struct error *err)
{
    if (t->why.code)
        return error_copy(err, &t->why);
    return fail(err, ERR_PROTOCOL,
                "the device state is cut after %zu bytes: no device "
                "description ends it",
                t->state.tail.len);
}

void device_tail_release(struct device_tail *t)
{
    device_state_release(&t->state);
    *t = (struct device_tail){0};
}
