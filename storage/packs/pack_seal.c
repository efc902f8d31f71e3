/*
 * pack_seal.c - a pack that may be relied on.
 *
 * After the sync, the size, the header, the tables and the trailer are read
 * from the file again and compared with what was meant. The page cache is asked
 * to forget them before, so that it is the disk that answers. The frames are
 * not read again; their checksums are among what was compared.
 */
#include <fcntl.h>
#include <sys/stat.h>

#define LOG_AREA "pack"
#include "core/base/bytes.h"
#include "core/base/log.h"
#include "core/base/path.h"
#include "storage/packs/pack_writer_inside.h"

#define READ_BACK_BYTES (64u << 10)

static void fill_trailer(struct pack_writer *w)
{
    struct pack_trailer *t = &w->trailer;
    uint64_t table_offset = pack_stream_bytes(&w->stream);

    memcpy(t->magic, PACK_TRAILER_MAGIC, sizeof(t->magic));
    store_le32(&t->n_frames, w->n_frames);
    store_le32(&t->n_items, w->n_items);
    store_le64(&t->table_offset, table_offset);
    store_le64(&t->file_bytes, table_offset + w->frame_table.len +
                                   w->item_table.len + sizeof(*t));
    store_le64(&t->frame_table_sum,
               checksum64(w->frame_table.data, w->frame_table.len, 0));
    store_le64(&t->item_table_sum,
               checksum64(w->item_table.data, w->item_table.len, 0));
    store_le64(&t->checksum,
               checksum64(t, PACK_SUMMED_BYTES, w->seeds.trailer));
}

static int write_tables(struct pack_writer *w, struct error *err)
{
    struct pack_stream *s = &w->stream;
    int rc;

    fill_trailer(w);
    rc = pack_stream_append(s, w->frame_table.data, w->frame_table.len, err);
    if (rc < 0)
        return rc;
    rc = pack_stream_append(s, w->item_table.data, w->item_table.len, err);
    if (rc < 0)
        return rc;
    return pack_stream_append(s, &w->trailer, sizeof(w->trailer), err);
}

/* *offset goes behind what was compared. */
static int compare(struct pack_writer *w, const void *meant, size_t len,
                   uint64_t *offset, struct error *err)
{
    const uint8_t *p = meant;

    while (len > 0) {
        size_t step = MIN(len, (size_t)READ_BACK_BYTES);
        int rc = path_read_at(w->file.fd, w->scratch.data, step, *offset, err);

        if (rc < 0)
            return rc;
        if (memcmp(w->scratch.data, p, step) != 0)
            return fail(err, ERR_CORRUPT,
                        "bytes %llu to %llu read back differ from what was "
                        "written",
                        (unsigned long long)*offset,
                        (unsigned long long)(*offset + step));
        p += step;
        len -= step;
        *offset += step;
    }
    return 0;
}

static int check_size(struct pack_writer *w, struct error *err)
{
    uint64_t meant = pack_stream_bytes(&w->stream);
    struct stat st;

    if (fstat(w->file.fd, &st) < 0)
        return fail_errno(err, ERR_IO, "cannot ask for the size");
    if ((uint64_t)st.st_size != meant)
        return fail(err, ERR_CORRUPT,
                    "the file has %lld bytes, %llu were written",
                    (long long)st.st_size, (unsigned long long)meant);
    return 0;
}

static int read_back(struct pack_writer *w, struct error *err)
{
    uint64_t offset = 0;
    int rc = check_size(w, err);

    if (rc < 0)
        return rc;
    buf_reset(&w->scratch);
    rc = buf_reserve(&w->scratch, READ_BACK_BYTES, err);
    if (rc < 0)
        return rc;
    rc = compare(w, &w->header, sizeof(w->header), &offset, err);
    if (rc < 0)
        return rc;
    offset = load_le64(&w->trailer.table_offset);
    rc = compare(w, w->frame_table.data, w->frame_table.len, &offset, err);
    if (rc < 0)
        return rc;
    rc = compare(w, w->item_table.data, w->item_table.len, &offset, err);
    if (rc < 0)
        return rc;
    return compare(w, &w->trailer, sizeof(w->trailer), &offset, err);
}

/* Advice only: where it is not followed, the page cache is compared. */
static void forget_cached(struct pack_writer *w)
{
    uint64_t tables = load_le64(&w->trailer.table_offset) & ~UINT64_C(4095);

    posix_fadvise(w->file.fd, 0, PACK_HEADER_BYTES, POSIX_FADV_DONTNEED);
    posix_fadvise(w->file.fd, (off_t)tables, 0, POSIX_FADV_DONTNEED);
}

static int finish(struct pack_writer *w, struct error *err)
{
    int rc = w->gathered.len > 0 ? pack_writer_flush(w, err) : 0;

    if (rc < 0)
        return rc;
    rc = write_tables(w, err);
    if (rc < 0)
        return rc;
    rc = pack_stream_finish(&w->stream, err);
    if (rc < 0)
        return rc;
    forget_cached(w);
    return read_back(w, err);
}

/* Many sealed packs wait for one commit, few of them are read before: those
 * load their frame table again. */
static void shrink(struct pack_writer *w)
{
    frame_codec_free(steal_ptr(&w->codec));
    buf_release(&w->frame_table);
    buf_release(&w->offsets);
    buf_release(&w->item_table);
    buf_release(&w->gathered);
    buf_release(&w->scratch);
}

int pack_writer_seal(struct pack_writer *w, struct error *err)
{
    enum cpu_stage before;
    int rc = pack_writer_check_open(w, err);

    if (rc < 0)
        return rc;
    if (w->n_items == 0)
        return fail(err, ERR_INVALID, "pack '%s' is empty", w->id_text);
    before = stage_clock_enter(w->stream.clock, CPU_WRITE);
    rc = finish(w, err);
    stage_clock_enter(w->stream.clock, before);
    if (rc < 0)
        return pack_writer_fail(w, err);
    shrink(w);
    w->state = PACK_SEALED;
    log_debug("sealed '%s': %u items, %u frames, %llu bytes", w->id_text,
              w->n_items, w->n_frames,
              (unsigned long long)pack_stream_bytes(&w->stream));
    return 0;
}
