/*
 * pack_reader.c - tables first, then any frame, through two windows.
 *
 * open() believes nothing: the file's size bounds the counts of the trailer,
 * these bound what is allocated, and the sums of the frame table must meet the
 * table's own place to the byte. After that a frame's place is arithmetic.
 *
 * A window is a range of whole frames read at once. A frame that is in one
 * costs no read. A frame behind one, or nearly so, is taken for linear reading:
 * that window moves on and begins there. A frame near one on the other side
 * shows that neighbours are wanted: a window is read around it. Any other frame
 * is read alone, since it may be a duplicate that somebody far away refers to,
 * and takes the place of the window that was used less recently. So the faults
 * of a restore, its duplicates and its linear pass do not take each other's
 * bytes away. Where reading a window fails (a bad sector) the frame alone is
 * tried: its neighbours' damage is not its own.
 */
#include "storage/packs/pack_reader.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "core/base/bytes.h"
#include "core/base/path.h"
#include "core/vm/page.h"
#include "storage/objects/object_folder.h"
#include "storage/packs/frame.h"

#define DEFAULT_WINDOW_BYTES (64u << 10)
#define MAX_WINDOW_BYTES     (64u << 20)
/* A window from here on is no fault's: the kernel may read ahead. */
#define LINEAR_WINDOW_BYTES (256u << 10)
/* How far frames may lie apart and be neighbours: a linear reader leaves out
 * what is shared or sent already. */
#define NEAR_FRAMES 16u

#define WINDOWS 2u

struct window {
    uint8_t *bytes;
    size_t cap;
    uint32_t first; /* frames first … end - 1 */
    uint32_t end;
};

struct pack_reader {
    int fd;
    char id_text[PACK_ID_LEN + 1];
    uint8_t id[PACK_ID_BYTES];
    struct pack_seeds seeds;
    enum pack_kind kind;
    uint32_t hash_key_id;
    uint32_t n_frames;
    uint32_t n_items;
    uint64_t file_bytes;
    uint64_t table_offset;
    uint64_t frame_table_sum;
    uint64_t item_table_sum;
    uint64_t read_bytes;

    struct pack_frame_entry *entries;
    uint32_t *offsets;     /* n_frames + 1: the last is table_offset */
    uint32_t *first_items; /* n_frames + 1: the last is n_items */
    struct page_hash *hashes;

    size_t window_bytes; /* how much to read at once */
    struct window windows[WINDOWS];
    unsigned recent; /* the one used last */
};

static int read_at(struct pack_reader *r, void *dst, size_t len,
                   uint64_t offset, struct error *err)
{
    int rc = path_read_at(r->fd, dst, len, offset, err);

    if (rc == 0)
        r->read_bytes += len;
    return rc;
}

static int open_file(struct pack_reader *r, int packs_dirfd, struct error *err)
{
    struct object_folder folder = {
        .dirfd = packs_dirfd, .id_len = PACK_ID_LEN, .fan_out = true};
    struct stat st;
    int rc = object_open(&folder, r->id_text, &r->fd, err);

    if (rc < 0)
        return rc;
    if (fstat(r->fd, &st) < 0)
        return fail_errno(err, ERR_IO, "cannot ask for the size");
    if (!S_ISREG(st.st_mode))
        return fail(err, ERR_CORRUPT, "not a plain file");
    r->file_bytes = (uint64_t)st.st_size;
    if (r->file_bytes < PACK_HEADER_BYTES + PACK_TRAILER_BYTES)
        return fail(err, ERR_CORRUPT, "file of %llu bytes is too short",
                    (unsigned long long)r->file_bytes);
    if (r->file_bytes > PACK_MAX_BYTES)
        return fail(err, ERR_CORRUPT, "file of %llu bytes is too long",
                    (unsigned long long)r->file_bytes);
    /* Faults jump: readahead of the kernel's would only cost. */
    posix_fadvise(r->fd, 0, 0, POSIX_FADV_RANDOM);
    return 0;
}

static int check_versions(const struct pack_header *h, struct error *err)
{
    uint32_t unknown =
        load_le32(&h->must_understand) & ~PACK_KNOWN_MUST_UNDERSTAND;

    if (load_le32(&h->version) != PACK_VERSION)
        return fail(err, ERR_FORMAT, "pack version %u is not known",
                    load_le32(&h->version));
    if (unknown)
        return fail(err, ERR_FORMAT, "pack features %#x are not known",
                    unknown);
    if (load_le32(&h->page_bytes) != PAGE_BYTES)
        return fail(err, ERR_FORMAT, "pages of %u bytes are not known",
                    load_le32(&h->page_bytes));
    return 0;
}

static void parse_id(struct pack_reader *r)
{
    for (size_t i = 0; i < PACK_ID_BYTES; i++) {
        char digits[3] = {r->id_text[2 * i], r->id_text[2 * i + 1], '\0'};

        r->id[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    r->seeds = pack_seeds_of(r->id);
}

static int read_header(struct pack_reader *r, struct error *err)
{
    struct pack_header h;
    int rc = read_at(r, &h, sizeof(h), 0, err);

    if (rc < 0)
        return rc;
    if (memcmp(h.magic, PACK_HEADER_MAGIC, sizeof(h.magic)) != 0)
        return fail(err, ERR_CORRUPT, "offset 0: no pack begins here");
    if (checksum64(&h, PACK_SUMMED_BYTES, 0) != load_le64(&h.checksum))
        return fail(err, ERR_CORRUPT, "offset 0: header checksum differs");
    rc = check_versions(&h, err);
    if (rc < 0)
        return rc;
    if (load_le64(&h.reserved) != 0)
        return fail(err, ERR_CORRUPT, "offset 48: reserved bytes are used");
    parse_id(r);
    if (memcmp(h.id, r->id, sizeof(h.id)) != 0)
        return fail(err, ERR_CORRUPT, "offset 16: id of another pack");
    if (load_le32(&h.kind) != r->kind)
        return fail(err, ERR_CORRUPT, "offset 12: kind is %u instead of %u",
                    load_le32(&h.kind), r->kind);
    r->hash_key_id = load_le32(&h.hash_key_id);
    return 0;
}

/* The counts against the size of the file; no sum can wrap, for they are
 * 32-bit numbers times 16. */
static int check_counts(struct pack_reader *r, const struct pack_trailer *t,
                        struct error *err)
{
    uint64_t n_frames = load_le32(&t->n_frames);
    uint64_t n_items = load_le32(&t->n_items);
    uint64_t table_offset = load_le64(&t->table_offset);
    uint64_t tables =
        n_frames * PACK_FRAME_ENTRY_BYTES + n_items * PACK_ITEM_ENTRY_BYTES;

    if (load_le64(&t->file_bytes) != r->file_bytes)
        return fail(err, ERR_CORRUPT, "file of %llu bytes should have %llu",
                    (unsigned long long)r->file_bytes,
                    (unsigned long long)load_le64(&t->file_bytes));
    if (n_frames == 0 || n_items == 0 ||
        tables > r->file_bytes - PACK_HEADER_BYTES - PACK_TRAILER_BYTES)
        return fail(err, ERR_CORRUPT,
                    "%llu frames with %llu items cannot be in %llu bytes",
                    (unsigned long long)n_frames, (unsigned long long)n_items,
                    (unsigned long long)r->file_bytes);
    if (table_offset != r->file_bytes - PACK_TRAILER_BYTES - tables)
        return fail(err, ERR_CORRUPT, "tables cannot be at offset %llu",
                    (unsigned long long)table_offset);
    r->n_frames = (uint32_t)n_frames;
    r->n_items = (uint32_t)n_items;
    r->table_offset = table_offset;
    return 0;
}

static int read_trailer(struct pack_reader *r, struct error *err)
{
    uint64_t offset = r->file_bytes - PACK_TRAILER_BYTES;
    struct pack_trailer t;
    int rc = read_at(r, &t, sizeof(t), offset, err);

    if (rc < 0)
        return rc;
    if (memcmp(t.magic, PACK_TRAILER_MAGIC, sizeof(t.magic)) != 0)
        return fail(err, ERR_CORRUPT, "offset %llu: no pack ends here",
                    (unsigned long long)offset);
    if (checksum64(&t, PACK_SUMMED_BYTES, r->seeds.trailer) !=
        load_le64(&t.checksum))
        return fail(err, ERR_CORRUPT, "offset %llu: trailer checksum differs",
                    (unsigned long long)offset);
    if (load_le64(&t.reserved) != 0)
        return fail(err, ERR_CORRUPT,
                    "offset %llu: reserved bytes of the trailer are used",
                    (unsigned long long)offset);
    r->frame_table_sum = load_le64(&t.frame_table_sum);
    r->item_table_sum = load_le64(&t.item_table_sum);
    return check_counts(r, &t, err);
}

static uint32_t items_of(const struct pack_reader *r, uint32_t raw_bytes)
{
    return r->kind == PACK_PAGES ? raw_bytes / PAGE_BYTES : 1;
}

static int check_entry(const struct pack_reader *r, uint32_t frame,
                       struct error *err)
{
    uint32_t stored = load_le32(&r->entries[frame].stored_bytes);
    uint32_t raw = load_le32(&r->entries[frame].raw_bytes);

    if (stored == 0 || stored > raw || raw > FRAME_RAW_MAX ||
        (r->kind == PACK_PAGES && raw % PAGE_BYTES != 0))
        return fail(err, ERR_CORRUPT,
                    "frame %u: %u bytes stored for %u are impossible", frame,
                    stored, raw);
    return 0;
}

/* Prefix sums. 64 bits hold them: 2^32 frames of at most 2^20 bytes. */
static int place_frames(struct pack_reader *r, struct error *err)
{
    uint64_t offset = PACK_HEADER_BYTES;
    uint64_t items = 0;

    for (uint32_t f = 0; f < r->n_frames; f++) {
        int rc = check_entry(r, f, err);

        if (rc < 0)
            return rc;
        r->offsets[f] = (uint32_t)offset;
        r->first_items[f] = (uint32_t)items;
        offset += load_le32(&r->entries[f].stored_bytes);
        items += items_of(r, load_le32(&r->entries[f].raw_bytes));
        /* Here and not behind the loop: what was cast must have fit. */
        if (offset > r->table_offset || items > r->n_items)
            return fail(err, ERR_CORRUPT,
                        "frame %u ends at offset %llu with item %llu, behind "
                        "the last",
                        f, (unsigned long long)offset,
                        (unsigned long long)items);
    }
    if (offset != r->table_offset || items != r->n_items)
        return fail(err, ERR_CORRUPT,
                    "frames end at offset %llu with %llu items instead of "
                    "%llu with %u",
                    (unsigned long long)offset, (unsigned long long)items,
                    (unsigned long long)r->table_offset, r->n_items);
    r->offsets[r->n_frames] = (uint32_t)offset;
    r->first_items[r->n_frames] = (uint32_t)items;
    return 0;
}

static int read_frame_table(struct pack_reader *r, struct error *err)
{
    size_t n = r->n_frames;
    size_t bytes = n * sizeof(*r->entries);
    int rc;

    r->entries = malloc(bytes);
    r->offsets = malloc((n + 1) * sizeof(*r->offsets));
    r->first_items = malloc((n + 1) * sizeof(*r->first_items));
    if (!r->entries || !r->offsets || !r->first_items)
        return fail_nomem(err);
    rc = read_at(r, r->entries, bytes, r->table_offset, err);
    if (rc < 0)
        return rc;
    if (checksum64(r->entries, bytes, 0) != r->frame_table_sum)
        return fail(err, ERR_CORRUPT,
                    "offset %llu: checksum of the frame table differs",
                    (unsigned long long)r->table_offset);
    return place_frames(r, err);
}

static int load(struct pack_reader *r, int packs_dirfd, struct error *err)
{
    int rc = open_file(r, packs_dirfd, err);

    if (rc < 0)
        return rc;
    rc = read_header(r, err);
    if (rc < 0)
        return rc;
    rc = read_trailer(r, err);
    if (rc < 0)
        return rc;
    return read_frame_table(r, err);
}

int pack_reader_open(int packs_dirfd, const char *id, enum pack_kind kind,
                     struct pack_reader **ret, struct error *err)
{
    cleanup(pack_reader) struct pack_reader *r = NULL;
    int rc = object_id_check(id, PACK_ID_LEN, err);

    if (rc < 0)
        return rc;
    r = calloc(1, sizeof(*r));
    if (!r)
        return fail_nomem(err);
    r->fd = -1;
    r->kind = kind;
    r->window_bytes = DEFAULT_WINDOW_BYTES;
    snprintf(r->id_text, sizeof(r->id_text), "%s", id);
    if (load(r, packs_dirfd, err) < 0)
        return error_wrap(err, "pack '%s'", id);
    *ret = steal_ptr(&r);
    return 0;
}

void pack_reader_close(struct pack_reader *r)
{
    if (!r)
        return;
    if (r->fd >= 0)
        close(r->fd);
    free(r->entries);
    free(r->offsets);
    free(r->first_items);
    free(r->hashes);
    for (unsigned i = 0; i < WINDOWS; i++)
        free(r->windows[i].bytes);
    free(r);
}

const char *pack_reader_id(const struct pack_reader *r)
{
    return r->id_text;
}

uint64_t pack_reader_bytes(const struct pack_reader *r)
{
    return r->file_bytes;
}

uint32_t pack_reader_n_items(const struct pack_reader *r)
{
    return r->n_items;
}

uint32_t pack_reader_n_frames(const struct pack_reader *r)
{
    return r->n_frames;
}

uint32_t pack_reader_hash_key_id(const struct pack_reader *r)
{
    return r->hash_key_id;
}

uint64_t pack_reader_read_bytes(const struct pack_reader *r)
{
    return r->read_bytes;
}

/* How many of `n` ascending numbers are at most `v`. */
static uint32_t count_up_to(const uint32_t *sorted, uint32_t n, uint64_t v)
{
    uint32_t low = 0;
    uint32_t high = n;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (sorted[middle] <= v)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int pack_reader_place(const struct pack_reader *r, uint32_t item,
                      struct pack_place *ret, struct error *err)
{
    uint32_t frame;

    if (item >= r->n_items)
        return fail(err, ERR_CORRUPT, "pack '%s' has %u items and no item %u",
                    r->id_text, r->n_items, item);
    frame = count_up_to(r->first_items, r->n_frames, item) - 1;
    assert(frame < r->n_frames); /* the first item is 0 */
    *ret = (struct pack_place){
        .frame = frame,
        .slot = item - r->first_items[frame],
        .raw_bytes = load_le32(&r->entries[frame].raw_bytes),
    };
    return 0;
}

uint32_t pack_reader_frame_raw_bytes(const struct pack_reader *r,
                                     uint32_t frame)
{
    assert(frame < r->n_frames);
    return load_le32(&r->entries[frame].raw_bytes);
}

uint32_t pack_reader_frame_first_item(const struct pack_reader *r,
                                      uint32_t frame)
{
    assert(frame < r->n_frames);
    return r->first_items[frame];
}

void pack_reader_set_window(struct pack_reader *r, size_t bytes)
{
    r->window_bytes = MIN(bytes, (size_t)MAX_WINDOW_BYTES);
    posix_fadvise(r->fd, 0, 0,
                  r->window_bytes >= LINEAR_WINDOW_BYTES ? POSIX_FADV_SEQUENTIAL
                                                         : POSIX_FADV_RANDOM);
}

/* The frames first … end - 1 become the window's. */
static int read_window(struct pack_reader *r, struct window *w, uint32_t first,
                       uint32_t end, struct error *err)
{
    size_t len = r->offsets[end] - r->offsets[first];
    int rc;

    w->first = 0;
    w->end = 0;
    if (len > w->cap) {
        size_t cap = MAX(len, r->window_bytes);

        free(w->bytes);
        w->cap = 0;
        w->bytes = malloc(cap);
        if (!w->bytes)
            return fail_nomem(err);
        w->cap = cap;
    }
    rc = read_at(r, w->bytes, len, r->offsets[first], err);
    if (rc < 0)
        return rc;
    w->first = first;
    w->end = end;
    return 0;
}

/* Where a frame lies from a window that does not have it. */
enum side { SIDE_FAR, SIDE_BEHIND, SIDE_BEFORE };

static enum side side_of(const struct window *w, uint32_t frame)
{
    if (w->end == 0)
        return SIDE_FAR;
    if (frame >= w->end)
        return frame - w->end < NEAR_FRAMES ? SIDE_BEHIND : SIDE_FAR;
    return w->first - frame <= NEAR_FRAMES ? SIDE_BEFORE : SIDE_FAR;
}

/* The range of whole frames to read for one of them; see the theory. */
static void choose_range(const struct pack_reader *r, uint32_t frame,
                         enum side side, uint32_t *ret_first, uint32_t *ret_end)
{
    uint64_t begin = r->offsets[frame];
    uint64_t stored = r->offsets[frame + 1] - begin;
    uint64_t most = side == SIDE_FAR ? stored : MAX(stored, r->window_bytes);
    uint64_t before = side == SIDE_BEFORE ? MIN((most - stored) / 2, begin) : 0;
    /* First frame that begins at or behind begin - before. */
    uint32_t first =
        before > 0 && begin > before
            ? count_up_to(r->offsets, r->n_frames, begin - before - 1)
            : (before > 0 ? 0 : frame);
    uint64_t limit = r->offsets[first] + most;

    *ret_first = first;
    *ret_end =
        MAX(frame + 1, count_up_to(r->offsets, r->n_frames + 1, limit) - 1);
}

/* The window that has the frame, reading it if none has. */
static int find_window(struct pack_reader *r, uint32_t frame,
                       const struct window **ret, struct error *err)
{
    unsigned chosen = 1 - r->recent;
    enum side side = SIDE_FAR;
    uint32_t first;
    uint32_t end;
    int rc;

    for (unsigned i = 0; i < WINDOWS; i++) {
        if (frame >= r->windows[i].first && frame < r->windows[i].end) {
            r->recent = i;
            *ret = &r->windows[i];
            return 0;
        }
    }
    for (unsigned i = 0; i < WINDOWS && side == SIDE_FAR; i++) {
        side = side_of(&r->windows[i], frame);
        chosen = side == SIDE_FAR ? chosen : i;
    }
    choose_range(r, frame, side, &first, &end);
    rc = read_window(r, &r->windows[chosen], first, end, err);
    if (rc < 0 && end - first > 1)
        rc = read_window(r, &r->windows[chosen], frame, frame + 1, err);
    if (rc < 0)
        return rc;
    r->recent = chosen;
    *ret = &r->windows[chosen];
    return 0;
}

/* Where a frame's stored bytes are in memory, reading if need be. */
static int fetch(struct pack_reader *r, uint32_t frame, const uint8_t **ret,
                 struct error *err)
{
    const struct window *w;
    int rc = find_window(r, frame, &w, err);

    if (rc < 0)
        return rc;
    *ret = w->bytes + (r->offsets[frame] - r->offsets[w->first]);
    return 0;
}

int pack_reader_frame(struct pack_reader *r, uint32_t frame,
                      struct frame_codec *codec, void *dst, struct error *err)
{
    const uint8_t *stored;
    int rc;

    if (frame >= r->n_frames)
        return fail(err, ERR_CORRUPT, "pack '%s' has %u frames and no frame %u",
                    r->id_text, r->n_frames, frame);
    rc = fetch(r, frame, &stored, err);
    if (rc == 0)
        rc = frame_load(codec, &r->seeds, frame, &r->entries[frame], stored,
                        dst, err);
    if (rc < 0)
        return error_wrap(err, "pack '%s': frame %u at offset %u", r->id_text,
                          frame, r->offsets[frame]);
    return 0;
}

static int load_hashes(struct pack_reader *r, struct error *err)
{
    uint64_t offset =
        r->table_offset + (uint64_t)r->n_frames * PACK_FRAME_ENTRY_BYTES;
    size_t bytes = (size_t)r->n_items * PACK_ITEM_ENTRY_BYTES;
    cleanup_free uint8_t *stored = malloc(bytes);
    cleanup_free struct page_hash *hashes =
        malloc(r->n_items * sizeof(*hashes));
    int rc;

    if (!stored || !hashes)
        return fail_nomem(err);
    rc = read_at(r, stored, bytes, offset, err);
    if (rc < 0)
        return rc;
    if (checksum64(stored, bytes, 0) != r->item_table_sum)
        return fail(err, ERR_CORRUPT,
                    "offset %llu: checksum of the item table differs",
                    (unsigned long long)offset);
    for (uint32_t i = 0; i < r->n_items; i++)
        hashes[i] = page_hash_load(stored + (size_t)i * PACK_ITEM_ENTRY_BYTES);
    r->hashes = steal_ptr(&hashes);
    return 0;
}

int pack_reader_hashes(struct pack_reader *r, const struct page_hash **ret,
                       struct error *err)
{
    if (!r->hashes && load_hashes(r, err) < 0)
        return error_wrap(err, "pack '%s'", r->id_text);
    *ret = r->hashes;
    return 0;
}

int pack_reader_fd(const struct pack_reader *r)
{
    return r->fd;
}

uint64_t pack_reader_frame_offset(const struct pack_reader *r, uint32_t frame)
{
    assert(frame < r->n_frames);
    return r->offsets[frame];
}

uint32_t pack_reader_frame_stored_bytes(const struct pack_reader *r,
                                        uint32_t frame)
{
    assert(frame < r->n_frames);
    return r->offsets[frame + 1] - r->offsets[frame];
}

int pack_reader_decode(const struct pack_reader *r, uint32_t frame,
                       struct frame_codec *codec, const uint8_t *stored,
                       uint8_t *dst, const uint8_t **ret, struct error *err)
{
    if (frame_view(codec, &r->seeds, frame, &r->entries[frame], stored, dst,
                   ret, err) < 0)
        return error_wrap(err, "pack '%s': frame %u at offset %u", r->id_text,
                          frame, r->offsets[frame]);
    return 0;
}
