#include "core/vm/section_registry.h"

#include <string.h>

/*
 * section_registry.c - a list of handlers, called in the order they came.
 *
 * The order is the stream's, so nothing is sorted or hashed: a machine has few
 * handlers, and one lookup a section costs nothing beside its body. What is
 * not known is decided here, once for all decoders: a FULL section of nobody
 * can be kept as bytes, an iterable one cannot, since nothing says where its
 * body ends.
 *
 * Each side remembers that its setup was tried, so that clean-up runs exactly
 * once, also from free() and also when setup failed halfway.
 */

/* More handlers than any machine has; bounds what a mistake can do. */
#define HANDLERS_MAX 4096u

struct section_registry {
    struct section_handler *handlers;
    size_t n;
    bool saving;  /* save_setup was called, save_cleanup not yet */
    bool loading; /* the same of the load side */
};

int section_registry_new(struct section_registry **ret, struct error *err)
{
    struct section_registry *r = calloc(1, sizeof(*r));

    if (!r)
        return fail_nomem(err);
    *ret = r;
    return 0;
}

void section_registry_free(struct section_registry *r)
{
    if (!r)
        return;
    section_registry_save_cleanup(r);
    section_registry_load_cleanup(r);
    free(r->handlers);
    free(r);
}

static bool iterable(const struct section_handler *h)
{
    return h->ops->save_iterate;
}

static bool saves(const struct section_handler *h)
{
    return h->ops->save_complete;
}

static int check_handler(const struct section_registry *r,
                         const struct section_handler *h, struct error *err)
{
    if (!h->idstr || !*h->idstr || strlen(h->idstr) > UINT8_MAX || !h->ops)
        return fail(err, ERR_INVALID, "section handler without name or ops");
    if (h->version_min > h->version)
        return fail(err, ERR_INVALID,
                    "versions of section '%s' are the wrong way round",
                    h->idstr);
    if (r->n >= HANDLERS_MAX)
        return fail(err, ERR_INVALID, "more than %u section handlers",
                    HANDLERS_MAX);
    for (size_t i = 0; i < r->n; i++) {
        const struct section_handler *o = &r->handlers[i];

        if (strcmp(o->idstr, h->idstr) == 0 && o->instance == h->instance)
            return fail(err, ERR_EXISTS,
                        "section '%s' instance %u has a handler already",
                        h->idstr, h->instance);
        if (h->section_id && o->section_id == h->section_id)
            return fail(err, ERR_INVALID, "section id %u is that of '%s'",
                        h->section_id, o->idstr);
    }
    return 0;
}

/* The smallest id from `id` on that nobody has. */
static uint32_t free_id(const struct section_registry *r, uint32_t id)
{
    for (size_t i = 0; i < r->n; i++) {
        if (r->handlers[i].section_id == id)
            return free_id(r, id + 1);
    }
    return id;
}

int section_registry_add(struct section_registry *r,
                         const struct section_handler *h, struct error *err)
{
    struct section_handler *grown;
    int rc = check_handler(r, h, err);

    if (rc < 0)
        return rc;
    grown = reallocarray(r->handlers, r->n + 1, sizeof(*grown));
    if (!grown)
        return fail_nomem(err);
    r->handlers = grown;
    grown[r->n] = *h;
    if (h->section_id == 0)
        grown[r->n].section_id = free_id(r, (uint32_t)r->n + 1);
    r->n++;
    return 0;
}

size_t section_registry_count(const struct section_registry *r)
{
    return r->n;
}

const struct section_handler *
section_registry_at(const struct section_registry *r, size_t i)
{
    assert(i < r->n);
    return &r->handlers[i];
}

/* "0000:00:03.0/virtio-mem-device-early" is a "virtio-mem-device-early". */
static bool is_called(const struct section_handler *h, const char *idstr,
                      uint32_t instance)
{
    const char *last = strrchr(idstr, '/');

    if (strcmp(h->idstr, idstr) == 0)
        return h->any_device || h->instance == instance;
    return h->any_device && last && strcmp(h->idstr, last + 1) == 0;
}

static const struct section_handler *find(const struct section_registry *r,
                                          const char *idstr, uint32_t instance)
{
    for (size_t i = 0; i < r->n; i++) {
        if (is_called(&r->handlers[i], idstr, instance))
            return &r->handlers[i];
    }
    return NULL;
}

int section_registry_match(const struct section_registry *r,
                           enum section_part part, const char *idstr,
                           uint32_t instance, uint32_t version,
                           const struct section_handler **ret,
                           struct error *err)
{
    const struct section_handler *h = find(r, idstr, instance);

    if (!h && part == SECTION_FULL) {
        *ret = NULL;
        return 0;
    }
    if (!h || !h->ops->load)
        return fail(err, ERR_INCOMPATIBLE,
                    "the VM has a device whose state cannot be captured: "
                    "iterable section '%s' instance %u",
                    idstr, instance);
    if (version < h->version_min || version > h->version)
        return fail(err, ERR_INCOMPATIBLE,
                    "section '%s' has version %u; known are %u to %u", idstr,
                    version, h->version_min, h->version);
    *ret = h;
    return 0;
}

typedef int (*body_fn)(void *arg, struct buf *out, struct error *err);

/* One section: what the sink puts around it, and the body. */
static int save_section(const struct section_handler *h, enum section_part part,
                        body_fn body, const struct section_sink *sink,
                        struct error *err)
{
    int rc = sink->begin(sink->arg, part, h, sink->out, err);

    if (rc == 0 && body)
        rc = body(h->arg, sink->out, err);
    if (rc == 0)
        rc = sink->end(sink->arg, part, h, sink->out, err);
    if (rc < 0)
        return error_wrap(err, "section '%s'", h->idstr);
    return 0;
}

int section_registry_save_setup(struct section_registry *r,
                                const struct section_sink *sink,
                                struct error *err)
{
    r->saving = true;
    for (size_t i = 0; i < r->n; i++) {
        const struct section_handler *h = &r->handlers[i];
        int rc;

        if (!saves(h) || !iterable(h))
            continue;
        rc = save_section(h, SECTION_START, h->ops->save_setup, sink, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int iterate_one(const struct section_handler *h, uint64_t max_bytes,
                       const struct section_sink *sink, bool *ret_done,
                       struct error *err)
{
    int rc = sink->begin(sink->arg, SECTION_PART, h, sink->out, err);

    if (rc == 0)
        rc = h->ops->save_iterate(h->arg, max_bytes, sink->out, ret_done, err);
    if (rc == 0)
        rc = sink->end(sink->arg, SECTION_PART, h, sink->out, err);
    if (rc < 0)
        return error_wrap(err, "section '%s'", h->idstr);
    return 0;
}

int section_registry_save_iterate(struct section_registry *r,
                                  uint64_t max_bytes,
                                  const struct section_sink *sink,
                                  bool *ret_done, struct error *err)
{
    bool done = true;

    for (size_t i = 0; i < r->n && done; i++) {
        const struct section_handler *h = &r->handlers[i];
        int rc;

        if (!saves(h) || !iterable(h))
            continue;
        rc = iterate_one(h, max_bytes, sink, &done, err);
        if (rc < 0)
            return rc;
    }
    *ret_done = done;
    return 0;
}

void section_registry_save_pending(const struct section_registry *r,
                                   struct section_pending *ret)
{
    *ret = (struct section_pending){0};
    for (size_t i = 0; i < r->n; i++) {
        const struct section_handler *h = &r->handlers[i];

        if (h->ops->save_pending)
            h->ops->save_pending(h->arg, ret);
    }
}

static int complete_all(struct section_registry *r, enum section_part part,
                        const struct section_sink *sink, struct error *err)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct section_handler *h = &r->handlers[i];
        int rc;

        if (!saves(h) || iterable(h) != (part == SECTION_END))
            continue;
        rc = save_section(h, part, h->ops->save_complete, sink, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int section_registry_save_complete(struct section_registry *r,
                                   const struct section_sink *sink,
                                   struct error *err)
{
    int rc = complete_all(r, SECTION_END, sink, err);

    return rc < 0 ? rc : complete_all(r, SECTION_FULL, sink, err);
}

void section_registry_save_cleanup(struct section_registry *r)
{
    if (!r->saving)
        return;
    r->saving = false;
    for (size_t i = 0; i < r->n; i++) {
        const struct section_handler *h = &r->handlers[i];

        if (h->ops->save_cleanup)
            h->ops->save_cleanup(h->arg);
    }
}

int section_registry_load_setup(struct section_registry *r, struct error *err)
{
    r->loading = true;
    for (size_t i = 0; i < r->n; i++) {
        const struct section_handler *h = &r->handlers[i];
        int rc = h->ops->load_setup ? h->ops->load_setup(h->arg, err) : 0;

        if (rc < 0)
            return error_wrap(err, "section '%s'", h->idstr);
    }
    return 0;
}

void section_registry_load_cleanup(struct section_registry *r)
{
    if (!r->loading)
        return;
    r->loading = false;
    for (size_t i = 0; i < r->n; i++) {
        const struct section_handler *h = &r->handlers[i];

        if (h->ops->load_cleanup)
            h->ops->load_cleanup(h->arg);
    }
}

int section_registry_resume(struct section_registry *r, struct error *err)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct section_handler *h = &r->handlers[i];
        int rc = h->ops->resume ? h->ops->resume(h->arg, err) : 0;

        if (rc < 0)
            return error_wrap(err, "section '%s'", h->idstr);
    }
    return 0;
}
