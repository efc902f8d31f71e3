/*
 * repair.c - what there is, beside what there should be.
 *
 * Every name in the repository's folders is looked at. A pack is explained by
 * a snapshot that refers to it, by a lease that is about to link it, or by a
 * list of condemned packs.
 */
#include "storage/keeping/repair.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "storage/catalog.h"
#include "storage/condemned.h"
#include "storage/keeping/references.h"
#include "storage/keeping/usage.h"
#include "storage/layout.h"
#include "storage/lease.h"
#include "storage/packs/pack_reader.h"
#include "storage/repository_inside.h"

struct repair {
    const struct repair_args *args;
    struct repository *repository;
    struct repair_report report;
    struct references used;
    struct pack_set coming;    /* named by leases */
    struct pack_set condemned; /* to be removed by prune */
};

/* A folder and the length of the ids in it; fan-out is for packs alone. */
struct place {
    const char *name;
    size_t digits;
};

static const struct place places[] = {
    {LAYOUT_SNAPSHOTS, SNAPSHOT_ID_LEN}, {LAYOUT_HINTS, SNAPSHOT_ID_LEN},
    {LAYOUT_LOCKS, LAYOUT_LOCK_ID_LEN},  {LAYOUT_CONDEMNED, LAYOUT_LOCK_ID_LEN},
    {LAYOUT_CHECKS, LAYOUT_LOCK_ID_LEN}, {LAYOUT_PACKS, 0},
};

static const char *const files[] = {
    LAYOUT_CONFIG,         LAYOUT_CATALOG, LAYOUT_CATALOG "-wal",
    LAYOUT_CATALOG "-shm", "lost+found",
};

static void tell(struct repair *r, const char *name, const struct error *what)
{
    if (what->code)
        r->report.damaged++;
    else
        r->report.strange++;
    if (r->args->finding)
        r->args->finding(r->args->arg, name, what);
}

static void mention(struct repair *r, const char *folder, const char *name,
                    const char *text)
{
    struct error what = ERROR_INIT;
    char path[320];

    snprintf(path, sizeof(path), "%s%s%.255s", folder, folder[0] ? "/" : "",
             name);
    snprintf(what.message, sizeof(what.message), "%s", text);
    tell(r, path, &what);
}

static bool is_place(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        if (strcmp(places[i].name, name) == 0)
            return true;
    }
    return false;
}

static bool is_file(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        if (strcmp(files[i], name) == 0)
            return true;
    }
    return false;
}

/* Is this a name for `folder`? A hidden file of a living writer is. */
static bool belongs(const char *folder, size_t digits, const char *name)
{
    if (folder[0] == '\0')
        return is_place(name) || is_file(name);
    if (digits == 0)
        return layout_is_id(name, 2) || strncmp(name, ".tmp-", 5) == 0;
    return layout_is_id(name, digits) || strncmp(name, ".tmp-", 5) == 0;
}

/* Names in a folder that belong to nothing. One that is missing is no trouble
 * of ours. */
static int look_through(struct repair *r, const char *folder, size_t digits,
                        struct error *err)
{
    int fd = openat(repository_dirfd(r->repository), folder[0] ? folder : ".",
                    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;

    if (fd < 0)
        return errno == ENOENT
                   ? 0
                   : fail_errno(err, ERR_IO, "cannot open folder '%s'", folder);
    if (!dir) {
        close(fd);
        return fail_nomem(err);
    }
    while ((entry = readdir(dir))) {
        const char *name = entry->d_name;

        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
            !belongs(folder, digits, name))
            mention(r, folder, name, "nothing of ours has such a name");
    }
    closedir(dir);
    return 0;
}

static int look_everywhere(struct repair *r, struct error *err)
{
    int rc = look_through(r, "", 0, err);

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(places); i++)
        rc = look_through(r, places[i].name, places[i].digits, err);
    for (unsigned i = 0; rc == 0 && i < 256; i++) {
        char folder[16];

        snprintf(folder, sizeof(folder), LAYOUT_PACKS "/%02x", i);
        rc = look_through(r, folder, PACK_ID_LEN, err);
    }
    return rc;
}

static void tell_snapshot(void *arg, const char *id, const struct error *why)
{
    char name[64];

    snprintf(name, sizeof(name), LAYOUT_SNAPSHOTS "/%s", id);
    tell(arg, name, why);
}

static int fill_catalog(struct repair *r, struct error *err)
{
    struct snapshot_summary *all;
    struct snapshot_usage *usage;
    struct error ignored;
    size_t n;
    int rc;

    catalog_remove(r->repository);
    rc = repository_list(r->repository, tell_snapshot, r, &all, &n, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++)
        snapshot_summary_release(&all[i]);
    free(all);
    r->report.snapshots = n;
    /* Where something is damaged the sizes stay unknown. */
    if (usage_sizes(r->repository, r->args->stop, &usage, &n, &ignored) == 0)
        free(usage);
    return 0;
}

static int read_tables(struct repair *r, const char *id, struct error *why)
{
    static const enum pack_kind kinds[] = {PACK_PAGES, PACK_INDEX};
    int dirfd = repository_packs_dirfd(r->repository);
    int rc = 0;

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        cleanup(pack_reader) struct pack_reader *reader = NULL;
        const struct page_hash *hashes;

        rc = pack_reader_open(dirfd, id, kinds[i], &reader, why);
        if (rc == 0)
            return pack_reader_hashes(reader, &hashes, why);
    }
    return rc;
}

static int look_at_pack(void *arg, const char *id, struct error *err)
{
    struct repair *r = arg;
    struct error why;
    char name[64];
    int rc;

    if (r->args->stop && stopper_pulled(r->args->stop))
        return stopper_error(r->args->stop, err);
    snprintf(name, sizeof(name), LAYOUT_PACKS "/%.2s/%s", id, id);
    rc = read_tables(r, id, &why);
    if (rc == ERR_NOTFOUND)
        return 0; /* removed meanwhile */
    if (rc == ERR_NOMEM)
        return error_copy(err, &why);
    if (rc < 0)
        tell(r, name, &why);
    else
        r->report.packs++;
    if (pack_set_find_text(&r->used.packs, id) != PACK_SET_NONE ||
        pack_set_find_text(&r->coming, id) != PACK_SET_NONE)
        return 0;
    if (pack_set_find_text(&r->condemned, id) != PACK_SET_NONE)
        mention(r, "", name, "condemned: prune removes it");
    else
        mention(r, "", name, "no snapshot refers to it: prune removes it");
    return 0;
}

static int add_coming(struct repair *r, struct error *err)
{
    cleanup(lease_infos) struct lease_infos leases = {0};
    uint8_t bytes[LAYOUT_PACK_ID_BYTES];
    uint32_t number;
    int rc = lease_list(r->repository, NULL, &leases, err);

    for (size_t i = 0; rc == 0 && i < leases.n; i++) {
        size_t at;
        json_t *value;

        json_array_foreach(leases.all[i].packs, at, value)
        {
            const char *id = json_string_value(value);

            if (rc == 0 && id && layout_id_bytes(id, bytes, sizeof(bytes)))
                rc = pack_set_add(&r->coming, bytes, &number, err);
        }
    }
    return rc;
}

static int look_at_packs(struct repair *r, struct error *err)
{
    cleanup(condemned_list) struct condemned_list lists = {0};
    struct object_folder folder =
        layout_packs(repository_packs_dirfd(r->repository));
    struct error why;
    int rc = add_coming(r, err);

    if (rc == 0)
        rc = condemned_list_read(r->repository, &lists, err);
    if (rc == 0)
        rc = condemned_list_packs(&lists, &r->condemned, err);
    if (rc < 0)
        return rc;
    /* Without every snapshot nobody knows which packs are needed: then each is
     * taken for needed, and the snapshot was told already. */
    rc = references_read(r->repository, r->args->stop, &r->used, &why);
    if (rc < 0 && r->report.damaged == 0)
        return error_copy(err, &why);
    if (rc < 0)
        return 0;
    return object_list(&folder, look_at_pack, r, err);
}

int repair_index(const struct repair_args *args, struct repair_report *ret,
                 struct error *err)
{
    struct repair r = {.args = args, .repository = args->repository};
    cleanup(lease) struct lease *l = NULL;
    int rc = lease_acquire(args->repository, "check", NULL, &l, err);

    if (rc == 0)
        rc = look_everywhere(&r, err);
    if (rc == 0)
        rc = fill_catalog(&r, err);
    if (rc == 0)
        rc = look_at_packs(&r, err);
    references_release(&r.used);
    pack_set_release(&r.coming);
    pack_set_release(&r.condemned);
    if (rc < 0)
        return error_wrap(err, "the index was not repaired");
    *ret = r.report;
    return 0;
}
