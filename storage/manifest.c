/*
 * manifest.c - from the database of a snapshot object to its facts.
 *
 * The file's checksums were verified before SQLite is handed the image, and
 * rows are checked all the same: a checksum is no signature.
 */
#include "storage/manifest_inside.h"
#include "storage/snapshot_cost.h"
#include "storage/summary_fields.h"

#define VMDESC_MAX     JSON_MAX_BYTES
#define MAX_USED_BYTES (UINT64_C(1) << 52)

static int open_database(struct manifest *m, struct error *err)
{
    int64_t version;
    int rc = sql_open_image(m->what, m->file.image.data, m->file.image.len,
                            &m->sql, err);

    if (rc == 0)
        rc = sql_user_version(m->sql, &version, err);
    if (rc < 0)
        return rc;
    if (version != MANIFEST_SCHEMA_VERSION)
        return fail(err, ERR_FORMAT, "%s: schema version %lld is not known",
                    m->what, (long long)version);
    return 0;
}

static int load_snapshot(struct manifest *m, const char *id, struct error *err)
{
    const int tags = SUMMARY_N_COLUMNS;
    struct sql_row *row;
    int rc = manifest_only_row(m, SQL_MANIFEST_SNAPSHOT, &row, err);

    if (rc == 0)
        rc = summary_read(row, &m->summary, err);
    if (rc == 0)
        rc = manifest_column_json(m, row, tags, &m->summary.tags, err);
    if (rc == 0)
        rc = manifest_column_json(m, row, tags + 1, &m->facts, err);
    if (rc == 0)
        snapshot_cost_parse(json_object_get(m->facts, "cost"),
                            &m->summary.cost);
    if (rc == 0)
        rc = manifest_column_u32(row, tags + 2, UINT32_MAX, &m->ram_section_id,
                                 err);
    if (rc < 0)
        return rc;
    if (strcmp(m->summary.id, id) != 0)
        return manifest_bad(m, "it holds another snapshot", err);
    if (!summary_tags_are_strings(m->summary.tags))
        return manifest_bad(m, "its tags are no strings", err);
    /* The row cannot know how long its own object will be. */
    m->summary.stored_bytes += m->file.bytes;
    return sql_done(row, err);
}

static int load_machine(struct manifest *m, struct error *err)
{
    struct machine_config *c = &m->config;
    struct sql_row *row;
    const uint8_t *uuid;
    size_t len;
    int rc = manifest_only_row(m, SQL_MANIFEST_MACHINE, &row, err);

    if (rc == 0)
        rc = sql_column_text(row, 0, c->machine, sizeof(c->machine), err);
    if (rc == 0)
        rc = manifest_column_u32(row, 1, 64, &c->target_page_bits, err);
    if (rc == 0)
        rc = manifest_column_bool(row, 2, &c->ignore_shared, err);
    if (rc == 0)
        rc = manifest_column_bool(row, 3, &c->mapped_ram, err);
    if (rc == 0)
        rc = manifest_column_buf(row, 5, MANIFEST_MAX_CONFIG, &c->raw, err);
    c->has_uuid = rc == 0 && !sql_is_null(row, 4);
    if (c->has_uuid) {
        rc = sql_column_bytes(row, 4, sizeof(c->uuid), &uuid, &len, err);
        if (rc == 0 && len != sizeof(c->uuid))
            rc = manifest_bad(m, "its uuid is too short", err);
        if (rc == 0)
            memcpy(c->uuid, uuid, len);
    }
    return rc < 0 ? rc : sql_done(row, err);
}

static int read_block(struct sql_row *row, struct ramblock *ret,
                      struct error *err)
{
    int rc = sql_column_text(row, 1, ret->idstr, sizeof(ret->idstr), err);

    if (rc == 0)
        rc = sql_column_uint(row, 2, MAX_USED_BYTES, &ret->used_bytes, err);
    if (rc == 0)
        rc =
            sql_column_uint(row, 3, MAX_USED_BYTES, &ret->host_page_bytes, err);
    if (rc == 0)
        rc = manifest_column_bool(row, 4, &ret->left_out, err);
    return rc;
}

static int load_block(struct manifest *m, struct sql_row *row,
                      struct error *err)
{
    struct ramblock block = {0};
    struct error why;
    uint64_t number;
    int rc = sql_column_uint(row, 0, RAMBLOCK_MAX, &number, err);

    if (rc == 0 && number != m->blocks.n)
        rc = manifest_bad(m, "a block is missing", err);
    if (rc == 0)
        rc = read_block(row, &block, err);
    if (rc < 0)
        return rc;
    rc = ramblock_list_add(&m->blocks, &block, &why);
    if (rc == ERR_NOMEM)
        return error_copy(err, &why);
    return rc < 0 ? manifest_bad(m, why.message, err) : 0;
}

static int load_device(struct manifest *m, struct sql_row *row,
                       struct error *err)
{
    struct device_state *d = &m->devices;
    struct device_section *sections;
    struct device_section s = {0};
    uint64_t number;
    int rc = sql_column_uint(row, 0, MANIFEST_MAX_DEVICES, &number, err);

    if (rc == 0 && number != d->n_sections)
        rc = manifest_bad(m, "a device is missing", err);
    if (rc == 0)
        rc = sql_column_text(row, 1, s.name, sizeof(s.name), err);
    if (rc == 0)
        rc = manifest_column_u32(row, 2, UINT32_MAX, &s.instance, err);
    if (rc == 0)
        rc = manifest_column_u32(row, 3, UINT32_MAX, &s.version, err);
    if (rc == 0)
        rc = sql_column_uint(row, 4, d->tail.len, &s.offset, err);
    if (rc == 0)
        rc = sql_column_uint(row, 5, d->tail.len - s.offset, &s.bytes, err);
    if (rc < 0)
        return rc;
    sections = realloc(d->sections, (size_t)(number + 1) * sizeof(s));
    if (!sections)
        return fail_nomem(err);
    d->sections = sections;
    d->sections[d->n_sections++] = s;
    return 0;
}

static int load_device_state(struct manifest *m, struct error *err)
{
    struct device_state *d = &m->devices;
    struct sql_row *row;
    int rc = manifest_only_row(m, SQL_MANIFEST_DEVICE_STATE, &row, err);

    if (rc == 0)
        rc = sql_column_text(row, 0, d->run_state, sizeof(d->run_state), err);
    if (rc == 0)
        rc = manifest_column_buf(row, 1, DEVICE_TAIL_MAX_BYTES, &d->tail, err);
    if (rc == 0)
        rc = manifest_column_buf(row, 2, VMDESC_MAX, &d->vmdesc, err);
    if (rc == 0)
        rc = sql_done(row, err);
    return rc < 0
               ? rc
               : manifest_load_rows(m, SQL_MANIFEST_DEVICES, load_device, err);
}

static int manifest_new(int snapshots_dirfd, const char *id,
                        struct manifest **ret, struct error *err)
{
    cleanup(manifest) struct manifest *m = calloc(1, sizeof(*m));
    int rc;

    if (!m)
        return fail_nomem(err);
    snprintf(m->what, sizeof(m->what), "snapshot '%.16s'", id);
    rc = manifest_file_read(snapshots_dirfd, id, m->what, &m->file, err);
    if (rc == 0)
        rc = open_database(m, err);
    if (rc == 0)
        rc = load_snapshot(m, id, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&m);
    return 0;
}

int manifest_open(int snapshots_dirfd, const char *id, struct manifest **ret,
                  struct error *err)
{
    cleanup(manifest) struct manifest *m = NULL;
    int rc = manifest_new(snapshots_dirfd, id, &m, err);

    if (rc == 0)
        rc = load_machine(m, err);
    if (rc == 0)
        rc = manifest_load_rows(m, SQL_MANIFEST_BLOCKS, load_block, err);
    if (rc == 0)
        rc = manifest_load_rows(m, SQL_MANIFEST_PACKS, manifest_load_pack, err);
    if (rc == 0)
        rc = load_device_state(m, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&m);
    return 0;
}

void manifest_close(struct manifest *m)
{
    if (!m)
        return;
    sql_close(m->sql);
    manifest_file_release(&m->file);
    snapshot_summary_release(&m->summary);
    ramblock_list_release(&m->blocks);
    machine_config_release(&m->config);
    device_state_release(&m->devices);
    json_decref(m->facts);
    free(m->packs);
    pack_set_release(&m->pack_ids);
    free(m);
}

int manifest_read_summary(int snapshots_dirfd, const char *id,
                          struct snapshot_summary *ret, struct error *err)
{
    cleanup(manifest) struct manifest *m = NULL;
    int rc = manifest_new(snapshots_dirfd, id, &m, err);

    if (rc < 0)
        return rc;
    *ret = m->summary;
    m->summary.tags = NULL;
    return 0;
}

const struct snapshot_summary *manifest_summary(const struct manifest *m)
{
    return &m->summary;
}

const struct ramblock_list *manifest_blocks(const struct manifest *m)
{
    return &m->blocks;
}

const struct machine_config *manifest_config(const struct manifest *m)
{
    return &m->config;
}

const struct device_state *manifest_devices(const struct manifest *m)
{
    return &m->devices;
}

const json_t *manifest_facts(const struct manifest *m)
{
    return m->facts;
}

uint32_t manifest_ram_section_id(const struct manifest *m)
{
    return m->ram_section_id;
}

uint64_t manifest_object_bytes(const struct manifest *m)
{
    return m->file.bytes;
}

const void *manifest_image(const struct manifest *m, size_t *ret_len)
{
    *ret_len = m->file.image.len;
    return m->file.image.data;
}
