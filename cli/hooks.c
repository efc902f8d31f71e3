/*
 * hooks.c - the user's commands at the moments of a capture.
 *
 * WHEN=COMMAND words are kept as they were given and looked at when a moment
 * comes: there are few of each. A hook is a child of ours with a time limit;
 * what it may know of the snapshot stands in its environment.
 */
#include "cli/hooks.h"

#include <inttypes.h>

#include "cli/summary.h"
#include "core/base/clock.h"
#include "core/host/child.h"

/* In the order of enum snapshot_moment. */
static const char *const moments[] = {"before-pause", "paused", "resumed",
                                      "committed", "failed"};
static_assert(ARRAY_LEN(moments) == SNAPSHOT_FAILED + 1,
              "each moment has a name");

/* The command of a word when it is for that moment, else NULL. */
static const char *command_of(const char *word, enum snapshot_moment moment)
{
    size_t len = strlen(moments[moment]);

    if (strncmp(word, moments[moment], len) != 0 || word[len] != '=')
        return NULL;
    return word + len + 1;
}

int hooks_check(const struct option_list *words, struct error *err)
{
    for (size_t i = 0; i < words->n; i++) {
        const char *command = NULL;

        for (int m = 0; !command && m <= SNAPSHOT_FAILED; m++)
            command = command_of(words->items[i], (enum snapshot_moment)m);
        if (!command || !command[0]) {
            fail(err, ERR_USAGE, "'%s' is no hook such as WHEN=COMMAND",
                 words->items[i]);
            return error_hint(err, "WHEN is before-pause, paused, resumed, "
                                   "committed or failed");
        }
    }
    return 0;
}

bool hooks_have(const struct option_list *words, enum snapshot_moment moment)
{
    for (size_t i = 0; i < words->n; i++) {
        if (command_of(words->items[i], moment))
            return true;
    }
    return false;
}

static void remember(char *field, size_t size, const char *value)
{
    if (value)
        snprintf(field, size, "%s", value);
}

static json_t *error_json(const struct error *why)
{
    return json_pack("{s:s, s:o, s:o}", "code", error_code_name(why->code),
                     "message", json_text(why->message), "hint",
                     json_text(why->hint));
}

/* What the command reads: one line. */
static int make_input(const struct hooks *h, const struct snapshot_event *event,
                      struct buf *ret, struct error *err)
{
    json_t *o = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "type",
                          "hook", "when", moments[event->moment], "vm",
                          json_text(h->vm), "vm_uuid", json_text(h->vm_uuid),
                          "mode", json_text(h->mode), "qmp",
                          json_text(h->qmp_path), "repository",
                          json_text(h->repository));
    cleanup_json json_t *owned = o;
    int rc = o ? 0 : fail_nomem(err);

    if (rc == 0 && event->summary &&
        json_object_set_new(o, "snapshot", summary_json(event->summary)) < 0)
        rc = fail_nomem(err);
    if (rc == 0 && event->why &&
        json_object_set_new(o, "error", error_json(event->why)) < 0)
        rc = fail_nomem(err);
    if (rc == 0)
        rc = json_print(o, ret, err);
    return rc < 0 ? rc : buf_append_u8(ret, '\n', err);
}

static int run_command(const struct hooks *h,
                       const struct snapshot_event *event, const char *command,
                       uint64_t limit_ms, struct error *err)
{
    const char *const argv[] = {"/bin/sh", "-c", command, NULL};
    const char *id = event->summary ? event->summary->id : "";
    cleanup_buf struct buf input = BUF_INIT;
    char when[64], vm[280], snap[64], what[192];
    const char *const environment[] = {when, vm, snap, NULL};
    int rc = make_input(h, event, &input, err);

    if (rc < 0)
        return rc;
    snprintf(when, sizeof(when), "FIRN_WHEN=%s", moments[event->moment]);
    snprintf(vm, sizeof(vm), "FIRN_VM=%s", h->vm);
    snprintf(snap, sizeof(snap), "FIRN_ID=%s", id);
    snprintf(what, sizeof(what), "hook %s '%.150s'", moments[event->moment],
             command);
    return child_run(&(struct child_args){.argv = argv,
                                          .environment = environment,
                                          .input = input.data,
                                          .input_len = input.len,
                                          .out_fd = STDERR_FILENO,
                                          .err_fd = STDERR_FILENO,
                                          .keep_fd = -1},
                     what,
                     /* What clears up must run after Ctrl-C as well. */
                     event->moment == SNAPSHOT_FAILED ? NULL : h->stop,
                     limit_ms, err);
}

static uint64_t left_ms(uint64_t deadline_ns)
{
    uint64_t now = clock_monotonic_ns();

    return now < deadline_ns ? (deadline_ns - now) / NS_PER_MS : 0;
}

static int run_all(const struct hooks *h, const struct snapshot_event *event,
                   struct error *err)
{
    bool paused = event->moment == SNAPSHOT_PAUSED;
    uint64_t deadline_ns =
        clock_monotonic_ns() + h->paused_limit_ms * NS_PER_MS;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < h->words->n; i++) {
        const char *command = command_of(h->words->items[i], event->moment);
        uint64_t limit_ms = h->limit_ms;

        if (paused)
            limit_ms = MIN(limit_ms, left_ms(deadline_ns));
        if (command)
            rc = run_command(h, event, command, limit_ms, err);
    }
    return rc;
}

/* QEMU alone decides how long a background save stops the guest. */
static int check_mode(const struct hooks *h, const struct snapshot_event *event,
                      struct error *err)
{
    if (!event->mode || strcmp(event->mode, "background") != 0 ||
        !hooks_have(h->words, SNAPSHOT_PAUSED))
        return 0;
    fail(err, ERR_UNSUPPORTED,
         "mode background has no moment at which a hook 'paused' could run");
    return error_hint(err, "use --mode stream, or pause the VM yourself");
}

int hooks_run(struct hooks *h, const struct snapshot_event *event,
              struct error *err)
{
    struct error why = ERROR_INIT;
    int rc = 0;

    remember(h->vm, sizeof(h->vm), event->vm);
    remember(h->vm_uuid, sizeof(h->vm_uuid), event->vm_uuid);
    remember(h->mode, sizeof(h->mode), event->mode);
    if (event->moment == SNAPSHOT_BEFORE_PAUSE)
        rc = check_mode(h, event, &why);
    if (rc == 0)
        rc = run_all(h, event, &why);
    if (rc < 0 && event->moment <= SNAPSHOT_PAUSED)
        return error_copy(err, &why);
    if (rc < 0 && !h->late.code)
        error_copy(&h->late, &why);
    return 0;
}
