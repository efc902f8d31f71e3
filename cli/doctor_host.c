/*
 * doctor_host.c - the checks of this host and of the repository. What is tried
 * is tried in the way in which captures and restores will use it.
 */
#include <sys/stat.h>

#include "cli/doctor.h"
#include "core/host/program.h"
#include "storage/objects/ring.h"

/* Names under which distributions install QEMU for x86-64. */
static const char *const qemu_names[] = {"qemu-system-x86_64", "qemu-kvm"};
static const char *const qemu_files[] = {"/usr/libexec/qemu-kvm"};

/* A ring is made with its registered buffers: the whole way of a writer. */
static void probe_io_uring(struct host_finding *ret)
{
    struct ring_args args = {0};
    struct error why = ERROR_INIT;
    struct ring *ring = NULL;

    if (ring_new(&args, &ring, &why) < 0) {
        host_finding_set(ret, HOST_MISSING, "no buffers for writing: %s",
                         why.message);
        return;
    }
    if (ring_is_uring(ring)) {
        host_finding_set(ret, HOST_OK, "ring and registered buffers work");
    } else {
        host_finding_set(ret, HOST_WARNING,
                         "%s; plain writes are used, at some cost in time",
                         ring_kind(ring));
        host_finding_remedy(ret, "sysctl kernel.io_uring_disabled=0; in a "
                                 "container allow its system calls");
    }
    ring_free(ring);
}

/* "QEMU emulator version 7.2.22 (Debian ...)": firn is tested from 7.2. */
static void judge_qemu(const char *path, const char *line,
                       struct host_finding *ret)
{
    const char *version = strstr(line, "version ");
    int major = 0;
    int minor = 0;

    host_finding_set(ret, HOST_OK, "%s: %s", path, line);
    if (!version || sscanf(version, "version %d.%d", &major, &minor) != 2) {
        ret->status = HOST_WARNING;
        host_finding_remedy(ret, "firn could not tell its version");
    } else if (major < 7 || (major == 7 && minor < 2)) {
        ret->status = HOST_WARNING;
        host_finding_remedy(ret, "firn is tested with QEMU 7.2 and later");
    }
}

static int report_qemu(struct doctor *d, const char *path, struct error *err)
{
    struct host_finding finding;
    struct error why = ERROR_INIT;
    char line[256];

    if (program_first_line(path, "--version", d->cli->stop, line, sizeof(line),
                           &why) < 0) {
        if (stopper_pulled(d->cli->stop))
            return error_copy(err, &why);
        host_finding_set(&finding, HOST_WARNING, "%s", why.message);
    } else {
        judge_qemu(path, line, &finding);
    }
    return doctor_report(d, "qemu", &finding, err);
}

static int check_qemu(struct doctor *d, struct error *err)
{
    struct host_finding finding;
    unsigned found = 0;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(qemu_names); i++) {
        cleanup_free char *path = NULL;
        struct error ignored;

        if (program_find(qemu_names[i], &path, &ignored) < 0)
            continue;
        found++;
        rc = report_qemu(d, path, err);
    }
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(qemu_files); i++) {
        if (access(qemu_files[i], X_OK) < 0)
            continue;
        found++;
        rc = report_qemu(d, qemu_files[i], err);
    }
    if (rc < 0 || found > 0)
        return rc;
    host_finding_set(&finding, HOST_WARNING,
                     "no QEMU for x86-64 in PATH: 'restore' needs the command "
                     "named, or a QEMU that waits");
    host_finding_remedy(&finding, "install qemu-system-x86");
    return doctor_report(d, "qemu", &finding, err);
}

/* What serving pages can do, for each kind of memory a VMM may have. */
static int check_memory(struct doctor *d, struct error *err)
{
    int rc = 0;

    for (int kind = 0; kind < UFFD_MEMORY__COUNT && rc == 0; kind++) {
        struct host_finding finding;
        char check[64];

        snprintf(check, sizeof(check), "faults of %s",
                 uffd_memory_name((enum uffd_memory)kind));
        host_probe_memory((enum uffd_memory)kind, &finding);
        rc = doctor_report(d, check, &finding, err);
    }
    return rc;
}

int doctor_check_host(struct doctor *d, struct error *err)
{
    static const struct {
        const char *check;
        void (*probe)(struct host_finding *ret);
    } probes[] = {
        {"kernel", host_probe_kernel}, {"userfaultfd", host_probe_userfaultfd},
        {"io_uring", probe_io_uring},  {"memlock", host_probe_memlock},
        {"kvm", host_probe_kvm},
    };
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(probes); i++) {
        struct host_finding finding;

        probes[i].probe(&finding);
        rc = doctor_report(d, probes[i].check, &finding, err);
    }
    if (rc == 0)
        rc = check_memory(d, err);
    return rc < 0 ? rc : check_qemu(d, err);
}

static int report_opened(struct doctor *d, bool *ret_opens, struct error *err)
{
    cleanup(repository) struct repository *repository = NULL;
    struct host_finding finding;
    struct error why = ERROR_INIT;

    *ret_opens = cli_open_repository(d->cli, &repository, &why) == 0;
    if (*ret_opens) {
        host_finding_set(&finding, HOST_OK, "%s, id %s",
                         repository_path(repository),
                         repository_id(repository));
    } else {
        host_finding_set(&finding,
                         d->cli->repo_path ? HOST_MISSING : HOST_WARNING, "%s",
                         why.message);
        host_finding_remedy(&finding, "%s", why.hint);
    }
    return doctor_report(d, "repository", &finding, err);
}

int doctor_check_repository(struct doctor *d, struct error *err)
{
    struct host_finding finding;
    bool opens;
    int rc = report_opened(d, &opens, err);

    if (rc < 0 || !opens)
        return rc;
    host_probe_unnamed_files(d->cli->repo_path, &finding);
    rc = doctor_report(d, "unnamed files", &finding, err);
    if (rc < 0)
        return rc;
    host_probe_space(d->cli->repo_path, &finding);
    return doctor_report(d, "free space", &finding, err);
}
