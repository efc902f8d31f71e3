/*
 * uffd_space.c - placing pages, and staying right while the memory changes.
 *
 * A placement walks its range in steps; each step enters the gate, looks at
 * the marks and the map, and asks the kernel once. The kernel stops at the
 * first page it cannot place and says how far it came, then the next step
 * learns why:
 *   EEXIST  somebody was faster: marked as received, passed over;
 *   EAGAIN  an event waits: the caller must see that it is read, and go on;
 *   ENOENT  unmapped in the meantime: page by page, what is gone is passed;
 *   ESRCH   the process is gone: the end.
 * A fault of a page that is there is woken as well: its thread may have been
 * put to sleep just before the page came.
 *
 * Coalescing: a page that one thread answers for is in `service`. A second
 * fault of it only sets `again`, and the first thread wakes the page once more
 * when it lets go: its own placing may have been before the second thread went
 * to sleep, if the page was dropped in between.
 */
#include "restore/uffd/uffd_space.h"

#include <fcntl.h>
#include <sys/mman.h>

#define LOG_AREA "uffd"
#include "core/base/bytes.h"
#include "core/base/log.h"

static int check_region(const struct uffd_space_args *args,
                        const struct space_region *r, struct error *err)
{
    uint64_t end;

    if (!is_aligned(r->start, args->page_bytes) ||
        !is_aligned(r->len, args->page_bytes) ||
        !is_aligned(r->offset, args->page_bytes))
        return fail(err, ERR_PROTOCOL,
                    "region at %#llx: address, size or offset is no multiple "
                    "of the page size %u",
                    (unsigned long long)r->start, args->page_bytes);
    if (!add_checked(r->offset, r->len, &end) || end > args->image_bytes)
        return fail(err, ERR_PROTOCOL,
                    "region at %#llx: offset %llu and size %llu reach past "
                    "the image of %llu bytes",
                    (unsigned long long)r->start, (unsigned long long)r->offset,
                    (unsigned long long)r->len,
                    (unsigned long long)args->image_bytes);
    return 0;
}

static int register_region(struct uffd_space *s, const struct space_region *r,
                           struct error *err)
{
    unsigned can;
    int rc = uffd_register(s->fd, r->start, r->len, s->modes, &can, err);

    if (rc < 0)
        return rc;
    if (!(can & UFFD_CAN_COPY))
        return fail(err, ERR_UNSUPPORTED,
                    "the kernel cannot place pages at %#llx",
                    (unsigned long long)r->start);
    if ((s->modes & UFFD_MODE_PROTECT) && !(can & UFFD_CAN_PROTECT))
        return fail(err, ERR_UNSUPPORTED,
                    "the kernel cannot protect pages at %#llx",
                    (unsigned long long)r->start);
    /* Only hugetlbfs memory cannot be zeroed in this way. */
    if (!(can & UFFD_CAN_ZERO) && s->page_bytes <= 4096)
        return fail(err, ERR_PROTOCOL,
                    "region at %#llx is of huge pages, not of %u bytes",
                    (unsigned long long)r->start, s->page_bytes);
    s->can &= can;
    return 0;
}

static struct uffd_space *new_space(int fd, struct error *err)
{
    struct uffd_space *s = calloc(1, sizeof(*s));

    if (!s) {
        fail_nomem(err);
        return NULL;
    }
    s->fd = fd;
    s->can = ~0u;
    gate_init(&s->gate);
    lock_init(&s->lock);
    return s;
}

static int add_regions(struct uffd_space *s, const struct uffd_space_args *args,
                       struct error *err)
{
    /* Looked at all before the first is registered: a wrong one leaves the
     * memory as it was. */
    for (uint32_t i = 0; i < args->n_regions; i++) {
        const struct space_region *r = &args->regions[i];
        struct address_extent x = {r->start, r->len, r->offset};
        int rc = check_region(args, r, err);

        if (rc == 0)
            rc = address_map_add(&s->map, &x, err);
        if (rc < 0)
            return rc;
    }
    for (uint32_t i = 0; i < args->n_regions; i++) {
        int rc = register_region(s, &args->regions[i], err);

        if (rc < 0)
            return rc;
    }
    return 0;
}

int uffd_space_new(const struct uffd_space_args *args, struct uffd_space **ret,
                   struct error *err)
{
    cleanup(uffd_space) struct uffd_space *s = new_space(-1, err);
    uint64_t pages = args->image_bytes / args->page_bytes;
    int rc = s ? 0 : err->code;

    if (rc == 0)
        rc = uffd_describe(args->fd, &s->tells, err);
    /* A descriptor that waits in read() could not be watched beside others. */
    if (rc == 0 &&
        fcntl(args->fd, F_SETFL, fcntl(args->fd, F_GETFL) | O_NONBLOCK) < 0)
        rc = fail_errno(err, ERR_IO, "the descriptor cannot be set up");
    if (rc == 0)
        rc = page_marks_init(&s->received, pages, err);
    if (rc == 0)
        rc = page_marks_init(&s->removed, pages, err);
    if (rc < 0)
        return rc;
    s->page_bytes = args->page_bytes;
    s->image_bytes = args->image_bytes;
    s->modes = args->modes;
    s->local = args->local;
    s->place_protected = args->place_protected;
    s->zero_page = args->zero_page;
    s->fd = args->fd;
    rc = add_regions(s, args, err);
    if (rc < 0) {
        s->fd = -1; /* stays the caller's */
        return rc;
    }
    *ret = steal_ptr(&s);
    return 0;
}

int uffd_space_fork(const struct uffd_space *parent, int fd,
                    struct uffd_space **ret, struct error *err)
{
    cleanup(uffd_space) struct uffd_space *s = new_space(-1, err);
    int rc = s ? 0 : err->code;

    if (rc == 0)
        rc = page_marks_copy(&s->received, &parent->received, err);
    if (rc == 0)
        rc = page_marks_copy(&s->removed, &parent->removed, err);
    if (rc == 0)
        rc = address_map_copy(&s->map, &parent->map, err);
    if (rc < 0)
        return rc;
    s->fd = fd;
    s->page_bytes = parent->page_bytes;
    s->image_bytes = parent->image_bytes;
    s->tells = parent->tells;
    s->can = parent->can;
    s->modes = parent->modes;
    s->place_protected = parent->place_protected;
    s->zero_page = parent->zero_page;
    s->child = true;
    *ret = steal_ptr(&s);
    return 0;
}

void uffd_space_free(struct uffd_space *s)
{
    if (!s)
        return;
    if (s->fd >= 0)
        close(s->fd);
    page_marks_release(&s->received);
    page_marks_release(&s->removed);
    address_map_release(&s->map);
    gate_release(&s->gate);
    lock_release(&s->lock);
    free(s);
}

/* ---- Placing ---- */

static void mark_received(struct uffd_space *s, uint64_t offset, uint64_t len)
{
    for (uint64_t at = 0; at < len; at += s->page_bytes)
        page_marks_set(&s->received, (offset + at) / s->page_bytes);
}

/* How many bytes from `offset`, at most `max`, have the same removed mark. */
static uint64_t run_of_same(const struct uffd_space *s, uint64_t offset,
                            uint64_t max, bool *ret_removed)
{
    uint64_t page = offset / s->page_bytes;
    uint64_t n = 1;

    *ret_removed = page_marks_test(&s->removed, page);
    while (n * s->page_bytes < max &&
           page_marks_test(&s->removed, page + n) == *ret_removed)
        n++;
    return n * s->page_bytes;
}

static enum uffd_outcome fill(struct uffd_space *s, uint64_t address,
                              const void *data, uint64_t len,
                              enum space_how how, uint64_t *ret_done,
                              struct error *err)
{
    unsigned flags = (s->place_protected ? UFFD_PLACE_PROTECTED : 0) |
                     (how == SPACE_QUIETLY ? UFFD_PLACE_QUIETLY : 0);

    if (data)
        return uffd_copy(s->fd, address, data, len, flags, ret_done, err);
    /* ZEROPAGE cannot protect, and huge pages have none. */
    if ((s->can & UFFD_CAN_ZERO) && !s->place_protected)
        return uffd_zero(s->fd, address, len, flags, ret_done, err);
    return uffd_copy(s->fd, address, s->zero_page, s->page_bytes, flags,
                     ret_done, err);
}

/* One page that could not be placed, and why: passed over if that is all
 * right. True: go on behind it. */
static bool pass_page(struct uffd_space *s, uint64_t offset,
                      enum uffd_outcome why)
{
    if (why == UFFD_PRESENT) {
        s->counts.present++;
        page_marks_set(&s->received, offset / s->page_bytes);
        return true;
    }
    if (why == UFFD_UNMAPPED) {
        s->counts.gone++;
        return true;
    }
    return false;
}

/*
 * One step behind the gate: as much as lies together, at most STEP_BYTES or one
 * page. *ret_done may be less than `len` with DONE: then there is more to do.
 */
static enum uffd_outcome place_step(struct uffd_space *s, uint64_t offset,
                                    const uint8_t *data, uint64_t len,
                                    enum space_how how, uint64_t *ret_done,
                                    struct error *err)
{
    enum uffd_outcome outcome;
    uint64_t address;
    uint64_t run;
    bool removed;

    if (!address_map_address(&s->map, offset, &address, &run)) {
        *ret_done = MIN(run, len);
        return UFFD_DONE;
    }
    len = MIN(len, MIN(run, MAX(SPACE_STEP_BYTES, s->page_bytes)));
    len = run_of_same(s, offset, len, &removed);
    if (removed && how != SPACE_FOR_FAULT) {
        *ret_done = len;
        return UFFD_DONE;
    }
    outcome = fill(s, address, removed ? NULL : data, len, how, ret_done, err);
    if (outcome == UFFD_UNMAPPED && len > s->page_bytes)
        outcome = fill(s, address, removed ? NULL : data, s->page_bytes, how,
                       ret_done, err);
    mark_received(s, offset, *ret_done);
    s->counts.placed += *ret_done / s->page_bytes;
    if (removed || !data)
        s->counts.zeroed += *ret_done / s->page_bytes;
    /* Stopped in the middle: the next step learns why. */
    if (*ret_done > 0 && outcome == UFFD_BUSY)
        return UFFD_DONE;
    if (how == SPACE_FOR_FAULT &&
        (outcome == UFFD_PRESENT || outcome == UFFD_UNMAPPED))
        uffd_wake(s->fd, address, s->page_bytes, err);
    if (pass_page(s, offset, outcome)) {
        *ret_done = s->page_bytes;
        return UFFD_DONE;
    }
    return outcome;
}

enum uffd_outcome uffd_space_place(struct uffd_space *s, uint64_t offset,
                                   const void *data, uint64_t len,
                                   enum space_how how, uint64_t *ret_done,
                                   struct error *err)
{
    const uint8_t *from = data;
    uint64_t done = 0;

    assert(is_aligned(offset | len, s->page_bytes));
    assert(offset + len <= s->image_bytes);
    *ret_done = 0;
    while (done < len) {
        enum uffd_outcome outcome;
        uint64_t n = 0;

        gate_enter(&s->gate);
        outcome = place_step(s, offset + done, from ? from + done : NULL,
                             len - done, how, &n, err);
        gate_leave(&s->gate);
        done += n;
        *ret_done = done;
        if (outcome == UFFD_BUSY)
            s->counts.busy++;
        if (outcome == UFFD_EXITED)
            s->exited = true;
        if (outcome != UFFD_DONE)
            return outcome;
    }
    return UFFD_DONE;
}

/* Looks up the address of a page and does `what` to it. */
static enum uffd_outcome
do_to_page(struct uffd_space *s, uint64_t offset,
           enum uffd_outcome (*what)(struct uffd_space *s, uint64_t address,
                                     struct error *err),
           struct error *err)
{
    enum uffd_outcome outcome = UFFD_UNMAPPED;
    uint64_t address;
    uint64_t run;

    gate_enter(&s->gate);
    if (address_map_address(&s->map, offset, &address, &run))
        outcome = what(s, address, err);
    gate_leave(&s->gate);
    if (outcome == UFFD_EXITED)
        s->exited = true;
    return outcome;
}

static enum uffd_outcome wake_page(struct uffd_space *s, uint64_t address,
                                   struct error *err)
{
    return uffd_wake(s->fd, address, s->page_bytes, err);
}

static enum uffd_outcome unprotect_page(struct uffd_space *s, uint64_t address,
                                        struct error *err)
{
    return uffd_protect(s->fd, address, s->page_bytes, false, err);
}

static enum uffd_outcome continue_page(struct uffd_space *s, uint64_t address,
                                       struct error *err)
{
    uint64_t done;
    enum uffd_outcome outcome =
        uffd_continue(s->fd, address, s->page_bytes, &done, err);

    if (outcome == UFFD_PRESENT)
        return uffd_wake(s->fd, address, s->page_bytes, err);
    return outcome;
}

enum uffd_outcome uffd_space_wake(struct uffd_space *s, uint64_t offset,
                                  struct error *err)
{
    return do_to_page(s, offset, wake_page, err);
}

enum uffd_outcome uffd_space_unprotect(struct uffd_space *s, uint64_t offset,
                                       struct error *err)
{
    return do_to_page(s, offset, unprotect_page, err);
}

enum uffd_outcome uffd_space_continue(struct uffd_space *s, uint64_t offset,
                                      struct error *err)
{
    enum uffd_outcome outcome = do_to_page(s, offset, continue_page, err);

    if (outcome == UFFD_DONE)
        page_marks_set(&s->received, offset / s->page_bytes);
    return outcome;
}

/* ---- Events ---- */

/* Whole pages within the range only: that is what the kernel drops. */
static void apply_remove(struct uffd_space *s, uint64_t start, uint64_t end)
{
    for (uint32_t i = 0; i < s->map.n; i++) {
        const struct address_extent *x = &s->map.extents[i];
        uint64_t first = align_up(MAX(x->start, start), s->page_bytes);
        uint64_t last = MIN(x->start + x->len, end);

        for (uint64_t at = first; at + s->page_bytes <= last;
             at += s->page_bytes) {
            uint64_t page = (x->offset + (at - x->start)) / s->page_bytes;

            page_marks_set(&s->removed, page);
            page_marks_clear(&s->received, page);
            s->counts.removed++;
        }
    }
}

struct reading {
    struct uffd_space *space;
    struct space_fault *faults;
    unsigned n;
    int (*forked)(void *arg, struct uffd_space *child, struct error *err);
    void *arg;
};

static void add_fault(struct reading *r, const struct uffd_message *m)
{
    uint64_t address = m->start & ~(uint64_t)(r->space->page_bytes - 1);
    struct space_fault f = {
        .address = address, .protected = m->protected, .minor = m->minor};

    if (!address_map_offset(&r->space->map, address, &f.offset)) {
        struct error ignored;

        /* Not ours to fill, or moved since: whoever waits looks again. */
        uffd_wake(r->space->fd, address, r->space->page_bytes, &ignored);
        return;
    }
    for (unsigned i = 0; i < r->n; i++) {
        if (r->faults[i].offset == f.offset &&
            r->faults[i].protected == f.protected &&
            r->faults[i].minor == f.minor)
            return;
    }
    r->faults[r->n++] = f;
}

static int add_child(struct reading *r, int fd, struct error *err)
{
    struct uffd_space *child;
    int rc = uffd_space_fork(r->space, fd, &child, err);

    if (rc < 0) {
        close(fd);
        return rc;
    }
    return r->forked(r->arg, child, err);
}

static int apply_message(struct reading *r, const struct uffd_message *m,
                         struct error *err)
{
    struct uffd_space *s = r->space;
    struct error ignored;

    /* Whoever waits for a page that moved or went looks again. */
    switch (m->kind) {
    case UFFD_SAYS_FAULT:
        /* Behind all events, see uffd_space_read(). */
        return 0;
    case UFFD_SAYS_REMOVE:
        apply_remove(s, m->start, m->end);
        return 0;
    case UFFD_SAYS_UNMAP:
        uffd_wake(s->fd, m->start, m->end - m->start, &ignored);
        return address_map_cut(&s->map, m->start, m->end, err);
    case UFFD_SAYS_REMAP:
        uffd_wake(s->fd, m->start, m->end - m->start, &ignored);
        return address_map_move(&s->map, m->start, m->end - m->start, m->to,
                                err);
    case UFFD_SAYS_FORK:
        return add_child(r, m->child, err);
    }
    return 0;
}

int uffd_space_read(struct uffd_space *s, struct space_fault *ret, unsigned max,
                    unsigned *ret_n,
                    int (*forked)(void *arg, struct uffd_space *child,
                                  struct error *err),
                    void *arg, struct error *err)
{
    struct uffd_message messages[UFFD_READ_MAX];
    struct reading r = {
        .space = s, .faults = ret, .forked = forked, .arg = arg};
    bool alone = s->tells != 0;
    unsigned n;
    int rc;

    if (alone)
        gate_close(&s->gate);
    else
        gate_enter(&s->gate);
    rc = uffd_read(s->fd, messages, MIN(max, UFFD_READ_MAX), &n, err);
    for (unsigned i = 0; rc == 0 && i < n; i++)
        rc = apply_message(&r, &messages[i], err);
    /* A fault may have been queued before the event that changes its page:
     * events first, all of them. */
    for (unsigned i = 0; rc == 0 && i < n; i++) {
        if (messages[i].kind == UFFD_SAYS_FAULT)
            add_fault(&r, &messages[i]);
    }
    gate_leave(&s->gate);
    *ret_n = r.n;
    return rc;
}

/* ---- Coalescing ---- */

bool uffd_space_begin(struct uffd_space *s, uint64_t page, unsigned *ret_slot)
{
    unsigned empty = SPACE_SERVICE_MAX;
    LOCK_SCOPE(&s->lock);

    for (unsigned i = 0; i < SPACE_SERVICE_MAX; i++) {
        if (s->service[i].used && s->service[i].page == page) {
            s->service[i].again = true;
            return false;
        }
        if (!s->service[i].used)
            empty = i;
    }
    assert(empty < SPACE_SERVICE_MAX);
    s->service[empty].used = true;
    s->service[empty].again = false;
    s->service[empty].page = page;
    *ret_slot = empty;
    return true;
}

void uffd_space_end(struct uffd_space *s, unsigned slot)
{
    struct error ignored;
    uint64_t page;
    bool again;

    lock_take(&s->lock);
    assert(slot < SPACE_SERVICE_MAX && s->service[slot].used);
    page = s->service[slot].page;
    again = s->service[slot].again;
    s->service[slot].used = false;
    lock_drop(&s->lock);
    if (again)
        uffd_space_wake(s, page * s->page_bytes, &ignored);
}

/* ---- The beginning and the end ---- */

int uffd_space_discard(const struct space_region *region, uint64_t offset,
                       uint64_t len, bool shared, struct error *err)
{
    uint8_t *at = (uint8_t *)(uintptr_t)region->start;
    uint64_t end;

    if (offset < region->offset || !add_checked(offset, len, &end) ||
        end > region->offset + region->len)
        return fail(err, ERR_INVALID, "range at %llu is not in the region",
                    (unsigned long long)offset);
    at += offset - region->offset;
    if (madvise(at, len, shared ? MADV_REMOVE : MADV_DONTNEED) < 0)
        return fail_errno(err, ERR_IO, "pages cannot be dropped");
    return 0;
}

void uffd_space_unregister(struct uffd_space *s)
{
    struct error why = ERROR_INIT;

    gate_enter(&s->gate);
    for (uint32_t i = 0; i < s->map.n; i++) {
        const struct address_extent *x = &s->map.extents[i];
        enum uffd_outcome outcome =
            uffd_unregister(s->fd, x->start, x->len, &why);

        /* Part of it may be gone, with an event that nobody has read. */
        if (outcome == UFFD_FAILED)
            log_debug("%s", why.message);
        uffd_wake(s->fd, x->start, x->len, &why);
    }
    gate_leave(&s->gate);
}
