/*
 * frame_reader.c - one frame now, or many soon.
 *
 * get() is for a fault: one read of exactly the frame, in this thread. A
 * system call of its own would only hand the same read to the ring.
 *
 * scan() is for the background: the wants are sorted by pack and frame and cut
 * into ranges, each a read of up to RANGE_BYTES over frames that lie close
 * together; up to `depth` of them are in flight, and each is decompressed when
 * it arrives, in whatever order. A range that cannot be read is tried frame by
 * frame, so that its neighbours' damage is not a frame's own.
 */
#include <fcntl.h>

#include "core/base/cleanup.h"
#include "storage/objects/read_ring.h"
#include "storage/packs/format.h"
#include "storage/snapshot_frames_inside.h"

#define RANGE_BYTES (128u << 10)
/* Reading what is not wanted is cheaper than another request up to here. */
#define GAP_BYTES (32u << 10)
/* What guests touch next is near: half before, half behind the frame. */
#define AROUND_BYTES (64u << 10)

struct range {
    struct read_request request;
    const struct pack_reader *pack;
    size_t first; /* wants first … end - 1 */
    size_t end;
    uint64_t scan; /* of which scan */
    size_t cap;
};

struct frame_reader {
    struct snapshot_frames *frames;
    struct frame_codec *codec;
    struct shared_frame *held;
    _Atomic uint64_t read_bytes;
    uint8_t *stored; /* FRAME_RAW_MAX: of one frame */
    uint8_t *raw;    /* FRAME_RAW_MAX: where a frame has no place of its own */
    struct read_ring *ring;
    unsigned depth;
    struct range *ranges;  /* depth */
    struct range **unused; /* those not in flight */
    unsigned n_unused;
    uint64_t scan;      /* how many there were */
    uint64_t gap_bytes; /* of this one */
};

int frame_reader_new(struct snapshot_frames *f, unsigned depth,
                     struct frame_reader **ret, struct error *err)
{
    cleanup(frame_reader) struct frame_reader *r = calloc(1, sizeof(*r));
    int rc;

    if (!r)
        return fail_nomem(err);
    r->frames = f;
    r->depth = depth;
    r->stored = malloc(FRAME_RAW_MAX);
    r->raw = malloc(FRAME_RAW_MAX);
    r->ranges = calloc(depth, sizeof(*r->ranges));
    r->unused = calloc(depth, sizeof(*r->unused));
    if (!r->stored || !r->raw || !r->ranges || !r->unused)
        return fail_nomem(err);
    for (unsigned i = 0; i < depth; i++)
        r->unused[r->n_unused++] = &r->ranges[i];
    rc = frame_codec_new(0, &r->codec, err);
    if (rc == 0)
        rc = read_ring_new(depth, false, &r->ring, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&r);
    return 0;
}

void frame_reader_free(struct frame_reader *r)
{
    if (!r)
        return;
    read_ring_free(r->ring);
    shared_frames_put(snapshot_frames_cache(r->frames), r->held);
    for (unsigned i = 0; r->ranges && i < r->depth; i++)
        free(r->ranges[i].request.data);
    free(r->ranges);
    free(r->unused);
    free(r->stored);
    free(r->raw);
    frame_codec_free(r->codec);
    free(r);
}

uint64_t frame_reader_read_bytes(const struct frame_reader *r)
{
    return r->read_bytes;
}

static void count_read(struct frame_reader *r, uint64_t bytes)
{
    r->read_bytes += bytes;
    snapshot_frames_count_read(r->frames, bytes);
}

/* ---- One frame ---- */

static int check_frame(const struct pack_reader *pack,
                       const struct page_place *place, struct error *err)
{
    if (place->frame >= pack_reader_n_frames(pack) ||
        (uint64_t)(place->slot + 1) * PAGE_BYTES >
            pack_reader_frame_raw_bytes(pack, place->frame))
        return fail(err, ERR_CORRUPT, "pack '%s' has no page %u of frame %u",
                    pack_reader_id(pack), place->slot, place->frame);
    return 0;
}

static int read_stored(struct frame_reader *r, const struct pack_reader *pack,
                       uint32_t frame, struct error *err)
{
    uint32_t len = pack_reader_frame_stored_bytes(pack, frame);
    uint64_t offset = pack_reader_frame_offset(pack, frame);
    size_t done = 0;

    while (done < len) {
        ssize_t n = pread(pack_reader_fd(pack), r->stored + done, len - done,
                          (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, ERR_IO, "pack '%s': frame %u at offset %llu",
                              pack_reader_id(pack), frame,
                              (unsigned long long)offset);
        if (n == 0)
            return fail(err, ERR_CORRUPT, "pack '%s' ends within frame %u",
                        pack_reader_id(pack), frame);
        done += (size_t)n;
    }
    count_read(r, len);
    return 0;
}

static int read_frame(struct frame_reader *r, const struct page_place *place,
                      struct shared_frame **ret, struct error *err)
{
    struct shared_frames *cache = snapshot_frames_cache(r->frames);
    const struct pack_reader *pack;
    struct shared_frame *f;
    const uint8_t *raw;
    int rc = snapshot_frames_pack(r->frames, place->pack, &pack, err);

    if (rc == 0)
        rc = check_frame(pack, place, err);
    if (rc == 0)
        rc = read_stored(r, pack, place->frame, err);
    if (rc == 0)
        rc = shared_frames_make(cache, frame_key(place),
                                pack_reader_frame_raw_bytes(pack, place->frame),
                                &f, err);
    if (rc < 0)
        return rc;
    rc = pack_reader_decode(pack, place->frame, r->codec, r->stored, f->data,
                            &raw, err);
    if (rc == 0 && raw != f->data)
        memcpy(f->data, raw, f->bytes);
    if (rc < 0) {
        shared_frames_put(cache, f);
        return rc;
    }
    *ret = shared_frames_add(cache, f);
    return 0;
}

int frame_reader_get(struct frame_reader *r, const struct page_place *place,
                     const uint8_t **ret, uint32_t *ret_bytes, bool *ret_cached,
                     struct error *err)
{
    struct shared_frames *cache = snapshot_frames_cache(r->frames);
    int rc;

    shared_frames_put(cache, r->held);
    r->held = shared_frames_find(cache, frame_key(place));
    *ret_cached = r->held != NULL;
    if (!r->held) {
        rc = read_frame(r, place, &r->held, err);
        if (rc < 0)
            return rc;
    }
    if ((uint64_t)(place->slot + 1) * PAGE_BYTES > r->held->bytes)
        return fail(err, ERR_CORRUPT,
                    "frame %u of pack number %u has no page %u", place->frame,
                    place->pack, place->slot);
    *ret = r->held->data;
    *ret_bytes = r->held->bytes;
    return 0;
}

void frame_reader_hint(struct frame_reader *r, const struct page_place *place)
{
    const struct pack_reader *pack;
    struct error ignored;
    uint64_t offset;

    if (snapshot_frames_pack(r->frames, place->pack, &pack, &ignored) < 0)
        return;
    offset = pack_reader_frame_offset(pack, place->frame);
    offset -= MIN(offset, (uint64_t)AROUND_BYTES / 2);
    posix_fadvise(pack_reader_fd(pack), (off_t)offset, AROUND_BYTES,
                  POSIX_FADV_WILLNEED);
}

/* ---- Many frames ---- */

static int compare_wants(const void *a, const void *b)
{
    const struct frame_want *x = a;
    const struct frame_want *y = b;
    uint64_t kx = frame_key(&x->place);
    uint64_t ky = frame_key(&y->place);

    if (kx != ky)
        return kx < ky ? -1 : 1;
    return x->place.slot < y->place.slot ? -1 : x->place.slot > y->place.slot;
}

static bool is_sorted(const struct frame_want *wants, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        if (compare_wants(&wants[i - 1], &wants[i]) > 0)
            return false;
    }
    return true;
}

static bool same_frame(const struct frame_want *a, const struct frame_want *b)
{
    return a->place.pack == b->place.pack && a->place.frame == b->place.frame;
}

/* End of the wants that are of the same frame as the first. */
static size_t end_of_frame(const struct frame_want *wants, size_t first,
                           size_t n)
{
    size_t end = first + 1;

    while (end < n && same_frame(&wants[first], &wants[end]))
        end++;
    return end;
}

/* The pages of the whole frame are wanted, at places side by side. */
static bool is_direct(const struct frame_want *wants, size_t n, uint32_t raw)
{
    if (n * PAGE_BYTES != raw)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (wants[i].place.slot != i ||
            wants[i].to != wants[0].to + i * PAGE_BYTES)
            return false;
    }
    return true;
}

/* Wants of one frame, from its raw bytes: copied, or shown where they lie. */
static int hand_out(struct frame_want *wants, size_t n, const uint8_t *raw,
                    uint32_t bytes, bool views, struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t at = (uint64_t)wants[i].place.slot * PAGE_BYTES;

        if (at + PAGE_BYTES > bytes)
            return fail(err, ERR_CORRUPT, "frame %u has no page %u",
                        wants[i].place.frame, wants[i].place.slot);
        if (views)
            wants[i].to = (uint8_t *)(uintptr_t)raw + at;
        else
            memcpy(wants[i].to, raw + at, PAGE_BYTES);
    }
    return 0;
}

/* Wants of one frame, from its stored bytes. What is stored raw may be shown
 * where it was read; r->raw must not, the next frame overwrites it. */
static int decode_wants(struct frame_reader *r, const struct pack_reader *pack,
                        struct frame_want *wants, size_t n, bool views,
                        const uint8_t *stored, struct error *err)
{
    uint32_t frame = wants[0].place.frame;
    uint32_t bytes = pack_reader_frame_raw_bytes(pack, frame);
    bool direct = is_direct(wants, n, bytes);
    const uint8_t *raw;
    int rc = pack_reader_decode(pack, frame, r->codec, stored,
                                direct ? wants[0].to : r->raw, &raw, err);

    if (rc < 0 || (direct && raw == wants[0].to))
        return rc;
    return hand_out(wants, n, raw, bytes, views && raw != r->raw, err);
}

/* A range that has arrived, or could not be read. */
static int finish_range(struct frame_reader *r, const struct range *range,
                        struct frame_want *wants, const struct frame_scan *scan,
                        struct error *err)
{
    size_t begin = range->first; /* of what is good and not yet told */
    size_t at = range->first;
    int rc = 0;

    while (at < range->end && rc == 0) {
        size_t end = end_of_frame(wants, at, range->end);
        uint32_t frame = wants[at].place.frame;
        struct error why = ERROR_INIT;
        int bad = 0;

        if (range->request.sys_errno) {
            bad = read_stored(r, range->pack, frame, &why);
            if (bad == 0)
                bad = decode_wants(r, range->pack, wants + at, end - at, false,
                                   r->stored, &why);
        } else {
            const uint8_t *stored =
                range->request.data +
                (pack_reader_frame_offset(range->pack, frame) -
                 range->request.offset);

            bad = decode_wants(r, range->pack, wants + at, end - at,
                               scan->views, stored, &why);
        }
        if (bad < 0 && at > begin)
            rc = scan->ready(scan->arg, wants + begin, at - begin, err);
        if (bad < 0 && rc == 0)
            rc = scan->damaged(scan->arg, wants + at, end - at, &why, err);
        at = end;
        if (bad < 0)
            begin = end;
    }
    if (rc == 0 && at > begin)
        rc = scan->ready(scan->arg, wants + begin, at - begin, err);
    return rc;
}

/* Takes what is in the cache already. True: these wants are dealt with. */
static bool take_cached(struct frame_reader *r, struct frame_want *wants,
                        size_t n, const struct frame_scan *scan, int *ret_rc,
                        struct error *err)
{
    struct shared_frames *cache = snapshot_frames_cache(r->frames);
    struct shared_frame *f =
        shared_frames_find(cache, frame_key(&wants[0].place));
    struct error ignored;
    bool good;

    if (!f)
        return false;
    good = hand_out(wants, n, f->data, f->bytes, false, &ignored) == 0;
    shared_frames_put(cache, f);
    if (good)
        *ret_rc = scan->ready(scan->arg, wants, n, err);
    return good;
}

/* How many wants from `first` one read brings; *ret_len is its length. */
static size_t measure_range(struct frame_reader *r,
                            const struct pack_reader *pack,
                            const struct frame_want *wants, size_t first,
                            size_t n, size_t *ret_len)
{
    uint64_t start = pack_reader_frame_offset(pack, wants[first].place.frame);
    uint64_t end = start;
    size_t at = first;

    while (at < n && wants[at].place.pack == wants[first].place.pack &&
           wants[at].place.frame < pack_reader_n_frames(pack)) {
        uint32_t frame = wants[at].place.frame;
        uint64_t from = pack_reader_frame_offset(pack, frame);
        uint64_t to = from + pack_reader_frame_stored_bytes(pack, frame);

        if (at > first &&
            (from > end + r->gap_bytes || to - start > RANGE_BYTES))
            break;
        end = to;
        at = end_of_frame(wants, at, n);
    }
    *ret_len = (size_t)(end - start);
    return at;
}

static int reserve_range(struct range *range, size_t len, struct error *err)
{
    if (len <= range->cap)
        return 0;
    free(range->request.data);
    range->cap = 0;
    range->request.data = malloc(MAX(len, (size_t)RANGE_BYTES));
    if (!range->request.data)
        return fail_nomem(err);
    range->cap = MAX(len, (size_t)RANGE_BYTES);
    return 0;
}

/* Sends the next read off; *ret_next is the first want behind it. */
static int start_range(struct frame_reader *r, const struct frame_want *wants,
                       size_t first, size_t n, size_t *ret_next,
                       struct error *err)
{
    struct range *range = r->unused[r->n_unused - 1];
    const struct pack_reader *pack;
    size_t len;
    int rc =
        snapshot_frames_pack(r->frames, wants[first].place.pack, &pack, err);

    if (rc == 0)
        rc = check_frame(pack, &wants[first].place, err);
    if (rc < 0)
        return rc;
    range->pack = pack;
    range->scan = r->scan;
    range->first = first;
    range->end = measure_range(r, pack, wants, first, n, &len);
    rc = reserve_range(range, len, err);
    if (rc < 0)
        return rc;
    range->request.fd = pack_reader_fd(pack);
    range->request.offset =
        pack_reader_frame_offset(pack, wants[first].place.frame);
    range->request.len = len;
    range->request.arg = range;
    rc = read_ring_add(r->ring, &range->request, err);
    if (rc < 0)
        return rc;
    r->n_unused--;
    *ret_next = range->end;
    count_read(r, len);
    return 0;
}

/* Waits for one range and deals with it. */
static int take_range(struct frame_reader *r, struct frame_want *wants,
                      const struct frame_scan *scan, bool drop,
                      struct error *err)
{
    struct read_request *q;
    struct range *range;
    int rc = read_ring_next(r->ring, &q, err);

    if (rc < 0)
        return rc;
    range = q->arg;
    r->unused[r->n_unused++] = range;
    /* A scan that its ring has failed left some behind: they are of wants that
     * are no more. */
    drop |= range->scan != r->scan;
    return drop ? 0 : finish_range(r, range, wants, scan, err);
}

int frame_reader_scan(struct frame_reader *r, struct frame_want *wants,
                      size_t n, const struct frame_scan *scan,
                      struct error *err)
{
    size_t at = 0;
    int rc = 0;

    r->scan++;
    r->gap_bytes = scan->exact ? 0 : GAP_BYTES;
    if (!is_sorted(wants, n))
        qsort(wants, n, sizeof(*wants), compare_wants);
    while (at < n && rc == 0) {
        size_t end = end_of_frame(wants, at, n);
        struct error why = ERROR_INIT;

        if (take_cached(r, wants + at, end - at, scan, &rc, err)) {
            at = end;
            continue;
        }
        if (r->n_unused == 0) {
            rc = take_range(r, wants, scan, false, err);
            continue;
        }
        if (start_range(r, wants, at, n, &at, &why) < 0) {
            rc = scan->damaged(scan->arg, wants + at, end - at, &why, err);
            at = end;
        }
    }
    /* After an error the kernel still writes into our buffers: wait. Only a
     * ring that fails gives nothing back. */
    while (r->n_unused < r->depth) {
        struct error ignored;
        unsigned before = r->n_unused;
        int taken = take_range(r, wants, scan, rc < 0, rc < 0 ? &ignored : err);

        if (taken < 0 && rc == 0)
            rc = taken;
        if (r->n_unused == before)
            break;
    }
    return rc;
}
