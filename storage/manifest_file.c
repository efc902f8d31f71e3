/*
 * manifest_file.c - sealing a snapshot's database, and breaking the seal.
 *
 *   file   = stored footer(64 bytes)
 *   footer = magic "FIRNSNAP", version(u32 = 2), raw(u32), id(16 digits),
 *            length of stored(u64), XXH3-128 of stored(low u64, high u64),
 *            XXH3-64 of the 56 bytes before(u64)
 *
 * Both checksums are seeded with the number that the id is, so that a file
 * under a wrong name is found. They are verified before zstd or SQLite are
 * handed a byte. Version 1 had no compression and 0 in place of `raw`.
 */
#include "storage/manifest_file.h"

#include <sys/stat.h>

#include "core/base/cursor.h"
#include "core/base/path.h"
#include "core/codec/frame_codec.h"
#include "storage/layout.h"
#include "storage/packs/page_hash.h"
#include "storage/repository.h"

#define FOOTER_MAGIC        "FIRNSNAP"
#define FOOTER_VERSION      2u
#define FOOTER_VERSION_BARE 1u
#define ZSTD_LEVEL          3

static uint64_t seed_of(const char *id)
{
    return strtoull(id, NULL, 16);
}

void manifest_file_footer(uint8_t ret[static MANIFEST_FOOTER_BYTES],
                          const char *id, const void *stored, size_t len,
                          uint32_t raw)
{
    struct page_hash sum = checksum128(stored, len, seed_of(id));

    memset(ret, 0, MANIFEST_FOOTER_BYTES);
    memcpy(ret, FOOTER_MAGIC, 8);
    store_le32(ret + 8, FOOTER_VERSION);
    store_le32(ret + 12, raw);
    memcpy(ret + 16, id, SNAPSHOT_ID_LEN);
    store_le64(ret + 32, len);
    store_le64(ret + 40, sum.low);
    store_le64(ret + 48, sum.high);
    store_le64(ret + 56, checksum64(ret, 56, seed_of(id)));
}

/* Leaves the image as it is where that pays as well. */
static int compress(struct buf *image, struct error *err)
{
    cleanup(frame_codec) struct frame_codec *codec = NULL;
    cleanup_buf struct buf stored = BUF_INIT;
    struct buf bare;
    int rc = frame_codec_new(ZSTD_LEVEL, &codec, err);

    if (rc == 0)
        rc = buf_reserve(&stored, image->len, err);
    if (rc == 0)
        rc = frame_codec_compress(codec, image->data, image->len, stored.data,
                                  &stored.len, err);
    if (rc < 0 || stored.len == 0)
        return rc;
    bare = *image;
    *image = stored;
    stored = bare;
    return 0;
}

int manifest_file_seal(const char *id, struct buf *image, struct error *err)
{
    uint8_t footer[MANIFEST_FOOTER_BYTES];
    size_t raw = image->len;
    int rc;

    if (raw + MANIFEST_FOOTER_BYTES > MANIFEST_MAX_BYTES)
        return fail(err, ERR_UNSUPPORTED,
                    "the snapshot object would have %zu bytes", raw);
    rc = compress(image, err);
    if (rc < 0)
        return rc;
    manifest_file_footer(footer, id, image->data, image->len, (uint32_t)raw);
    return buf_append(image, footer, sizeof(footer), err);
}

static int bad_file(const char *what, const char *reason, struct error *err)
{
    return fail(err, ERR_CORRUPT, "%s: %s", what, reason);
}

static int load(int snapshots_dirfd, const char *id, const char *what,
                struct buf *ret, struct error *err)
{
    struct object_folder folder = layout_snapshots(snapshots_dirfd);
    cleanup_close int fd = -1;
    struct stat st;
    int rc = object_open(&folder, id, &fd, err);

    if (rc < 0)
        return error_wrap(err, "%s", what);
    if (fstat(fd, &st) < 0)
        return fail_errno(err, ERR_IO, "%s", what);
    if (st.st_size < (off_t)MANIFEST_FOOTER_BYTES ||
        st.st_size > (off_t)MANIFEST_MAX_BYTES)
        return bad_file(what, "its length makes no sense", err);
    rc = buf_reserve(ret, (size_t)st.st_size, err);
    if (rc < 0)
        return rc;
    ret->len = (size_t)st.st_size;
    rc = path_read_at(fd, ret->data, ret->len, 0, err);
    return rc < 0 ? error_wrap(err, "%s", what) : 0;
}

/* *ret_raw: bytes of the image. Of a file that is not damaged, all holds. */
static int check_footer(const uint8_t *footer, const char *id, const char *what,
                        const struct buf *stored, uint64_t *ret_raw,
                        struct error *err)
{
    struct page_hash sum = checksum128(stored->data, stored->len, seed_of(id));
    uint32_t version = load_le32(footer + 8);
    uint64_t raw = load_le32(footer + 12);

    if (memcmp(footer, FOOTER_MAGIC, 8) != 0)
        return bad_file(what, "its end is not that of a snapshot", err);
    if (load_le64(footer + 56) != checksum64(footer, 56, seed_of(id)))
        return bad_file(what, "the footer's checksum differs", err);
    if (version > FOOTER_VERSION)
        return fail(err, ERR_FORMAT, "%s: version %u is not known", what,
                    version);
    if (version == FOOTER_VERSION_BARE && raw == 0)
        raw = stored->len;
    if (memcmp(footer + 16, id, SNAPSHOT_ID_LEN) != 0 ||
        load_le64(footer + 32) != stored->len || raw < stored->len ||
        raw > MANIFEST_MAX_BYTES)
        return bad_file(what, "the footer does not fit it", err);
    if (load_le64(footer + 40) != sum.low || load_le64(footer + 48) != sum.high)
        return bad_file(what, "the database's checksum differs", err);
    *ret_raw = raw;
    return 0;
}

/* A frame says itself how long its content is: nothing is allocated for one
 * that does not say so, or something else. */
static int decompress(const struct buf *stored, uint64_t raw, struct buf *ret,
                      struct error *err)
{
    cleanup(frame_codec) struct frame_codec *codec = NULL;
    int rc = frame_codec_expect(stored->data, stored->len, raw, err);

    if (rc == 0)
        rc = frame_codec_new(ZSTD_LEVEL, &codec, err);
    if (rc == 0)
        rc = buf_reserve(ret, (size_t)raw, err);
    if (rc < 0)
        return rc;
    ret->len = (size_t)raw;
    return frame_codec_decompress(codec, stored->data, stored->len, ret->data,
                                  ret->len, err);
}

int manifest_file_read(int snapshots_dirfd, const char *id, const char *what,
                       struct manifest_file *ret, struct error *err)
{
    cleanup(manifest_file) struct manifest_file f = {0};
    cleanup_buf struct buf stored = BUF_INIT;
    uint64_t raw = 0;
    int rc = load(snapshots_dirfd, id, what, &stored, err);

    if (rc < 0)
        return rc;
    f.bytes = stored.len;
    stored.len -= MANIFEST_FOOTER_BYTES;
    rc = check_footer(stored.data + stored.len, id, what, &stored, &raw, err);
    if (rc < 0)
        return rc;
    if (raw > stored.len) {
        rc = decompress(&stored, raw, &f.image, err);
    } else {
        f.image = stored;
        stored = BUF_INIT;
    }
    if (rc < 0)
        return error_wrap(err, "%s", what);
    *ret = f;
    f = (struct manifest_file){0};
    return 0;
}

void manifest_file_release(struct manifest_file *f)
{
    buf_release(&f->image);
}
