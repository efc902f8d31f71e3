/*
 * raw_import.c - lanes over the segments of a file.
 *
 * Each thread takes the next segment (2 MiB) that nobody has, asks the file
 * system which parts of it are data (SEEK_DATA), and puts what is there. A
 * hole is zero, or, with sparse_over, the page of that snapshot: a page of
 * zeros that was written is data and stays one. A page that is partly a hole
 * is data as a whole: whoever wrote a part of it wrote it all.
 */
#include "snapshot/raw_import.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "core/base/clock.h"
#include "core/base/path.h"
#include "core/base/worker.h"
#include "storage/snapshot_reader.h"
#include "storage/snapshot_writer.h"

#define BLOCK_NAME    "ram"
#define SEGMENT_BYTES (UINT64_C(2) << 20)
#define BATCH_BYTES   ((size_t)PAGE_BATCH_MAX * PAGE_BYTES)
#define LANES_MAX     4u

struct import {
    /* set before the threads start, then read only */
    struct raw_import_args args;
    int fd;
    uint64_t bytes;
    struct snapshot_writer *writer;
    struct worker_group group;

    _Atomic uint64_t next; /* segment */
    _Atomic uint64_t done; /* bytes */
    _Atomic bool stop;
};

struct import_lane {
    struct import *import;
    unsigned number;
    struct snapshot_reader *base; /* NULL unless sparse_over */
    uint8_t *data;                /* BATCH_BYTES */
    struct page_batch batch;
    /* data found last: asking the file system walks all of it each time */
    uint64_t data_from;
    uint64_t data_to;
};

/* ---- Pages ---- */

static int put(struct import_lane *l, struct error *err)
{
    int rc = l->batch.n ? snapshot_writer_put(l->import->writer, l->number,
                                              &l->batch, err)
                        : 0;

    l->batch.n = 0;
    return rc;
}

/* A page of data, which is in its place of l->data already, or a zero one. */
static int add_page(struct import_lane *l, pgno_t pgno, bool zero,
                    struct error *err)
{
    int rc = 0;

    /* A batch is all data or all zero. */
    if (l->batch.n > 0 && zero != (l->batch.data == NULL))
        rc = put(l, err);
    l->batch.data = zero ? NULL : l->data;
    l->batch.pgno[l->batch.n++] = pgno;
    if (rc == 0 && l->batch.n == PAGE_BATCH_MAX)
        rc = put(l, err);
    return rc;
}

static int add_data(struct import_lane *l, uint64_t from, uint64_t to,
                    struct error *err)
{
    int rc = put(l, err);

    while (from < to && rc == 0) {
        size_t n = (size_t)MIN(to - from, (uint64_t)BATCH_BYTES);

        rc = path_read_at(l->import->fd, l->data, n, from, err);
        for (size_t at = 0; at < n && rc == 0; at += PAGE_BYTES)
            rc = add_page(l, (from + at) / PAGE_BYTES, false, err);
        if (rc == 0)
            rc = put(l, err);
        from += n;
    }
    return rc;
}

static int add_base_page(struct import_lane *l, pgno_t pgno, struct error *err)
{
    const uint8_t *page;
    int rc = snapshot_reader_page(l->base, 0, pgno, &page, err);

    if (rc < 0)
        return rc;
    if (page && l->batch.n > 0 && !l->batch.data)
        rc = put(l, err);
    if (page)
        memcpy(l->data + (size_t)l->batch.n * PAGE_BYTES, page, PAGE_BYTES);
    return rc < 0 ? rc : add_page(l, pgno, !page, err);
}

static int add_hole(struct import_lane *l, uint64_t from, uint64_t to,
                    struct error *err)
{
    int rc = 0;

    for (; from < to && rc == 0; from += PAGE_BYTES) {
        if (l->base)
            rc = add_base_page(l, from / PAGE_BYTES, err);
        else
            rc = add_page(l, from / PAGE_BYTES, true, err);
    }
    return rc;
}

/* Where data begins at or behind `from`, and where it ends: in data_from and
 * data_to of the lane, in whole pages. The position that lseek() moves is
 * shared by the lanes, and used by none. */
static int find_data(struct import_lane *l, uint64_t from, struct error *err)
{
    struct import *m = l->import;
    off_t data = lseek(m->fd, (off_t)from, SEEK_DATA);
    off_t hole = data < 0 ? data : lseek(m->fd, data, SEEK_HOLE);

    if (data < 0 && errno == ENXIO) {
        l->data_from = m->bytes; /* a hole up to the end of the file */
        l->data_to = m->bytes;
        return 0;
    }
    if (hole < 0)
        return fail_errno(err, ERR_IO, "cannot look for holes in '%s'",
                          m->args.memory);
    l->data_from = (uint64_t)data / PAGE_BYTES * PAGE_BYTES;
    l->data_to = align_up((uint64_t)hole, PAGE_BYTES);
    return 0;
}

static int import_segment(struct import_lane *l, uint64_t from, uint64_t end,
                          struct error *err)
{
    int rc = 0;

    while (from < end && rc == 0) {
        uint64_t data;
        uint64_t data_end;

        if (from >= l->data_to)
            rc = find_data(l, from, err);
        data = MIN(MAX(l->data_from, from), end);
        data_end = MIN(l->data_to, end);
        if (rc == 0)
            rc = add_hole(l, from, data, err);
        if (rc == 0 && data < data_end)
            rc = add_data(l, data, data_end, err);
        from = MAX(data, data_end);
    }
    return rc < 0 ? rc : put(l, err);
}

static int lane_main(void *arg, struct error *err)
{
    struct import_lane *l = arg;
    struct import *m = l->import;
    int rc = 0;

    while (rc == 0 && !m->stop) {
        uint64_t from = m->next++ * SEGMENT_BYTES;
        uint64_t end = MIN(from + SEGMENT_BYTES, m->bytes);

        if (from >= m->bytes)
            break;
        if (stopper_pulled(m->args.stop))
            return stopper_error(m->args.stop, err);
        rc = import_segment(l, from, end, err);
        m->done += end - from;
        if (m->args.progress)
            m->args.progress(m->args.arg, m->done, m->bytes);
    }
    return rc;
}

static void cancel(void *arg)
{
    struct import *m = arg;

    m->stop = true;
}

static void lane_release(struct import_lane *l)
{
    snapshot_reader_close(l->base);
    free(l->data);
}

static int run_lanes(struct import *m, unsigned n, struct error *err)
{
    struct import_lane lanes[LANES_MAX] = {0};
    struct error late = ERROR_INIT;
    int rc = 0;

    worker_group_init(&m->group, cancel, m);
    for (unsigned i = 0; i < n && rc == 0; i++) {
        lanes[i] = (struct import_lane){
            .import = m, .number = i, .data = malloc(BATCH_BYTES)};
        lanes[i].batch.seq = 1;
        if (!lanes[i].data)
            rc = fail_nomem(err);
        if (rc == 0 && m->args.sparse_over)
            rc = snapshot_reader_open(m->args.repository, m->args.sparse_over,
                                      &lanes[i].base, err);
        if (rc == 0)
            rc = worker_start(&m->group, "import", lane_main, &lanes[i], err);
    }
    if (rc < 0)
        cancel(m);
    if (worker_group_join(&m->group, &late) < 0 && rc == 0)
        rc = error_copy(err, &late);
    worker_group_release(&m->group);
    for (unsigned i = 0; i < n; i++)
        lane_release(&lanes[i]);
    return rc;
}

/* ---- State files ---- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static int add_state(struct device_state *d, const char *path,
                     struct error *err)
{
    cleanup_buf struct buf text = BUF_INIT;
    struct device_section *s = &d->sections[d->n_sections];
    const char *name = base_name(path);
    int rc;

    if (!name[0] || strlen(name) >= sizeof(s->name))
        return fail(err, ERR_INVALID, "state file '%s' has no usable name",
                    path);
    for (size_t i = 0; i < d->n_sections; i++) {
        if (strcmp(d->sections[i].name, name) == 0)
            return fail(err, ERR_INVALID, "two state files are called '%s'",
                        name);
    }
    rc = path_read_file(AT_FDCWD, path, DEVICE_TAIL_MAX_BYTES, &text, err);
    if (rc == 0 && text.len > DEVICE_TAIL_MAX_BYTES - d->tail.len)
        rc = fail(err, ERR_INVALID, "state files of more than %u MiB",
                  DEVICE_TAIL_MAX_BYTES >> 20);
    if (rc < 0)
        return rc;
    snprintf(s->name, sizeof(s->name), "%s", name);
    s->offset = d->tail.len;
    s->bytes = text.len;
    d->n_sections++;
    return buf_append(&d->tail, text.data, text.len, err);
}

static int read_states(const struct raw_import_args *args,
                       struct device_state *ret, struct error *err)
{
    int rc = 0;

    ret->sections = calloc(args->n_states + 1, sizeof(*ret->sections));
    if (!ret->sections)
        return fail_nomem(err);
    snprintf(ret->run_state, sizeof(ret->run_state), "paused");
    for (size_t i = 0; i < args->n_states && rc == 0; i++)
        rc = add_state(ret, args->states[i], err);
    return rc;
}

/* ---- The snapshot ---- */

static int open_memory(struct import *m, struct error *err)
{
    struct stat st;

    m->fd = open(m->args.memory, O_RDONLY | O_CLOEXEC);
    if (m->fd < 0 || fstat(m->fd, &st) < 0)
        return fail_errno(err, ERR_INVALID, "cannot open '%s'", m->args.memory);
    if (!S_ISREG(st.st_mode))
        return fail(err, ERR_INVALID, "'%s' is no plain file", m->args.memory);
    m->bytes = (uint64_t)st.st_size;
    if (m->bytes == 0 || m->bytes % PAGE_BYTES != 0)
        return fail(err, ERR_INVALID,
                    "'%s' has %llu bytes, which is no memory of whole pages of "
                    "%u",
                    m->args.memory, (unsigned long long)m->bytes, PAGE_BYTES);
    return 0;
}

static int check_base(const struct import *m, struct error *err)
{
    cleanup(snapshot_reader) struct snapshot_reader *base = NULL;
    const struct ramblock_list *blocks;
    int rc;

    if (!m->args.sparse_over)
        return 0;
    rc = snapshot_reader_open(m->args.repository, m->args.sparse_over, &base,
                              err);
    if (rc < 0)
        return rc;
    blocks = snapshot_reader_blocks(base);
    if (blocks->n != 1)
        return fail(err, ERR_INVALID, "snapshot '%s' is no flat image",
                    m->args.sparse_over);
    if (blocks->blocks[0].used_bytes != m->bytes)
        return fail(err, ERR_INVALID,
                    "'%s' has %llu bytes, snapshot '%s' has %llu",
                    m->args.memory, (unsigned long long)m->bytes,
                    m->args.sparse_over,
                    (unsigned long long)blocks->blocks[0].used_bytes);
    return 0;
}

static int set_block(struct import *m, struct error *err)
{
    struct ramblock_list blocks = {0};
    struct ramblock block = {.idstr = BLOCK_NAME,
                             .used_bytes = m->bytes,
                             .host_page_bytes = PAGE_BYTES};
    int rc = ramblock_list_add(&blocks, &block, err);

    if (rc == 0)
        rc = snapshot_writer_set_blocks(m->writer, &blocks, err);
    ramblock_list_release(&blocks);
    return rc;
}

static int commit(struct import *m, const struct device_state *devices,
                  uint64_t start_ns, struct snapshot_summary *ret,
                  struct error *err)
{
    cleanup_json json_t *facts = NULL;
    struct machine_config config = {0};
    struct snapshot_summary summary = {
        .time_ns = m->args.time_ns ? m->args.time_ns : clock_realtime_ns(),
        .mode = RAW_IMPORT_MODE,
        .run_state = "paused",
        .duration_ms = (clock_monotonic_ns() - start_ns) / NS_PER_MS,
        .rounds = 1,
    };
    struct snapshot_record record = {
        .config = &config, .devices = devices, .summary = &summary};
    int rc = json_build(&facts, err, "{s:s, s:o}", "format", "raw", "memory",
                        json_text(base_name(m->args.memory)));

    if (rc < 0)
        return rc;
    record.facts = facts;
    return snapshot_writer_commit(m->writer, &record, ret, err);
}

static unsigned choose_lanes(const struct raw_import_args *args)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (args->lanes)
        return MIN(args->lanes, LANES_MAX);
    return (unsigned)MAX(1L, MIN(cores, (long)LANES_MAX));
}

int raw_import_run(const struct raw_import_args *args,
                   struct snapshot_summary *ret, struct error *err)
{
    struct import m = {.args = *args, .fd = -1};
    struct device_state devices = {0};
    unsigned lanes = choose_lanes(args);
    struct snapshot_writer_args writer = {
        .repository = args->repository,
        .vm = args->vm,
        .vm_uuid = "",
        .level = args->level,
        .lanes = lanes,
    };
    uint64_t start_ns = clock_monotonic_ns();
    int rc = open_memory(&m, err);

    if (rc == 0)
        rc = check_base(&m, err);
    if (rc == 0)
        rc = read_states(args, &devices, err);
    if (rc == 0)
        rc = snapshot_writer_new(&writer, &m.writer, err);
    if (rc == 0)
        rc = set_block(&m, err);
    if (rc == 0)
        rc = run_lanes(&m, lanes, err);
    if (rc == 0)
        rc = commit(&m, &devices, start_ns, ret, err);
    snapshot_writer_free(m.writer);
    device_state_release(&devices);
    if (m.fd >= 0)
        close(m.fd);
    return rc;
}
