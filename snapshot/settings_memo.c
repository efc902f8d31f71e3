/*
 * settings_memo.c - a note in the runtime folder, one a QEMU process.
 *
 * Pid and start time are in the name, so a note speaks of one process only and
 * can be swept when that one is gone. The folder may be /tmp: what lies there
 * under our name is believed only if it is a plain file of ours, and is neither
 * followed nor overwritten. Not synced: a crash of the host takes QEMU and its
 * settings with it.
 */
#include "snapshot/settings_memo.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "core/base/path.h"
#include "core/host/process.h"

#define LOG_AREA "settings"
#include "core/base/log.h"

#define PREFIX    "firn-settings-"
#define MAX_BYTES 65536u

static bool is_of_the_past(const char *name)
{
    uint64_t start;
    int pid;

    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
        return false;
    if (sscanf(name + strlen(PREFIX), "%9d-%20" SCNu64, &pid, &start) != 2)
        return false;
    return pid > 0 && !process_alive(pid, start);
}

static void sweep(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    struct stat st;

    while (dir && (entry = readdir(dir))) {
        if (is_of_the_past(entry->d_name) &&
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(st.st_mode) && st.st_uid == geteuid())
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir)
        closedir(dir);
}

void settings_memo_init(struct settings_memo *m, const char *folder, pid_t pid)
{
    struct error unknown = ERROR_INIT;
    uint64_t start;

    m->path[0] = '\0';
    sweep(folder);
    if (process_start_time(pid, &start, &unknown) < 0)
        return;
    if (snprintf(m->path, sizeof(m->path), "%s/" PREFIX "%d-%" PRIu64, folder,
                 pid, start) >= (int)sizeof(m->path))
        m->path[0] = '\0';
}

/* In a folder like /tmp anybody may have put anything there. */
static bool is_ours(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
           st.st_uid == geteuid() && st.st_size <= MAX_BYTES;
}

json_t *settings_memo_recall(const struct settings_memo *m)
{
    struct error ignored = ERROR_INIT;
    cleanup_buf struct buf text = BUF_INIT;
    cleanup_close int fd = -1;
    json_t *settings = NULL;

    if (!m->path[0])
        return NULL;
    fd = open(m->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || !is_ours(fd))
        return NULL;
    if (path_read_file(AT_FDCWD, m->path, MAX_BYTES, &text, &ignored) < 0 ||
        json_parse(text.data, text.len, &settings, &ignored) < 0)
        return NULL;
    return settings;
}

void settings_memo_keep(const struct settings_memo *m, const json_t *settings)
{
    struct error ignored = ERROR_INIT;
    cleanup_buf struct buf text = BUF_INIT;
    cleanup_close int fd = -1;

    if (!m->path[0] || json_print(settings, &text, &ignored) < 0)
        return;
    fd = open(m->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
              0600);
    if (fd < 0) {
        log_debug("'%s' is not written: %s", m->path, strerror(errno));
        return;
    }
    if (path_write_at(fd, text.data, text.len, 0, &ignored) < 0)
        unlink(m->path);
}

void settings_memo_forget(const struct settings_memo *m)
{
    if (m->path[0])
        unlink(m->path);
}
