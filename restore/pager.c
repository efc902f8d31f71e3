/*
 * The pager process: `firn pager LINK SOCKET SNAPSHOT`, exec'd by the keeper.
 *
 * It owns nothing that another could not make again: a socket to QEMU, a
 * reader of the snapshot, a count. So it may die at any time; what QEMU has by
 * then it tells the next one. LINK is a descriptor on which the keeper writes
 * one line, the assignment, and reads our reports; SOCKET the connection to
 * QEMU; SNAPSHOT is there for those who look at the process list.
 *
 *   keeper → pager  {"type":"feed","repository","snapshot","eager","resume",
 *                    "zeroed_block", "host_pages":{block: bytes}}
 *   pager → keeper  {"type":"fed"}        all but pages (eager: all) is written
 *                   {"type":"loaded","read_bytes","image_bytes"}
 *                   {"type":"damage","asked_for","error":{...}}   the first
 *                   {"type":"exhausted","lost_pages"}
 *                   {"type":"resumed"}    what QEMU has is known
 *                   {"type":"alive"}      twice a second; who is silent for
 *                                         long while QEMU reads, hangs
 *                   {"type":"resident","faults","fault_p50_us",
 *                    "fault_p99_us","prefetched_pages","read_bytes",
 *                    "image_bytes"}
 *                   {"type":"error",...}  and it ends
 *
 * A keeper that is gone is no reason to stop: the VM needs its pages.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>

#include "core/base/clock.h"
#include "restore/link.h"
#include "restore/postcopy_server.h"
#include "restore/precopy_sender.h"
#include "restore/restore_job.h"
#include "storage/snapshot_reader.h"

#define ASSIGNMENT_LIMIT_NS (10 * NS_PER_SEC)
#define ALIVE_PAUSE_NS      (500 * NS_PER_MS)

struct pager {
    struct link link;
    int socket; /* closed by the process's end */
    json_t *feed;
    struct snapshot_reader *reader;
    struct page_source source;
    struct ramblock_list blocks; /* host pages are the destination's */
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

static void tell_resident(struct pager *p, const struct postcopy_result *r)
{
    json_t *message = with_bytes(p, "resident");

    json_object_set_new(message, "faults", json_integer((json_int_t)r->faults));
    json_object_set_new(message, "fault_p50_us",
                        json_integer((json_int_t)r->fault_p50_us));
    json_object_set_new(message, "fault_p99_us",
                        json_integer((json_int_t)r->fault_p99_us));
    json_object_set_new(message, "prefetched_pages",
                        json_integer((json_int_t)r->prefetched_pages));
    tell(p, message);
}

static int feed_eagerly(struct pager *p, struct postcopy_result *ret,
                        struct error *err)
{
    struct precopy_args args = {
        .fd = p->socket,
        .source = &p->source,
        .blocks = &p->blocks,
        .config = snapshot_reader_config(p->reader),
        .devices = snapshot_reader_devices(p->reader),
        .ram_section_id = snapshot_reader_ram_section_id(p->reader),
        .zeroed_block = json_path_str(p->feed, "zeroed_block", NULL),
    };
    uint64_t pages = 0;
    int rc = precopy_send(&args, &pages, err);

    *ret = (struct postcopy_result){.prefetched_pages = pages};
    return rc;
}

static int feed_lazily(struct pager *p, struct postcopy_result *ret,
                       struct error *err)
{
    struct postcopy_watch watch = {
        .arg = p,
        .fed = on_fed,
        .loaded = on_loaded,
        .damage = on_damage,
        .exhausted = on_exhausted,
        .resumed = on_resumed,
        .turn = on_turn,
    };
    struct postcopy_args args = {
        .fd = p->socket,
        .source = &p->source,
        .blocks = &p->blocks,
        .config = snapshot_reader_config(p->reader),
        .devices = snapshot_reader_devices(p->reader),
        .ram_section_id = snapshot_reader_ram_section_id(p->reader),
        .resume = json_path_bool(p->feed, "resume", false),
        .watch = &watch,
    };

    return postcopy_serve(&args, ret, err);
}

static int copy_blocks(struct pager *p, struct error *err)
{
    const struct ramblock_list *list = snapshot_reader_blocks(p->reader);
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

static int run_assignment(struct pager *p, struct error *err)
{
    cleanup(repository) struct repository *repository = NULL;
    cleanup(snapshot_reader) struct snapshot_reader *reader = NULL;
    struct postcopy_result result = {0};
    int rc = repository_open(json_path_str(p->feed, "repository", ""),
                             &repository, err);

    if (rc == 0)
        rc = snapshot_reader_open(
            repository, json_path_str(p->feed, "snapshot", ""), &reader, err);
    if (rc < 0)
        return rc;
    p->reader = reader;
    p->source = snapshot_pages(reader);
    rc = copy_blocks(p, err);
    if (rc == 0)
        rc = json_path_bool(p->feed, "eager", false)
                 ? feed_eagerly(p, &result, err)
                 : feed_lazily(p, &result, err);
    if (rc == 0)
        tell_resident(p, &result);
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
    if (argc < 3) {
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
