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
