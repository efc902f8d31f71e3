/*
 * A command is one line with an id; its answer names the id. Events may come
 * between, also behind the answer in the same read, and are kept in order
 * until somebody asks for them. An answer with an older id is the late one of
 * a command that was given up at its time limit: it is dropped. Anything else
 * that does not fit (a newer id, none, a second greeting) means that the
 * other side is no monitor of ours: ERR_PEER, and the session is done for.
 *
 * A monitor serves one client at a time: a second one is accepted by the
 * kernel and then hears nothing. That is what a missing greeting means most
 * of the time, and the hint says so.
 */
#include "core/qmp/qmp_session.h"

#include <inttypes.h>
#include <poll.h>

#include "core/base/clock.h"
#include "core/qmp/qmp_message.h"

#define LOG_AREA "qmp"
#include "core/base/log.h"

#define DEFAULT_TIMEOUT_MS 10000u
#define RETRY_PAUSE_NS     (20 * NS_PER_MS)
#define READ_BYTES         65536u

/* A monitor with more unheard events than this is flooding us. */
#define EVENTS_MAX 16384u

struct qmp_session {
    int fd;
    char *path;
    struct stopper *stop;
    uint64_t timeout_ns;
    pid_t peer_pid;
    uid_t peer_uid;
    int version[3];
    bool offers_oob;
    bool has_oob;
    bool broken; /* out of step, or closed */
    int64_t last_id;
    unsigned n_owed; /* answers that were given up, and not dropped yet */
    struct qmp_reader reader;
    json_t *events; /* array, oldest first */
    char error_desc[512];
};

static uint64_t deadline_in(uint64_t ns)
{
    return clock_monotonic_ns() + ns;
}

/* What is wrong with the other side, whatever layer found it, is ERR_PEER. */
static int not_qmp(struct qmp_session *s, struct error *err)
{
    struct error why = *err;

    if (why.code != ERR_PROTOCOL)
        return why.code;
    s->broken = true;
    fail(err, ERR_PEER, "'%s' does not speak QMP: %s", s->path, why.message);
    return error_hint(err, "name the socket of a '-qmp unix:PATH,server=on' "
                           "option of QEMU");
}

static int closed(struct qmp_session *s, struct error *err)
{
    s->broken = true;
    return fail(err, ERR_PEER,
                "QMP socket '%s' was closed by the other side; QEMU ended or "
                "gave the monitor up",
                s->path);
}

/* Takes in what one read gives, waiting for it until the deadline. */
static int read_some(struct qmp_session *s, uint64_t deadline_ns,
                     struct error *err)
{
    uint8_t bytes[READ_BYTES];
    size_t n = 0;
    int rc = channel_read(s->fd, bytes, sizeof(bytes), s->stop, deadline_ns, &n,
                          err);

    if (rc < 0)
        return rc;
    if (n == 0)
        return closed(s, err);
    return qmp_reader_feed(&s->reader, bytes, n, err);
}

static int next_message(struct qmp_session *s, uint64_t deadline_ns,
                        struct qmp_message *ret, struct error *err)
{
    bool got = false;

    for (;;) {
        int rc = qmp_reader_next(&s->reader, ret, &got, err);

        if (rc < 0)
            return not_qmp(s, err);
        if (got)
            return 0;
        /* A drip of bytes is no answer either. */
        if (clock_monotonic_ns() >= deadline_ns)
            return fail(err, ERR_TIMEOUT, "no whole line in time");
        rc = read_some(s, deadline_ns, err);
        if (rc < 0)
            return rc;
    }
}

static bool timed_out(struct qmp_session *s, int rc)
{
    return rc == ERR_TIMEOUT && !stopper_pulled(s->stop);
}

static int keep_event(struct qmp_session *s, json_t *event, struct error *err)
{
    log_debug("event %s", json_path_str(event, "event", "?"));
    if (json_array_size(s->events) >= EVENTS_MAX) {
        json_decref(event);
        s->broken = true;
        return fail(err, ERR_PEER, "'%s' sends events without end", s->path);
    }
    if (json_array_append_new(s->events, event) < 0)
        return fail_nomem(err);
    return 0;
}

static int out_of_step(struct qmp_session *s, const char *what,
                       struct error *err)
{
    s->broken = true;
    return fail(err, ERR_PEER, "'%s' does not speak QMP: %s", s->path, what);
}

/* The greeting. */

static int take_greeting(struct qmp_session *s, const json_t *body,
                         struct error *err)
{
    static const char *const parts[] = {
        "QMP.version.qemu.major",
        "QMP.version.qemu.minor",
        "QMP.version.qemu.micro",
    };
    const json_t *offered = json_path(body, "QMP.capabilities");
    const json_t *name;
    size_t i;

    for (i = 0; i < ARRAY_LEN(parts); i++) {
        int64_t v = json_path_int(body, parts[i], -1);

        if (v < 0 || v > INT16_MAX)
            return out_of_step(s, "a greeting without a version", err);
        s->version[i] = (int)v;
    }
    json_array_foreach(offered, i, name)
    {
        if (json_is_string(name) && strcmp(json_string_value(name), "oob") == 0)
            s->offers_oob = true;
    }
    return 0;
}

static int no_greeting(struct qmp_session *s, struct error *err)
{
    fail(err, ERR_PEER, "no greeting from QMP socket '%s' within %g s", s->path,
         (double)s->timeout_ns / (double)NS_PER_SEC);
    return error_hint(err,
                      "another client may hold this socket, or QEMU hangs; "
                      "give firn a '-qmp' socket of its own");
}

static int await_greeting(struct qmp_session *s, struct error *err)
{
    struct qmp_message m;
    int rc = next_message(s, deadline_in(s->timeout_ns), &m, err);

    if (timed_out(s, rc))
        return no_greeting(s, err);
    if (rc < 0)
        return rc;
    if (m.kind == QMP_GREETING)
        rc = take_greeting(s, m.body, err);
    else
        rc = out_of_step(s, "the first line is no greeting", err);
    json_decref(m.body);
    return rc;
}

/* Commands. */

static int send_command(struct qmp_session *s, const struct qmp_command *c,
                        int passed_fd, uint64_t deadline_ns, struct error *err)
{
    cleanup_buf struct buf line = BUF_INIT;
    int rc = qmp_put_command(&line, c, err);

    if (rc < 0)
        return rc;
    if (passed_fd >= 0)
        rc = channel_write_with_fd(s->fd, line.data, line.len, passed_fd, err);
    else
        rc = channel_write(s->fd, line.data, line.len, s->stop, deadline_ns,
                           err);
    if (rc == ERR_PEER)
        return closed(s, err);
    /* Half a line may be out: nothing can follow it. */
    if (rc < 0)
        s->broken = true;
    return rc;
}

static int refused(struct qmp_session *s, const char *command,
                   const json_t *body, struct error *err)
{
    snprintf(s->error_desc, sizeof(s->error_desc), "%s",
             json_path_str(body, "error.desc", "no reason given"));
    return fail(err, ERR_UNSUPPORTED, "QEMU refuses '%s': %s", command,
                s->error_desc);
}

/* One message while an answer is awaited; *ret_done when it was the answer. */
static int take_message(struct qmp_session *s, const struct qmp_command *c,
                        const struct qmp_message *m, json_t **ret,
                        bool *ret_done, struct error *err)
{
    if (m->kind == QMP_EVENT)
        return keep_event(s, json_incref(m->body), err);
    if (m->kind == QMP_GREETING)
        return out_of_step(s, "a second greeting", err);
    if (m->id != QMP_NO_ID && m->id < c->id) {
        log_debug("the late answer %" PRId64 " is dropped", m->id);
        s->n_owed -= s->n_owed > 0;
        return 0;
    }
    if (m->id != c->id)
        return out_of_step(s, "an answer to no command of ours", err);
    *ret_done = true;
    if (m->kind == QMP_ERROR)
        return refused(s, c->name, m->body, err);
    if (ret)
        *ret = json_incref(json_object_get(m->body, "return"));
    return 0;
}

static int await_answer(struct qmp_session *s, const struct qmp_command *c,
                        uint64_t deadline_ns, json_t **ret, struct error *err)
{
    bool done = false;
    int rc = 0;

    while (rc == 0 && !done) {
        struct qmp_message m;

        rc = next_message(s, deadline_ns, &m, err);
        s->n_owed += timed_out(s, rc);
        if (timed_out(s, rc))
            return fail(err, ERR_PEER, "QEMU did not answer '%s' within %g s",
                        c->name, (double)s->timeout_ns / (double)NS_PER_SEC);
        if (rc < 0)
            return rc;
        rc = take_message(s, c, &m, ret, &done, err);
        json_decref(m.body);
    }
    return rc;
}

static int run_command(struct qmp_session *s, struct qmp_command *c,
                       int passed_fd, json_t **ret, struct error *err)
{
    uint64_t deadline_ns = deadline_in(s->timeout_ns);
    int rc;

    s->error_desc[0] = '\0';
    if (s->broken)
        return fail(err, ERR_PEER, "QMP socket '%s' is out of use", s->path);
    c->id = ++s->last_id;
    log_debug("%s", c->name);
    rc = send_command(s, c, passed_fd, deadline_ns, err);
    if (rc < 0)
        return rc;
    return await_answer(s, c, deadline_ns, ret, err);
}

static int run_with_args(struct qmp_session *s, struct qmp_command c,
                         json_t *args, int passed_fd, json_t **ret,
                         struct error *err)
{
    cleanup_json json_t *owned = args;

    c.args = owned;
    return run_command(s, &c, passed_fd, ret, err);
}

int qmp_execute(struct qmp_session *s, const char *command, json_t *args,
                json_t **ret, struct error *err)
{
    return run_with_args(s, (struct qmp_command){.name = command}, args, -1,
                         ret, err);
}

int qmp_execute_oob(struct qmp_session *s, const char *command, json_t *args,
                    json_t **ret, struct error *err)
{
    if (!s->has_oob) {
        json_decref(args);
        return fail(err, ERR_UNSUPPORTED,
                    "'%s' cannot be sent out of band: not negotiated", command);
    }
    return run_with_args(s, (struct qmp_command){.name = command, .oob = true},
                         args, -1, ret, err);
}

int qmp_execute_with_fd(struct qmp_session *s, const char *command,
                        json_t *args, int fd, json_t **ret, struct error *err)
{
    return run_with_args(s, (struct qmp_command){.name = command}, args, fd,
                         ret, err);
}

int qmp_send_fd(struct qmp_session *s, const char *name, int fd,
                struct error *err)
{
    json_t *args;
    int rc = json_build(&args, err, "{s:s}", "fdname", name);

    if (rc < 0)
        return rc;
    return qmp_execute_with_fd(s, "getfd", args, fd, NULL, err);
}

const char *qmp_error_desc(const struct qmp_session *s)
{
    return s->error_desc;
}

/* Opening and closing. */

static bool may_come_up(const struct error *err)
{
    return err->sys_errno == ENOENT || err->sys_errno == ECONNREFUSED;
}

static int connect_in_time(const struct qmp_open_args *args, int *ret_fd,
                           struct error *err)
{
    for (;;) {
        struct error ignored;
        uint64_t now;
        int rc = channel_connect(args->path, ret_fd, err);

        if (rc == 0)
            return 0;
        now = clock_monotonic_ns();
        if (!may_come_up(err) || now >= args->retry_until_ns)
            break;
        if (stopper_wait(args->stop, -1, 0, now + RETRY_PAUSE_NS, &ignored) !=
            ERR_TIMEOUT)
            return error_copy(err, &ignored);
    }
    if (err->code == ERR_PEER && may_come_up(err))
        error_hint(err, "is the VM running, and is this the path of its "
                        "'-qmp' option?");
    return err->code;
}

static int negotiate(struct qmp_session *s, bool oob, struct error *err)
{
    json_t *args = NULL;
    int rc = await_greeting(s, err);

    if (rc < 0)
        return rc;
    oob = oob && s->offers_oob;
    if (oob)
        rc = json_build(&args, err, "{s:[s]}", "enable", "oob");
    if (rc < 0)
        return rc;
    rc = qmp_execute(s, "qmp_capabilities", args, NULL, err);
    if (rc == 0)
        s->has_oob = oob;
    return rc;
}

static int new_session(const struct qmp_open_args *args,
                       struct qmp_session **ret, struct error *err)
{
    unsigned ms = args->timeout_ms ? args->timeout_ms : DEFAULT_TIMEOUT_MS;
    cleanup(qmp_session) struct qmp_session *s = calloc(1, sizeof(*s));

    if (!s)
        return fail_nomem(err);
    s->fd = -1;
    s->stop = args->stop;
    s->timeout_ns = ms * NS_PER_MS;
    s->path = strdup(args->path);
    s->events = json_array();
    if (!s->path || !s->events)
        return fail_nomem(err);
    *ret = steal_ptr(&s);
    return 0;
}

static int learn_peer(struct qmp_session *s, struct error *err)
{
    struct channel_peer peer;
    int rc = channel_peer(s->fd, &peer, err);

    if (rc < 0)
        return rc;
    s->peer_pid = peer.pid;
    s->peer_uid = peer.uid;
    return 0;
}

int qmp_session_adopt(const struct qmp_open_args *args, int fd,
                      struct qmp_session **ret, struct error *err)
{
    cleanup_close int taken = fd;
    cleanup(qmp_session) struct qmp_session *s = NULL;
    int rc = new_session(args, &s, err);

    if (rc < 0)
        return rc;
    s->fd = steal_fd(&taken);
    s->offers_oob = s->has_oob = true;
    /* Above whatever was asked before: answers to that are late ones. */
    s->last_id = (int64_t)(clock_monotonic_ns() / NS_PER_MS);
    rc = learn_peer(s, err);
    if (rc == 0)
        *ret = steal_ptr(&s);
    return rc;
}

int qmp_session_open(const struct qmp_open_args *args, struct qmp_session **ret,
                     struct error *err)
{
    cleanup(qmp_session) struct qmp_session *s = NULL;
    int rc = new_session(args, &s, err);

    if (rc < 0)
        return rc;
    rc = connect_in_time(args, &s->fd, err);
    if (rc == 0)
        rc = learn_peer(s, err);
    if (rc == 0)
        rc = negotiate(s, args->oob, err);
    if (rc < 0)
        return rc;
    *ret = steal_ptr(&s);
    return 0;
}

void qmp_session_close(struct qmp_session *s)
{
    if (!s)
        return;
    if (s->fd >= 0)
        close(s->fd);
    qmp_reader_release(&s->reader);
    json_decref(s->events);
    free(s->path);
    free(s);
}

int qmp_session_fd(const struct qmp_session *s)
{
    return s->fd;
}

pid_t qmp_session_peer_pid(const struct qmp_session *s)
{
    return s->peer_pid;
}

uid_t qmp_session_peer_uid(const struct qmp_session *s)
{
    return s->peer_uid;
}

void qmp_session_version(const struct qmp_session *s, int *ret_major,
                         int *ret_minor, int *ret_micro)
{
    *ret_major = s->version[0];
    *ret_minor = s->version[1];
    *ret_micro = s->version[2];
}

bool qmp_session_has_oob(const struct qmp_session *s)
{
    return s->has_oob;
}

void qmp_session_set_stopper(struct qmp_session *s, struct stopper *stop)
{
    s->stop = stop;
}

unsigned qmp_session_set_timeout(struct qmp_session *s, unsigned ms)
{
    unsigned before = (unsigned)(s->timeout_ns / NS_PER_MS);

    s->timeout_ns = ms * NS_PER_MS;
    return before;
}

unsigned qmp_session_owed(const struct qmp_session *s)
{
    return s->n_owed;
}

/* Events. */

static bool pop_event(struct qmp_session *s, json_t **ret)
{
    json_t *first = json_array_get(s->events, 0);

    if (!first)
        return false;
    *ret = json_incref(first);
    json_array_remove(s->events, 0);
    return true;
}

/* Every whole message that is in the reader; answers can only be late ones. */
static int sort_messages(struct qmp_session *s, struct error *err)
{
    for (;;) {
        struct qmp_message m;
        bool got = false;
        int rc = qmp_reader_next(&s->reader, &m, &got, err);

        if (rc < 0)
            return not_qmp(s, err);
        if (!got)
            return 0;
        if (m.kind == QMP_EVENT) {
            rc = keep_event(s, m.body, err);
            if (rc < 0)
                return rc;
            continue;
        }
        json_decref(m.body);
        if (m.id == QMP_NO_ID || m.id > s->last_id)
            return out_of_step(s, "an answer to no command of ours", err);
        s->n_owed -= s->n_owed > 0;
    }
}

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

int qmp_session_poll_event(struct qmp_session *s, json_t **ret,
                           struct error *err)
{
    int rc = sort_messages(s, err);

    while (rc == 0 && json_array_size(s->events) == 0 && !s->broken &&
           is_readable(s->fd)) {
        rc = read_some(s, deadline_in(s->timeout_ns), err);
        if (rc == 0)
            rc = sort_messages(s, err);
    }
    if (rc < 0)
        return rc;
    if (!pop_event(s, ret)) {
        if (s->broken)
            return closed(s, err);
        *ret = NULL;
    }
    return 0;
}

int qmp_session_wait_event(struct qmp_session *s, uint64_t deadline_ns,
                           json_t **ret, struct error *err)
{
    for (;;) {
        json_t *event = NULL;
        int rc = qmp_session_poll_event(s, &event, err);

        if (rc < 0)
            return rc;
        if (event) {
            *ret = event;
            return 0;
        }
        rc = read_some(s, deadline_ns, err);
        if (rc < 0)
            return rc;
    }
}

uint64_t qmp_event_time_ns(const json_t *event)
{
    int64_t secs = json_path_int(event, "timestamp.seconds", -1);
    int64_t us = json_path_int(event, "timestamp.microseconds", -1);

    /* QEMU writes -1 for both when its clock failed. */
    if (secs < 0 || us < 0 || secs > INT64_MAX / (int64_t)NS_PER_SEC - 1 ||
        us >= 1000000)
        return 0;
    return (uint64_t)secs * NS_PER_SEC + (uint64_t)us * 1000;
}
