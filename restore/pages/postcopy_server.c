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
 * Which page is sent when is page_feed.c. With damage the rest goes on; then
 * EOF must not be written, and the socket must stay open, since zero pages are
 * only sent when they are asked for. So the server stays until QEMU ends.
 */
#include "restore/pages/postcopy_server.h"

#include <poll.h>
#include <sys/socket.h>

#include "core/base/clock.h"
#include "core/vm/received_bitmap.h"
#include "core/wire/stream_encoder.h"
#include "restore/pages/page_feed.h"
#include "restore/pages/postcopy_prologue.h"
#include "restore/pages/request_reader.h"

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
#ifndef SEND_BUFFER_BYTES /* bench/restore --sockets compares others */
#define SEND_BUFFER_BYTES (64 * 1024)
#endif

struct server {
    const struct postcopy_args *args;
    struct page_feed *feed;
    struct request_reader *reader;
    struct stopper stop; /* never pulled: waits end with the socket */
    struct inbox_news news;
    struct postcopy state;
    bool loaded;
    bool ahead_told;
    bool exhausted;
    uint64_t begun_ns;    /* pages are sent since */
    uint64_t ahead_by_ns; /* the head start is over then */
    uint64_t look_at_ns;  /* 0: or when the hints are too many */
    uint64_t deadline_ns; /* for the answer that is due; 0: none */
    const char *awaited;  /* what that is */
};

/* News of the return path. */

static int take_requests(struct server *s, struct error *err)
{
    for (size_t i = 0; i < s->news.n_requests; i++) {
        const struct page_request *r = &s->news.requests[i];
        int rc =
            page_feed_ask(s->feed, r->idstr, r->start, r->len, r->read_ns, err);

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
    page_feed_loaded(s->feed);
    s->ahead_by_ns = clock_monotonic_ns() + s->args->head_start_ns;
    if (s->args->head_start_look_ns)
        s->look_at_ns = clock_monotonic_ns() + s->args->head_start_look_ns;
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

/* At the speed seen not even half of the hints will be there in time: the guest
 * meets them halfway sooner than it would wait for them. */
static bool hints_are_too_many(const struct server *s, uint64_t now_ns)
{
    double share;

    if (!s->look_at_ns || now_ns < s->look_at_ns || !s->args->plan)
        return false;
    share = (double)prefetch_plan_taken(s->args->plan) /
            (double)MAX(prefetch_plan_groups(s->args->plan), (size_t)1);
    return (double)(now_ns - s->begun_ns) >
           2 * share * (double)(s->ahead_by_ns - s->begun_ns);
}

/* Whoever is told lets the VM go: once, and late rather than never. */
static void tell_ahead(struct server *s)
{
    const struct postcopy_watch *w = s->args->watch;
    uint64_t now = clock_monotonic_ns();

    if (s->ahead_told || !s->loaded || !s->args->head_start_ns)
        return;
    if (!page_feed_is_ahead(s->feed) && now < s->ahead_by_ns &&
        !hints_are_too_many(s, now))
        return;
    s->ahead_told = true;
    if (w && w->ahead)
        w->ahead(w->arg);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a && b ? MIN(a, b) : a | b;
}

static int wait_news_or_room(struct server *s, uint64_t until_ns,
                             struct error *err)
{
    struct pollfd polled[] = {
        {.fd = request_reader_fd(s->reader), .events = POLLIN},
        {.fd = s->args->fd, .events = POLLOUT},
    };
    int n = poll(polled, ARRAY_LEN(polled), clock_poll_ms(until_ns));

    if (n < 0 && errno != EINTR)
        return fail_errno(err, ERR_IO, "poll failed");
    return n == 0 ? ERR_TIMEOUT : 0;
}

/* Waits for news, until more may be sent, or until the deadline; now and then
 * there are none. */
static int wait_news(struct server *s, struct error *err)
{
    uint64_t until_ns = clock_monotonic_ns() + TURN_NS;
    int rc;

    tell_turn(s);
    until_ns = earlier(until_ns, s->deadline_ns);
    until_ns = earlier(until_ns, page_feed_due_ns(s->feed));
    if (s->loaded && s->args->head_start_ns && !s->ahead_told)
        until_ns = earlier(until_ns, s->ahead_by_ns);
    rc = page_feed_waits_for_room(s->feed)
             ? wait_news_or_room(s, until_ns, err)
             : stopper_wait(&s->stop, request_reader_fd(s->reader), POLLIN,
                            until_ns, err);
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
    if (page_feed_damage(s->feed)->code != 0)
        return error_copy(err, page_feed_damage(s->feed));
    if (s->news.why.code != 0)
        return error_copy(err, &s->news.why);
    return fail(err, ERR_PEER, "QEMU closed the migration socket");
}

/* Pages. */

static int open_section(struct server *s, struct error *err)
{
    cleanup_buf struct buf b = BUF_INIT;
    int rc = postcopy_state_send(&s->state, POSTCOPY_SEND_RAM_PAGES, err);

    if (rc == 0)
        rc = stream_put_ram_section(&b, s->args->ram_section_id, false, err);
    return rc < 0 ? rc : page_feed_write(s->feed, &b, err);
}

static int write_end(struct server *s, struct error *err)
{
    cleanup_buf struct buf b = BUF_INIT;
    int rc = page_feed_check_count(s->feed, err);

    if (rc == 0)
        rc = stream_put_ram_section_end(&b, s->args->ram_section_id, err);
    if (rc == 0)
        rc = postcopy_state_send(&s->state, POSTCOPY_SEND_EOF, err);
    if (rc == 0)
        rc = stream_put_eof(&b, err);
    if (rc == 0)
        rc = page_feed_write(s->feed, &b, err);
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
        w->exhausted(w->arg, page_feed_lost_units(s->feed));
}

static int serve_pages(struct server *s, struct error *err)
{
    for (;;) {
        bool any = false;
        int rc = take_news(s, err);

        if (rc == 0)
            rc = page_feed_step(s->feed, &any, err);
        if (rc < 0)
            return rc;
        tell_turn(s);
        tell_ahead(s);
        if (any)
            continue;
        if (s->news.ended)
            return ended_error(s, err);
        if (page_feed_all_sent(s->feed) && page_feed_lost_units(s->feed) == 0)
            return write_end(s, err);
        if (page_feed_all_sent(s->feed))
            tell_exhausted(s);
        rc = wait_news(s, err);
        if (rc < 0)
            return rc;
    }
}

/* A pager that takes over. */

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
        rc = page_feed_received(s->feed, block, &received.bits, err);
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
    if (rc == 0)
        rc = page_feed_start(s->feed, err);
    page_feed_loaded(s->feed);
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
        rc = page_feed_write(s->feed, &b, err);
    if (rc < 0)
        return rc;
    await(s, "PONG 1", PONG_1_LIMIT_NS);
    if (w && w->fed)
        w->fed(w->arg);
    return 0;
}

static void on_ready(void *arg)
{
    struct server *s = arg;

    request_reader_wake(s->reader);
}

static void shorten_buffer(int fd)
{
    int size = SEND_BUFFER_BYTES;

    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) < 0)
        log_debug("SO_SNDBUF stays as it is: errno %d", errno);
}

static int set_up(struct server *s, struct error *err)
{
    struct page_feed_args args = {
        .restore = s->args,
        .stop = &s->stop,
        .ready = on_ready,
        .arg = s,
    };
    int rc = stopper_init(&s->stop, err);

    if (rc == 0)
        rc = page_feed_new(&args, &s->feed, err);
    if (rc < 0)
        return rc;
    /* With a second socket nothing waits behind what is in the first. */
    if (!s->args->urgent_fd)
        shorten_buffer(s->args->fd);
    return request_reader_start(s->args->fd, &s->reader, err);
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
    s.begun_ns = clock_monotonic_ns();
    if (rc == 0 && !args->resume)
        rc = page_feed_start(s.feed, err);
    if (rc == 0)
        rc = serve_pages(&s, err);
    if (rc == 0)
        rc = await_shut(&s, err);
    if (s.feed)
        page_feed_report(s.feed, ret);
    page_feed_free(s.feed);
    request_reader_stop(s.reader);
    stopper_release(&s.stop);
    return rc;
}
