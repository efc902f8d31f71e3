/*
 * qemu_settings.c - borrowing QEMU's migration settings.
 *
 * Three steps, and a memo between them: what was found is written down before
 * the first change, so that a capture that is killed leaves a note to the next
 * one, which restores from the note and not from what it sees. Capabilities are
 * set all at once, each on or off: one that the user (or an earlier migration)
 * left on could change the stream into something nobody decodes. Parameters
 * that are not ours stay as they are.
 */
#include "snapshot/qemu_settings.h"

#include "snapshot/socket_folder.h"

#define LOG_AREA "source"
#include "core/base/log.h"
#include "core/qmp/qmp_message.h"

void qemu_settings_release(struct qemu_settings *s)
{
    json_decref(s->capabilities);
    json_decref(s->parameters);
    s->capabilities = NULL;
    s->parameters = NULL;
}

/* Finding. */

int qemu_settings_read_capabilities(struct qemu_settings *s, struct error *err)
{
    json_decref(s->capabilities);
    s->capabilities = NULL;
    return qmp_execute(s->qmp, "query-migrate-capabilities", NULL,
                       &s->capabilities, err);
}

static int check_parameters(const json_t *p, struct error *err)
{
    if (json_path_str(p, "tls-creds", "")[0]) {
        fail(err, ERR_UNSUPPORTED,
             "QEMU's migration parameter tls-creds is set ('%s'): it would "
             "speak TLS to us",
             json_path_str(p, "tls-creds", ""));
        return error_hint(err, "clear it: migrate-set-parameters with "
                               "\"tls-creds\": \"\"");
    }
    if (strcmp(json_path_str(p, "mode", "normal"), "normal") != 0)
        return fail(err, ERR_UNSUPPORTED,
                    "QEMU's migration mode is '%s', not 'normal'",
                    json_path_str(p, "mode", ""));
    return 0;
}

int qemu_settings_read_parameters(struct qemu_settings *s, struct error *err)
{
    int rc = qmp_execute(s->qmp, "query-migrate-parameters", NULL,
                         &s->parameters, err);

    return rc < 0 ? rc : check_parameters(s->parameters, err);
}

bool qemu_settings_has(const struct qemu_settings *s, const char *capability)
{
    return qmp_find_capability(s->capabilities, capability) != NULL;
}

bool qemu_settings_is_on(const struct qemu_settings *s, const char *capability)
{
    return json_path_bool(qmp_find_capability(s->capabilities, capability),
                          "state", false);
}

void qemu_settings_recall(struct qemu_settings *s)
{
    cleanup_json json_t *kept = NULL;
    json_t *capabilities, *parameters;

    settings_memo_init(&s->memo, socket_folder_base(),
                       qmp_session_peer_pid(s->qmp));
    kept = settings_memo_recall(&s->memo);
    capabilities = json_object_get(kept, "capabilities");
    parameters = json_object_get(kept, "parameters");
    if (!json_is_array(capabilities) || !json_is_object(parameters))
        return;
    log_debug("a killed capture left its settings");
    qemu_settings_release(s);
    s->capabilities = json_incref(capabilities);
    s->parameters = json_incref(parameters);
}

static void keep(const struct qemu_settings *s)
{
    cleanup_json json_t *settings =
        json_pack("{s:O, s:O}", "capabilities", s->capabilities, "parameters",
                  s->parameters);

    if (settings)
        settings_memo_keep(&s->memo, settings);
}

/* Changing. */

static bool wants(const struct qemu_wishes *w, const char *capability)
{
    if (strcmp(capability, "events") == 0)
        return true;
    if (strcmp(capability, "return-path") == 0)
        return w->mode == SNAPSHOT_STREAM;
    if (strcmp(capability, "auto-converge") == 0)
        return w->mode == SNAPSHOT_STREAM && w->auto_converge;
    if (strcmp(capability, "multifd") == 0)
        return w->mode == SNAPSHOT_STREAM && w->channels > 0;
    if (strcmp(capability, "background-snapshot") == 0)
        return w->mode == SNAPSHOT_BACKGROUND;
    return false;
}

static int put_capability(json_t *list, const char *name, bool state,
                          struct error *err)
{
    json_t *c;
    int rc = json_build(&c, err, "{s:s, s:b}", "capability", name, "state",
                        (int)state);

    if (rc < 0)
        return rc;
    return json_array_append_new(list, c) < 0 ? fail_nomem(err) : 0;
}

/* As wished for, or (NULL) as found. */
static int set_capabilities(struct qemu_settings *s,
                            const struct qemu_wishes *wishes, struct error *err)
{
    cleanup_json json_t *list = json_array();
    const json_t *c;
    json_t *args;
    size_t i;
    int rc = list ? 0 : fail_nomem(err);

    json_array_foreach(s->capabilities, i, c)
    {
        const char *name = json_path_str(c, "capability", "");
        bool state =
            wishes ? wants(wishes, name) : json_path_bool(c, "state", false);

        if (rc == 0)
            rc = put_capability(list, name, state, err);
    }
    if (rc == 0)
        rc = json_build(&args, err, "{s:O}", "capabilities", list);
    if (rc < 0)
        return rc;
    return qmp_execute(s->qmp, "migrate-set-capabilities", args, NULL, err);
}

/* "'ram0', 'ram1'" of the backends that others may map as well; "" if none. */
static void name_shared_memory(struct qemu_settings *s, char *text, size_t size)
{
    cleanup_json json_t *list = NULL;
    struct error ignored = ERROR_INIT;
    const json_t *m;
    size_t used = 0;
    size_t i;

    text[0] = '\0';
    if (qmp_execute(s->qmp, "query-memdev", NULL, &list, &ignored) < 0)
        return;
    json_array_foreach(list, i, m)
    {
        if (json_path_bool(m, "share", false) && used < size)
            used +=
                (size_t)snprintf(text + used, size - used, "%s'%.60s'",
                                 used ? ", " : "", json_path_str(m, "id", "?"));
    }
}

/* QEMU says that it is the kernel, or the memory, and not more. */
static int explain_no_background(struct qemu_settings *s, struct error *err)
{
    bool memory = strstr(err->message, "memory configuration") != NULL;
    char shared[200] = "";

    if (memory)
        name_shared_memory(s, shared, sizeof(shared));
    error_wrap(err, "mode background is not possible here");
    if (shared[0])
        return error_hint(err,
                          "this kernel cannot write-protect the shared memory "
                          "%s: give the VM private memory (share=off), or use "
                          "--mode stream; where that is refused, pause the VM",
                          shared);
    if (memory)
        return error_hint(err, "this kernel cannot write-protect the VM's "
                               "memory (files, huge pages): use anonymous "
                               "memory, or --mode stream; where that is "
                               "refused, pause the VM");
    return error_hint(err,
                      "QEMU needs userfaultfd: run it as root, set sysctl "
                      "vm.unprivileged_userfaultfd=1, or let its sandbox have "
                      "it; else pause the VM and use --mode stream");
}

static int set_parameters(struct qemu_settings *s, json_t *args,
                          struct error *err)
{
    return qmp_execute(s->qmp, "migrate-set-parameters", args, NULL, err);
}

static int wished_parameters(const struct qemu_wishes *w, json_t **ret,
                             struct error *err)
{
    json_int_t bandwidth = (json_int_t)MIN(w->bandwidth_bytes_per_s, INT64_MAX);
    json_int_t limit_ms = (json_int_t)w->downtime_limit_ms;

    if (w->mode != SNAPSHOT_STREAM || w->channels == 0)
        return json_build(ret, err, "{s:I, s:I}", "max-bandwidth", bandwidth,
                          "downtime-limit", limit_ms);
    /* The levels as well: a high one of zstd needs a large window of ours. */
    return json_build(ret, err, "{s:I, s:I, s:i, s:s, s:i, s:i}",
                      "max-bandwidth", bandwidth, "downtime-limit", limit_ms,
                      "multifd-channels", (int)w->channels,
                      "multifd-compression", w->method, "multifd-zlib-level", 1,
                      "multifd-zstd-level", 1);
}

/* Those that this QEMU knows. */
static int found_parameters(const struct qemu_settings *s, json_t **ret,
                            struct error *err)
{
    static const char *const ours[] = {
        "max-bandwidth",       "downtime-limit",     "multifd-channels",
        "multifd-compression", "multifd-zlib-level", "multifd-zstd-level"};
    cleanup_json json_t *found = json_object();

    if (!found)
        return fail_nomem(err);
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        json_t *value = json_object_get(s->parameters, ours[i]);

        if (value && json_object_set(found, ours[i], value) < 0)
            return fail_nomem(err);
    }
    *ret = steal_ptr(&found);
    return 0;
}

static int explain_method(const struct qemu_wishes *w, struct error *err)
{
    if (w->channels == 0 || strcmp(w->method, "none") == 0)
        return err->code;
    return error_hint(err,
                      "this QEMU may have been built without '%s': take "
                      "--multifd-compression none",
                      w->method);
}

int qemu_settings_apply(struct qemu_settings *s,
                        const struct qemu_wishes *wishes, struct error *err)
{
    json_t *args = NULL;
    int rc;

    keep(s);
    s->changed = true;
    rc = set_capabilities(s, wishes, err);
    if (rc == ERR_UNSUPPORTED) {
        /* All or none of them: nothing was changed. */
        s->changed = false;
        settings_memo_forget(&s->memo);
        if (wishes->mode == SNAPSHOT_BACKGROUND)
            explain_no_background(s, err);
    }
    if (rc == 0)
        rc = wished_parameters(wishes, &args, err);
    if (rc < 0)
        return rc;
    rc = set_parameters(s, args, err);
    return rc == ERR_UNSUPPORTED ? explain_method(wishes, err) : rc;
}

int qemu_settings_limit_downtime(struct qemu_settings *s, uint64_t limit_ms,
                                 struct error *err)
{
    json_t *args;
    int rc =
        json_build(&args, err, "{s:I}", "downtime-limit", (json_int_t)limit_ms);

    return rc < 0 ? rc : set_parameters(s, args, err);
}

int qemu_settings_put_back(struct qemu_settings *s, struct error *err)
{
    json_t *args = NULL;
    int rc;

    if (!s->changed)
        return 0;
    rc = set_capabilities(s, NULL, err);
    if (rc == 0)
        rc = found_parameters(s, &args, err);
    if (rc == 0)
        rc = set_parameters(s, args, err);
    if (rc < 0)
        return rc;
    s->changed = false;
    settings_memo_forget(&s->memo);
    return 0;
}
