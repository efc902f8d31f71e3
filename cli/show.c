/*
 * show.c - the same order in JSON as in text: summary, blocks, devices, packs,
 * facts. Facts are masked as they are gathered, before anything can print them.
 */
#include "cli/show.h"

#include "cli/secrets.h"
#include "cli/summary.h"
#include "storage/hints.h"
#include "storage/keeping/references.h"

/* Hints are a cache: without them, or with damaged ones, there is nothing to
 * show. */
static json_t *load_last_restore(struct repository *repository, const char *id)
{
    cleanup(hints) struct hints hints = {0};
    struct error ignored = ERROR_INIT;
    json_t *figures;

    if (hints_load(repository, id, &hints, &ignored) < 0 || !hints.figures)
        return NULL;
    figures = json_loads(hints.figures, 0, NULL);
    if (json_is_object(figures))
        return figures;
    json_decref(figures);
    return NULL;
}

int show_init(struct show *s, struct repository *repository,
              struct snapshot_reader *reader, bool with_map,
              struct stopper *stop, struct error *err)
{
    cleanup_free bool *shared = NULL;
    cleanup(keeping) struct keeping keeping;
    uint32_t n = snapshot_reader_blocks(reader)->n;
    int rc;

    *s = (struct show){.reader = reader, .with_map = with_map};
    keeping_load(repository, stop, &keeping);
    s->kept = keeping_find(&keeping, snapshot_reader_summary(reader)->id);
    s->last_restore =
        load_last_restore(repository, snapshot_reader_summary(reader)->id);
    s->maps = calloc((size_t)n + 1, sizeof(*s->maps));
    if (!s->maps)
        return fail_nomem(err);
    rc = secrets_mask_json(snapshot_reader_facts(reader), &s->facts, err);
    if (rc == 0 && with_map)
        rc = references_shared(repository, reader, stop, &shared, err);
    for (uint32_t i = 0; rc == 0 && i < n; i++)
        rc = memory_map_init(&s->maps[i], reader, i, shared, stop, err);
    return rc;
}

void show_release(struct show *s)
{
    uint32_t n = snapshot_reader_blocks(s->reader)->n;

    for (uint32_t i = 0; s->maps && i < n; i++)
        memory_map_release(&s->maps[i]);
    free(s->maps);
    json_decref(s->facts);
    json_decref(s->last_restore);
    *s = (struct show){0};
}

static int add(json_t *array, json_t *item, struct error *err)
{
    if (!item || json_array_append_new(array, item) < 0)
        return fail_nomem(err);
    return 0;
}

/* Puts `array` there as `key`; takes it over. */
static int put(json_t *object, const char *key, json_t *array,
               struct error *err)
{
    if (!array || json_object_set_new(object, key, array) < 0)
        return fail_nomem(err);
    return 0;
}

static json_t *map_json(const struct memory_map *m)
{
    cleanup_free char *cells = malloc((size_t)m->n_cells + 1);

    if (!cells)
        return NULL;
    for (uint32_t i = 0; i < m->n_cells; i++)
        cells[i] = memory_map_char(m, i);
    return json_pack("{s:I, s:s#, s:I, s:I, s:I}", "cell_bytes",
                     (json_int_t)(m->cell_pages * PAGE_BYTES), "cells", cells,
                     (int)m->n_cells, "new", (json_int_t)m->kinds[MEMORY_NEW],
                     "shared", (json_int_t)m->kinds[MEMORY_SHARED],
                     "incompressible",
                     (json_int_t)m->kinds[MEMORY_INCOMPRESSIBLE]);
}

static int add_blocks(const struct show *s, json_t *to, struct error *err)
{
    const struct ramblock_list *blocks = snapshot_reader_blocks(s->reader);
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < blocks->n; i++) {
        const struct ramblock *b = &blocks->blocks[i];
        const struct memory_map *m = &s->maps[i];
        json_t *item =
            json_pack("{s:o, s:I, s:b, s:{s:I, s:I, s:I}}", "name",
                      json_text(b->idstr), "bytes", (json_int_t)b->used_bytes,
                      "left_out", b->left_out, "pages", "total",
                      (json_int_t)m->pages, "zero",
                      (json_int_t)(m->pages - m->data_pages), "data",
                      (json_int_t)m->data_pages);

        if (item && s->with_map)
            rc = put(item, "map", map_json(m), err);
        if (rc < 0)
            json_decref(item);
        else
            rc = add(to, item, err);
    }
    return rc;
}

static int add_devices(const struct show *s, json_t *to, struct error *err)
{
    const struct device_state *devices = snapshot_reader_devices(s->reader);
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < devices->n_sections; i++) {
        const struct device_section *d = &devices->sections[i];

        rc = add(to,
                 json_pack("{s:o, s:I, s:I, s:I}", "name", json_text(d->name),
                           "instance", (json_int_t)d->instance, "version",
                           (json_int_t)d->version, "bytes",
                           (json_int_t)d->bytes),
                 err);
    }
    return rc;
}

static int add_packs(const struct show *s, json_t *to, struct error *err)
{
    size_t n;
    const struct snapshot_pack *packs = snapshot_reader_packs(s->reader, &n);
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = add(to,
                 json_pack("{s:s, s:s, s:I}", "id", packs[i].id, "kind",
                           packs[i].index ? "index" : "pages", "bytes",
                           (json_int_t)packs[i].bytes),
                 err);
    return rc;
}

static int add_array(const struct show *s, json_t *object, const char *key,
                     int (*fill)(const struct show *, json_t *, struct error *),
                     struct error *err)
{
    json_t *array = json_array();
    int rc = put(object, key, array, err);

    return rc < 0 ? rc : fill(s, array, err);
}

int show_json(const struct show *s, json_t **ret, struct error *err)
{
    cleanup_json json_t *object =
        summary_and_capture_json(snapshot_reader_summary(s->reader),
                                 json_object_get(s->facts, "capture"));
    int rc = object ? 0 : fail_nomem(err);

    if (rc == 0)
        rc = put(object, "image_bytes",
                 json_integer(
                     (json_int_t)snapshot_reader_image_bytes(s->reader)),
                 err);
    if (rc == 0)
        rc = keeping_add_json(&s->kept, object, err);
    if (rc == 0)
        rc = add_array(s, object, "blocks", add_blocks, err);
    if (rc == 0)
        rc = add_array(s, object, "devices", add_devices, err);
    if (rc == 0)
        rc = add_array(s, object, "packs", add_packs, err);
    if (rc == 0)
        rc = put(object, "facts", json_incref(s->facts), err);
    if (rc == 0 && s->last_restore)
        rc = put(object, "last_restore", json_incref(s->last_restore), err);
    if (rc == 0)
        *ret = steal_ptr(&object);
    return rc;
}
