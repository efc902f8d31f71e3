/*
 * Whoever listens to the keeper: the command that started it, and when that is
 * gone, a `firn restore --resume` that came to its door. There is one at a
 * time; a line for nobody is lost, and that is no harm.
 */
#include <poll.h>
#include <sys/socket.h>

#include "core/base/channel.h"
#include "core/base/clock.h"
#include "restore/feeding_inside.h"

#define LOG_AREA "keeper"
#include "core/base/log.h"

#define KNOCK_LIMIT_NS (1 * NS_PER_SEC) /* it speaks at once, or is no firn */

void feeding_tell(struct feeding *f, json_t *message)
{
    struct error ignored = ERROR_INIT;

    if (link_send(f->args->front, message, &ignored) < 0)
        log_debug("the front was not told: %s", ignored.message);
}

void feeding_note(struct feeding *f, const char *text)
{
    feeding_tell(f, json_pack("{s:s, s:s}", "type", "note", "text", text));
}

void feeding_tell_running(struct feeding *f, uint64_t at_ns)
{
    const struct target *t = f->args->target;

    feeding_tell(
        f, json_pack("{s:s, s:I, s:I, s:I, s:I, s:s}", "type", "running",
                     "elapsed_ms",
                     (json_int_t)((at_ns - f->args->begun_ns) / NS_PER_MS),
                     "read_bytes", (json_int_t)f->read_bytes, "image_bytes",
                     (json_int_t)f->image_bytes, "qemu_pid", (json_int_t)t->pid,
                     "qmp", t->qmp_path));
}

static bool front_listens(const struct link *front)
{
    char byte;
    ssize_t n;

    if (front->fd < 0)
        return false;
    n = recv(front->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n > 0 || (n < 0 && errno == EAGAIN);
}

/* One line says what is wanted. */
static int hear(struct feeding *f, struct link *guest, struct error *err)
{
    cleanup_json json_t *m = NULL;
    struct stopper never;
    int rc = stopper_init(&never, err);

    if (rc < 0)
        return rc;
    rc = link_wait(guest, &never, clock_monotonic_ns() + KNOCK_LIMIT_NS, &m,
                   err);
    stopper_release(&never);
    if (rc < 0)
        return rc;
    if (!m || !link_is(m, "resume"))
        return fail(err, ERR_PROTOCOL, "not understood");
    if (strcmp(json_path_str(m, "snapshot", ""), f->args->job->id) != 0)
        return fail(err, ERR_INCOMPATIBLE,
                    "the VM was made of snapshot '%s', not of that one",
                    f->args->job->id);
    if (front_listens(f->args->front))
        return fail(err, ERR_LOCKED,
                    "the restore that brings the VM's pages is at work, and "
                    "somebody listens to it");
    return 0;
}

static void take_front(struct feeding *f, struct link *guest)
{
    bool hopeless = f->damage.code != 0 || f->stranded || f->pager_gone;

    link_release(f->args->front);
    *f->args->front = *guest;
    *guest = LINK_INIT;
    f->args->begun_ns = clock_monotonic_ns();
    if (hopeless)
        feeding_try_again(f);
    else
        feeding_tell_running(f, f->args->begun_ns);
}

int feeding_open_door(struct feeding *f, struct error *err)
{
    cleanup_link struct link guest = LINK_INIT;
    struct error why = ERROR_INIT;
    struct error ignored = ERROR_INIT;

    if (channel_accept(f->args->door, f->args->target->stop,
                       clock_monotonic_ns(), &guest.fd, &why) < 0) {
        log_debug("the door: %s", why.message);
        return why.code == ERR_NOMEM ? error_copy(err, &why) : 0;
    }
    if (hear(f, &guest, &why) == 0)
        take_front(f, &guest);
    else if (link_send(&guest, link_error_message(&why), &ignored) < 0)
        log_debug("%s", ignored.message);
    return 0;
}
