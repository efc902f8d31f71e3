/*
 * manifest_segments.c - table `segment`, read where it lies.
 *
 * A large guest has many thousand rows and most readers want few of them: they
 * are not loaded but asked for, one by (block, segment) or all in order.
 * Their checksum binds the place (name of the block, number of the segment) to
 * the bytes, so that an index that was swapped is found like one that rotted.
 */
#include "core/base/cursor.h"
#include "storage/index/segment.h"
#include "storage/manifest_inside.h"
#include "storage/packs/page_hash.h"

static_assert(SEGMENT_PAGES == 512, "ramblock_segments() counts so");

uint64_t manifest_segment_checksum(const char *idstr, uint64_t segno,
                                   const void *data, size_t len)
{
    uint8_t place[256 + 8];
    size_t n = strlen(idstr);

    assert(n < 256); /* as struct ramblock holds it */
    memcpy(place, idstr, n);
    store_le64(place + n, segno);
    return checksum64(data, len, checksum64(place, n + 8, 0));
}

static int read_segment(struct manifest *m, struct sql_row *row, uint32_t block,
                        struct manifest_segment *ret, struct error *err)
{
    uint64_t n = ramblock_segments(&m->blocks.blocks[block]);
    struct manifest_segment s;
    int rc;

    if (n == 0)
        return manifest_bad(m, "an empty block has a segment", err);
    rc = sql_column_uint(row, 0, n - 1, &s.segno, err);
    if (rc == 0)
        rc = manifest_column_u32(row, 1, m->pack_ids.n, &s.pack, err);
    if (rc == 0 &&
        (s.pack == m->pack_ids.n || m->packs[s.pack].kind != PACK_INDEX))
        rc = manifest_bad(m, "a segment lies in no index pack", err);
    if (rc == 0)
        rc = manifest_column_u32(row, 2, UINT32_MAX, &s.item, err);
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
        rc = manifest_column_u32(row, 4, m->blocks.n, &block, err);
        if (rc == 0 && block == m->blocks.n)
            rc = manifest_bad(m, "a segment belongs to no block", err);
        if (rc == 0)
            rc = read_segment(m, row, block, &segment, err);
        if (rc == 0)
            rc = visit(arg, block, &segment, err);
    }
    return rc < 0 ? rc : sql_done(row, err);
}

int manifest_count_segments(struct manifest *m, uint64_t *ret,
                            struct error *err)
{
    struct sql_row *row;
    int rc = manifest_only_row(m, SQL_MANIFEST_SEGMENT_COUNT, &row, err);

    if (rc == 0)
        rc = sql_column_uint(row, 0, INT64_MAX, ret, err);
    return rc < 0 ? rc : sql_done(row, err);
}
