/*
 * host_facts.c - /proc's part of a snapshot's facts.
 *
 * Each fact is put if it can be had: a QEMU of another user hides its
 * executable and its arguments, and a restore that has to be told them is
 * better than a capture that fails. Names and paths are bytes, JSON is UTF-8,
 * so they go through json_text().
 */
#include "snapshot/host_facts.h"

#include "core/host/process.h"

static int put(json_t *object, const char *key, json_t *value,
               struct error *err)
{
    if (!value || json_object_set_new(object, key, value) < 0)
        return fail_nomem(err);
    return 0;
}

static json_t *host_name(void)
{
    char name[256] = "";

    if (gethostname(name, sizeof(name) - 1) < 0)
        name[0] = '\0';
    return json_text(name);
}

static json_t *executable(pid_t pid)
{
    char link[64];
    char path[4096];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/%d/exe", pid);
    n = readlink(link, path, sizeof(path) - 1);
    path[n < 0 ? 0 : n] = '\0';
    return json_text(path);
}

static int put_identity(json_t *process, pid_t pid, struct error *err)
{
    struct error unknown = ERROR_INIT;
    char boot_id[BOOT_ID_LEN + 1];
    uint64_t ticks;
    int rc = put(process, "pid", json_integer(pid), err);

    if (rc == 0)
        rc = put(process, "host", host_name(), err);
    if (rc == 0 && process_start_time(pid, &ticks, &unknown) == 0)
        rc = put(process, "start_ticks", json_integer((json_int_t)ticks), err);
    if (rc == 0 && process_boot_id(boot_id, &unknown) == 0)
        rc = put(process, "boot_id", json_string(boot_id), err);
    return rc;
}

int host_facts_process(pid_t pid, json_t **ret, struct error *err)
{
    cleanup_json json_t *process = json_object();
    cleanup_free char *cwd = NULL;
    struct error unknown = ERROR_INIT;
    json_t *argv = NULL;
    int rc = process ? put_identity(process, pid, err) : fail_nomem(err);

    if (rc == 0)
        rc = put(process, "executable", executable(pid), err);
    if (rc == 0 && process_cwd(pid, &cwd, &unknown) == 0)
        rc = put(process, "cwd", json_text(cwd), err);
    if (rc == 0 && process_command_line(pid, &argv, &unknown) == 0)
        rc = put(process, "argv", argv, err);
    if (rc == 0)
        *ret = steal_ptr(&process);
    return rc;
}
