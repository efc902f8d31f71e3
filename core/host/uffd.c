/*
 * uffd.c - the interface is tried without a fault and without a second thread:
 * pages are placed before anybody touches them, which needs the same
 * permissions and the same features.
 */
#include "core/host/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "core/base/cleanup.h"
#include "core/base/path.h"

/* Newer than some headers that firn is built with; the kernel's numbers do not
 * change. */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_MINOR_SHMEM
#define UFFD_FEATURE_MINOR_SHMEM (1 << 10)
#endif
#ifndef UFFD_FEATURE_POISON
#define UFFD_FEATURE_POISON (1 << 14)
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xaa, 0)
#endif

static const char *const way_names[] = {
    [UFFD_SYSCALL] = "system call",
    [UFFD_SYSCALL_USER] = "system call, user mode",
    [UFFD_DEVICE] = "/dev/userfaultfd",
};
static_assert(ARRAY_LEN(way_names) == UFFD_WAY__COUNT, "a name for each way");

const char *uffd_way_name(enum uffd_way way)
{
    assert(way < UFFD_WAY__COUNT);
    return way_names[way];
}

static int open_device(struct error *err)
{
    cleanup_close int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    int fd;

    if (device < 0)
        return fail_errno(err, ERR_UNSUPPORTED,
                          "cannot open '/dev/userfaultfd'");
    fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail_errno(err, ERR_UNSUPPORTED,
                          "'/dev/userfaultfd' gives no descriptor");
    return fd;
}

static int open_way(enum uffd_way way, struct error *err)
{
    int flags = O_CLOEXEC | O_NONBLOCK;
    long fd;

    if (way == UFFD_DEVICE)
        return open_device(err);
    if (way == UFFD_SYSCALL_USER)
        flags |= UFFD_USER_MODE_ONLY;
    fd = syscall(SYS_userfaultfd, flags);
    if (fd < 0)
        return fail_errno(err, ERR_UNSUPPORTED, "userfaultfd is refused");
    return (int)fd;
}

int uffd_open(enum uffd_way way, int *ret_fd, struct uffd_features *ret,
              struct error *err)
{
    struct uffdio_api api = {.api = UFFD_API};
    cleanup_close int fd = open_way(way, err);

    if (fd < 0)
        return fd;
    if (ioctl(fd, UFFDIO_API, &api) < 0)
        return fail_errno(err, ERR_UNSUPPORTED,
                          "userfaultfd knows no API %#llx", UFFD_API);
    *ret = (struct uffd_features){
        .write_protect = api.features & UFFD_FEATURE_PAGEFAULT_FLAG_WP,
        .shmem = api.features & UFFD_FEATURE_MISSING_SHMEM,
        .hugetlbfs = api.features & UFFD_FEATURE_MISSING_HUGETLBFS,
        .minor_shmem = api.features & UFFD_FEATURE_MINOR_SHMEM,
        .poison = api.features & UFFD_FEATURE_POISON,
    };
    *ret_fd = steal_fd(&fd);
    return 0;
}

static int place_pages(int fd, uint8_t *memory, size_t page, bool protect,
                       struct error *err)
{
    uint64_t at = (uintptr_t)memory;
    struct uffdio_register range = {
        .range = {.start = at, .len = 2 * page},
        .mode = UFFDIO_REGISTER_MODE_MISSING |
                (protect ? UFFDIO_REGISTER_MODE_WP : 0),
    };
    struct uffdio_copy copy = {
        .dst = at, .src = (uintptr_t)memory + 2 * page, .len = page};
    struct uffdio_zeropage zero = {.range = {.start = at + page, .len = page}};
    struct uffdio_writeprotect wp = {.range = {.start = at, .len = page},
                                     .mode = UFFDIO_WRITEPROTECT_MODE_WP};

    if (ioctl(fd, UFFDIO_REGISTER, &range) < 0)
        return fail_errno(err, ERR_UNSUPPORTED, "memory cannot be registered");
    if (ioctl(fd, UFFDIO_COPY, &copy) < 0)
        return fail_errno(err, ERR_UNSUPPORTED, "a page cannot be placed");
    if (ioctl(fd, UFFDIO_ZEROPAGE, &zero) < 0)
        return fail_errno(err, ERR_UNSUPPORTED, "a zero page cannot be placed");
    if (memory[0] != 0x5a || memory[page - 1] != 0x5a || memory[page] != 0)
        return fail(err, ERR_UNSUPPORTED, "a placed page has wrong content");
    if (protect && ioctl(fd, UFFDIO_WRITEPROTECT, &wp) < 0)
        return fail_errno(err, ERR_UNSUPPORTED, "a page cannot be protected");
    return 0;
}

int uffd_try(int fd, bool write_protect, struct error *err)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int rc;
    /* Two pages to be filled, and one to copy from. */
    uint8_t *memory = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return fail_errno(err, ERR_NOMEM, "mmap failed");
    memset(memory + 2 * page, 0x5a, page);
    rc = place_pages(fd, memory, page, write_protect, err);
    munmap(memory, 3 * page);
    return rc;
}

/* ---- A descriptor at work ---- */

/* Set by the kernel once the interface was agreed upon; seen in fdinfo only. */
#define FEATURE_INITIALIZED (UINT64_C(1) << 31)

static const struct {
    uint64_t feature;
    unsigned event;
} event_features[] = {
    {UFFD_FEATURE_EVENT_FORK, UFFD_TELLS_FORK},
    {UFFD_FEATURE_EVENT_REMAP, UFFD_TELLS_REMAP},
    {UFFD_FEATURE_EVENT_REMOVE, UFFD_TELLS_REMOVE},
    {UFFD_FEATURE_EVENT_UNMAP, UFFD_TELLS_UNMAP},
};

static uint64_t features_of_events(unsigned events)
{
    uint64_t features = 0;

    for (size_t i = 0; i < ARRAY_LEN(event_features); i++) {
        if (events & event_features[i].event)
            features |= event_features[i].feature;
    }
    return features;
}

int uffd_open_telling(enum uffd_way way, unsigned events, int *ret_fd,
                      struct error *err)
{
    struct uffdio_api api = {.api = UFFD_API,
                             .features = features_of_events(events)};
    cleanup_close int fd = open_way(way, err);

    if (fd < 0)
        return fd;
    if (ioctl(fd, UFFDIO_API, &api) < 0)
        return fail_errno(err, ERR_UNSUPPORTED,
                          "userfaultfd refuses the events %#x", events);
    *ret_fd = steal_fd(&fd);
    return 0;
}

/* The line "API:\taa:<features>:<all>" of the kernel's own description. */
static int read_fdinfo(int fd, uint64_t *ret_features, struct error *err)
{
    cleanup_buf struct buf text = BUF_INIT;
    char name[64];
    const char *line;
    int rc;

    snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
    rc = path_read_file(AT_FDCWD, name, 4096, &text, err);
    if (rc < 0)
        return rc;
    line = strstr(buf_str(&text), "API:");
    line = line ? strchr(line + 4, ':') : NULL;
    if (!line)
        return fail(err, ERR_PROTOCOL, "the descriptor has no features");
    *ret_features = strtoull(line + 1, NULL, 16);
    return 0;
}

int uffd_describe(int fd, unsigned *ret_events, struct error *err)
{
    char name[64];
    char target[64] = "";
    uint64_t features = 0;
    unsigned events = 0;
    int rc;

    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    if (readlink(name, target, sizeof(target) - 1) < 0)
        return fail_errno(err, ERR_PROTOCOL, "the descriptor is unknown");
    if (strcmp(target, "anon_inode:[userfaultfd]") != 0)
        return fail(err, ERR_PROTOCOL,
                    "the descriptor is no userfaultfd but '%s'", target);
    rc = read_fdinfo(fd, &features, err);
    if (rc < 0)
        return rc;
    if (!(features & FEATURE_INITIALIZED))
        return fail(err, ERR_PROTOCOL,
                    "the userfaultfd was never set up (UFFDIO_API)");
    for (size_t i = 0; i < ARRAY_LEN(event_features); i++) {
        if (features & event_features[i].feature)
            events |= event_features[i].event;
    }
    *ret_events = events;
    return 0;
}

static unsigned operations_of(uint64_t ioctls)
{
    static const struct {
        unsigned number;
        unsigned can;
    } table[] = {
        {_UFFDIO_WAKE, UFFD_CAN_WAKE},
        {_UFFDIO_COPY, UFFD_CAN_COPY},
        {_UFFDIO_ZEROPAGE, UFFD_CAN_ZERO},
        {_UFFDIO_WRITEPROTECT, UFFD_CAN_PROTECT},
        {_UFFDIO_CONTINUE, UFFD_CAN_CONTINUE},
    };
    unsigned can = 0;

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (ioctls & (UINT64_C(1) << table[i].number))
            can |= table[i].can;
    }
    return can;
}

int uffd_register(int fd, uint64_t start, uint64_t len, unsigned modes,
                  unsigned *ret_can, struct error *err)
{
    struct uffdio_register r = {
        .range = {.start = start, .len = len},
        .mode = (modes & UFFD_MODE_MISSING ? UFFDIO_REGISTER_MODE_MISSING : 0) |
                (modes & UFFD_MODE_PROTECT ? UFFDIO_REGISTER_MODE_WP : 0) |
                (modes & UFFD_MODE_MINOR ? UFFDIO_REGISTER_MODE_MINOR : 0),
    };

    if (ioctl(fd, UFFDIO_REGISTER, &r) < 0)
        return fail_errno(err, ERR_UNSUPPORTED,
                          "memory at %#llx cannot be registered",
                          (unsigned long long)start);
    if (ret_can)
        *ret_can = operations_of(r.ioctls);
    return 0;
}

/*
 * What errno means after an operation. `done` is the kernel's count: when it
 * stops in the middle it tells EAGAIN and how far it came, and the true reason
 * comes with the next call, which begins there.
 */
static enum uffd_outcome outcome_of(int rc, const char *what, uint64_t at,
                                    int64_t done, uint64_t *ret_done,
                                    struct error *err)
{
    *ret_done = done > 0 ? (uint64_t)done : 0;
    if (rc == 0)
        return UFFD_DONE;
    switch (errno) {
    case EAGAIN:
        return UFFD_BUSY;
    case EEXIST:
        return UFFD_PRESENT;
    case ENOENT:
        return UFFD_UNMAPPED;
    case ESRCH:
        return UFFD_EXITED;
    default:
        fail_errno(err, ERR_IO, "memory at %#llx cannot be %s",
                   (unsigned long long)at, what);
        return UFFD_FAILED;
    }
}

enum uffd_outcome uffd_copy(int fd, uint64_t to, const void *from, uint64_t len,
                            unsigned flags, uint64_t *ret_done,
                            struct error *err)
{
    struct uffdio_copy c = {
        .dst = to,
        .src = (uintptr_t)from,
        .len = len,
        .mode = (flags & UFFD_PLACE_PROTECTED ? UFFDIO_COPY_MODE_WP : 0) |
                (flags & UFFD_PLACE_QUIETLY ? UFFDIO_COPY_MODE_DONTWAKE : 0),
    };
    int rc = ioctl(fd, UFFDIO_COPY, &c);

    return outcome_of(rc, "filled", to, c.copy, ret_done, err);
}

enum uffd_outcome uffd_zero(int fd, uint64_t start, uint64_t len,
                            unsigned flags, uint64_t *ret_done,
                            struct error *err)
{
    struct uffdio_zeropage z = {
        .range = {.start = start, .len = len},
        .mode = flags & UFFD_PLACE_QUIETLY ? UFFDIO_ZEROPAGE_MODE_DONTWAKE : 0,
    };
    int rc = ioctl(fd, UFFDIO_ZEROPAGE, &z);

    return outcome_of(rc, "zeroed", start, z.zeropage, ret_done, err);
}

enum uffd_outcome uffd_continue(int fd, uint64_t start, uint64_t len,
                                uint64_t *ret_done, struct error *err)
{
    struct uffdio_continue c = {.range = {.start = start, .len = len}};
    int rc = ioctl(fd, UFFDIO_CONTINUE, &c);

    return outcome_of(rc, "mapped", start, c.mapped, ret_done, err);
}

enum uffd_outcome uffd_protect(int fd, uint64_t start, uint64_t len,
                               bool protect, struct error *err)
{
    struct uffdio_writeprotect wp = {
        .range = {.start = start, .len = len},
        .mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
    };
    uint64_t ignored;
    int rc = ioctl(fd, UFFDIO_WRITEPROTECT, &wp);

    return outcome_of(rc, "protected", start, 0, &ignored, err);
}

enum uffd_outcome uffd_wake(int fd, uint64_t start, uint64_t len,
                            struct error *err)
{
    struct uffdio_range range = {.start = start, .len = len};
    uint64_t ignored;
    int rc = ioctl(fd, UFFDIO_WAKE, &range);

    return outcome_of(rc, "woken", start, 0, &ignored, err);
}

enum uffd_outcome uffd_unregister(int fd, uint64_t start, uint64_t len,
                                  struct error *err)
{
    struct uffdio_range range = {.start = start, .len = len};
    uint64_t ignored;
    int rc = ioctl(fd, UFFDIO_UNREGISTER, &range);

    return outcome_of(rc, "unregistered", start, 0, &ignored, err);
}

static bool parse_message(const struct uffd_msg *m, struct uffd_message *ret)
{
    uint64_t flags = m->arg.pagefault.flags;

    *ret = (struct uffd_message){.child = -1};
    switch (m->event) {
    case UFFD_EVENT_PAGEFAULT:
        ret->kind = UFFD_SAYS_FAULT;
        ret->start = m->arg.pagefault.address;
        ret->write = flags & UFFD_PAGEFAULT_FLAG_WRITE;
        ret->protected = flags & UFFD_PAGEFAULT_FLAG_WP;
        ret->minor = flags & UFFD_PAGEFAULT_FLAG_MINOR;
        return true;
    case UFFD_EVENT_FORK:
        ret->kind = UFFD_SAYS_FORK;
        ret->child = (int)m->arg.fork.ufd;
        return true;
    case UFFD_EVENT_REMAP:
        ret->kind = UFFD_SAYS_REMAP;
        ret->start = m->arg.remap.from;
        ret->end = m->arg.remap.from + m->arg.remap.len;
        ret->to = m->arg.remap.to;
        return true;
    case UFFD_EVENT_REMOVE:
    case UFFD_EVENT_UNMAP:
        ret->kind =
            m->event == UFFD_EVENT_REMOVE ? UFFD_SAYS_REMOVE : UFFD_SAYS_UNMAP;
        ret->start = m->arg.remove.start;
        ret->end = m->arg.remove.end;
        return true;
    default:
        return false;
    }
}

int uffd_read(int fd, struct uffd_message *ret, unsigned max, unsigned *ret_n,
              struct error *err)
{
    struct uffd_msg raw[UFFD_READ_MAX];
    size_t want = MIN(max, UFFD_READ_MAX) * sizeof(raw[0]);
    ssize_t got = read(fd, raw, want);
    unsigned n = 0;

    *ret_n = 0;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got < 0)
        return fail_errno(err, ERR_IO, "cannot read from a userfaultfd");
    for (size_t i = 0; i < (size_t)got / sizeof(raw[0]); i++) {
        if (parse_message(&raw[i], &ret[n]))
            n++;
    }
    *ret_n = n;
    return 0;
}

/* ---- What works here, by kind of memory ---- */

static const char *const memory_names[] = {"anonymous", "shmem", "memfd",
                                           "hugetlbfs"};
static_assert(ARRAY_LEN(memory_names) == UFFD_MEMORY__COUNT,
              "a name for each kind of memory");

const char *uffd_memory_name(enum uffd_memory kind)
{
    assert(kind < UFFD_MEMORY__COUNT);
    return memory_names[kind];
}

#define HUGE_BYTES (UINT64_C(2) << 20)

/* Two pages of a kind, not yet there. */
static int map_memory(enum uffd_memory kind, uint64_t len, uint8_t **ret,
                      struct error *err)
{
    cleanup_close int fd = -1;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    void *p;

    if (kind == UFFD_MEMORY_SHMEM)
        flags = MAP_SHARED | MAP_ANONYMOUS;
    if (kind == UFFD_MEMORY_HUGE)
        flags |= MAP_HUGETLB | (21 << MAP_HUGE_SHIFT);
    if (kind == UFFD_MEMORY_MEMFD) {
        flags = MAP_SHARED;
        fd = memfd_create("firn-probe", MFD_CLOEXEC);
        if (fd < 0 || ftruncate(fd, (off_t)len) < 0)
            return fail_errno(err, ERR_UNSUPPORTED, "no memfd");
    }
    p = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (p == MAP_FAILED)
        return error_set(err, ERR_UNSUPPORTED, errno, __FILE__, __LINE__,
                         "no %s memory", memory_names[kind]);
    *ret = p;
    return 0;
}

/* Which modes can be registered, alone and for a moment. */
static unsigned try_modes(int fd, uint64_t at, uint64_t len)
{
    static const unsigned each[] = {UFFD_MODE_MISSING, UFFD_MODE_PROTECT,
                                    UFFD_MODE_MINOR};
    unsigned modes = 0;
    struct error ignored;

    for (size_t i = 0; i < ARRAY_LEN(each); i++) {
        if (uffd_register(fd, at, len, each[i], NULL, &ignored) == 0)
            modes |= each[i];
        uffd_unregister(fd, at, len, &ignored);
    }
    return modes;
}

/* Places one page and one zero page, and protects the first. */
static int try_placing(int fd, uint8_t *memory, const uint8_t *from,
                       struct uffd_ability *a, struct error *err)
{
    uint64_t at = (uintptr_t)memory;
    uint64_t done;
    unsigned can;
    int rc = uffd_register(fd, at, 2 * a->page_bytes,
                           a->modes & (UFFD_MODE_MISSING | UFFD_MODE_PROTECT),
                           &can, err);

    if (rc < 0)
        return rc;
    a->can = can & (UFFD_CAN_WAKE | UFFD_CAN_CONTINUE);
    if (uffd_copy(fd, at, from, a->page_bytes, 0, &done, err) != UFFD_DONE ||
        memory[0] != from[0] || memory[a->page_bytes - 1] != from[0])
        return fail(err, ERR_UNSUPPORTED, "a page cannot be placed");
    a->can |= UFFD_CAN_COPY;
    if ((can & UFFD_CAN_ZERO) &&
        uffd_zero(fd, at + a->page_bytes, a->page_bytes, 0, &done, err) ==
            UFFD_DONE)
        a->can |= UFFD_CAN_ZERO;
    if ((can & UFFD_CAN_PROTECT) &&
        uffd_protect(fd, at, a->page_bytes, true, err) == UFFD_DONE)
        a->can |= UFFD_CAN_PROTECT;
    return 0;
}

int uffd_try_memory(enum uffd_way way, enum uffd_memory kind,
                    struct uffd_ability *ret, struct error *err)
{
    struct uffd_ability a = {.page_bytes =
                                 kind == UFFD_MEMORY_HUGE
                                     ? HUGE_BYTES
                                     : (uint64_t)sysconf(_SC_PAGESIZE)};
    cleanup_free uint8_t *from = malloc(a.page_bytes);
    cleanup_close int fd = -1;
    uint8_t *memory = NULL;
    int rc = from ? uffd_open_telling(way, 0, &fd, err) : fail_nomem(err);

    if (rc < 0)
        return rc;
    memset(from, 0x5a, a.page_bytes);
    rc = map_memory(kind, 2 * a.page_bytes, &memory, err);
    if (rc < 0)
        return rc;
    a.modes = try_modes(fd, (uintptr_t)memory, 2 * a.page_bytes);
    if (a.modes & UFFD_MODE_MISSING)
        rc = try_placing(fd, memory, from, &a, err);
    else
        rc = fail(err, ERR_UNSUPPORTED, "%s memory cannot be registered",
                  memory_names[kind]);
    munmap(memory, 2 * a.page_bytes);
    if (rc == 0)
        *ret = a;
    return rc;
}
