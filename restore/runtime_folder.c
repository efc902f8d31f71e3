/*
 * runtime_folder.c - one private folder, and what to make of its leftovers.
 *
 * Nothing in it is worth more than the processes it speaks of, so a sweep
 * removes what proves to be nobody's: a log that can be locked, a socket on
 * which nobody listens, a state file whose QEMU is gone. The proof is asked of
 * the kernel each time; names and ages prove nothing. Where the folder had to
 * be in /tmp, it is used only if it is ours alone.
 */
#include "restore/runtime_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "core/base/channel.h"
#include "core/base/path.h"
#include "core/host/process.h"

#define STATE_MAX_BYTES 65536u

static int choose(char **ret, struct error *err)
{
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    cleanup_buf struct buf path = BUF_INIT;
    int rc;

    if (xdg && xdg[0] == '/')
        rc = buf_printf(&path, err, "%s/firn", xdg);
    else if (geteuid() == 0)
        rc = buf_printf(&path, err, "/run/firn");
    else
        rc = buf_printf(&path, err, "/tmp/firn-%u", (unsigned)geteuid());
    if (rc < 0)
        return rc;
    *ret = strdup(buf_str(&path));
    return *ret ? 0 : fail_nomem(err);
}

int runtime_folder_open(char **ret_path, struct error *err)
{
    cleanup_free char *path = NULL;
    struct stat st;
    int rc = choose(&path, err);

    if (rc < 0)
        return rc;
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return fail_errno(err, ERR_IO, "cannot make the runtime folder '%s'",
                          path);
    if (lstat(path, &st) < 0)
        return fail_errno(err, ERR_IO, "cannot look at the folder '%s'", path);
    /* In /tmp anybody could have made it first. */
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 077) != 0) {
        fail(err, ERR_IO, "the runtime folder '%s' is not ours alone", path);
        return error_hint(err, "it must be a folder of yours with mode 0700");
    }
    *ret_path = steal_ptr(&path);
    return 0;
}

static bool log_is_left(const char *path)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/* Between bind() and listen() a socket looks like one that was left; while the
 * keeper lives whose pid is in the name, it is not. */
static bool keeper_lives(const char *path)
{
    const char *dash = strrchr(path, '-');
    long pid = dash ? strtol(dash + 1, NULL, 10) : 0;

    return pid > 0 && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

static bool socket_is_left(const char *path)
{
    cleanup_close int fd = -1;
    struct error why = ERROR_INIT;

    return !keeper_lives(path) && channel_connect(path, &fd, &why) < 0 &&
           why.sys_errno == ECONNREFUSED;
}

static bool state_is_left(const char *path)
{
    cleanup_buf struct buf text = BUF_INIT;
    cleanup_json json_t *state = NULL;
    struct error ignored = ERROR_INIT;

    if (path_read_file(AT_FDCWD, path, STATE_MAX_BYTES, &text, &ignored) < 0 ||
        json_parse(text.data, text.len, &state, &ignored) < 0)
        return false;
    return !process_alive((pid_t)json_path_int(state, "qemu_pid", 0),
                          (uint64_t)json_path_int(state, "qemu_start_ticks",
                                                  0));
}

static bool is_left(const char *path)
{
    static const struct {
        const char *suffix;
        bool (*is_left)(const char *path);
    } kinds[] = {
        {".log", log_is_left},
        {".sock", socket_is_left},
        {".json", state_is_left},
    };
    const char *suffix = strrchr(path, '.');

    for (size_t i = 0; suffix && i < ARRAY_LEN(kinds); i++) {
        if (strcmp(suffix, kinds[i].suffix) == 0)
            return kinds[i].is_left(path);
    }
    return false;
}

void runtime_folder_sweep(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        cleanup_free char *path = NULL;
        struct error ignored = ERROR_INIT;

        if (path_join(folder, entry->d_name, &path, &ignored) == 0 &&
            is_left(path))
            unlink(path);
    }
    if (dir)
        closedir(dir);
}

int runtime_folder_name(const char *folder, const char *name,
                        const char *suffix, char **ret_path, struct error *err)
{
    cleanup_buf struct buf path = BUF_INIT;
    int rc = buf_printf(&path, err, "%s/%s-%d.%s", folder, name, (int)getpid(),
                        suffix);

    if (rc < 0)
        return rc;
    if (unlink(buf_str(&path)) < 0 && errno != ENOENT)
        return fail_errno(err, ERR_IO, "cannot remove the old file '%s'",
                          buf_str(&path));
    *ret_path = strdup(buf_str(&path));
    return *ret_path ? 0 : fail_nomem(err);
}

static int write_new_file(const char *path, const struct buf *text,
                          struct error *err)
{
    cleanup_close int fd =
        open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return fail_errno(err, ERR_IO, "cannot write '%s'", path);
    return path_write_at(fd, text->data, text->len, 0, err);
}

int runtime_state_write(const char *path, const json_t *state,
                        struct error *err)
{
    cleanup_buf struct buf text = BUF_INIT;
    cleanup_buf struct buf fresh = BUF_INIT;
    int rc = json_print(state, &text, err);

    if (rc == 0)
        rc = buf_append_u8(&text, '\n', err);
    if (rc == 0)
        rc = buf_printf(&fresh, err, "%s.new", path);
    if (rc == 0)
        rc = write_new_file(buf_str(&fresh), &text, err);
    if (rc < 0)
        return rc;
    if (rename(buf_str(&fresh), path) < 0) {
        fail_errno(err, ERR_IO, "cannot put '%s' in place", path);
        unlink(buf_str(&fresh));
        return err->code;
    }
    return 0;
}

int runtime_log_open(const char *path, int *ret_fd, struct error *err)
{
    /* A sweep may remove it between open() and flock(): then once more. */
    for (int tries = 0; tries < 10; tries++) {
        struct stat st;
        cleanup_close int fd =
            open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC,
                 0600);

        if (fd < 0 || flock(fd, LOCK_SH) < 0 || fstat(fd, &st) < 0)
            return fail_errno(err, ERR_IO, "cannot write the log '%s'", path);
        if (st.st_nlink == 0)
            continue;
        *ret_fd = steal_fd(&fd);
        return 0;
    }
    return fail(err, ERR_IO, "the log '%s' is removed again and again", path);
}

/* Line ends become "; ", other control characters blanks. */
static void make_one_line(const char *from, size_t n, char *to)
{
    size_t len = 0;

    while (n > 0 && (unsigned char)from[n - 1] <= ' ')
        n--;
    for (size_t i = 0; i < n; i++) {
        if (from[i] == '\n') {
            to[len++] = ';';
            to[len++] = ' ';
        } else if (from[i] != '\r') {
            to[len++] = (unsigned char)from[i] < ' ' ? ' ' : from[i];
        }
    }
    to[len] = '\0';
}

char *runtime_log_tail(const char *path, size_t max)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    cleanup_free char *raw = malloc(max);
    char *line = calloc(1, 2 * max + 1);
    off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    off_t from = end > (off_t)max ? end - (off_t)max : 0;
    ssize_t n;

    if (!line || !raw || end <= 0)
        return line;
    n = pread(fd, raw, max, from);
    if (n > 0)
        make_one_line(raw, (size_t)n, line);
    return line;
}
