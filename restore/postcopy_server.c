/*
 *  firn                                              QEMU
 *  header, CONFIG, OPEN_RETURN_PATH, PING 1    →
 *                                              ←    PONG 1 (config accepted)
 *  ADVISE, block list, one DISCARD             →
 *  PACKAGED {LISTEN, devices, PING 3, RUN}     →
 *  RAM section opens: pages asked for          ⇄    requests, from LISTEN on
 *                                              ←    PONG 3 (devices loaded)
 *  pages, asked for or not                     ⇄    requests
 *  EOS, footer, EOF                            →
 *                                              ←    SHUT 0
 *
 * Until PONG 3 only requests are answered: loading the devices is what the
 * guest waits for, and the background would take its time.
 *
 * EOF is written only when our own count says that QEMU has every data page:
 * QEMU does not check, and a missing page reads as zeros in the guest.
 *
 * Damage: a unit that cannot be read is counted as lost and never sent. The
 * rest goes on; then EOF must not be written, and the socket must stay open,
 * since zero pages are only sent when they are asked for. So the server stays
 * until QEMU ends.
 */
#include "restore/postcopy_server.h"

#include <poll.h>
#include <sys/socket.h>

#include "core/base/clock.h"
#include "core/vm/received_bitmap.h"
#include "core/wire/stream_encoder.h"
#include "restore/page_sender.h"
#include "restore/postcopy_prologue.h"
#include "restore/request_reader.h"

#define LOG_AREA "postcopy"
#include "core/base/log.h"

/* QEMU itself has no time limits. */
#define PONG_1_LIMIT_NS (10 * NS_PER_SEC)
#define PONG_3_LIMIT_NS (60 * NS_PER_SEC) /* without any request */
#define BITMAP_LIMIT_NS (10 * NS_PER_SEC)
#define SHUT_LIMIT_NS   (60 * NS_PER_SEC)
#define TURN_NS         (1 * NS_PER_SEC) /* a wait is a turn after that */

/* What waits in the socket delays the answer to a request: 64 KiB is some
 * 50 µs of placing pages, and still keeps QEMU busy between our writes. */
#define SEND_BUFFER_BYTES (64 * 1024)

struct server {
    const struct postcopy_args *args;
    struct page_queue *queue;
    struct page_sender *sender;
    struct request_reader *reader;
    struct stopper stop; /* never pulled: waits end with the socket */
    struct inbox_news news;
    struct postcopy state;
    bool loaded;
    bool exhausted;
    uint64_t deadline_ns; /* for the answer that is due; 0: none */
    const char *awaited;  /* what that is */
    uint64_t lost_units;
    uint64_t received_units; /* with data, before a recovery */
    struct error damage;     /* the first */
};

/* Damage. */

static void note_damage(struct server *s, const struct error *why,
                        bool asked_for)
{
    const struct postcopy_watch *w = s->args->watch;

    if (s->damage.code == 0)
        error_copy(&s->damage, why);
    if (w && w->damage)
        w->damage(w->arg, why, asked_for);
}

/*
 * The source's next_data(), but a segment that cannot be read is stepped over
 * page by page: its pages are lost, those behind it are not.
 */
static int next_data(void *arg, uint32_t block, pgno_t from, pgno_t *ret,
                     struct error *err)
{
    struct server *s = arg;
    const struct page_source *source = s->args->source;
    pgno_t pages = ramblock_pages(&s->args->blocks->blocks[block]);
    struct error why = ERROR_INIT;

    if (source->next_data(source->arg, block, from, ret, &why) == 0)
        return 0;
    if (why.code == ERR_NOMEM)
        return error_copy(err, &why);
    note_damage(s, &why, false);
    for (pgno_t pgno = from; pgno < pages; pgno++) {
        const uint8_t *data = NULL;

        if (source->page(source->arg, block, pgno, &data, &why) == 0) {
            if (!data)
                continue;
            *ret = pgno;
            return 0;
        }
        if (why.code == ERR_NOMEM)
            return error_copy(err, &why);
        s->lost_units += page_queue_withdraw(s->queue, block, pgno);
    }
    *ret = pages;
    return 0;
}

/* News of the return path. */

static int take_requests(struct server *s, struct error *err)
{
    for (size_t i = 0; i < s->news.n_requests; i++) {
        const struct page_request *r = &s->news.requests[i];
        int rc = page_queue_ask(s->queue, r->idstr, r->start, r->len,
                                r->read_ns, err);

        if (rc < 0)
            return rc;
    }
    /* As long as it asks, it is at work. */
    if (s->news.n_requests > 0 && s->deadline_ns && !s->news.shut)
        s->deadline_ns = clock_monotonic_ns() + PONG_3_LIMIT_NS;
    return 0;
}

static void await(struct server *s, const char *what, uint64_t limit_ns)
{
    s->awaited = what;
    s->deadline_ns = clock_monotonic_ns() + limit_ns;
}

static void take_pongs(struct server *s)
{
    const struct postcopy_watch *w = s->args->watch;

    if (s->loaded || s->news.last_pong != POSTCOPY_PING_DEVICES)
        return;
    s->loaded = true;
    s->deadline_ns = 0;
    page_queue_release_background(s->queue);
    if (w && w->loaded)
        w->loaded(w->arg);
}

static int take_news(struct server *s, struct error *err)
{
    bool first_pong = s->news.last_pong == 0;
    int rc;

    request_reader_take(s->reader, &s->news);
    rc = take_requests(s, err);
    if (rc < 0)
        return rc;
    if (first_pong && s->news.last_pong == POSTCOPY_PING_CONFIG)
        await(s, "PONG 3", PONG_3_LIMIT_NS);
    take_pongs(s);
    if (s->news.shut && s->news.shut_status != 0)
        return fail(err, ERR_PEER, "QEMU could not load the snapshot");
    return 0;
}

static void tell_turn(const struct server *s)
{
    const struct postcopy_watch *w = s->args->watch;

    if (w && w->turn)
        w->turn(w->arg);
}

/* Waits for news, until the deadline; now and then there are none. */
static int wait_news(struct server *s, struct error *err)
{
    uint64_t until_ns = clock_monotonic_ns() + TURN_NS;
    int rc;

    tell_turn(s);
    if (s->deadline_ns)
        until_ns = MIN(until_ns, s->deadline_ns);
    rc = stopper_wait(&s->stop, request_reader_fd(s->reader), POLLIN, until_ns,
                      err);
    if (rc == ERR_TIMEOUT &&
        (!s->deadline_ns || clock_monotonic_ns() < s->deadline_ns))
        return 0;
    if (rc == ERR_TIMEOUT)
        return fail(err, ERR_TIMEOUT, "QEMU did not send %s in time",
                    s->awaited);
    return rc;
}

/* The reason why nothing more comes. */
static int ended_error(const struct server *s, struct error *err)
{
    if (s->damage.code != 0)
        return error_copy(err, &s->damage);
    if (s->news.why.code != 0)
        return error_copy(err, &s->news.why);
    return fail(err, ERR_PEER, "QEMU closed the migration socket");
}

/* Pages. */

static void set_near(struct server *s, const struct page_unit *unit)
{
    const struct page_source *source = s->args->source;
    pgno_t first;
    pgno_t end;

    if (!unit->known || unit->pages > 1 || !source->near)
        return;
    source->near(source->arg, unit->block, unit->first, &first, &end);
    page_queue_set_near(s->queue, unit->block, first, end);
}

static int add_unit(struct server *s, const struct page_unit *unit,
                    struct error *err)
{
    bool asked_for = unit->turn == PAGE_TURN_URGENT;
    struct error why = ERROR_INIT;

    if (page_sender_add(s->sender, unit,
                        page_queue_idstr(s->queue, unit->block), &why) < 0) {
        if (why.code == ERR_NOMEM)
            return error_copy(err, &why);
        s->lost_units++;
        note_damage(s, &why, asked_for);
    }
    return 0;
}

/* A batch: one urgent unit and what else was ready, or background until it is
 * full. *ret_any: something was written. */
static int send_batch(struct server *s, bool *ret_any, struct error *err)
{
    struct page_unit unit = {.turn = PAGE_TURN_NONE};
    struct page_unit urgent = {.turn = PAGE_TURN_NONE};

    *ret_any = false;
    while (!page_sender_full(s->sender) && urgent.turn == PAGE_TURN_NONE) {
        int rc = page_queue_next(s->queue, &unit, err);

        if (rc < 0)
            return rc;
        if (unit.turn == PAGE_TURN_NONE)
            break;
        *ret_any = true;
        rc = add_unit(s, &unit, err);
        if (rc == 0 && unit.turn != PAGE_TURN_URGENT)
            rc = take_news(s, err);
        if (rc < 0)
            return rc;
        if (unit.turn == PAGE_TURN_URGENT)
            urgent = unit;
    }
    if (!page_sender_empty(s->sender)) {
        int rc = page_sender_flush(s->sender, err);

        if (rc < 0)
            return rc;
    }
    /* Behind the flush: looking around takes time that nobody waits for. */
    if (urgent.turn == PAGE_TURN_URGENT)
        set_near(s, &urgent);
    return 0;
}

static int open_section(struct server *s, struct error *err)
{
    cleanup_buf struct buf b = BUF_INIT;
    int rc = postcopy_state_send(&s->state, POSTCOPY_SEND_RAM_PAGES, err);

    if (rc == 0)
        rc = stream_put_ram_section(&b, s->args->ram_section_id, false, err);
    return rc < 0 ? rc : page_sender_write(s->sender, &b, err);
}

static bool all_sent(struct server *s)
{
    return s->loaded && page_queue_background_done(s->queue) &&
           !page_queue_has_urgent(s->queue);
}

/* Our own count, taken in two ways, before QEMU is told that it has all. */
static int check_count(const struct server *s, struct error *err)
{
    uint64_t sent = page_sender_stats(s->sender)->data_units;
    uint64_t seen = page_queue_data_units(s->queue);

    if (sent + s->received_units == seen)
        return 0;
    return fail(err, ERR_INVALID,
                "%llu of %llu pages were counted as sent; the VM is not told "
                "that it has all",
                (unsigned long long)(sent + s->received_units),
                (unsigned long long)seen);
}

static int write_end(struct server *s, struct error *err)
{
    cleanup_buf struct buf b = BUF_INIT;
    int rc = check_count(s, err);

    if (rc == 0)
        rc = stream_put_ram_section_end(&b, s->args->ram_section_id, err);
    if (rc == 0)
        rc = postcopy_state_send(&s->state, POSTCOPY_SEND_EOF, err);
    if (rc == 0)
        rc = stream_put_eof(&b, err);
    if (rc == 0)
        rc = page_sender_write(s->sender, &b, err);
    return rc;
}

/* Nothing but QEMU's SHUT is to come; requests that crossed are dropped. */
static int await_shut(struct server *s, struct error *err)
{
    await(s, "SHUT", SHUT_LIMIT_NS);
    for (;;) {
        int rc;

        request_reader_take(s->reader, &s->news);
        if (s->news.shut && s->news.shut_status == 0)
            return 0;
        if (s->news.shut || s->news.ended)
            return ended_error(s, err);
        rc = wait_news(s, err);
        if (rc < 0)
            return rc;
    }
}

static void tell_exhausted(struct server *s)
{
    const struct postcopy_watch *w = s->args->watch;

    if (s->exhausted)
        return;
    s->exhausted = true;
    if (w && w->exhausted)
        w->exhausted(w->arg, s->lost_units);
}

static int serve_pages(struct server *s, struct error *err)
{
    for (;;) {
        bool any = false;
        int rc = take_news(s, err);

        if (rc == 0)
            rc = send_batch(s, &any, err);
        if (rc < 0)
            return rc;
        tell_turn(s);
        if (any)
            continue;
        if (s->news.ended)
            return ended_error(s, err);
        if (all_sent(s) && s->lost_units == 0)
            return write_end(s, err);
        if (all_sent(s))
            tell_exhausted(s);
        rc = wait_news(s, err);
        if (rc < 0)
            return rc;
    }
}

/* A pager that takes over. */

static int withdraw_received(struct server *s, uint32_t block,
                             const struct received_bitmap *received,
                             struct error *err)
{
    const struct ramblock *b = &s->args->blocks->blocks[block];
    pgno_t unit = b->host_page_bytes / PAGE_BYTES;
    pgno_t pages = ramblock_pages(b);

    for (pgno_t p = bitmap_next_set(&received->bits, 0); p < pages;
         p = bitmap_next_set(&received->bits, p + 1)) {
        pgno_t data;
        int rc = next_data(s, block, p, &data, err);

        if (rc < 0)
            return rc;
        if (page_queue_withdraw(s->queue, block, p) &&
            data < (p / unit + 1) * unit)
            s->received_units++;
    }
    return 0;
}

static int take_bitmap(struct server *s, const struct told_bitmap *told,
                       struct error *err)
{
    uint32_t block = ramblock_list_find(s->args->blocks, told->idstr);
    struct received_bitmap received;
    int rc;

    if (block == RAMBLOCK_NOT_FOUND)
        return fail(err, ERR_PROTOCOL, "QEMU sent a bitmap of block '%s'",
                    told->idstr);
    rc = received_bitmap_init(
        &received, ramblock_pages(&s->args->blocks->blocks[block]), err);
    if (rc < 0)
        return rc;
    rc = received_bitmap_load(&received, told->words, told->n_pages, err);
    if (rc == 0)
        rc = withdraw_received(s, block, &received, err);
    else
        error_wrap(err, "block '%s'", told->idstr);
    received_bitmap_release(&received);
    return rc;
}

/* The handshake itself was written before QEMU saw the socket. */
static int note_handshake(struct server *s, struct error *err)
{
    int rc;

    s->state = POSTCOPY_TAKEN_OVER;
    rc = postcopy_state_move(&s->state, POSTCOPY_PAUSED, POSTCOPY_RECOVER, err);
    if (rc == 0)
        rc = postcopy_state_send(&s->state, POSTCOPY_SEND_RESUME, err);
    return rc;
}

static int resume(struct server *s, struct error *err)
{
    const struct postcopy_watch *w = s->args->watch;
    int rc = note_handshake(s, err);

    if (rc < 0)
        return rc;
    await(s, "RESUME_ACK", BITMAP_LIMIT_NS);
    do {
        rc = wait_news(s, err);
        if (rc < 0)
            return rc;
        request_reader_take(s->reader, &s->news);
        rc = take_requests(s, err);
        if (rc == 0 && s->news.ended)
            return ended_error(s, err);
    } while (rc == 0 && !s->news.resume_ack);
    if (rc < 0)
        return rc;
    if (s->news.n_bitmaps != s->args->blocks->n)
        return fail(err, ERR_PROTOCOL, "QEMU sent %zu bitmaps of %u",
                    s->news.n_bitmaps, s->args->blocks->n);
    for (size_t i = 0; rc == 0 && i < s->news.n_bitmaps; i++)
        rc = take_bitmap(s, &s->news.bitmaps[i], err);
    /* The devices were loaded before the first pager died. */
    s->loaded = true;
    s->deadline_ns = 0;
    page_queue_release_background(s->queue);
    if (rc == 0 && w && w->resumed)
        w->resumed(w->arg);
    return rc;
}

/* The whole. */

static int write_prologue(struct server *s, struct error *err)
{
    const struct postcopy_watch *w = s->args->watch;
    cleanup_buf struct buf b = BUF_INIT;
    int rc = postcopy_put_prologue(&b, s->args, &s->state, err);

    if (rc == 0)
        rc = page_sender_write(s->sender, &b, err);
    if (rc < 0)
        return rc;
    await(s, "PONG 1", PONG_1_LIMIT_NS);
    if (w && w->fed)
        w->fed(w->arg);
    return 0;
}

static int make_queue(struct server *s, uint32_t *ret_max_unit,
                      struct error *err)
{
    const struct ramblock_list *list = s->args->blocks;
    cleanup_free struct page_queue_block *blocks =
        calloc(MAX(list->n, 1u), sizeof(*blocks));
    struct page_queue_args args = {
        .blocks = blocks,
        .n = list->n,
        .next_data = next_data,
        .arg = s,
    };

    if (!blocks)
        return fail_nomem(err);
    *ret_max_unit = 1;
    for (uint32_t i = 0; i < list->n; i++) {
        const struct ramblock *b = &list->blocks[i];

        blocks[i] = (struct page_queue_block){
            .idstr = b->idstr,
            .pages = ramblock_pages(b),
            .unit_pages = (uint32_t)(b->host_page_bytes / PAGE_BYTES),
        };
        *ret_max_unit = MAX(*ret_max_unit, blocks[i].unit_pages);
    }
    return page_queue_new(&args, &s->queue, err);
}

static int set_up(struct server *s, struct error *err)
{
    struct page_sender_args args = {
        .fd = s->args->fd,
        .source = s->args->source,
        .stop = &s->stop,
        .max_unit_pages = 1,
    };
    int size = SEND_BUFFER_BYTES;
    int rc = stopper_init(&s->stop, err);

    if (rc == 0)
        rc = make_queue(s, &args.max_unit_pages, err);
    if (rc == 0)
        rc = page_sender_new(&args, &s->sender, err);
    if (rc < 0)
        return rc;
    if (setsockopt(s->args->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) < 0)
        log_debug("SO_SNDBUF stays as it is: errno %d", errno);
    return request_reader_start(s->args->fd, &s->reader, err);
}

static void report(const struct server *s, struct postcopy_result *ret)
{
    const struct page_sender_stats *stats = page_sender_stats(s->sender);

    *ret = (struct postcopy_result){
        .faults = stats->faults.count,
        .fault_p50_us = fault_stats_percentile_us(&stats->faults, 50),
        .fault_p99_us = fault_stats_percentile_us(&stats->faults, 99),
        .prefetched_pages = stats->prefetched_pages,
    };
}

int postcopy_serve(const struct postcopy_args *args,
                   struct postcopy_result *ret, struct error *err)
{
    struct server s = {.args = args, .stop = {.fd = -1}};
    int rc = set_up(&s, err);

    if (rc == 0)
        rc = args->resume ? resume(&s, err) : write_prologue(&s, err);
    if (rc == 0)
        rc = open_section(&s, err);
    if (rc == 0)
        rc = serve_pages(&s, err);
    if (rc == 0)
        rc = await_shut(&s, err);
    if (rc == 0)
        report(&s, ret);
    request_reader_stop(s.reader);
    page_sender_free(s.sender);
    page_queue_free(s.queue);
    stopper_release(&s.stop);
    return rc;
}
