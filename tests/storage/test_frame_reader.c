/*
 * test_frame_reader.c - which bytes get() and scan() read, and what they give.
 *
 * The calls into ring and packs are wrapped, to count them and to look at what
 * they are asked for.
 */
#include "tests/storage/repo_fixture.h"

#include <fcntl.h>

#include "storage/objects/read_ring.h"
#include "storage/snapshot_frames_inside.h"

#define DEPTH       4u
#define RANGE_BYTES (128u << 10)
#define GAP_BYTES   (32u << 10)
#define READS_MAX   1024u
#define CACHE_BYTES (16u << 20)

/* ---- What is asked for ---- */

static struct {
    unsigned preads;
    unsigned decodes;
    const uint8_t *last_dst;
    unsigned adds;
    unsigned nexts; /* that gave one back */
    unsigned most_in_flight;
    uint64_t bytes;
    struct {
        uint64_t offset;
        size_t len;
    } reads[READS_MAX];
    bool ring_fails;
} seen;

int __real_read_ring_add(struct read_ring *r, struct read_request *q,
                         struct error *err);
int __wrap_read_ring_add(struct read_ring *r, struct read_request *q,
                         struct error *err);
int __real_read_ring_next(struct read_ring *r, struct read_request **ret,
                          struct error *err);
int __wrap_read_ring_next(struct read_ring *r, struct read_request **ret,
                          struct error *err);
int __real_pack_reader_decode(const struct pack_reader *r, uint32_t frame,
                              struct frame_codec *codec, const uint8_t *stored,
                              uint8_t *dst, const uint8_t **ret,
                              struct error *err);
int __wrap_pack_reader_decode(const struct pack_reader *r, uint32_t frame,
                              struct frame_codec *codec, const uint8_t *stored,
                              uint8_t *dst, const uint8_t **ret,
                              struct error *err);
ssize_t __real_pread64(int fd, void *data, size_t len, off_t offset);
ssize_t __wrap_pread64(int fd, void *data, size_t len, off_t offset);

int __wrap_read_ring_add(struct read_ring *r, struct read_request *q,
                         struct error *err)
{
    int rc = __real_read_ring_add(r, q, err);

    assert_true(seen.adds < READS_MAX);
    seen.reads[seen.adds].offset = q->offset;
    seen.reads[seen.adds++].len = q->len;
    seen.bytes += q->len;
    seen.most_in_flight = MAX(seen.most_in_flight, read_ring_in_flight(r));
    return rc;
}

int __wrap_read_ring_next(struct read_ring *r, struct read_request **ret,
                          struct error *err)
{
    int rc;

    if (seen.ring_fails)
        return fail(err, ERR_IO, "io_uring failed");
    rc = __real_read_ring_next(r, ret, err);
    seen.nexts += rc == 0 && *ret;
    return rc;
}

int __wrap_pack_reader_decode(const struct pack_reader *r, uint32_t frame,
                              struct frame_codec *codec, const uint8_t *stored,
                              uint8_t *dst, const uint8_t **ret,
                              struct error *err)
{
    seen.decodes++;
    seen.last_dst = dst;
    return __real_pack_reader_decode(r, frame, codec, stored, dst, ret, err);
}

ssize_t __wrap_pread64(int fd, void *data, size_t len, off_t offset)
{
    seen.preads++;
    return __real_pread64(fd, data, len, offset);
}

/* ---- The fixture ---- */

/* The pages of pc.ram wanted of a scan, and what came of them. */
struct bench {
    struct fixture *f;
    struct snapshot_summary summary;
    struct snapshot_frames *frames;
    struct frame_reader *reader;
    uint8_t *staging;         /* a place a page of pc.ram */
    struct frame_want *wants; /* FIXTURE_PAGES */
    size_t n;
    uint8_t ready[FIXTURE_PAGES];   /* how often */
    uint8_t damaged[FIXTURE_PAGES]; /* how often */
    unsigned calls;
    unsigned end_after; /* calls; 0: never */
    size_t outside;     /* shown elsewhere than in the staging */
    bool views;
    struct error why; /* of the last damage */
};

static struct bench *bench_open(struct fixture *f)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct error err;

    b->f = f;
    b->summary = fixture_capture(f);
    b->staging = calloc(FIXTURE_PAGES, PAGE_BYTES);
    b->wants = calloc(FIXTURE_PAGES, sizeof(*b->wants));
    assert_true(b->staging && b->wants);
    assert_ok(snapshot_frames_open(f->repository, b->summary.id, CACHE_BYTES,
                                   &b->frames, &err),
              &err);
    assert_ok(frame_reader_new(b->frames, DEPTH, &b->reader, &err), &err);
    memset(&seen, 0, sizeof(seen));
    return b;
}

static void bench_close(struct bench *b)
{
    frame_reader_free(b->reader);
    snapshot_frames_close(b->frames);
    free(b->staging);
    free(b->wants);
    free(b);
}

static struct page_place place_of(struct bench *b, pgno_t pgno)
{
    struct page_place place;
    struct error err;

    assert_ok(snapshot_frames_locate(b->frames, 0, pgno, &place, &err), &err);
    return place;
}

static const struct pack_reader *pack_of(struct bench *b, pgno_t pgno)
{
    const struct pack_reader *pack;
    struct page_place place = place_of(b, pgno);
    struct error err;

    assert_ok(snapshot_frames_pack(b->frames, place.pack, &pack, &err), &err);
    return pack;
}

static uint32_t stored_bytes(struct bench *b, pgno_t pgno)
{
    return pack_reader_frame_stored_bytes(pack_of(b, pgno),
                                          place_of(b, pgno).frame);
}

static const uint8_t *memory_at(struct bench *b, pgno_t pgno)
{
    return b->f->vm.memory[0] + pgno * PAGE_BYTES;
}

/* Nothing for a zero page. */
static void want(struct bench *b, pgno_t pgno)
{
    struct page_place place = place_of(b, pgno);

    if (!place.zero)
        b->wants[b->n++] = (struct frame_want){
            .place = place, .to = b->staging + pgno * PAGE_BYTES, .tag = pgno};
}

static void want_all(struct bench *b)
{
    for (pgno_t i = 0; i < FIXTURE_PAGES; i++)
        want(b, i);
}

static void want_frame_of(struct bench *b, pgno_t pgno)
{
    pgno_t end;

    for (snapshot_frames_around(b->frames, 0, pgno, &pgno, &end); pgno < end;
         pgno++)
        want(b, pgno);
}

/* The order of the wants is nobody's promise. */
static void shuffle(struct bench *b)
{
    uint64_t x = 88172645463325252u;

    for (size_t i = b->n; i > 1; i--) {
        struct frame_want w = b->wants[i - 1];
        size_t j;

        x = x * 6364136223846793005u + 1442695040888963407u;
        j = (x >> 33) % i;
        b->wants[i - 1] = b->wants[j];
        b->wants[j] = w;
    }
}

/* Frames that the wants are of; they are sorted. */
static unsigned count_frames(const struct bench *b)
{
    unsigned n = 0;

    for (size_t i = 0; i < b->n; i++)
        n += i == 0 ||
             frame_key(&b->wants[i].place) != frame_key(&b->wants[i - 1].place);
    return n;
}

static int on_ready(void *arg, const struct frame_want *wants, size_t n,
                    struct error *err)
{
    struct bench *b = arg;

    assert_true(n > 0);
    for (size_t i = 0; i < n; i++) {
        pgno_t pgno = wants[i].tag;
        bool own = wants[i].to == b->staging + pgno * PAGE_BYTES;

        assert_true(own || b->views);
        b->outside += !own;
        assert_memory_equal(wants[i].to, memory_at(b, pgno), PAGE_BYTES);
        b->ready[pgno]++;
    }
    if (++b->calls == b->end_after)
        return fail(err, ERR_CANCELLED, "enough");
    return 0;
}

static int on_damaged(void *arg, const struct frame_want *wants, size_t n,
                      const struct error *why, struct error *err)
{
    struct bench *b = arg;

    error_copy(&b->why, why);
    for (size_t i = 0; i < n; i++)
        b->damaged[wants[i].tag]++;
    return 0;
}

static int run_scan(struct bench *b, struct error *err)
{
    const struct frame_scan scan = {
        .arg = b, .views = b->views, .ready = on_ready, .damaged = on_damaged};

    return frame_reader_scan(b->reader, b->wants, b->n, &scan, err);
}

static void scan(struct bench *b)
{
    struct error err;

    assert_ok(run_scan(b, &err), &err);
    assert_int_equal(seen.adds, seen.nexts);
}

static size_t count_pages(const uint8_t *told)
{
    size_t n = 0;

    for (pgno_t i = 0; i < FIXTURE_PAGES; i++) {
        assert_true(told[i] <= 1);
        n += told[i];
    }
    return n;
}

static void assert_all_ready(const struct bench *b)
{
    assert_int_equal(count_pages(b->ready), b->n);
    assert_int_equal(count_pages(b->damaged), 0);
}

static int get(struct bench *b, pgno_t pgno, bool *ret_cached,
               struct error *err)
{
    struct page_place place = place_of(b, pgno);
    const uint8_t *frame;
    uint32_t bytes;
    int rc;

    assert_false(place.zero);
    rc = frame_reader_get(b->reader, &place, &frame, &bytes, ret_cached, err);
    if (rc == 0) {
        assert_true((place.slot + 1) * PAGE_BYTES <= bytes);
        assert_memory_equal(frame + place.slot * PAGE_BYTES, memory_at(b, pgno),
                            PAGE_BYTES);
    }
    return rc;
}

static bool get_well(struct bench *b, pgno_t pgno)
{
    struct error err;
    bool cached;

    assert_ok(get(b, pgno, &cached, &err), &err);
    return cached;
}

static void pack_path(struct bench *b, pgno_t pgno, char ret[static 256])
{
    const char *id = pack_reader_id(pack_of(b, pgno));

    snprintf(ret, 256, "%s/packs/%.2s/%s", b->f->scratch.repo, id, id);
}

/* In the middle of what is stored of the frame. */
static void damage_frame_of(struct bench *b, pgno_t pgno)
{
    off_t at = (off_t)pack_reader_frame_offset(pack_of(b, pgno),
                                               place_of(b, pgno).frame) +
               stored_bytes(b, pgno) / 2;
    char path[256];
    uint8_t byte;
    int fd;

    pack_path(b, pgno, path);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void assert_named(struct bench *b, const struct error *err, pgno_t pgno)
{
    char piece[64];

    assert_int_equal(err->code, ERR_CORRUPT);
    assert_message(err, pack_reader_id(pack_of(b, pgno)));
    snprintf(piece, sizeof(piece), "frame %u", place_of(b, pgno).frame);
    assert_message(err, piece);
}

/* ---- get ---- */

static void a_fault_reads_exactly_its_frame(void **state)
{
    struct bench *b = bench_open(*state);
    uint32_t stored = stored_bytes(b, 1000);
    uint64_t before = frame_reader_read_bytes(b->reader);

    seen.preads = 0;
    assert_false(get_well(b, 1000));

    assert_int_equal(seen.preads, 1);
    assert_int_equal(seen.decodes, 1);
    assert_int_equal(seen.adds, 0);
    assert_int_equal(frame_reader_read_bytes(b->reader), before + stored);
    assert_int_equal(snapshot_frames_read_bytes(b->frames), before + stored);
    bench_close(b);
}

static void a_frame_asked_for_twice_is_read_once_for_all_readers(void **state)
{
    struct bench *b = bench_open(*state);
    struct frame_reader *first = b->reader;
    struct frame_reader *second;
    struct error err;

    assert_false(get_well(b, 0));
    seen.preads = 0;
    assert_true(get_well(b, 0));
    assert_true(get_well(b, 3));
    assert_ok(frame_reader_new(b->frames, DEPTH, &second, &err), &err);
    b->reader = second;
    assert_true(get_well(b, 1));

    assert_int_equal(seen.preads, 0);
    assert_int_equal(seen.decodes, 1);
    assert_int_equal(frame_reader_read_bytes(second), 0);
    b->reader = first;
    frame_reader_free(second);
    bench_close(b);
}

static void every_page_comes_by_faults(void **state)
{
    struct bench *b = bench_open(*state);
    unsigned pages = 0;

    want_all(b);
    for (pgno_t i = 0; i < FIXTURE_PAGES; i++) {
        if (place_of(b, i).zero)
            continue;
        get_well(b, i);
        pages++;
    }
    assert_int_equal(pages, FIXTURE_PAGES / 5 * 4);
    assert_int_equal(seen.decodes, count_frames(b));
    bench_close(b);
}

static void a_place_that_is_none_is_damage(void **state)
{
    struct bench *b = bench_open(*state);
    struct page_place place = place_of(b, 0);
    const uint8_t *frame;
    struct error err;
    uint32_t bytes;
    bool cached;

    place.slot = 255;
    assert_error(frame_reader_get(b->reader, &place, &frame, &bytes, &cached,
                                  &err),
                 &err, ERR_CORRUPT, "has no page 255 of frame");
    assert_int_equal(seen.decodes, 0);
    get_well(b, 0);
    assert_error(frame_reader_get(b->reader, &place, &frame, &bytes, &cached,
                                  &err),
                 &err, ERR_CORRUPT, "has no page 255");
    assert_true(cached);

    place = place_of(b, 0);
    place.frame = 1u << 30;
    assert_error(frame_reader_get(b->reader, &place, &frame, &bytes, &cached,
                                  &err),
                 &err, ERR_CORRUPT, "of frame 1073741824");
    get_well(b, 0);
    bench_close(b);
}

/* ---- scan ---- */

static void a_scan_brings_all_by_few_large_reads(void **state)
{
    struct bench *b = bench_open(*state);
    uint64_t stored = 0;
    unsigned frames;

    want_all(b);
    shuffle(b);
    seen.preads = 0;
    scan(b);

    assert_all_ready(b);
    frames = count_frames(b);
    for (size_t i = 0; i < b->n; i++)
        if (i == 0 || b->wants[i].place.frame != b->wants[i - 1].place.frame)
            stored += stored_bytes(b, b->wants[i].tag);
    assert_int_equal(seen.decodes, frames);
    assert_true(seen.adds > DEPTH && seen.adds < frames / 4);
    assert_true(seen.adds <= 2 * (stored / RANGE_BYTES + 1));
    assert_int_equal(seen.most_in_flight, DEPTH);
    for (unsigned i = 0; i < seen.adds; i++)
        assert_true(seen.reads[i].len <= RANGE_BYTES);
    assert_int_equal(seen.bytes, stored);
    assert_int_equal(frame_reader_read_bytes(b->reader), stored);
    bench_close(b);
}

/* The first page behind `pgno` whose frame begins more than `gap` bytes behind
 * the end of the frame of `pgno`. */
static pgno_t far_from(struct bench *b, pgno_t pgno, uint64_t gap)
{
    const struct pack_reader *pack = pack_of(b, pgno);
    uint64_t end = pack_reader_frame_offset(pack, place_of(b, pgno).frame) +
                   stored_bytes(b, pgno);
    pgno_t at = pgno;

    while (place_of(b, at).zero ||
           pack_reader_frame_offset(pack, place_of(b, at).frame) <= end + gap)
        at++;
    return at;
}

static void a_small_gap_is_read_over_and_a_large_one_is_not(void **state)
{
    struct bench *b = bench_open(*state);
    pgno_t near = far_from(b, 0, 0);
    pgno_t far = far_from(b, near, GAP_BYTES);

    want(b, 0);
    want(b, near);
    scan(b);
    assert_all_ready(b);
    assert_int_equal(seen.adds, 1);
    assert_true(seen.bytes > stored_bytes(b, 0) + stored_bytes(b, near));
    assert_int_equal(seen.decodes, 2);

    memset(&seen, 0, sizeof(seen));
    memset(b->ready, 0, sizeof(b->ready));
    b->n = 0;
    want(b, near);
    want(b, far);
    scan(b);
    assert_all_ready(b);
    assert_int_equal(seen.adds, 2);
    assert_int_equal(seen.bytes, stored_bytes(b, near) + stored_bytes(b, far));
    bench_close(b);
}

static void a_scan_takes_frames_from_the_cache_and_puts_none_in(void **state)
{
    struct bench *b = bench_open(*state);

    get_well(b, 0);
    memset(&seen, 0, sizeof(seen));
    want_frame_of(b, 0);
    assert_true(b->n >= 4);
    scan(b);
    assert_all_ready(b);
    assert_int_equal(seen.adds + seen.preads + seen.decodes, 0);

    memset(b->ready, 0, sizeof(b->ready));
    b->n = 0;
    want_frame_of(b, 1000);
    scan(b);
    assert_all_ready(b);
    assert_int_equal(seen.adds, 1);
    assert_false(get_well(b, 1000));
    assert_true(get_well(b, 0));
    bench_close(b);
}

/* All pages of pc.ram without zeros, so that frames are side by side; no
 * content can be compressed. */
static void fill_random(struct fixture *f)
{
    uint64_t x = 4101842887655102017u;
    uint64_t *words = (uint64_t *)(void *)f->vm.memory[0];

    for (size_t i = 0; i < FIXTURE_PAGES * PAGE_BYTES / sizeof(*words); i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        words[i] = x;
    }
}

static void
a_frame_side_by_side_is_decompressed_straight_to_its_place(void **state)
{
    struct fixture *f = *state;
    struct bench *b;

    for (pgno_t i = 0; i < FIXTURE_PAGES; i++)
        sample_page_fill(f->vm.memory[0] + i * PAGE_BYTES, 5000 + i);
    b = bench_open(f);
    want_frame_of(b, 0);
    assert_true(b->n > 1);
    scan(b);
    assert_all_ready(b);
    assert_ptr_equal(seen.last_dst, b->staging);

    /* Two places exchanged: by a detour. */
    memset(b->ready, 0, sizeof(b->ready));
    b->views = true;
    b->wants[0].to = b->staging + PAGE_BYTES;
    b->wants[1].to = b->staging;
    scan(b);
    assert_all_ready(b);
    assert_int_equal(b->outside, 2);
    assert_true(seen.last_dst < b->staging ||
                seen.last_dst >= b->staging + FIXTURE_PAGES * PAGE_BYTES);
    bench_close(b);
}

static void what_is_stored_raw_is_shown_where_it_was_read(void **state)
{
    struct fixture *f = *state;
    static const uint8_t untouched[PAGE_BYTES];
    struct bench *b;

    fill_random(f);
    b = bench_open(f);
    b->views = true;
    want_all(b);
    scan(b);
    assert_all_ready(b);
    assert_int_equal(b->outside, FIXTURE_PAGES);
    assert_memory_equal(b->staging, untouched, PAGE_BYTES);

    /* Without leave for it: all in its place. */
    memset(b->ready, 0, sizeof(b->ready));
    b->views = false;
    b->n = 0;
    want_all(b);
    scan(b);
    assert_all_ready(b);
    assert_memory_equal(b->staging, f->vm.memory[0],
                        FIXTURE_PAGES * PAGE_BYTES);
    bench_close(b);
}

static void a_refusal_of_the_caller_ends_the_scan(void **state)
{
    struct bench *b = bench_open(*state);
    struct error err;

    want_all(b);
    b->end_after = 2;
    assert_error(run_scan(b, &err), &err, ERR_CANCELLED, "enough");
    assert_int_equal(b->calls, 2);
    /* Nothing is in flight any more, and not all was read. */
    assert_int_equal(seen.adds, seen.nexts);
    assert_true(seen.adds <= DEPTH + 2);

    b->end_after = 0;
    memset(b->ready, 0, sizeof(b->ready));
    scan(b);
    assert_all_ready(b);
    bench_close(b);
}

static void a_ring_that_fails_ends_the_scan_and_not_the_next(void **state)
{
    struct bench *b = bench_open(*state);
    struct error err;

    want_all(b);
    seen.ring_fails = true;
    assert_error(run_scan(b, &err), &err, ERR_IO, "io_uring failed");
    assert_int_equal(b->calls, 0);
    assert_int_equal(count_pages(b->damaged), 0);

    /* What it left in flight is not taken for the next one's. */
    assert_int_equal(seen.adds, DEPTH);
    seen.ring_fails = false;
    b->n = 0;
    want(b, 1000);
    scan(b);
    assert_all_ready(b);
    assert_int_equal(b->calls, 1);
    assert_int_equal(seen.adds, DEPTH + 1);
    bench_close(b);
}

/* ---- Damage ---- */

static void a_damaged_frame_is_named_and_its_neighbours_are_served(void **state)
{
    struct bench *b = bench_open(*state);
    struct error err;
    pgno_t bad = 1000;
    size_t lost = 0;
    bool cached;

    want_all(b);
    damage_frame_of(b, bad);
    scan(b);

    for (size_t i = 0; i < b->n; i++) {
        pgno_t pgno = b->wants[i].tag;
        bool same = b->wants[i].place.frame == place_of(b, bad).frame;

        assert_int_equal(b->damaged[pgno], same);
        assert_int_equal(b->ready[pgno], !same);
        lost += same;
    }
    assert_true(lost > 0);
    assert_named(b, &b->why, bad);
    assert_int_equal(get(b, bad, &cached, &err), ERR_CORRUPT);
    assert_named(b, &err, bad);
    /* It is not kept either. */
    assert_int_equal(get(b, bad, &cached, &err), ERR_CORRUPT);
    assert_false(cached);
    get_well(b, bad - 10);
    get_well(b, bad + 10);
    bench_close(b);
}

static void a_pack_cut_while_it_is_open_gives_what_is_left(void **state)
{
    struct bench *b = bench_open(*state);
    pgno_t last = 1000; /* its frame is cut in the middle */
    uint64_t cut =
        pack_reader_frame_offset(pack_of(b, last), place_of(b, last).frame) +
        stored_bytes(b, last) / 2;
    struct error err;
    char path[256];
    bool cached;

    want_all(b);
    pack_path(b, last, path);
    assert_int_equal(truncate(path, (off_t)cut), 0);
    scan(b);

    for (size_t i = 0; i < b->n; i++) {
        pgno_t pgno = b->wants[i].tag;
        bool lost = b->wants[i].place.frame >= place_of(b, last).frame;

        assert_int_equal(b->damaged[pgno], lost);
        assert_int_equal(b->ready[pgno], !lost);
    }
    assert_int_equal(b->why.code, ERR_CORRUPT);
    assert_message(&b->why, "ends within frame");
    assert_error(get(b, last, &cached, &err), &err, ERR_CORRUPT,
                 "ends within frame");
    assert_named(b, &err, last);
    get_well(b, 0);
    bench_close(b);
}

/* Its own path, before any reader has opened it. */
static void spoil_packs(struct bench *b, bool remove)
{
    struct scratch_files files;

    scratch_files_list(b->f->scratch.repo, &files);
    for (size_t i = 0; i < files.n; i++) {
        char path[256];

        if (strncmp(files.names[i], "packs/", 6) != 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", b->f->scratch.repo,
                 files.names[i]);
        assert_int_equal(remove ? unlink(path) : truncate(path, 5000), 0);
    }
    scratch_files_release(&files);
}

static void check_spoilt(struct fixture *f, bool remove, const char *piece)
{
    struct bench *b = bench_open(f);
    struct error err;
    bool cached;

    want_all(b); /* loads the index */
    spoil_packs(b, remove);
    scan(b);
    assert_int_equal(count_pages(b->damaged), b->n);
    assert_int_equal(b->calls, 0);
    assert_int_equal(seen.adds, 0);
    assert_int_equal(b->why.code, ERR_CORRUPT);
    assert_message(&b->why, piece);
    assert_error(get(b, 0, &cached, &err), &err, ERR_CORRUPT, piece);
    assert_message(&err, "pack '");
    bench_close(b);
}

static void a_pack_cut_before_it_is_opened_is_damage_of_all(void **state)
{
    check_spoilt(*state, false, "no pack ends here");
}

static void a_pack_that_is_missing_is_damage_of_all(void **state)
{
    check_spoilt(*state, true, "is missing");
}

static void wants_of_no_page_are_told_and_other_frames_are_served(void **state)
{
    struct bench *b = bench_open(*state);

    want(b, 1);
    want(b, 1000);
    want(b, 1001);
    b->wants[0].place.slot = 255;
    b->wants[2].place.frame = 1u << 30;
    scan(b);

    assert_int_equal(b->damaged[1], 1);
    assert_int_equal(b->damaged[1001], 1);
    assert_int_equal(b->ready[1000], 1);
    assert_int_equal(b->ready[1] + b->ready[1001], 0);
    assert_message(&b->why, "frame");
    bench_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_fault_reads_exactly_its_frame),
        FIXTURE_TEST(a_frame_asked_for_twice_is_read_once_for_all_readers),
        FIXTURE_TEST(every_page_comes_by_faults),
        FIXTURE_TEST(a_place_that_is_none_is_damage),
        FIXTURE_TEST(a_scan_brings_all_by_few_large_reads),
        FIXTURE_TEST(a_small_gap_is_read_over_and_a_large_one_is_not),
        FIXTURE_TEST(a_scan_takes_frames_from_the_cache_and_puts_none_in),
        FIXTURE_TEST(
            a_frame_side_by_side_is_decompressed_straight_to_its_place),
        FIXTURE_TEST(what_is_stored_raw_is_shown_where_it_was_read),
        FIXTURE_TEST(a_refusal_of_the_caller_ends_the_scan),
        FIXTURE_TEST(a_ring_that_fails_ends_the_scan_and_not_the_next),
        FIXTURE_TEST(a_damaged_frame_is_named_and_its_neighbours_are_served),
        FIXTURE_TEST(a_pack_cut_while_it_is_open_gives_what_is_left),
        FIXTURE_TEST(a_pack_cut_before_it_is_opened_is_damage_of_all),
        FIXTURE_TEST(a_pack_that_is_missing_is_damage_of_all),
        FIXTURE_TEST(wants_of_no_page_are_told_and_other_frames_are_served),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
