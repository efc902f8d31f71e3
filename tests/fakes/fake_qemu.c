/*
 * One thread polls the monitor and the migration's socket. A migration is a
 * position in the stream: at a quarter of it a round begins, at three quarters
 * the VM is stopped; at its end a stream with a return path waits for SHUT or
 * a close, anything else is complete.
 */
#include "tests/fakes/fake_qemu.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "core/base/bytes.h"
#include "core/base/clock.h"

#define CHUNK 8192u

static const char *const known_capabilities[] = {
    "xbzrle",
    "auto-converge",
    "events",
    "postcopy-ram",
    "return-path",
    "multifd",
    "pause-before-switchover",
    "background-snapshot",
    "x-ignore-shared",
};

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static void set_text(char *field, size_t size, const char *text)
{
    snprintf(field, size, "%s", text);
}

#define SET(field, text) set_text((field), sizeof(field), (text))

/* Speaking. Every object is taken over. */

static void speak(struct fake_qemu *q, json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);

    dprintf(q->qmp_fd, "%s\r\n", text);
    free(text);
    json_decref(object);
}

static void event(struct fake_qemu *q, const char *name, json_t *data)
{
    speak(q, json_pack("{s:s, s:o, s:{s:I, s:I}}", "event", name, "data",
                       data ? data : json_object(), "timestamp", "seconds",
                       (json_int_t)(q->event_ns / NS_PER_SEC), "microseconds",
                       (json_int_t)(q->event_ns % NS_PER_SEC / 1000)));
}

static void set_status(struct fake_qemu *q, const char *status)
{
    SET(q->status, status);
    if (fake_qemu_capability(q, "events"))
        event(q, "MIGRATION", json_pack("{s:s}", "status", status));
}

static void answer(struct fake_qemu *q, const json_t *id, json_t *value)
{
    speak(q, json_pack("{s:o, s:O}", "return", value ? value : json_object(),
                       "id", id));
}

static void refuse(struct fake_qemu *q, const json_t *id, const char *class,
                   const char *desc)
{
    speak(q, json_pack("{s:{s:s, s:s}, s:O}", "error", "class", class, "desc",
                       desc, "id", id));
}

/* The VM. */

static void stop_vm(struct fake_qemu *q)
{
    q->was_running = is(q->run_state, "running");
    SET(q->run_state, "finish-migrate");
    if (q->was_running)
        event(q, "STOP", NULL);
}

static void resume_vm(struct fake_qemu *q)
{
    q->event_ns += q->args.pause_ms * NS_PER_MS;
    if (!q->was_running) {
        SET(q->run_state, q->args.major < 10 ? "postmigrate" : "paused");
    } else if (q->args.trouble == FAKE_STAYS_STOPPED) {
        SET(q->run_state, "postmigrate");
    } else {
        SET(q->run_state, "running");
        if (q->args.trouble != FAKE_NO_RESUME_EVENT)
            event(q, "RESUME", NULL);
    }
}

static void close_channels(struct fake_qemu *q)
{
    for (unsigned i = 0; i < q->n_channels; i++) {
        if (q->channel_fds[i] >= 0)
            close(q->channel_fds[i]);
        q->channel_fds[i] = -1;
    }
}

static void end_migration(struct fake_qemu *q, const char *status,
                          const char *reason)
{
    if (q->ended)
        return;
    q->ended = true;
    SET(q->reason, reason);
    if (q->migration_fd >= 0)
        close(q->migration_fd);
    q->migration_fd = -1;
    close_channels(q);
    set_status(q, status);
    if (is(q->run_state, "finish-migrate"))
        resume_vm(q);
}

/* The migration. */

static size_t stream_len(const struct fake_qemu *q)
{
    return q->args.stream ? q->args.stream->len : 0;
}

static bool wants_to_send(const struct fake_qemu *q)
{
    return q->migration_fd >= 0 && q->sent < stream_len(q) &&
           !(q->args.trouble == FAKE_STALLS && q->sent >= stream_len(q) / 2);
}

static void begin_background(struct fake_qemu *q)
{
    stop_vm(q);
    if (q->was_running)
        resume_vm(q);
    else
        SET(q->run_state, "paused");
}

static bool connect_one(int *fd, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return connect(*fd, (struct sockaddr *)&address, sizeof(address)) == 0;
}

static bool connect_channels(struct fake_qemu *q, const char *path)
{
    bool well = true;

    q->n_channels = 0;
    if (!fake_qemu_capability(q, "multifd"))
        return true;
    q->n_channels =
        (unsigned)json_path_int(q->parameters, "multifd-channels", 2);
    for (unsigned i = 0; i < q->n_channels; i++) {
        q->channel_sent[i] = 0;
        q->channel_fds[i] = -1;
        if (q->args.trouble != FAKE_CHANNEL_MISSING || i + 1 < q->n_channels)
            well = connect_one(&q->channel_fds[i], path) && well;
    }
    return well;
}

static bool connect_to(struct fake_qemu *q, const char *path)
{
    bool well = !q->args.channels_first || connect_channels(q, path);

    well = connect_one(&q->migration_fd, path) && well;
    if (!q->args.channels_first)
        well = connect_channels(q, path) && well;
    return well;
}

static void begin_migration(struct fake_qemu *q, const json_t *id,
                            const char *uri)
{
    if (strncmp(uri, "unix:", 5) == 0) {
        if (!connect_to(q, uri + 5)) {
            refuse(q, id, "GenericError", "Failed to connect");
            return;
        }
    } else {
        q->migration_fd = q->kept_fd;
        q->kept_fd = -1;
        q->migration_is_file = true;
        if (strncmp(uri, "file:", 5) == 0 && ftruncate(q->migration_fd, 0) < 0)
            abort();
    }
    q->sent = 0;
    q->ended = false;
    q->throttled = fake_qemu_capability(q, "auto-converge");
    answer(q, id, NULL);
    set_status(q, "setup");
    set_status(q, "active");
    if (q->migration_is_file)
        begin_background(q);
}

/* At the positions where something happens. Returns false when it died. */
static bool pass_positions(struct fake_qemu *q, size_t before)
{
    size_t len = stream_len(q);
    bool half = before < len / 2 && q->sent >= len / 2;

    if (before < len / 4 && q->sent >= len / 4 && !q->migration_is_file)
        event(q, "MIGRATION_PASS", json_pack("{s:i}", "pass", 2));
    if (before < len * 3 / 4 && q->sent >= len * 3 / 4 && !q->migration_is_file)
        stop_vm(q);
    if (half && q->args.pull_at_half)
        stopper_pull(q->args.pull_at_half, q->args.pull_code);
    if (half && q->args.trouble == FAKE_DIES)
        return false;
    if (half && q->args.trouble == FAKE_BREAKS)
        end_migration(q, "failed", "the fake broke");
    if (half && q->args.trouble == FAKE_GETS_CANCELLED)
        end_migration(q, "cancelled", "");
    if (q->sent == len && q->migration_is_file)
        end_migration(q, "completed", "");
    else if (q->sent == len && !fake_qemu_capability(q, "return-path"))
        end_migration(q, "completed", "");
    return true;
}

static bool send_some(struct fake_qemu *q)
{
    size_t len = stream_len(q);
    size_t before = q->sent;
    size_t n = MIN(CHUNK, len - before);
    ssize_t put;

    /* No chunk passes the half. */
    if (before < len / 2)
        n = MIN(n, len / 2 - before);
    put = q->migration_is_file
              ? write(q->migration_fd, q->args.stream->data + before, n)
              : send(q->migration_fd, q->args.stream->data + before, n,
                     MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put < 0 && errno == EAGAIN)
        return true;
    if (put < 0) {
        end_migration(q, "failed", "Broken pipe");
        return true;
    }
    q->sent += (size_t)put;
    return pass_positions(q, before);
}

/* Channels. */

static bool channel_wants(const struct fake_qemu *q, unsigned i)
{
    return q->channel_fds[i] >= 0 &&
           q->channel_sent[i] < q->args.multifd->channels[i].len;
}

static void send_channel(struct fake_qemu *q, unsigned i)
{
    const struct buf *b = &q->args.multifd->channels[i];
    bool cut = i == 0 && q->args.trouble == FAKE_CHANNEL_CUT;
    size_t end = cut ? b->len / 2 : b->len;
    ssize_t n = send(q->channel_fds[i], b->data + q->channel_sent[i],
                     MIN((size_t)CHUNK, end - q->channel_sent[i]),
                     MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n > 0)
        q->channel_sent[i] += (size_t)n;
    if ((n < 0 && errno != EAGAIN) || (cut && q->channel_sent[i] == end)) {
        close(q->channel_fds[i]);
        q->channel_fds[i] = -1;
    }
}

/* u16 type, u16 length, body: SHUT is 1. */
static void read_return_path(struct fake_qemu *q)
{
    struct error err;
    uint8_t bytes[256];
    ssize_t n = recv(q->migration_fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            end_migration(q, "failed", "Connection reset by peer");
        return;
    }
    if (buf_append(&q->return_path, bytes, (size_t)n, &err) < 0)
        abort();
    while (q->return_path.len >= 8) {
        const uint8_t *m = q->return_path.data;

        if (load_be16(m) == 1) {
            q->got_shut = true;
            end_migration(q, load_be32(m + 4) ? "failed" : "completed",
                          "Sibling indicated error 1");
        }
        buf_consume(&q->return_path, 8);
    }
}

/* Commands. */

static json_t *migration_state(struct fake_qemu *q)
{
    json_t *state = q->args.migration ? json_loads(q->args.migration, 0, NULL)
                                      : json_object();

    if (q->args.orphan_status && !q->args.orphan_asks) {
        q->args.orphan_status = NULL;
        SET(q->status, "failed");
    }
    if (q->args.orphan_status) {
        q->args.orphan_asks--;
        SET(q->status, q->args.orphan_status);
    }
    if (q->status[0])
        json_object_set_new(state, "status", json_string(q->status));
    if (q->reason[0])
        json_object_set_new(state, "error-desc", json_string(q->reason));
    if (q->args.blocked_reason)
        json_object_set_new(state, "blocked-reasons",
                            json_pack("[s]", q->args.blocked_reason));
    return state;
}

static json_t *capability_list(const struct fake_qemu *q)
{
    json_t *list = json_array();

    for (size_t i = 0; i < ARRAY_LEN(known_capabilities); i++) {
        if (!q->args.multifd && is(known_capabilities[i], "multifd"))
            continue;
        json_array_append_new(
            list,
            json_pack("{s:s, s:b}", "capability", known_capabilities[i],
                      "state", fake_qemu_capability(q, known_capabilities[i])));
    }
    return list;
}

static void set_capabilities(struct fake_qemu *q, const json_t *args)
{
    const json_t *c;
    size_t i;

    json_array_foreach(json_object_get(args, "capabilities"), i, c)
        json_object_set_new(q->capabilities, json_path_str(c, "capability", ""),
                            json_boolean(json_path_bool(c, "state", false)));
}

static const char *human(const struct fake_qemu *q, const json_t *args)
{
    if (is(json_path_str(args, "command-line", ""), "info ramblock"))
        return "              Block Name    PSize              Offset"
               "               Used              Total\r\n"
               "                  pc.ram    4 KiB  0x0000000000000000"
               " 0x0000000000028000 0x0000000000028000\r\n";
    return q->args.qtree ? q->args.qtree
                         : "bus: main-system-bus\r\n  dev: hpet, id \"\"\r\n";
}

/* Questions that are answered by a value alone; NULL: none of them. */
static json_t *value_of(struct fake_qemu *q, const char *name,
                        const json_t *args)
{
    if (is(name, "query-status"))
        return json_pack("{s:s, s:b}", "status", q->run_state, "running",
                         is(q->run_state, "running"));
    if (is(name, "query-migrate"))
        return migration_state(q);
    if (is(name, "query-migrate-capabilities"))
        return capability_list(q);
    if (is(name, "query-migrate-parameters"))
        return json_incref(q->parameters);
    if (is(name, "query-yank")) {
        if (!q->ended || q->args.untidy_asks == 0)
            return json_array();
        q->args.untidy_asks--;
        return json_pack("[{s:s, s:s}, {s:s}]", "type", "chardev", "id", "c",
                         "type", "migration");
    }
    if (is(name, "query-version"))
        return json_pack("{s:s}", "package", "fake");
    if (is(name, "query-dirty-rate"))
        return json_pack("{s:s, s:i}", "status", "measured", "dirty-rate",
                         q->args.dirty_mib_per_s);
    if (is(name, "query-block-jobs"))
        return q->args.block_job ? json_pack("[{s:s, s:s}]", "type", "mirror",
                                             "device", q->args.block_job)
                                 : json_array();
    if (is(name, "query-memdev"))
        return q->args.two_backends
                   ? json_pack("[{s:s, s:b}, {s:s, s:b}]", "id", "private",
                               "share", 0, "id", "ram0", "share", 1)
                   : json_pack("[{s:s, s:b}]", "id", "ram0", "share", 1);
    if (is(name, "query-kvm"))
        return json_pack("{s:b}", "enabled", q->args.kvm);
    if (is(name, "query-name"))
        return q->args.name ? json_pack("{s:s}", "name", q->args.name)
                            : json_object();
    if (is(name, "query-uuid"))
        return json_pack("{s:s}", "UUID",
                         q->args.uuid ? q->args.uuid
                                      : "00000000-0000-0000-0000-000000000000");
    if (is(name, "qom-get"))
        return json_string("pc-i440fx-10.0-machine");
    if (is(name, "human-monitor-command"))
        return json_string(human(q, args));
    if (is(name, "query-named-block-nodes") && q->args.block_nodes)
        return json_loads(q->args.block_nodes, 0, NULL);
    if (is(name, "query-block") || is(name, "query-named-block-nodes") ||
        is(name, "query-pci"))
        return json_array();
    return NULL;
}

static json_t *act(struct fake_qemu *q, const char *name, const json_t *args)
{
    if (strncmp(name, "migrate-set-", 12) == 0 && q->ended &&
        q->args.untidy_asks > 0)
        q->hurt = true;
    if (is(name, "migrate-set-capabilities")) {
        set_capabilities(q, args);
    } else if (is(name, "migrate-set-parameters")) {
        json_object_update(q->parameters, (json_t *)args);
    } else if (is(name, "migrate_cancel")) {
        q->n_cancel++;
        if (q->status[0] && !q->ended)
            end_migration(q, "cancelled", "");
    } else if (is(name, "cont")) {
        q->n_cont++;
        SET(q->run_state, "running");
        event(q, "RESUME", NULL);
    } else if (is(name, "add-fd")) {
        return json_pack("{s:i, s:i}", "fdset-id", 1, "fd", 9);
    } else if (!is(name, "calc-dirty-rate") && !is(name, "getfd") &&
               !is(name, "remove-fd") && !is(name, "qmp_capabilities")) {
        return NULL;
    }
    return json_object();
}

static void must_log(struct fake_qemu *q, const char *name)
{
    struct error err;

    if (buf_printf(&q->log, &err, "%s\n", name) < 0)
        abort();
}

static void execute(struct fake_qemu *q, const json_t *command)
{
    const char *name = json_path_str(command, "execute", "");
    const json_t *id = json_object_get(command, "id");
    const json_t *args = json_object_get(command, "arguments");
    json_t *value;

    must_log(q, name);
    if ((q->args.refused_command && is(name, q->args.refused_command)) ||
        (q->args.refused_method &&
         is(json_path_str(args, "multifd-compression", ""),
            q->args.refused_method))) {
        refuse(q, id, "GenericError",
               q->args.refusal ? q->args.refusal : "the fake refuses");
        return;
    }
    if (is(name, "migrate")) {
        begin_migration(q, id, json_path_str(args, "uri", ""));
        return;
    }
    value = value_of(q, name, args);
    if (!value)
        value = act(q, name, args);
    if (value)
        answer(q, id, value);
    else
        refuse(q, id, "CommandNotFound", "no such command");
}

/* Takes in what came, and a descriptor with it. False at the end. */
static bool read_qmp(struct fake_qemu *q)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    uint8_t bytes[4096];
    struct iovec iov = {.iov_base = bytes, .iov_len = sizeof(bytes)};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.space,
        .msg_controllen = sizeof(control.space),
    };
    struct cmsghdr *c;
    struct error err;
    ssize_t n = recvmsg(q->qmp_fd, &msg, MSG_CMSG_CLOEXEC);

    if (n <= 0)
        return false;
    c = CMSG_FIRSTHDR(&msg);
    if (c && c->cmsg_type == SCM_RIGHTS)
        memcpy(&q->kept_fd, CMSG_DATA(c), sizeof(int));
    return buf_append(&q->in, bytes, (size_t)n, &err) == 0;
}

static void run_commands(struct fake_qemu *q)
{
    uint8_t *end;

    while (q->in.len > 0 && (end = memchr(q->in.data, '\n', q->in.len))) {
        size_t n = (size_t)(end - q->in.data) + 1;
        json_t *command = json_loadb((const char *)q->in.data, n, 0, NULL);

        if (!command)
            abort();
        execute(q, command);
        json_decref(command);
        buf_consume(&q->in, n);
    }
}

static void greet(struct fake_qemu *q)
{
    speak(q,
          json_pack("{s:{s:{s:{s:i, s:i, s:i}, s:s}, s:[]}}", "QMP", "version",
                    "qemu", "micro", 0, "minor", q->args.minor, "major",
                    q->args.major, "package", "fake", "capabilities"));
}

/* Ends when the monitor's client is gone and no migration is left, or when it
 * died. */
static void serve(struct fake_qemu *q)
{
    bool alive = true;

    greet(q);
    while (alive) {
        struct pollfd fds[2 + MULTIFD_CHANNELS_MAX] = {
            {.fd = q->qmp_fd, .events = POLLIN},
            {.fd = q->migration_is_file ? -1 : q->migration_fd,
             .events = (short)(POLLIN | (wants_to_send(q) ? POLLOUT : 0))},
        };
        nfds_t n = 2 + q->n_channels;
        bool writes_file = q->migration_is_file && wants_to_send(q);

        for (unsigned i = 0; i < q->n_channels; i++)
            fds[2 + i] =
                (struct pollfd){.fd = channel_wants(q, i) ? q->channel_fds[i]
                                                          : -1,
                                .events = POLLOUT};
        if (poll(fds, n, writes_file ? 0 : -1) < 0)
            continue;
        if (fds[0].revents) {
            alive = read_qmp(q);
            run_commands(q);
        }
        if (q->migration_fd >= 0 && (fds[1].revents & (POLLIN | POLLHUP)))
            read_return_path(q);
        if (alive && wants_to_send(q) &&
            (writes_file || (fds[1].revents & POLLOUT)))
            alive = send_some(q);
        for (unsigned i = 0; i < q->n_channels; i++) {
            if (fds[2 + i].revents && channel_wants(q, i))
                send_channel(q, i);
        }
    }
}

static void *run(void *arg)
{
    struct fake_qemu *q = arg;

    q->qmp_fd = accept4(q->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (q->qmp_fd >= 0) {
        serve(q);
        close(q->qmp_fd);
    }
    if (q->migration_fd >= 0)
        close(q->migration_fd);
    close_channels(q);
    if (q->kept_fd >= 0)
        close(q->kept_fd);
    return NULL;
}

static void prepare(struct fake_qemu *q)
{
    q->qmp_fd = -1;
    q->migration_fd = -1;
    q->kept_fd = -1;
    q->event_ns = clock_realtime_ns();
    SET(q->run_state, q->args.run_state ? q->args.run_state : "running");
    q->capabilities =
        json_pack("{s:b, s:b}", "xbzrle", 1, "background-snapshot",
                  q->args.orphan_background);
    q->parameters = json_pack("{s:i, s:i, s:s}", "max-bandwidth", 134217728,
                              "downtime-limit", 300, "tls-creds",
                              q->args.tls_creds ? q->args.tls_creds : "");
    if (!q->args.multifd)
        return;
    json_object_set_new(q->parameters, "multifd-channels", json_integer(3));
    json_object_set_new(q->parameters, "multifd-compression",
                        json_string("zlib"));
    json_object_set_new(q->parameters, "multifd-zlib-level", json_integer(7));
    json_object_set_new(q->parameters, "multifd-zstd-level", json_integer(9));
}

void fake_qemu_start(struct fake_qemu *q, const struct fake_qemu_args *args)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    *q = (struct fake_qemu){.args = *args};
    if (args->multifd)
        q->args.stream = &args->multifd->main;
    prepare(q);
    snprintf(q->folder, sizeof(q->folder), "/tmp/firn-test-XXXXXX");
    if (!mkdtemp(q->folder))
        abort();
    snprintf(q->path, sizeof(q->path), "%s/qmp", q->folder);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", q->path);
    q->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(q->listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(q->listen_fd, 1) < 0 ||
        pthread_create(&q->thread, NULL, run, q) != 0)
        abort();
}

void fake_qemu_stop(struct fake_qemu *q)
{
    /* Wakes a server that still waits for its client. */
    shutdown(q->listen_fd, SHUT_RDWR);
    pthread_join(q->thread, NULL);
    close(q->listen_fd);
    unlink(q->path);
    rmdir(q->folder);
}

void fake_qemu_release(struct fake_qemu *q)
{
    json_decref(q->capabilities);
    json_decref(q->parameters);
    buf_release(&q->in);
    buf_release(&q->return_path);
    buf_release(&q->log);
}

bool fake_qemu_capability(const struct fake_qemu *q, const char *name)
{
    return json_is_true(json_object_get(q->capabilities, name));
}

bool fake_qemu_was_asked(struct fake_qemu *q, const char *command)
{
    char line[128];

    snprintf(line, sizeof(line), "\n%s\n", command);
    return strstr(buf_str(&q->log), line) != NULL;
}
