/*
 * manifest.c - from the bytes of a snapshot object to its facts.
 *
 *   object = database(SQLite image) footer(64 bytes)
 *   footer = magic "FIRNSNAP", version(u32) reserved(u32 = 0), id(16 digits),
 *            length of the database(u64), XXH3-128 of the database(low u64,
 *            high u64), XXH3-64 of the 56 bytes before(u64)
 *
 * Both checksums are seeded with the number that the id is, so that a file
 * under a wrong name is found. They are verified before SQLite is handed the
 * image, and rows are checked all the same: a checksum is no signature.
 */
#include "storage/manifest.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "core/base/cursor.h"
#include "core/base/path.h"
#include "storage/index/segment.h"
#include "storage/index/sql.h"
#include "storage/packs/page_hash.h"
#include "storage/snapshot_cost.h"
#include "storage/summary_fields.h"

#define FOOTER_MAGIC   "FIRNSNAP"
#define FOOTER_VERSION 1u
#define VMDESC_MAX     JSON_MAX_BYTES
#define MAX_USED_BYTES (UINT64_C(1) << 52)
#define MAX_PACK_BYTES (UINT64_C(1) << 40)

static_assert(SEGMENT_PAGES == 512, "ramblock_segments() counts so");

struct manifest {
    char what[40]; /* "snapshot '...'", for messages */
    uint8_t *object;
    size_t object_bytes;
    struct sql *sql;
    struct snapshot_summary summary;
    struct ramblock_list blocks;
    struct machine_config config;
    struct device_state devices;
    json_t *facts;
    uint32_t ram_section_id;
    struct manifest_pack *packs;
    struct pack_set pack_ids;
};

static uint64_t seed_of(const char *id)
{
    return strtoull(id, NULL, 16);
}

void manifest_footer_write(uint8_t ret[static MANIFEST_FOOTER_BYTES],
                           const char *id, const void *database, size_t len)
{
    struct page_hash sum = checksum128(database, len, seed_of(id));

    memset(ret, 0, MANIFEST_FOOTER_BYTES);
    memcpy(ret, FOOTER_MAGIC, 8);
    store_le32(ret + 8, FOOTER_VERSION);
    memcpy(ret + 16, id, SNAPSHOT_ID_LEN);
    store_le64(ret + 32, len);
    store_le64(ret + 40, sum.low);
    store_le64(ret + 48, sum.high);
    store_le64(ret + 56, checksum64(ret, 56, seed_of(id)));
}

uint64_t manifest_segment_checksum(const char *idstr, uint64_t segno,
                                   const void *data, size_t len)
{
    uint8_t place[256 + 8];
    size_t n = strlen(idstr);

    memcpy(place, idstr, n);
    store_le64(place + n, segno);
    return checksum64(data, len, checksum64(place, n + 8, 0));
}

static int bad_object(const struct manifest *m, const char *reason,
                      struct error *err)
{
    return fail(err, ERR_CORRUPT, "%s: %s", m->what, reason);
}

static int check_footer(const struct manifest *m, const char *id,
                        struct error *err)
{
    uint8_t expected[MANIFEST_FOOTER_BYTES];
    size_t len = m->object_bytes - MANIFEST_FOOTER_BYTES;
    const uint8_t *footer = m->object + len;

    if (memcmp(footer, FOOTER_MAGIC, 8) != 0)
        return bad_object(m, "its end is not that of a snapshot", err);
    if (load_le64(footer + 56) != checksum64(footer, 56, seed_of(id)))
        return bad_object(m, "the footer's checksum differs", err);
    if (load_le32(footer + 8) > FOOTER_VERSION)
        return fail(err, ERR_FORMAT, "%s: version %u is not known", m->what,
                    load_le32(footer + 8));
    manifest_footer_write(expected, id, m->object, len);
    if (memcmp(footer, expected, sizeof(expected)) != 0)
        return bad_object(m, "the database's checksum differs", err);
    return 0;
}

static int read_object(struct manifest *m, int snapshots_dirfd, const char *id,
                       struct error *err)
{
    struct object_folder folder = layout_snapshots(snapshots_dirfd);
    cleanup_close int fd = -1;
    struct stat st;
    int rc = object_open(&folder, id, &fd, err);

    if (rc < 0)
        return error_wrap(err, "%s", m->what);
    if (fstat(fd, &st) < 0)
        return fail_errno(err, ERR_IO, "%s", m->what);
    if (st.st_size < (off_t)MANIFEST_FOOTER_BYTES ||
        st.st_size > (off_t)MANIFEST_MAX_BYTES)
        return bad_object(m, "its length makes no sense", err);
    m->object_bytes = (size_t)st.st_size;
    m->object = malloc(m->object_bytes);
    if (!m->object)
        return fail_nomem(err);
    rc = path_read_at(fd, m->object, m->object_bytes, 0, err);
    if (rc < 0)
        return error_wrap(err, "%s", m->what);
    return check_footer(m, id, err);
}

static int open_database(struct manifest *m, const char *id, struct error *err)
{
    int64_t version;
    int rc =
        sql_open_image(m->what, m->object,
                       m->object_bytes - MANIFEST_FOOTER_BYTES, &m->sql, err);

    if (rc == 0)
        rc = sql_user_version(m->sql, &version, err);
    if (rc < 0)
        return rc;
    if (version != MANIFEST_SCHEMA_VERSION)
        return fail(err, ERR_FORMAT, "%s: schema version %lld is not known",
                    m->what, (long long)version);
    return 0;
}

/* The statement, at its one and only row. */
static int only_row(struct manifest *m, enum sql_statement which,
                    struct sql_row **ret, struct error *err)
{
    bool found;
    int rc = sql_prepare(m->sql, which, ret, err);

    if (rc == 0)
        rc = sql_step(*ret, &found, err);
    if (rc < 0)
        return rc;
    return found ? 0 : bad_object(m, "a row is missing", err);
}

static int column_json(struct manifest *m, struct sql_row *row, int at,
                       json_t **ret, struct error *err)
{
    const uint8_t *text;
    size_t len;
    int rc = sql_column_bytes(row, at, JSON_MAX_BYTES, &text, &len, err);

    if (rc == 0)
        rc = json_parse(text, len, ret, err);
    if (rc < 0)
        return rc == ERR_NOMEM ? rc : bad_object(m, "JSON is damaged", err);
    if (!json_is_object(*ret))
        return bad_object(m, "JSON is no object", err);
    return 0;
}

static int column_buf(struct sql_row *row, int at, size_t max, struct buf *ret,
                      struct error *err)
{
    const uint8_t *data;
    size_t len;
    int rc = sql_column_bytes(row, at, max, &data, &len, err);

    return rc < 0 ? rc : buf_append(ret, data, len, err);
}

static int column_u32(struct sql_row *row, int at, uint32_t max, uint32_t *ret,
                      struct error *err)
{
    uint64_t value;
    int rc = sql_column_uint(row, at, max, &value, err);

    if (rc < 0)
        return rc;
    *ret = (uint32_t)value;
    return 0;
}

static int column_bool(struct sql_row *row, int at, bool *ret,
                       struct error *err)
{
    uint32_t value;
    int rc = column_u32(row, at, 1, &value, err);

    if (rc < 0)
        return rc;
    *ret = value == 1;
    return 0;
}

static int load_snapshot(struct manifest *m, const char *id, struct error *err)
{
    const int tags = SUMMARY_N_COLUMNS;
    struct sql_row *row;
    int rc = only_row(m, SQL_MANIFEST_SNAPSHOT, &row, err);

    if (rc == 0)
        rc = summary_read(row, &m->summary, err);
    if (rc == 0)
        rc = column_json(m, row, tags, &m->summary.tags, err);
    if (rc == 0)
        rc = column_json(m, row, tags + 1, &m->facts, err);
    if (rc == 0)
        snapshot_cost_parse(json_object_get(m->facts, "cost"),
                            &m->summary.cost);
    if (rc == 0)
        rc = column_u32(row, tags + 2, UINT32_MAX, &m->ram_section_id, err);
    if (rc < 0)
        return rc;
    if (strcmp(m->summary.id, id) != 0)
        return bad_object(m, "it holds another snapshot", err);
    if (!summary_tags_are_strings(m->summary.tags))
        return bad_object(m, "its tags are no strings", err);
    /* The row cannot know how long its own object will be. */
    m->summary.stored_bytes += m->object_bytes;
    return sql_done(row, err);
}

static int load_machine(struct manifest *m, struct error *err)
{
    struct machine_config *c = &m->config;
    struct sql_row *row;
    const uint8_t *uuid;
    size_t len;
    int rc = only_row(m, SQL_MANIFEST_MACHINE, &row, err);

    if (rc == 0)
        rc = sql_column_text(row, 0, c->machine, sizeof(c->machine), err);
    if (rc == 0)
        rc = column_u32(row, 1, 64, &c->target_page_bits, err);
    if (rc == 0)
        rc = column_bool(row, 2, &c->ignore_shared, err);
    if (rc == 0)
        rc = column_bool(row, 3, &c->mapped_ram, err);
    if (rc == 0)
        rc = column_buf(row, 5, MANIFEST_MAX_CONFIG, &c->raw, err);
    c->has_uuid = rc == 0 && !sql_is_null(row, 4);
    if (c->has_uuid) {
        rc = sql_column_bytes(row, 4, sizeof(c->uuid), &uuid, &len, err);
        if (rc == 0 && len != sizeof(c->uuid))
            rc = bad_object(m, "its uuid is too short", err);
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
        rc = column_bool(row, 4, &ret->left_out, err);
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
        rc = bad_object(m, "a block is missing", err);
    if (rc == 0)
        rc = read_block(row, &block, err);
    if (rc < 0)
        return rc;
    rc = ramblock_list_add(&m->blocks, &block, &why);
    if (rc == ERR_NOMEM)
        return error_copy(err, &why);
    return rc < 0 ? bad_object(m, why.message, err) : 0;
}

/* Gives every row of a statement to `load`. */
static int load_rows(struct manifest *m, enum sql_statement which,
                     int (*load)(struct manifest *m, struct sql_row *row,
                                 struct error *err),
                     struct error *err)
{
    struct sql_row *row;
    bool found = true;
    int rc = sql_prepare(m->sql, which, &row, err);

    while (rc == 0 && found) {
        rc = sql_step(row, &found, err);
        if (rc == 0 && found)
            rc = load(m, row, err);
    }
    return rc < 0 ? rc : sql_done(row, err);
}

static int read_pack(struct manifest *m, struct sql_row *row,
                     struct manifest_pack *ret, struct error *err)
{
    uint32_t kind = 0;
    int rc = sql_column_text(row, 1, ret->id, sizeof(ret->id), err);

    if (rc == 0 && !layout_is_id(ret->id, PACK_ID_LEN))
        rc = bad_object(m, "a pack's id is none", err);
    if (rc == 0)
        rc = column_u32(row, 2, PACK_INDEX, &kind, err);
    if (rc == 0 && kind != PACK_PAGES && kind != PACK_INDEX)
        rc = bad_object(m, "a pack's kind is not known", err);
    if (rc == 0)
        rc = sql_column_uint(row, 3, MAX_PACK_BYTES, &ret->bytes, err);
    if (rc == 0)
        rc = column_u32(row, 4, UINT32_MAX, &ret->items, err);
    if (rc == 0)
        rc = column_u32(row, 5, ret->items, &ret->used, err);
    ret->kind = kind == PACK_INDEX ? PACK_INDEX : PACK_PAGES;
    return rc;
}

/* Room comes in powers of two, so it is full when n is one. */
static int reserve_pack(struct manifest *m, struct error *err)
{
    uint32_t n = m->pack_ids.n;
    struct manifest_pack *packs;

    if (n >= MANIFEST_MAX_PACKS)
        return bad_object(m, "it refers to too many packs", err);
    if (n & (n - 1))
        return 0;
    packs = realloc(m->packs, (n ? (size_t)n * 2 : 1) * sizeof(*packs));
    if (!packs)
        return fail_nomem(err);
    m->packs = packs;
    return 0;
}

static int load_pack(struct manifest *m, struct sql_row *row, struct error *err)
{
    uint8_t id[LAYOUT_PACK_ID_BYTES];
    uint64_t number;
    uint32_t added = m->pack_ids.n;
    struct manifest_pack *pack;
    int rc = sql_column_uint(row, 0, MANIFEST_MAX_PACKS, &number, err);

    if (rc == 0 && number != m->pack_ids.n)
        rc = bad_object(m, "a pack's row is missing", err);
    if (rc == 0)
        rc = reserve_pack(m, err);
    if (rc < 0)
        return rc;
    pack = &m->packs[number];
    *pack = (struct manifest_pack){0};
    rc = read_pack(m, row, pack, err);
    if (rc < 0)
        return rc;
    if (!layout_id_bytes(pack->id, id, sizeof(id)))
        return bad_object(m, "a pack's id is none", err);
    rc = pack_set_add(&m->pack_ids, id, &added, err);
    if (rc == 0 && added != number)
        rc = bad_object(m, "a pack is listed twice", err);
    return rc;
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
        rc = bad_object(m, "a device is missing", err);
    if (rc == 0)
        rc = sql_column_text(row, 1, s.name, sizeof(s.name), err);
    if (rc == 0)
        rc = column_u32(row, 2, UINT32_MAX, &s.instance, err);
    if (rc == 0)
        rc = column_u32(row, 3, UINT32_MAX, &s.version, err);
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
    int rc = only_row(m, SQL_MANIFEST_DEVICE_STATE, &row, err);

    if (rc == 0)
        rc = sql_column_text(row, 0, d->run_state, sizeof(d->run_state), err);
    if (rc == 0)
        rc = column_buf(row, 1, DEVICE_TAIL_MAX_BYTES, &d->tail, err);
    if (rc == 0)
        rc = column_buf(row, 2, VMDESC_MAX, &d->vmdesc, err);
    if (rc == 0)
        rc = sql_done(row, err);
    return rc < 0 ? rc : load_rows(m, SQL_MANIFEST_DEVICES, load_device, err);
}

static int manifest_new(int snapshots_dirfd, const char *id,
                        struct manifest **ret, struct error *err)
{
    cleanup(manifest) struct manifest *m = calloc(1, sizeof(*m));
    int rc;

    if (!m)
        return fail_nomem(err);
    snprintf(m->what, sizeof(m->what), "snapshot '%.16s'", id);
    rc = read_object(m, snapshots_dirfd, id, err);
    if (rc == 0)
        rc = open_database(m, id, err);
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
        rc = load_rows(m, SQL_MANIFEST_BLOCKS, load_block, err);
    if (rc == 0)
        rc = load_rows(m, SQL_MANIFEST_PACKS, load_pack, err);
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
    free(m->object);
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

const struct manifest_pack *manifest_packs(const struct manifest *m,
                                           uint32_t *ret_n)
{
    *ret_n = m->pack_ids.n;
    return m->packs;
}

uint32_t manifest_pack_number(const struct manifest *m,
                              const uint8_t id[static LAYOUT_PACK_ID_BYTES])
{
    return pack_set_find(&m->pack_ids, id);
}

uint64_t manifest_object_bytes(const struct manifest *m)
{
    return m->object_bytes;
}

static int read_segment(struct manifest *m, struct sql_row *row, uint32_t block,
                        struct manifest_segment *ret, struct error *err)
{
    uint64_t n = ramblock_segments(&m->blocks.blocks[block]);
    struct manifest_segment s;
    int rc;

    if (n == 0)
        return bad_object(m, "an empty block has a segment", err);
    rc = sql_column_uint(row, 0, n - 1, &s.segno, err);
    if (rc == 0)
        rc = column_u32(row, 1, m->pack_ids.n, &s.pack, err);
    if (rc == 0 &&
        (s.pack == m->pack_ids.n || m->packs[s.pack].kind != PACK_INDEX))
        rc = bad_object(m, "a segment lies in no index pack", err);
    if (rc == 0)
        rc = column_u32(row, 2, UINT32_MAX, &s.item, err);
    if (rc == 0)
        rc = sql_column_bits(row, 3, &s.checksum, err);
    if (rc < 0)
        return rc;
    *ret = s;
    return 0;
}

int manifest_next_segment(struct manifest *m, uint32_t block, uint64_t segno,
                          struct manifest_segment *ret, bool *ret_found,
                          struct error *err)
{
    struct sql_row *row;
    bool found;
    int rc = sql_prepare(m->sql, SQL_MANIFEST_SEGMENT, &row, err);

    if (rc < 0)
        return rc;
    sql_bind_int(row, 1, block);
    sql_bind_int(row, 2, (int64_t)segno);
    rc = sql_step(row, &found, err);
    if (rc == 0 && found)
        rc = read_segment(m, row, block, ret, err);
    if (rc == 0)
        rc = sql_done(row, err);
    if (rc == 0)
        *ret_found = found;
    return rc;
}

int manifest_walk(struct manifest *m,
                  int (*visit)(void *arg, uint32_t block,
                               const struct manifest_segment *segment,
                               struct error *err),
                  void *arg, struct error *err)
{
    struct manifest_segment segment;
    struct sql_row *row;
    bool found = true;
    uint32_t block;
    int rc = sql_prepare(m->sql, SQL_MANIFEST_SEGMENTS, &row, err);

    while (rc == 0 && found) {
        rc = sql_step(row, &found, err);
        if (rc < 0 || !found)
            break;
        rc = column_u32(row, 4, m->blocks.n, &block, err);
        if (rc == 0 && block == m->blocks.n)
            rc = bad_object(m, "a segment belongs to no block", err);
        if (rc == 0)
            rc = read_segment(m, row, block, &segment, err);
        if (rc == 0)
            rc = visit(arg, block, &segment, err);
    }
    return rc < 0 ? rc : sql_done(row, err);
}

const void *manifest_image(const struct manifest *m, size_t *ret_len)
{
    *ret_len = m->object_bytes - MANIFEST_FOOTER_BYTES;
    return m->object;
}

int manifest_count_segments(struct manifest *m, uint64_t *ret,
                            struct error *err)
{
    struct sql_row *row;
    int rc = only_row(m, SQL_MANIFEST_SEGMENT_COUNT, &row, err);

    if (rc == 0)
        rc = sql_column_uint(row, 0, INT64_MAX, ret, err);
    return rc < 0 ? rc : sql_done(row, err);
}
