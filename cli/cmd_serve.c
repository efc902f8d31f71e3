/*
 * cmd_serve.c - SIGUSR1 asks for the figures of all clients. The handler has
 * no parameter: `report_fd` is set before it is installed.
 */
#include <inttypes.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "restore/uffd/serve_job.h"

struct serve_options {
    const char *socket;
    bool once;
    uint64_t clients;
    bool prefetch;
    bool fill;
    int on_error;
    uint64_t fill_threads;
    uint64_t cache_bytes;
};

static const char *const on_error_names[] = {"hang", "kill", NULL};
static_assert(SERVE_ON_ERROR_HANG == 0 && SERVE_ON_ERROR_KILL == 1,
              "the names follow the enum");

#define AT(field) offsetof(struct serve_options, field)
static const struct option_spec options[] = {
    {"socket", 0, OPTION_STRING, AT(socket), "PATH",
     "where to listen; must not exist yet"},
    {"once", 0, OPTION_FLAG, AT(once), NULL, "end when the first client left"},
    {"clients", 0, OPTION_UINT, AT(clients), "N",
     "serve at most so many at one time (16); others wait"},
    {"prefetch", 0, OPTION_ON_OFF, AT(prefetch), "on|off",
     "place what earlier clients asked for before it is asked for (on)"},
    {"fill", 0, OPTION_ON_OFF, AT(fill), "on|off",
     "place all other pages as well, in the background (on)"},
    {"on-error", 0, OPTION_CHOICE, AT(on_error), "DO",
     "a page cannot be had: its client shall hang (as it is), or kill",
     on_error_names},
    {"fill-threads", 0, OPTION_UINT, AT(fill_threads), "N",
     "threads of each client that prefetch and fill; as many as cores, up to "
     "4"},
    {"cache", 0, OPTION_SIZE, AT(cache_bytes), "SIZE",
     "keep so much decompressed, for all clients (256M)"},
    {0},
};
#undef AT

static int report_fd = -1;

static void on_usr1(int number)
{
    static const uint64_t one = 1;
    int saved = errno;

    if (write(report_fd, &one, sizeof(one)) < 0) {
        /* EAGAIN: it is asked for already. */
    }
    errno = saved;
}

static int watch_usr1(struct error *err)
{
    struct sigaction act = {.sa_handler = on_usr1, .sa_flags = SA_RESTART};

    report_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (report_fd < 0 || sigaction(SIGUSR1, &act, NULL) < 0)
        return fail_errno(err, ERR_IO, "cannot watch SIGUSR1");
    return 0;
}

static json_t *client_json(const struct serve_client *c)
{
    return json_pack(
        "{s:s, s:i, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I,"
        " s:I, s:I, s:I, s:I, s:s}",
        "type", "client", "pid", (int)c->pid, "running", c->running, "resident",
        c->resident, "elapsed_ms", (json_int_t)c->elapsed_ms, "resident_us",
        (json_int_t)c->resident_us, "faults", (json_int_t)c->faults,
        "fault_p50_us", (json_int_t)c->fault_p50_us, "fault_p99_us",
        (json_int_t)c->fault_p99_us, "prefetched_pages",
        (json_int_t)c->prefetched_pages, "prefetch_sampled",
        (json_int_t)c->prefetch_sampled, "prefetch_unasked",
        (json_int_t)c->prefetch_unasked, "filled_pages",
        (json_int_t)c->filled_pages, "near_pages", (json_int_t)c->near_pages,
        "removed_pages", (json_int_t)c->removed_pages, "damaged_pages",
        (json_int_t)c->damaged_pages, "read_bytes", (json_int_t)c->read_bytes,
        "worker_cpu_us", (json_int_t)c->worker_cpu_us, "error",
        c->error.code ? error_code_name(c->error.code) : "");
}

static void print_client(void *arg, const struct serve_client *c)
{
    const struct cli *cli = arg;
    char took[32], read[32];
    struct error ignored;

    if (cli->json) {
        if (output_json(client_json(c), &ignored) < 0)
            output_message("firn: %s\n", ignored.message);
        return;
    }
    if (cli->quiet)
        return;
    output_text("client %d: %s, %s, %" PRIu64 " faults (p50 %" PRIu64
                " us, p99 %" PRIu64 " us), %" PRIu64 " pages prefetched, "
                "%" PRIu64 " filled, %" PRIu64 " removed, %s read\n",
                (int)c->pid, c->running ? "is served" : "has left",
                output_duration(c->elapsed_ms, took), c->faults,
                c->fault_p50_us, c->fault_p99_us, c->prefetched_pages,
                c->filled_pages, c->removed_pages,
                output_size(c->read_bytes, read));
    if (output_flush(&ignored) < 0)
        output_message("firn: %s\n", ignored.message);
}

static void print_note(void *arg, const char *text)
{
    const struct cli *cli = arg;

    if (!cli->quiet)
        output_message("firn: %s\n", text);
}

static void print_listening(void *arg)
{
    const struct cli *cli = arg;
    struct error ignored;

    if (cli->json &&
        output_json(json_pack("{s:s}", "type", "listening"), &ignored) < 0)
        output_message("firn: %s\n", ignored.message);
}

static int serve(struct cli *cli, const struct serve_options *o,
                 const char *snapshot, struct error *err)
{
    cleanup(repository) struct repository *repository = NULL;
    char id[SNAPSHOT_ID_LEN + 1];
    int rc = cli_open_repository(cli, &repository, err);

    if (rc == 0)
        rc = repository_resolve(repository, snapshot, id, err);
    if (rc == 0)
        rc = watch_usr1(err);
    if (rc < 0)
        return rc;
    return serve_job_run(
        &(struct serve_args){.repository = repository,
                             .id = id,
                             .socket_path = o->socket,
                             .once = o->once,
                             .clients = (unsigned)o->clients,
                             .prefetch = o->prefetch,
                             .fill = o->fill,
                             .on_error = (enum serve_on_error)o->on_error,
                             .workers = (unsigned)o->fill_threads,
                             .cache_bytes = o->cache_bytes,
                             .stop = cli->stop,
                             .report_fd = report_fd,
                             .listening = print_listening,
                             .client = print_client,
                             .note = print_note,
                             .arg = cli},
        err);
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct serve_options o = {.prefetch = true, .fill = true};
    struct option_words words;
    int rc = options_parse(options, argc, argv, &o, &words, err);

    if (rc < 0)
        return rc;
    if (words.n_rest != 1)
        return fail(err, ERR_USAGE, "name one snapshot");
    if (!o.socket || !o.socket[0])
        return fail(err, ERR_USAGE, "--socket PATH is missing");
    if (o.clients > SERVE_CLIENTS_MAX)
        return fail(err, ERR_USAGE, "--clients must be at most %u",
                    SERVE_CLIENTS_MAX);
    if (o.fill_threads > SERVE_WORKERS_MAX)
        return fail(err, ERR_USAGE, "--fill-threads must be at most %u",
                    SERVE_WORKERS_MAX);
    return serve(cli, &o, words.rest[0], err);
}

const struct command cmd_serve = {
    .name = "serve",
    .summary = "give out a snapshot's pages to VMMs that ask for them",
    .usage = "serve SNAP --socket PATH [--once] [--clients N] "
             "[--prefetch on|off] [--fill on|off] [--on-error hang|kill]",
    .options = options,
    .details =
        "Listens for a VMM that hands over its memory with a userfaultfd "
        "(Firecracker's protocol: 'mem_backend' of type 'Uffd'). The VM runs "
        "at once; its pages come when they are touched, and all others in the "
        "background.\n"
        "SIGTERM gives every client what it lacks, then ends. SIGUSR1 prints "
        "the figures of those that are served.",
    .run = run,
};
