/*
 * process.c - /proc/<pid>/stat, cmdline and cwd, read whole and with a bound.
 *
 * The second field of `stat` is the program's name in brackets and may hold
 * anything, brackets and blanks included: fields are counted from the last
 * closing bracket.
 */
#include "core/host/process.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>
#include <fcntl.h>

#include "core/base/path.h"

#define STAT_MAX_BYTES   4096u
#define STATUS_MAX_BYTES 65536u
/* The kernel's own limit is 128 KiB an argument and 2 MiB in all by default,
 * a quarter of the stack's limit at most. */
#define COMMAND_LINE_MAX_BYTES (16u << 20)

/* In `stat`, counted from 3: the state. */
#define FIELD_MINOR_FAULTS 10
#define FIELD_MAJOR_FAULTS 12
#define FIELD_START_TIME   22

static int read_proc(pid_t pid, const char *name, size_t max, struct buf *ret,
                     struct error *err)
{
    char path[64];
    int rc;

    snprintf(path, sizeof(path), "/proc/%ld/%s", (long)pid, name);
    rc = path_read_file(AT_FDCWD, path, max, ret, err);
    /* The file was there, and its process ended before it was read. */
    if (rc < 0 && err->sys_errno == ESRCH)
        return fail(err, ERR_NOTFOUND, "process %ld is gone", (long)pid);
    return rc;
}

/* The number in field `wanted` of a process that is no zombie. */
static int parse_stat(pid_t pid, struct buf *text, int wanted, uint64_t *ret,
                      struct error *err)
{
    char *field = text->data ? strrchr(buf_str(text), ')') : NULL;
    char *end;

    if (!field || field[1] != ' ')
        return fail(err, ERR_IO, "cannot read the state of process %ld",
                    (long)pid);
    field += 2;
    if (*field == 'Z' || *field == 'X' || *field == 'x')
        return fail(err, ERR_NOTFOUND, "process %ld has ended", (long)pid);
    for (int at = 3; field && at < wanted; at++) {
        field = strchr(field, ' ');
        if (field)
            field++;
    }
    if (!field || *field < '0' || *field > '9')
        return fail(err, ERR_IO, "cannot read field %d of process %ld's state",
                    wanted, (long)pid);
    *ret = strtoull(field, &end, 10);
    return 0;
}

static int read_stat(pid_t pid, int wanted, uint64_t *ret, struct error *err)
{
    cleanup_buf struct buf text = BUF_INIT;
    int rc;

    if (pid <= 0)
        return fail(err, ERR_NOTFOUND, "there is no process %ld", (long)pid);
    rc = read_proc(pid, "stat", STAT_MAX_BYTES, &text, err);
    return rc < 0 ? rc : parse_stat(pid, &text, wanted, ret, err);
}

int process_start_time(pid_t pid, uint64_t *ret_ticks, struct error *err)
{
    return read_stat(pid, FIELD_START_TIME, ret_ticks, err);
}

uint64_t process_faults(pid_t pid)
{
    struct error ignored;
    uint64_t minor, major;

    if (read_stat(pid, FIELD_MINOR_FAULTS, &minor, &ignored) < 0 ||
        read_stat(pid, FIELD_MAJOR_FAULTS, &major, &ignored) < 0)
        return 0;
    return minor + major;
}

uint64_t process_memory(pid_t pid)
{
    static const char *const fields[] = {"\nRssAnon:", "\nRssShmem:"};
    cleanup_buf struct buf text = BUF_INIT;
    struct error ignored = ERROR_INIT;
    uint64_t kib = 0;

    if (pid <= 0 ||
        read_proc(pid, "status", STATUS_MAX_BYTES, &text, &ignored) < 0 ||
        !text.data)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const char *at = strstr(buf_str(&text), fields[i]);

        if (at)
            kib += strtoull(at + strlen(fields[i]), NULL, 10);
    }
    return kib << 10;
}

bool process_alive(pid_t pid, uint64_t start_ticks)
{
    struct error ignored;
    uint64_t ticks;

    return process_start_time(pid, &ticks, &ignored) == 0 &&
           ticks == start_ticks;
}

int process_boot_id(char ret[static BOOT_ID_LEN + 1], struct error *err)
{
    cleanup_buf struct buf text = BUF_INIT;
    int rc = path_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64,
                            &text, err);

    if (rc < 0)
        return rc;
    if (text.len < BOOT_ID_LEN)
        return fail(err, ERR_IO, "the kernel's boot id is too short");
    memcpy(ret, text.data, BOOT_ID_LEN);
    ret[BOOT_ID_LEN] = '\0';
    return 0;
}

/* Arguments end with a NUL each; a process that wrote over its own may have
 * left the last one open. */
static int split_arguments(struct buf *text, json_t *array, struct error *err)
{
    size_t at = 0;
    int rc = buf_append_u8(text, 0, err);

    if (rc < 0)
        return rc;
    text->len--;
    while (at < text->len) {
        const char *argument = (const char *)text->data + at;

        if (json_array_append_new(array, json_text(argument)) < 0)
            return fail_nomem(err);
        at += strlen(argument) + 1;
    }
    return 0;
}

int process_command_line(pid_t pid, json_t **ret, struct error *err)
{
    cleanup_buf struct buf text = BUF_INIT;
    cleanup_json json_t *array = json_array();
    int rc;

    if (!array)
        return fail_nomem(err);
    rc = read_proc(pid, "cmdline", COMMAND_LINE_MAX_BYTES, &text, err);
    if (rc < 0)
        return rc;
    rc = split_arguments(&text, array, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&array);
    return 0;
}

int process_cwd(pid_t pid, char **ret, struct error *err)
{
    char path[64];
    char target[PATH_MAX + 1];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%ld/cwd", (long)pid);
    n = readlink(path, target, sizeof(target) - 1);
    if (n < 0)
        return fail_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO,
                          "cannot read the folder of process %ld", (long)pid);
    target[n] = '\0';
    *ret = strdup(target);
    return *ret ? 0 : fail_nomem(err);
}
