/*
 * host_probe.c - sysctls, capabilities and seccomp filters decide together what
 * is allowed, and containers add their own rules: so each probe does the thing
 * itself, on a small scale, and reads settings only to word the remedy.
 */
#include "core/host/host_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>

#include "core/base/cleanup.h"
#include "core/base/path.h"
#include "core/host/uffd.h"

/* Older kernels lack userfaultfd write protection (5.7) or user mode (5.11)
 * and run io_uring in ways nobody tests any more. */
#define KERNEL_MAJOR 5
#define KERNEL_MINOR 10

/* What the rings of a capture register: a lane a core, at most 16, of 8 buffers
 * of 256 KiB. */
#define LANE_BYTES (2u << 20)
#define LANES_MAX  16

/* Below this a capture of a small guest fails half way. */
#define SPACE_BYTES (UINT64_C(1) << 30)

static const char *const status_names[] = {"ok", "warning", "missing"};
static_assert(ARRAY_LEN(status_names) == HOST_STATUS__COUNT,
              "a name for each status");

const char *host_status_name(enum host_status status)
{
    return status_names[status];
}

void host_finding_set(struct host_finding *f, enum host_status status,
                      const char *fmt, ...)
{
    va_list ap;

    f->status = status;
    f->remedy[0] = '\0';
    va_start(ap, fmt);
    vsnprintf(f->detail, sizeof(f->detail), fmt, ap);
    va_end(ap);
}

void host_finding_remedy(struct host_finding *f, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(f->remedy, sizeof(f->remedy), fmt, ap);
    va_end(ap);
}

void host_probe_kernel(struct host_finding *ret)
{
    struct utsname u;
    int major = 0;
    int minor = 0;

    if (uname(&u) < 0 || sscanf(u.release, "%d.%d", &major, &minor) != 2) {
        host_finding_set(ret, HOST_WARNING, "the kernel tells no version");
        return;
    }
    host_finding_set(ret, HOST_OK, "%s %s, %s", u.sysname, u.release,
                     u.machine);
    if (major < KERNEL_MAJOR ||
        (major == KERNEL_MAJOR && minor < KERNEL_MINOR)) {
        ret->status = HOST_WARNING;
        host_finding_remedy(ret, "firn is made for Linux %d.%d and later",
                            KERNEL_MAJOR, KERNEL_MINOR);
    }
}

/* One way tried out to the end. */
static int try_way(enum uffd_way way, struct uffd_features *ret,
                   struct error *err)
{
    cleanup_close int fd = -1;
    int rc = uffd_open(way, &fd, ret, err);

    return rc < 0 ? rc : uffd_try(fd, ret->write_protect, err);
}

static int read_sysctl(const char *name)
{
    cleanup_buf struct buf text = BUF_INIT;
    struct error ignored;

    if (path_read_file(AT_FDCWD, name, 64, &text, &ignored) < 0)
        return -1;
    return (int)strtol(buf_str(&text), NULL, 10);
}

void host_probe_userfaultfd(struct host_finding *ret)
{
    struct uffd_features features[UFFD_WAY__COUNT] = {0};
    struct error errors[UFFD_WAY__COUNT] = {0};
    bool works[UFFD_WAY__COUNT];
    const struct uffd_features *f;
    int sysctl = read_sysctl("/proc/sys/vm/unprivileged_userfaultfd");

    for (int way = 0; way < UFFD_WAY__COUNT; way++)
        works[way] =
            try_way((enum uffd_way)way, &features[way], &errors[way]) == 0;

    if (!works[UFFD_SYSCALL] && !works[UFFD_DEVICE]) {
        host_finding_set(ret, HOST_MISSING,
                         "%s; a QEMU of this user can neither be restored "
                         "lazily nor captured in the background",
                         errors[UFFD_SYSCALL].message);
        host_finding_remedy(ret,
                            "sysctl vm.unprivileged_userfaultfd=1 (now %d), or "
                            "let this user open /dev/userfaultfd (QEMU 8.0 and "
                            "later); in a container allow the system call",
                            sysctl);
        return;
    }
    f = &features[works[UFFD_SYSCALL] ? UFFD_SYSCALL : UFFD_DEVICE];
    host_finding_set(ret, HOST_OK, "%s%s%s: pages placed%s%s%s",
                     works[UFFD_SYSCALL] ? "system call" : "",
                     works[UFFD_SYSCALL] && works[UFFD_DEVICE] ? " and " : "",
                     works[UFFD_DEVICE] ? "/dev/userfaultfd" : "",
                     f->write_protect ? ", write protection" : "",
                     f->shmem ? ", shared memory" : "",
                     f->hugetlbfs ? ", huge pages" : "");
    if (!works[UFFD_SYSCALL]) {
        ret->status = HOST_WARNING;
        host_finding_remedy(ret, "QEMU before 8.0 needs the system call: "
                                 "sysctl vm.unprivileged_userfaultfd=1");
    } else if (!f->write_protect) {
        ret->status = HOST_WARNING;
        host_finding_remedy(ret, "captures in the background need Linux 5.7 "
                                 "and write protection (x86-64, arm64)");
    }
}

/* The first way in which this user gets a descriptor; user mode is the last
 * resort, since it does not see faults of the kernel. */
static enum uffd_way best_way(bool *ret_any)
{
    static const enum uffd_way order[] = {UFFD_SYSCALL, UFFD_DEVICE,
                                          UFFD_SYSCALL_USER};
    struct error ignored;

    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        int fd;

        if (uffd_open_telling(order[i], 0, &fd, &ignored) == 0) {
            close(fd);
            *ret_any = true;
            return order[i];
        }
    }
    *ret_any = false;
    return UFFD_SYSCALL;
}

static void describe_ability(enum uffd_way way, const struct uffd_ability *a,
                             struct host_finding *ret)
{
    host_finding_set(ret, HOST_OK,
                     "pages of %" PRIu64 " KiB by %s: missing%s%s; copy%s%s%s",
                     a->page_bytes / 1024, uffd_way_name(way),
                     a->modes & UFFD_MODE_PROTECT ? ", protected" : "",
                     a->modes & UFFD_MODE_MINOR ? ", minor" : "",
                     a->can & UFFD_CAN_ZERO ? ", zero" : "",
                     a->can & UFFD_CAN_PROTECT ? ", protect" : "",
                     a->can & UFFD_CAN_CONTINUE ? ", continue" : "");
    if (way == UFFD_SYSCALL_USER) {
        ret->status = HOST_WARNING;
        host_finding_remedy(ret, "faults of the kernel and of KVM are not "
                                 "seen: sysctl vm.unprivileged_userfaultfd=1, "
                                 "or let this user open /dev/userfaultfd");
    }
}

void host_probe_memory(enum uffd_memory kind, struct host_finding *ret)
{
    struct error why = ERROR_INIT;
    struct uffd_ability a;
    bool any;
    enum uffd_way way = best_way(&any);

    if (!any) {
        host_finding_set(ret, HOST_MISSING,
                         "no userfaultfd, so no page can be served");
        host_finding_remedy(ret, "see 'userfaultfd'");
    } else if (uffd_try_memory(way, kind, &a, &why) == 0) {
        describe_ability(way, &a, ret);
    } else {
        host_finding_set(ret, HOST_WARNING, "%s", why.message);
        if (kind == UFFD_MEMORY_HUGE)
            host_finding_remedy(ret, "sysctl vm.nr_hugepages=N reserves pages "
                                     "of 2 MiB; only guests on such pages need "
                                     "them");
        else
            host_finding_remedy(ret, "a newer kernel serves such memory");
    }
}

void host_probe_memlock(struct host_finding *ret)
{
    uint64_t wanted =
        (uint64_t)MIN(sysconf(_SC_NPROCESSORS_ONLN), LANES_MAX) * LANE_BYTES;
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0) {
        host_finding_set(ret, HOST_WARNING, "RLIMIT_MEMLOCK is not told");
    } else if (limit.rlim_cur == RLIM_INFINITY) {
        host_finding_set(ret, HOST_OK, "no limit on locked memory");
    } else {
        host_finding_set(ret, HOST_OK, "%" PRIu64 " KiB may be locked",
                         (uint64_t)limit.rlim_cur / 1024);
        if (limit.rlim_cur < wanted && geteuid() != 0) {
            ret->status = HOST_WARNING;
            host_finding_remedy(ret,
                                "raise 'ulimit -l' to %" PRIu64 ", or captures "
                                "write from buffers that are not registered",
                                wanted / 1024);
        }
    }
}

void host_probe_kvm(struct host_finding *ret)
{
    cleanup_close int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (fd >= 0) {
        host_finding_set(ret, HOST_OK, "/dev/kvm opens");
        return;
    }
    host_finding_set(ret, HOST_WARNING,
                     "cannot open '/dev/kvm': %s; guests run in emulation",
                     strerror(errno));
    if (errno == ENOENT)
        host_finding_remedy(ret, "load kvm_intel or kvm_amd; within a VM allow "
                                 "nested virtualization");
    else
        host_finding_remedy(ret, "add this user to the group 'kvm'");
}

void host_probe_unnamed_files(const char *folder, struct host_finding *ret)
{
    cleanup_close int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0) {
        host_finding_set(ret, HOST_OK, "O_TMPFILE works in '%s'", folder);
        return;
    }
    host_finding_set(ret, HOST_MISSING,
                     "no unnamed file (O_TMPFILE) in '%s': "
                     "%s",
                     folder, strerror(errno));
    if (errno == EOPNOTSUPP || errno == EISDIR)
        host_finding_remedy(ret, "put the repository on ext4, xfs, btrfs or "
                                 "tmpfs");
    else
        host_finding_remedy(ret, "the repository must be writable for this "
                                 "user");
}

void host_probe_space(const char *folder, struct host_finding *ret)
{
    struct statvfs fs;
    uint64_t left;

    if (statvfs(folder, &fs) < 0) {
        host_finding_set(ret, HOST_WARNING,
                         "free space of '%s' is not told: "
                         "%s",
                         folder, strerror(errno));
        return;
    }
    left = (uint64_t)fs.f_bavail * fs.f_frsize;
    host_finding_set(ret, HOST_OK, "%.1f GiB free in '%s'",
                     (double)left / (double)(1u << 30), folder);
    if (left < SPACE_BYTES) {
        ret->status = HOST_WARNING;
        host_finding_remedy(ret, "a first snapshot takes up to the RAM of the "
                                 "VM: make room or choose another disk");
    }
}
