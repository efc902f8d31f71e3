/*
 * lease.c - a file in locks/ that says who needs what, and how to tell when
 * they are gone.
 *
 * A lease is a small JSON file, put in place whole. Changing one means linking
 * a new file and removing the old: at any instant at least one of the two is
 * there, and after a crash between them both are, which says the same twice.
 *
 * Whether a lease is dead is asked in this order:
 *   its host is not ours, or one of the processes lives in a pid namespace
 *   that is not ours        → dead once it expired: its pids mean nothing here
 *   its boot is not ours    → dead: no process outlives a boot
 *   else                    → dead when none of its processes lives
 * A host is its name together with its machine id, since clones share names.
 *
 * The packs that a dead capture was about to link are removed unless a
 * snapshot refers to them. Nobody can come to refer to them any more: their
 * owner is dead, and others find packs only through snapshots. The snapshots
 * are read after the lease was found dead, so a commit that made it is seen.
 * If one of them cannot be read, no pack is removed. Two processes that reap
 * at once do the same removals; who comes second finds nothing there.
 */
#include "storage/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#define LOG_AREA "lease"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/path.h"
#include "core/host/process.h"
#include "storage/layout.h"
#include "storage/lease_inside.h"
#include "storage/manifest.h"
#include "storage/repository_inside.h"

/* Renewed every hour at least: a day survives a host that hangs for long. */
#define LEASE_NS      (24 * 3600 * NS_PER_SEC)
#define LEASE_VERSION 1

/* How long one waits for a snapshot that is being replaced. */
#define CLAIM_WAIT_NS (10 * NS_PER_SEC)
#define CLAIM_POLL_NS (20 * NS_PER_MS)

struct lease {
    struct repository *repository;
    char id[LAYOUT_LOCK_ID_LEN + 1]; /* "" when there is no file */
    json_t *content;
};

int lease_origin_find(struct lease_origin *ret, struct error *err)
{
    cleanup_buf struct buf machine = BUF_INIT;
    struct error ignored;
    struct utsname uts;
    struct stat st;

    if (uname(&uts) < 0)
        return fail_errno(err, ERR_IO, "cannot tell the host's name");
    if (path_read_file(AT_FDCWD, "/etc/machine-id", 64, &machine, &ignored) < 0)
        buf_reset(&machine);
    snprintf(ret->host, sizeof(ret->host), "%s/%.32s", uts.nodename,
             buf_str(&machine));
    if (stat("/proc/self/ns/pid", &st) < 0)
        return fail_errno(err, ERR_IO, "cannot tell the pid namespace");
    ret->pid_namespace = st.st_ino;
    return process_boot_id(ret->boot_id, err);
}

/* Without opening anything: it must work when descriptors have run out. That
 * the name is gone need not survive a crash, so there is nothing to sync. */
static void remove_file(const struct lease *l, const char *id)
{
    if (unlinkat(repository_locks_dirfd(l->repository), id, 0) < 0)
        log_debug("lease %s stays: %s", id, strerror(errno));
}

/* Puts the content in place under a new name; the old name goes last. */
static int write_lease(struct lease *l, struct error *err)
{
    struct object_folder folder =
        layout_locks(repository_locks_dirfd(l->repository));
    cleanup(object_file) struct object_file file = OBJECT_FILE_INIT;
    cleanup_buf struct buf text = BUF_INIT;
    char id[LAYOUT_LOCK_ID_LEN + 1];
    int rc = layout_new_id(id, LAYOUT_LOCK_ID_LEN, err);

    if (rc == 0)
        rc = json_print(l->content, &text, err);
    if (rc == 0)
        rc = object_file_create(&folder, &file, err);
    if (rc == 0)
        rc = path_write_at(file.fd, text.data, text.len, 0, err);
    if (rc == 0 && fsync(file.fd) < 0)
        rc = fail_errno(err, ERR_IO, "cannot sync a lease");
    if (rc == 0)
        rc = object_file_link(&folder, &file, id, err);
    if (rc < 0)
        return error_wrap(err, "cannot write a lease");
    if (l->id[0])
        remove_file(l, l->id);
    memcpy(l->id, id, sizeof(l->id));
    return 0;
}

/* A member that is to be replaced as a whole; takes `value` over. */
static int set_member(struct lease *l, const char *key, json_t *value,
                      struct error *err)
{
    if (json_object_set_new(l->content, key, value) < 0)
        return fail_nomem(err);
    return 0;
}

static int set_expiry(struct lease *l, struct error *err)
{
    return set_member(
        l, "expires_ns",
        json_integer((json_int_t)(clock_realtime_ns() + LEASE_NS)), err);
}

static int add_process(struct lease *l, pid_t pid, struct error *err)
{
    json_t *process;
    uint64_t ticks;
    int rc = process_start_time(pid, &ticks, err);

    if (rc == 0)
        rc = json_build(&process, err, "{s:I, s:I}", "pid", (json_int_t)pid,
                        "start_ticks", (json_int_t)ticks);
    if (rc == 0 && json_array_append_new(
                       json_object_get(l->content, "processes"), process) < 0)
        rc = fail_nomem(err);
    return rc;
}

static int fill_lease(struct lease *l, const char *purpose,
                      const char *snapshot, struct error *err)
{
    char holder[LEASE_HOLDER_LEN + 1];
    struct lease_origin here;
    int rc = lease_origin_find(&here, err);

    if (rc == 0)
        rc = layout_new_id(holder, LEASE_HOLDER_LEN, err);
    if (rc == 0)
        rc =
            json_build(&l->content, err,
                       "{s:i, s:s, s:s, s:s, s:I, s:s, s:s?, s:[], s:[], s:[]}",
                       "version", LEASE_VERSION, "holder", holder, "host",
                       here.host, "boot_id", here.boot_id, "pid_namespace",
                       (json_int_t)here.pid_namespace, "purpose", purpose,
                       "snapshot", snapshot, "processes", "packs", "claims");
    if (rc == 0)
        rc = set_expiry(l, err);
    if (rc == 0)
        rc = add_process(l, getpid(), err);
    return rc;
}

static bool is_read_only(const struct error *why)
{
    return why->sys_errno == EROFS || why->sys_errno == EACCES ||
           why->sys_errno == EPERM;
}

/* A snapshot that somebody is about to remove or to replace is not ours to
 * read: each side writes its lease first and looks at the others' then, so
 * that at least one of two sees the other. */
static int wait_for_claims(struct lease *l, const char *snapshot,
                           struct error *err)
{
    uint64_t deadline = clock_monotonic_ns() + CLAIM_WAIT_NS;
    struct timespec pause = {.tv_nsec = CLAIM_POLL_NS};
    struct stat st;

    for (;;) {
        bool claimed;
        int rc = lease_is_claimed(l->repository, snapshot, &claimed, err);

        if (rc < 0)
            return rc;
        if (!claimed)
            break;
        if (clock_monotonic_ns() > deadline)
            return fail(err, ERR_LOCKED,
                        "snapshot '%s' is being removed or rewritten",
                        snapshot);
        nanosleep(&pause, NULL);
    }
    if (fstatat(repository_snapshots_dirfd(l->repository), snapshot, &st,
                AT_SYMLINK_NOFOLLOW) < 0 &&
        errno == ENOENT)
        return fail(err, ERR_NOTFOUND, "there is no snapshot '%s'", snapshot);
    return 0;
}

int lease_acquire(struct repository *r, const char *purpose,
                  const char *snapshot, struct lease **ret, struct error *err)
{
    cleanup(lease) struct lease *l = calloc(1, sizeof(*l));
    struct error why;
    int rc;

    if (!l)
        return fail_nomem(err);
    l->repository = r;
    rc = fill_lease(l, purpose, snapshot, &why);
    if (rc == 0)
        rc = write_lease(l, &why);
    /* Readers of a repository that they cannot write go without. */
    if (rc < 0 && is_read_only(&why) && lease_is_of_reader(purpose))
        rc = 0;
    else if (rc == 0 && snapshot)
        rc = wait_for_claims(l, snapshot, &why);
    if (rc < 0)
        return error_copy(err, &why);
    *ret = steal_ptr(&l);
    return 0;
}

const char *lease_id(const struct lease *l)
{
    return l->id;
}

const char *lease_holder(const struct lease *l)
{
    return json_path_str(l->content, "holder", "");
}

static int write_again(struct lease *l, struct error *err)
{
    return l->id[0] ? write_lease(l, err) : 0;
}

int lease_add_process(struct lease *l, pid_t pid, struct error *err)
{
    int rc = add_process(l, pid, err);

    return rc < 0 ? rc : write_again(l, err);
}

static int set_ids(struct lease *l, const char *key, const char *const *ids,
                   size_t n, struct error *err)
{
    cleanup_json json_t *list = json_array();
    int rc;

    for (size_t i = 0; list && i < n; i++) {
        if (json_array_append_new(list, json_string(ids[i])) < 0)
            return fail_nomem(err);
    }
    if (!list)
        return fail_nomem(err);
    rc = set_member(l, key, json_incref(list), err);
    return rc < 0 ? rc : write_again(l, err);
}

int lease_intend(struct lease *l, const char *const *packs, size_t n,
                 struct error *err)
{
    return set_ids(l, "packs", packs, n, err);
}

int lease_claim(struct lease *l, const char *const *snapshots, size_t n,
                struct error *err)
{
    return set_ids(l, "claims", snapshots, n, err);
}

int lease_renew(struct lease *l, struct error *err)
{
    int rc = set_expiry(l, err);

    return rc < 0 ? rc : write_again(l, err);
}

void lease_release(struct lease *l)
{
    if (!l)
        return;
    if (l->id[0])
        remove_file(l, l->id);
    lease_forget(l);
}

void lease_forget(struct lease *l)
{
    if (!l)
        return;
    json_decref(l->content);
    free(l);
}

/* One round of reaping. */
struct reaper {
    struct repository *repository;
    struct lease_origin here;
    uint64_t now_ns;
    size_t reaped;
    /* Filled when the first pack is in question. */
    bool snapshots_read;
    bool all_readable;
    struct pack_set referenced;
};

static int reference_snapshot(void *arg, const char *id, struct error *err)
{
    struct reaper *p = arg;
    cleanup(manifest) struct manifest *m = NULL;
    struct error why;
    int rc =
        manifest_open(repository_snapshots_dirfd(p->repository), id, &m, &why);

    if (rc < 0) {
        log_debug("packs stay: %s", why.message);
        p->all_readable = false;
        return 0;
    }
    return manifest_add_packs(m, &p->referenced, err);
}

static int read_snapshots(struct reaper *p, struct error *err)
{
    struct object_folder folder =
        layout_snapshots(repository_snapshots_dirfd(p->repository));

    if (p->snapshots_read)
        return 0;
    p->snapshots_read = true;
    p->all_readable = true;
    return object_list(&folder, reference_snapshot, p, err);
}

static int remove_packs(struct reaper *p, const json_t *packs,
                        struct error *err)
{
    struct object_folder folder =
        layout_packs(repository_packs_dirfd(p->repository));
    int rc = json_array_size(packs) ? read_snapshots(p, err) : 0;

    for (size_t i = 0; rc == 0 && i < json_array_size(packs); i++) {
        const char *id = json_string_value(json_array_get(packs, i));

        if (!id || !layout_is_id(id, PACK_ID_LEN) || !p->all_readable ||
            pack_set_find_text(&p->referenced, id) != PACK_SET_NONE)
            continue;
        rc = object_remove(&folder, id, err);
        if (rc == 0)
            log_debug("removed pack %s of a dead capture", id);
        if (rc == ERR_NOTFOUND)
            rc = 0;
    }
    return rc;
}

pid_t lease_first_living(const json_t *content)
{
    const json_t *processes = json_object_get(content, "processes");

    for (size_t i = 0; i < json_array_size(processes); i++) {
        const json_t *process = json_array_get(processes, i);
        int64_t pid = json_path_int(process, "pid", 0);
        int64_t ticks = json_path_int(process, "start_ticks", -1);

        if (pid > 0 && pid <= INT32_MAX && ticks >= 0 &&
            process_alive((pid_t)pid, (uint64_t)ticks))
            return (pid_t)pid;
    }
    return 0;
}

bool lease_content_is_dead(const struct lease_origin *here, uint64_t now_ns,
                           const json_t *content)
{
    bool same_host =
        strcmp(json_path_str(content, "host", ""), here->host) == 0;
    bool same_boot =
        strcmp(json_path_str(content, "boot_id", ""), here->boot_id) == 0;
    int64_t expires = json_path_int(content, "expires_ns", 0);

    if (!same_host ||
        (same_boot && json_path_int(content, "pid_namespace", 0) !=
                          (int64_t)here->pid_namespace))
        return expires < 0 || (uint64_t)expires < now_ns;
    return !same_boot || lease_first_living(content) == 0;
}

/* A file that is no lease has no processes to ask: its age decides. */
bool lease_file_is_old(int locks_dirfd, const char *id, uint64_t now_ns)
{
    struct stat st;

    if (fstatat(locks_dirfd, id, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    return (uint64_t)st.st_mtime * NS_PER_SEC + LEASE_NS < now_ns;
}

static int reap_one(void *arg, const char *id, struct error *err)
{
    struct reaper *p = arg;
    int locks = repository_locks_dirfd(p->repository);
    struct object_folder folder = layout_locks(locks);
    cleanup_buf struct buf text = BUF_INIT;
    cleanup_json json_t *content = NULL;
    struct error why;
    int rc = path_read_file(locks, id, LEASE_MAX_BYTES, &text, &why);

    if (rc == ERR_NOTFOUND)
        return 0; /* released, or reaped by another process */
    if (rc == 0)
        rc = json_parse(text.data, text.len, &content, &why);
    if (json_path_int(content, "version", 0)
            ? !lease_content_is_dead(&p->here, p->now_ns, content)
            : !lease_file_is_old(locks, id, p->now_ns))
        return 0;
    rc = remove_packs(p, json_object_get(content, "packs"), err);
    if (rc == 0)
        rc = object_remove(&folder, id, err);
    if (rc == 0)
        p->reaped++;
    return rc == ERR_NOTFOUND ? 0 : rc;
}

int lease_reap(struct repository *r, size_t *ret_n, struct error *err)
{
    struct object_folder folder = layout_locks(repository_locks_dirfd(r));
    struct reaper p = {.repository = r, .now_ns = clock_realtime_ns()};
    int rc = lease_origin_find(&p.here, err);

    if (rc == 0)
        rc = object_list(&folder, reap_one, &p, err);
    pack_set_release(&p.referenced);
    if (rc == 0)
        *ret_n = p.reaped;
    return rc;
}
