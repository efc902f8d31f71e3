/*
 * QEMU locks images with open file description locks: byte 100 + n for each
 * permission that it uses, 200 + n for each that it does not share.
 */
#include "restore/machine/claims.h"

#include <fcntl.h>

#include "core/base/channel.h"
#include "core/host/process.h"

#define LOCKS_FIRST 100
#define LOCKS_BYTES 200

static int add(json_t *list, struct error *err, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

static int add(json_t *list, struct error *err, const char *fmt, ...)
{
    char text[600];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return json_array_append_new(list, json_text(text)) < 0 ? fail_nomem(err)
                                                            : 0;
}

/* Sockets. */

static bool is_on(const char *value)
{
    static const char *const words[] = {"=on", "=yes", "=true", "=y"};

    if (*value == '\0' || *value == ',')
        return true;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        size_t len = strlen(words[i]);

        if (strncmp(value, words[i], len) == 0 &&
            (value[len] == '\0' || value[len] == ','))
            return true;
    }
    return false;
}

static bool listens(const char *word)
{
    for (const char *p = strstr(word, ",server"); p;
         p = strstr(p + 1, ",server")) {
        if (is_on(p + strlen(",server")))
            return true;
    }
    return false;
}

/* The path of "unix:PATH" or "path=PATH", its commas single again. */
static bool socket_path(const char *word, char *ret, size_t max)
{
    const char *p =
        strncmp(word, "unix:", 5) == 0 ? word + 5 : strstr(word, ",path=");
    size_t n = 0;

    if (!p)
        return false;
    p += *p == ',' ? strlen(",path=") : 0;
    while (*p && (*p != ',' || p[1] == ',') && n + 1 < max) {
        p += *p == ',';
        ret[n++] = *p++;
    }
    ret[n] = '\0';
    return n > 0;
}

/* One that was killed keeps its sockets until the last of its threads is gone;
 * a moment later it would not have answered. */
static bool is_ending(pid_t pid)
{
    struct error ignored = ERROR_INIT;
    uint64_t ticks;

    return process_start_time(pid, &ticks, &ignored) < 0;
}

static int check_socket(const char *word, json_t *ret, struct error *err)
{
    struct error ignored = ERROR_INIT;
    struct channel_peer peer = {0};
    cleanup_close int fd = -1;
    char path[300];

    if (!listens(word) || !socket_path(word, path, sizeof(path)) ||
        channel_connect(path, &fd, &ignored) < 0 ||
        channel_peer(fd, &peer, &ignored) < 0 || is_ending(peer.pid))
        return 0;
    return add(ret, err, "process %d listens at the socket '%s' already",
               (int)peer.pid, path);
}

/* Images. */

static bool is_locked(const char *path)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct flock lock = {
        .l_type = F_WRLCK,
        .l_whence = SEEK_SET,
        .l_start = LOCKS_FIRST,
        .l_len = LOCKS_BYTES,
    };

    return fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 &&
           lock.l_type != F_UNLCK;
}

static int check_image(const json_t *disk, const struct command_map *map,
                       json_t *ret, struct error *err)
{
    const char *path = json_path_str(disk, "path", NULL);
    cleanup_buf struct buf mapped = BUF_INIT;
    struct command_map rules = map ? *map : (struct command_map){0};
    int rc;

    if (!path || json_path_bool(disk, "read_only", false) ||
        !json_path_bool(disk, "local", true))
        return 0;
    rc = command_map_apply(&rules, path, &mapped, err);
    if (rc < 0 || !is_locked(buf_str(&mapped)))
        return rc;
    return add(ret, err, "another VM has the disk '%s' locked",
               buf_str(&mapped));
}

int claims_check(char *const *argv, const json_t *facts,
                 const struct command_map *map, json_t *ret, struct error *err)
{
    const json_t *disk;
    size_t i;
    int rc = 0;

    for (i = 0; rc == 0 && argv[i]; i++)
        rc = check_socket(argv[i], ret, err);
    json_array_foreach((json_t *)json_path(facts, "disks"), i, disk)
    {
        if (rc == 0)
            rc = check_image(disk, map, ret, err);
    }
    return rc;
}
