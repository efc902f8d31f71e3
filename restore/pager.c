/*
 * The pager process: `firn pager LINK SOCKET URGENT SNAPSHOT`, exec'd by the
 * keeper.
 *
 * It owns nothing that another could not make again: a socket to QEMU, a
 * reader of the snapshot, a count. So it may die at any time; what QEMU has by
 * then it tells the next one. LINK is a descriptor on which the keeper writes
 * one line, the assignment, and reads our reports; SOCKET the connection to
 * QEMU, URGENT the second one, or "-"; SNAPSHOT is there for those who look at
 * the process list.
 *
 *   keeper → pager  {"type":"feed","repository","snapshot","eager","resume",
 *                    "zeroed_block","prefetch","fill","max_bandwidth",
 *                    "settle_ms","head_start_ms","head_start_look_ms",
 *                    "preempt","blocktime","host_pages":{block: bytes}}
 *                   {"type":"qemu","figures"}  behind "resident", with
 *                                              "blocktime"
 *   pager → keeper  {"type":"fed"}        all but pages (eager: all) is written
 *                   {"type":"loaded","read_bytes","image_bytes"}
 *                   {"type":"ahead"}      with a head start: the VM may go
 *                   {"type":"damage","asked_for","error":{...}}   the first
 *                   {"type":"exhausted","lost_pages"}
 *                   {"type":"resumed"}    what QEMU has is known
 *                   {"type":"alive"}      twice a second; who is silent for
 *                                         long while QEMU reads, hangs
 *                   {"type":"resident", figures: see make_report()}
 *                   {"type":"error",...}  and it ends
 *
 * A keeper that is gone is no reason to stop: the VM needs its pages.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "core/base/clock.h"
#include "restore/link.h"
#include "restore/pages/fault_report.h"
#include "restore/pages/postcopy_server.h"
#include "restore/pages/precopy_sender.h"
#include "restore/prefetch/prefetch_plan.h"
#include "restore/restore_job.h"
#include "storage/snapshot_frames.h"

#define LOG_AREA "pager"
#include "core/base/log.h"

/* Frames that were decompressed for one page and may be asked for again. */
#define CACHE_BYTES (16u << 20)
/* Of a group of hints one is kept back, which is a fault. */
#define GROUP_PAGES 64u
/* Runs that asked for fewer pages are no hint. */
#define RUN_MIN_PAGES 8u

#define ASSIGNMENT_LIMIT_NS (10 * NS_PER_SEC)
#define FIGURES_LIMIT_NS    (15 * NS_PER_SEC)
#define ALIVE_PAUSE_NS      (500 * NS_PER_MS)

struct pager {
    struct link link;
    int socket; /* closed by the process's end, as is the next */
    int urgent; /* 0: none */
    json_t *feed;
    struct repository *repository;
    struct snapshot_frames *frames;
    const struct snapshot_reader *facts; /* of the frames */
    struct snapshot_pages pages;
    struct page_source source;
    struct ramblock_list blocks; /* host pages are the destination's */
    struct prefetch_plan *plan;  /* lazy */
    bool damage_told;
    uint64_t alive_told_ns;
};

static void tell(struct pager *p, json_t *message)
{
    struct error ignored = ERROR_INIT;

    /* Without memory for a line nothing better can be done than go on. */
    if (link_send(&p->link, message, &ignored) < 0)
        return;
}

static json_t *with_bytes(struct pager *p, const char *type)
{
    return json_pack("{s:s, s:I, s:I}", "type", type, "read_bytes",
                     (json_int_t)p->source.read_bytes(p->source.arg),
                     "image_bytes",
                     (json_int_t)p->source.image_bytes(p->source.arg));
}

static void on_fed(void *arg)
{
    tell(arg, with_bytes(arg, "fed"));
}

static void on_loaded(void *arg)
{
    tell(arg, with_bytes(arg, "loaded"));
}

static void on_ahead(void *arg)
{
    tell(arg, json_pack("{s:s}", "type", "ahead"));
}

static void on_damage(void *arg, const struct error *why, bool asked_for)
{
    struct pager *p = arg;

    /* Again only when it became worse: somebody waits for such a page. */
    if (p->damage_told && !asked_for)
        return;
    p->damage_told = true;
    tell(p, json_pack("{s:s, s:b, s:o}", "type", "damage", "asked_for",
                      (int)asked_for, "error", link_error_message(why)));
}

static void on_exhausted(void *arg, uint64_t lost_units)
{
    tell(arg, json_pack("{s:s, s:I}", "type", "exhausted", "lost_pages",
                        (json_int_t)lost_units));
}

static void on_resumed(void *arg)
{
    tell(arg, json_pack("{s:s}", "type", "resumed"));
}

static void on_turn(void *arg)
{
    struct pager *p = arg;
    uint64_t now = clock_monotonic_ns();

    if (now - p->alive_told_ns < ALIVE_PAUSE_NS)
        return;
    p->alive_told_ns = now;
    tell(p, json_pack("{s:s}", "type", "alive"));
}

static void set_number(json_t *o, const char *name, uint64_t value)
{
    json_object_set_new(o, name, json_integer((json_int_t)value));
}

static void log_cost(struct pager *p)
{
    uint64_t frames = snapshot_frames_read_bytes(p->frames);
    uint64_t all = snapshot_frames_total_read(p->frames);
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    log_debug("read %llu bytes of frames and %llu of index and tables; %ld ms "
              "user, %ld ms system, of which this thread %llu ms; at most %ld "
              "KiB of memory",
              (unsigned long long)frames, (unsigned long long)(all - frames),
              used.ru_utime.tv_sec * 1000 + used.ru_utime.tv_usec / 1000,
              used.ru_stime.tv_sec * 1000 + used.ru_stime.tv_usec / 1000,
              (unsigned long long)(clock_thread_cpu_ns() / NS_PER_MS),
              used.ru_maxrss);
}

static json_t *make_report(struct pager *p, const struct postcopy_result *r)
{
    json_t *report = with_bytes(p, "resident");
    struct prefetch_stats hints = {0};

    if (p->plan)
        prefetch_plan_stats(p->plan, &hints);
    set_number(report, "faults", r->faults);
    set_number(report, "fault_p50_us", r->fault_p50_us);
    set_number(report, "fault_p99_us", r->fault_p99_us);
    set_number(report, "fault_max_us", r->fault_max_us);
    set_number(report, "prefetched_pages", r->prefetched_pages);
    set_number(report, "prefetch_sampled", hints.sampled);
    set_number(report, "prefetch_unasked", hints.unasked);
    set_number(report, "prefetch_late", hints.late);
    set_number(report, "prefetch_unhinted", hints.unhinted);
    set_number(report, "near_pages", r->near_pages);
    set_number(report, "filled_pages", r->filled_pages);
    json_object_set_new(report, "blocks", fault_report(&p->blocks, r->blocks));
    log_cost(p);
    return report;
}

static int feed_eagerly(struct pager *p, struct postcopy_result *ret,
                        struct error *err)
{
    struct precopy_args args = {
        .fd = p->socket,
        .source = &p->source,
        .blocks = &p->blocks,
        .config = snapshot_reader_config(p->facts),
        .devices = snapshot_reader_devices(p->facts),
        .ram_section_id = snapshot_reader_ram_section_id(p->facts),
        .zeroed_block = json_path_str(p->feed, "zeroed_block", NULL),
        .frames = p->frames,
        .max_bandwidth = (uint64_t)json_path_int(p->feed, "max_bandwidth", 0),
    };
    uint64_t pages = 0;
    int rc = precopy_send(&args, &pages, err);

    ret->filled_pages = pages;
    return rc;
}

/* The plan is made without hints too: it keeps what is asked for. */
static int make_plan(struct pager *p, struct error *err)
{
    cleanup(hints) struct hints hints = {0};
    cleanup_free struct prefetch_block *blocks =
        calloc(MAX(p->blocks.n, 1u), sizeof(*blocks));
    struct prefetch_args args = {
        .hints = &hints,
        .blocks = blocks,
        .n_blocks = p->blocks.n,
        .group_pages = GROUP_PAGES,
    };
    struct error why = ERROR_INIT;

    if (!blocks)
        return fail_nomem(err);
    for (uint32_t i = 0; i < p->blocks.n; i++) {
        const struct ramblock *b = &p->blocks.blocks[i];

        blocks[i].pages = ramblock_pages(b);
        blocks[i].unit_pages = (uint32_t)(b->host_page_bytes / PAGE_BYTES);
    }
    if (json_path_bool(p->feed, "prefetch", true) &&
        hints_load(p->repository, json_path_str(p->feed, "snapshot", ""),
                   &hints, &why) < 0)
        log_warn("no hints are used: %s", why.message);
    return prefetch_plan_new(&args, &p->plan, err);
}

/* What QEMU itself has counted, when it was asked to: the keeper hears it only
 * when all is over. */
static void hear_qemu(struct pager *p, json_t *report)
{
    cleanup_json json_t *m = NULL;
    struct error ignored = ERROR_INIT;
    struct stopper never;

    if (!json_path_bool(p->feed, "blocktime", false) ||
        stopper_init(&never, &ignored) < 0)
        return;
    if (link_wait(&p->link, &never, clock_monotonic_ns() + FIGURES_LIMIT_NS, &m,
                  &ignored) < 0)
        log_debug("%s", ignored.message);
    stopper_release(&never);
    if (m && link_is(m, "qemu"))
        json_object_set(report, "qemu", json_object_get(m, "figures"));
}

/* The report without its type, and when it was. */
static char *figures_of(const json_t *report)
{
    cleanup_json json_t *figures = json_copy((json_t *)report);
    char now[32];

    clock_format_utc(clock_realtime_ns(), now);
    json_object_del(figures, "type");
    json_object_set_new(figures, "time", json_string(now));
    return json_dumps(figures, JSON_COMPACT);
}

/* What a pager saw that took over is only the end of a run. */
static void store_hints(struct pager *p, const json_t *report)
{
    cleanup_free char *figures = NULL;
    struct error why = ERROR_INIT;

    if (json_path_bool(p->feed, "resume", false))
        return;
    figures = figures_of(report);
    if (prefetch_plan_store(p->plan, p->repository,
                            json_path_str(p->feed, "snapshot", ""),
                            RUN_MIN_PAGES, figures, &why) < 0)
        log_warn("hints were not kept: %s", why.message);
}

static uint64_t data_pages(const struct pager *p)
{
    const struct snapshot_summary *s = snapshot_reader_summary(p->facts);

    return s->pages_total - MIN(s->pages_total, s->pages_zero);
}

static int serve_lazily(struct pager *p, struct postcopy_result *ret,
                        struct error *err)
{
    struct postcopy_watch watch = {
        .arg = p,
        .fed = on_fed,
        .loaded = on_loaded,
        .ahead = on_ahead,
        .damage = on_damage,
        .exhausted = on_exhausted,
        .resumed = on_resumed,
        .turn = on_turn,
    };
    struct postcopy_args args = {
        .fd = p->socket,
        .urgent_fd = p->urgent,
        .source = &p->source,
        .blocks = &p->blocks,
        .config = snapshot_reader_config(p->facts),
        .devices = snapshot_reader_devices(p->facts),
        .ram_section_id = snapshot_reader_ram_section_id(p->facts),
        .resume = json_path_bool(p->feed, "resume", false),
        .watch = &watch,
        .frames = p->frames,
        .plan = p->plan,
        .prefetch = json_path_bool(p->feed, "prefetch", true),
        .no_fill = !json_path_bool(p->feed, "fill", true),
        .max_bandwidth = (uint64_t)json_path_int(p->feed, "max_bandwidth", 0),
        .settle_ns =
            (uint64_t)json_path_int(p->feed, "settle_ms", 0) * NS_PER_MS,
        .head_start_ns =
            (uint64_t)json_path_int(p->feed, "head_start_ms", 0) * NS_PER_MS,
        .head_start_look_ns =
            (uint64_t)json_path_int(p->feed, "head_start_look_ms", 0) *
            NS_PER_MS,
        .data_pages = data_pages(p),
    };

    return postcopy_serve(&args, ret, err);
}

static int feed_lazily(struct pager *p, struct postcopy_result *ret,
                       struct error *err)
{
    int rc = make_plan(p, err);

    if (rc < 0)
        return rc;
    return serve_lazily(p, ret, err);
}

static int copy_blocks(struct pager *p, struct error *err)
{
    const struct ramblock_list *list = snapshot_reader_blocks(p->facts);
    const json_t *host_pages = json_path(p->feed, "host_pages");

    for (uint32_t i = 0; i < list->n; i++) {
        struct ramblock block = list->blocks[i];
        const json_t *bytes = json_object_get(host_pages, block.idstr);
        int rc;

        block.host_page_bytes = json_is_integer(bytes)
                                    ? (uint64_t)json_integer_value(bytes)
                                    : PAGE_BYTES;
        rc = ramblock_list_add(&p->blocks, &block, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int serve_assignment(struct pager *p, struct error *err)
{
    cleanup_free struct fault_stats *faults = NULL;
    cleanup_json json_t *report = NULL;
    bool eager = json_path_bool(p->feed, "eager", false);
    struct postcopy_result result = {0};
    int rc = snapshot_pages_init(&p->pages, p->frames, &p->source, err);

    if (rc == 0)
        rc = copy_blocks(p, err);
    if (rc < 0)
        return rc;
    faults = calloc(p->blocks.n + 1u, sizeof(*faults));
    if (!faults)
        return fail_nomem(err);
    result.blocks = faults;
    rc = eager ? feed_eagerly(p, &result, err) : feed_lazily(p, &result, err);
    report = make_report(p, &result);
    if (rc == 0) {
        tell(p, json_incref(report));
        hear_qemu(p, report);
    }
    /* Without a fill a run ends when the VM does. */
    if (p->plan && (rc == 0 || !json_path_bool(p->feed, "fill", true)))
        store_hints(p, report);
    return rc;
}

static int run_assignment(struct pager *p, struct error *err)
{
    cleanup(repository) struct repository *repository = NULL;
    cleanup(snapshot_frames) struct snapshot_frames *frames = NULL;
    int rc = repository_open(json_path_str(p->feed, "repository", ""),
                             &repository, err);

    if (rc == 0)
        rc = snapshot_frames_open(repository,
                                  json_path_str(p->feed, "snapshot", ""),
                                  CACHE_BYTES, &frames, err);
    if (rc < 0)
        return rc;
    p->repository = repository;
    p->frames = frames;
    p->facts = snapshot_frames_facts(frames);
    rc = serve_assignment(p, err);
    snapshot_pages_release(&p->pages);
    prefetch_plan_free(p->plan);
    return rc;
}

static int take_assignment(struct pager *p, struct error *err)
{
    struct stopper stop;
    int rc = stopper_init(&stop, err);

    if (rc < 0)
        return rc;
    rc = link_wait(&p->link, &stop, clock_monotonic_ns() + ASSIGNMENT_LIMIT_NS,
                   &p->feed, err);
    stopper_release(&stop);
    if (rc == 0 && (!p->feed || !link_is(p->feed, "feed")))
        return fail(err, ERR_PROTOCOL, "the pager got no assignment");
    return rc;
}

static int number_of(const char *text, struct error *err)
{
    char *end;
    long n = strtol(text, &end, 10);

    if (*end != '\0' || n < 0 || n > INT16_MAX || fcntl((int)n, F_GETFD) < 0)
        return fail(err, ERR_USAGE, "'%s' is no open descriptor", text);
    return (int)n;
}

int restore_pager_main(int argc, char **argv, struct error *err)
{
    struct pager p = {.link = LINK_INIT, .socket = -1};
    struct error report = ERROR_INIT;
    int rc;

    /* A pager is ended by its end of file, or killed: the next one goes on. */
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGTERM, SIG_DFL);
    prctl(PR_SET_NAME, "firn-pager");
    if (argc < 4) {
        fail(err, ERR_USAGE,
             "the pager is started by firn restore, not by "
             "people");
        return err->code;
    }
    rc = number_of(argv[1], err);
    if (rc >= 0) {
        p.link.fd = rc;
        rc = number_of(argv[2], err);
    }
    if (rc >= 0) {
        p.socket = rc;
        rc = strcmp(argv[3], "-") == 0 ? 0 : number_of(argv[3], err);
    }
    if (rc >= 0) {
        p.urgent = rc;
        rc = take_assignment(&p, err);
    }
    if (rc >= 0)
        rc = run_assignment(&p, err);
    if (rc < 0 && p.link.fd >= 0) {
        error_copy(&report, err);
        tell(&p, link_error_message(&report));
    }
    json_decref(p.feed);
    ramblock_list_release(&p.blocks);
    link_release(&p.link);
    return rc < 0 ? rc : 0;
}
