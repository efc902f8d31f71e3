/*
 * The engine on memory of this process and of children. Each race is made to
 * happen: the provider stops in its fetch until the other side has done what
 * the test is about, and what that is can be seen (poll, counters), so that
 * nothing waits for time to pass.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail /* cmocka's; ours is in error.h */

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "core/base/channel.h"
#include "restore/uffd/uffd_engine.h"

#define PAGE  4096u
#define HUGE  (2u << 20)
#define PAGES 64u
#define IMAGE (PAGES * PAGE)
#define ALL_EVENTS \
    (UFFD_TELLS_FORK | UFFD_TELLS_REMAP | UFFD_TELLS_REMOVE | UFFD_TELLS_UNMAP)

static void die(const struct error *err)
{
    print_error("%s\n", err->message);
    assert_int_equal(err->code, 0);
}

/* ---- A provider that can be stopped ---- */

struct stage {
    uint32_t page_bytes;
    _Atomic uint64_t stop_at; /* offset of the page whose fetch stops */
    _Atomic bool armed;       /* it does */
    sem_t arrived;            /* posted when it has */
    sem_t go_on;
    _Atomic uint64_t damaged_at; /* UINT64_MAX: none */
    bool damage_ends;            /* it ends the engine */
    _Atomic unsigned fetched;    /* calls */
    _Atomic unsigned damages;
    uint8_t *buffers[UFFD_ENGINE_THREADS_MAX];
    struct uffd_engine *engine;
};

/* Page n of the image holds n + 1 in each byte; page 7 is zero. */
static uint8_t byte_of(uint64_t page)
{
    return page == 7 ? 0 : (uint8_t)(page + 1);
}

static int fetch(void *arg, unsigned lane, uint64_t offset, const uint8_t **ret,
                 struct error *err)
{
    struct stage *s = arg;
    bool armed = true;

    s->fetched++;
    if (offset == s->stop_at &&
        atomic_compare_exchange_strong_explicit(&s->armed, &armed, false,
                                                memory_order_seq_cst,
                                                memory_order_seq_cst)) {
        sem_post(&s->arrived);
        sem_wait(&s->go_on);
    }
    if (offset == s->damaged_at)
        return fail(err, ERR_CORRUPT, "frame 3: checksum differs");
    if (byte_of(offset / s->page_bytes) == 0) {
        *ret = NULL;
        return 0;
    }
    memset(s->buffers[lane], byte_of(offset / s->page_bytes), s->page_bytes);
    *ret = s->buffers[lane];
    return 0;
}

static int damaged(void *arg, uint64_t offset, const struct error *why,
                   struct error *err)
{
    struct stage *s = arg;

    assert_int_equal(why->code, ERR_CORRUPT);
    s->damages++;
    return s->damage_ends ? error_copy(err, why) : 0;
}

static void stage_init(struct stage *s, uint32_t page_bytes, unsigned threads)
{
    struct uffd_engine_args args = {
        .image_bytes = (uint64_t)PAGES * page_bytes,
        .page_bytes = page_bytes,
        .fault_threads = threads,
        .provider = {.arg = s, .fetch = fetch, .damaged = damaged},
    };
    struct error err = ERROR_INIT;

    *s = (struct stage){.page_bytes = page_bytes,
                        .stop_at = UINT64_MAX,
                        .damaged_at = UINT64_MAX};
    sem_init(&s->arrived, 0, 0);
    sem_init(&s->go_on, 0, 0);
    for (size_t i = 0; i < ARRAY_LEN(s->buffers); i++)
        s->buffers[i] = malloc(page_bytes);
    if (uffd_engine_new(&args, &s->engine, &err) < 0 ||
        uffd_engine_advise(s->engine, &err) < 0)
        die(&err);
}

static void stage_release(struct stage *s)
{
    uffd_engine_free(s->engine);
    for (size_t i = 0; i < ARRAY_LEN(s->buffers); i++)
        free(s->buffers[i]);
    sem_destroy(&s->arrived);
    sem_destroy(&s->go_on);
}

static int open_uffd(unsigned events)
{
    struct error err = ERROR_INIT;
    int fd;

    if (uffd_open_telling(UFFD_SYSCALL, events, &fd, &err) < 0)
        skip();
    return fd;
}

static void attach(struct stage *s, int fd, void *memory, size_t len,
                   unsigned modes)
{
    struct space_region region = {.start = (uintptr_t)memory, .len = len};
    struct uffd_attach_args args = {.fd = fd,
                                    .regions = &region,
                                    .n_regions = 1,
                                    .modes = modes,
                                    .local = true};
    struct error err = ERROR_INIT;

    if (uffd_engine_attach(s->engine, &args, &err) < 0)
        die(&err);
}

static void start(struct stage *s)
{
    struct error err = ERROR_INIT;

    if (uffd_engine_listen(s->engine, &err) < 0 ||
        uffd_engine_run(s->engine, &err) < 0)
        die(&err);
}

static void stop_fetch_of(struct stage *s, uint64_t page)
{
    s->stop_at = page * s->page_bytes;
    s->armed = true;
}

static uint8_t *map_pages(void)
{
    uint8_t *p = mmap(NULL, IMAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(p, MAP_FAILED);
    return p;
}

static void end(struct stage *s, enum uffd_end how)
{
    struct error err = ERROR_INIT;

    if (uffd_engine_end(s->engine, how, &err) < 0)
        die(&err);
}

/* ---- Threads that touch ---- */

struct toucher {
    pthread_t thread;
    const volatile uint8_t *at;
    uint8_t seen;
};

static void *touch_main(void *arg)
{
    struct toucher *t = arg;

    t->seen = *t->at;
    return NULL;
}

static void touch(struct toucher *t, const uint8_t *at)
{
    t->at = at;
    assert_int_equal(pthread_create(&t->thread, NULL, touch_main, t), 0);
}

static uint8_t touched(struct toucher *t)
{
    pthread_join(t->thread, NULL);
    return t->seen;
}

struct dropper {
    pthread_t thread;
    void *at;
    size_t len;
    int how; /* MADV_… or -1: munmap */
};

static void *drop_main(void *arg)
{
    struct dropper *d = arg;

    if (d->how < 0)
        munmap(d->at, d->len);
    else
        madvise(d->at, d->len, d->how);
    return NULL;
}

static void drop(struct dropper *d, void *at, int how)
{
    d->at = at;
    d->len = PAGE;
    d->how = how;
    assert_int_equal(pthread_create(&d->thread, NULL, drop_main, d), 0);
}

/* Until a message waits in the descriptor: an event, its thread asleep. */
static void wait_for_message(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&p, 1, -1), 1);
}

static struct uffd_engine_stats stats_of(struct stage *s)
{
    struct uffd_engine_stats stats;

    uffd_engine_stats(s->engine, &stats);
    return stats;
}

/* ---- Facts ---- */

static void check_all_pages(const uint8_t *memory, uint32_t page_bytes)
{
    for (uint64_t i = PAGES; i-- > 0;) {
        assert_int_equal(memory[i * page_bytes], byte_of(i));
        assert_int_equal(memory[(i + 1) * page_bytes - 1], byte_of(i));
    }
}

static void anonymous_memory_gets_the_images_bytes(void **state)
{
    struct stage s;
    uint8_t *memory = map_pages();

    stage_init(&s, PAGE, 1);
    attach(&s, open_uffd(0), memory, IMAGE, 0);
    start(&s);

    check_all_pages(memory, PAGE);
    end(&s, UFFD_END_RELEASE);

    assert_int_equal(stats_of(&s).faults, PAGES);
    assert_int_equal(stats_of(&s).placed, PAGES);
    assert_int_equal(stats_of(&s).latency.count, PAGES);
    stage_release(&s);
    munmap(memory, IMAGE);
}

static void shared_memory_gets_the_images_bytes(void **state)
{
    struct stage s;
    int memfd = memfd_create("test", MFD_CLOEXEC);
    uint8_t *memory;

    assert_int_equal(ftruncate(memfd, IMAGE), 0);
    memory = mmap(NULL, IMAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    stage_init(&s, PAGE, 2);
    attach(&s, open_uffd(0), memory, IMAGE, 0);
    start(&s);

    check_all_pages(memory, PAGE);
    end(&s, UFFD_END_RELEASE);

    assert_int_equal(stats_of(&s).placed, PAGES);
    stage_release(&s);
    munmap(memory, IMAGE);
    close(memfd);
}

static void huge_pages_come_whole(void **state)
{
    struct stage s;
    size_t len = (size_t)PAGES * HUGE;
    uint8_t *memory = mmap(NULL, len, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

    if (memory == MAP_FAILED)
        skip(); /* no huge pages are reserved */
    stage_init(&s, HUGE, 1);
    attach(&s, open_uffd(0), memory, len, 0);
    start(&s);

    check_all_pages(memory, HUGE);

    assert_int_equal(stats_of(&s).faults, PAGES);
    end(&s, UFFD_END_RELEASE);
    stage_release(&s);
    munmap(memory, len);
}

static void
a_page_placed_by_somebody_else_is_left_and_its_waiter_woken(void **state)
{
    struct stage s;
    struct toucher a;
    struct error err = ERROR_INIT;
    uint8_t other[PAGE];
    uint8_t *memory = map_pages();
    uint64_t done;

    stage_init(&s, PAGE, 1);
    attach(&s, open_uffd(0), memory, IMAGE, 0);
    start(&s);
    stop_fetch_of(&s, 3);
    touch(&a, memory + 3 * PAGE);
    sem_wait(&s.arrived);

    memset(other, 99, sizeof(other));
    assert_int_equal(uffd_engine_place(s.engine, uffd_engine_space(s.engine, 0),
                                       3 * PAGE, other, PAGE, false, &done,
                                       &err),
                     UFFD_DONE);
    sem_post(&s.go_on);

    assert_int_equal(touched(&a), 99);
    end(&s, UFFD_END_RELEASE);
    assert_int_equal(stats_of(&s).present, 1);
    assert_int_equal(memory[3 * PAGE], 99);
    stage_release(&s);
    munmap(memory, IMAGE);
}

static void a_fault_waits_while_an_event_is_not_read(void **state)
{
    struct stage s;
    struct toucher a;
    struct dropper b;
    uint8_t *memory = map_pages();
    int fd = open_uffd(UFFD_TELLS_REMOVE);

    stage_init(&s, PAGE, 1);
    attach(&s, fd, memory, IMAGE, 0);
    start(&s);
    stop_fetch_of(&s, 3);
    touch(&a, memory + 3 * PAGE);
    sem_wait(&s.arrived);

    drop(&b, memory + 5 * PAGE, MADV_DONTNEED);
    wait_for_message(fd);
    sem_post(&s.go_on);

    assert_int_equal(touched(&a), byte_of(3));
    pthread_join(b.thread, NULL);
    assert_true(stats_of(&s).busy >= 1);
    assert_int_equal(stats_of(&s).removed, 1);
    assert_int_equal(memory[5 * PAGE], 0);
    assert_int_equal(memory[6 * PAGE], byte_of(6));
    end(&s, UFFD_END_RELEASE);
    stage_release(&s);
    munmap(memory, IMAGE);
}

static void
a_page_removed_while_its_fault_is_answered_becomes_zero(void **state)
{
    struct stage s;
    struct toucher a;
    struct dropper b;
    uint8_t *memory = map_pages();
    int fd = open_uffd(UFFD_TELLS_REMOVE);

    stage_init(&s, PAGE, 1);
    attach(&s, fd, memory, IMAGE, 0);
    start(&s);
    stop_fetch_of(&s, 3);
    touch(&a, memory + 3 * PAGE);
    sem_wait(&s.arrived);

    drop(&b, memory + 3 * PAGE, MADV_DONTNEED);
    wait_for_message(fd);
    sem_post(&s.go_on);

    assert_int_equal(touched(&a), 0);
    pthread_join(b.thread, NULL);
    assert_true(stats_of(&s).busy >= 1);
    end(&s, UFFD_END_RELEASE);
    stage_release(&s);
    munmap(memory, IMAGE);
}

static void who_waits_for_a_damaged_page_is_let_go_by_the_end(void **state)
{
    struct stage s;
    struct toucher a;
    uint8_t *memory = map_pages();

    stage_init(&s, PAGE, 1);
    attach(&s, open_uffd(0), memory, IMAGE, 0);
    s.damaged_at = 3 * PAGE;
    start(&s);

    touch(&a, memory + 3 * PAGE);
    while (stats_of(&s).damaged == 0)
        sched_yield();
    assert_int_equal(memory[4 * PAGE], byte_of(4)); /* others are served */
    end(&s, UFFD_END_RELEASE);

    assert_int_equal(touched(&a), 0);
    stage_release(&s);
    munmap(memory, IMAGE);
}

static void
a_fault_read_but_not_answered_is_let_go_when_its_thread_ends(void **state)
{
    struct stage s;
    struct toucher a;
    struct toucher b;
    struct error err = ERROR_INIT;
    struct pollfd over;
    uint8_t *memory = map_pages();
    int fd = open_uffd(0);

    /* given: page 3 is being fetched, page 4 waits in the queue, 3 is bad */
    stage_init(&s, PAGE, 1);
    attach(&s, fd, memory, IMAGE, 0);
    s.damaged_at = 3 * PAGE;
    s.damage_ends = true;
    start(&s);
    stop_fetch_of(&s, 3);
    touch(&a, memory + 3 * PAGE);
    sem_wait(&s.arrived);
    touch(&b, memory + 4 * PAGE);
    wait_for_message(fd);

    /* when: the thread ends with the error */
    sem_post(&s.go_on);
    over =
        (struct pollfd){.fd = uffd_engine_over_fd(s.engine), .events = POLLIN};
    assert_int_equal(poll(&over, 1, -1), 1);
    assert_int_equal(uffd_engine_end(s.engine, UFFD_END_RELEASE, &err),
                     ERR_CORRUPT);

    /* then: nobody sleeps any more */
    assert_non_null(strstr(err.message, "checksum differs"));
    touched(&a);
    touched(&b);
    stage_release(&s);
    munmap(memory, IMAGE);
}

static void two_threads_that_touch_one_page_cost_one_fetch(void **state)
{
    struct stage s;
    struct toucher a;
    struct toucher b;
    uint8_t *memory = map_pages();

    stage_init(&s, PAGE, 2);
    attach(&s, open_uffd(0), memory, IMAGE, 0);
    start(&s);
    stop_fetch_of(&s, 3);
    touch(&a, memory + 3 * PAGE);
    sem_wait(&s.arrived);

    touch(&b, memory + 3 * PAGE + 100);
    while (stats_of(&s).coalesced == 0)
        sched_yield();
    sem_post(&s.go_on);

    assert_int_equal(touched(&a), byte_of(3));
    assert_int_equal(touched(&b), byte_of(3));
    assert_int_equal(s.fetched, 1);
    /* The touchers may run before the engine has counted. */
    end(&s, UFFD_END_RELEASE);
    assert_int_equal(stats_of(&s).placed, 1);
    stage_release(&s);
    munmap(memory, IMAGE);
}

/* Reads a byte by a system call: EFAULT where a load would kill. */
static void *probe_main(void *arg)
{
    struct toucher *t = arg;
    uint8_t byte;
    struct iovec local = {&byte, 1};
    struct iovec remote = {(void *)(uintptr_t)t->at, 1};

    t->seen = process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 1 ? 1 : 0;
    return NULL;
}

static void check_unmap_under_copy(unsigned events, bool wait_for_event)
{
    struct stage s;
    struct toucher a;
    struct dropper b;
    uint8_t *memory = map_pages();
    int fd = open_uffd(events);

    stage_init(&s, PAGE, 1);
    attach(&s, fd, memory, IMAGE, 0);
    start(&s);
    stop_fetch_of(&s, 3);
    a.at = memory + 3 * PAGE;
    assert_int_equal(pthread_create(&a.thread, NULL, probe_main, &a), 0);
    sem_wait(&s.arrived);

    drop(&b, memory + 3 * PAGE, -1);
    if (wait_for_event)
        wait_for_message(fd);
    else
        pthread_join(b.thread, NULL);
    sem_post(&s.go_on);

    assert_int_equal(touched(&a), 0); /* EFAULT, but no sleep */
    if (wait_for_event)
        pthread_join(b.thread, NULL);
    assert_int_equal(memory[4 * PAGE], byte_of(4));
    end(&s, UFFD_END_RELEASE);
    assert_int_equal(stats_of(&s).gone, wait_for_event ? 0 : 1);
    stage_release(&s);
    munmap(memory, IMAGE);
}

static void memory_unmapped_under_a_copy_is_passed_over(void **state)
{
    check_unmap_under_copy(UFFD_TELLS_UNMAP, true);
    check_unmap_under_copy(0, false);
}

static void moved_memory_gets_its_bytes_at_the_new_address(void **state)
{
    struct stage s;
    uint8_t *memory = map_pages();
    uint8_t *moved;

    stage_init(&s, PAGE, 1);
    attach(&s, open_uffd(UFFD_TELLS_REMAP | UFFD_TELLS_UNMAP), memory, IMAGE,
           0);
    start(&s);
    assert_int_equal(memory[1 * PAGE], byte_of(1));

    moved = mremap(memory + 8 * PAGE, 8 * PAGE, 8 * PAGE,
                   MREMAP_MAYMOVE | MREMAP_FIXED, map_pages());

    assert_ptr_not_equal(moved, MAP_FAILED);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(moved[i * PAGE], byte_of(8 + i));
    assert_int_equal(memory[17 * PAGE], byte_of(17));
    end(&s, UFFD_END_RELEASE);
    stage_release(&s);
    munmap(memory, IMAGE);
    munmap(moved, IMAGE);
}

static void a_forked_child_is_served_through_its_own_descriptor(void **state)
{
    struct stage s;
    uint8_t *memory = map_pages();
    pid_t pid;
    int status;

    stage_init(&s, PAGE, 1);
    attach(&s, open_uffd(UFFD_TELLS_FORK | UFFD_TELLS_REMOVE), memory, IMAGE,
           0);
    start(&s);
    assert_int_equal(memory[3 * PAGE], byte_of(3));
    madvise(memory + 9 * PAGE, PAGE, MADV_DONTNEED);

    pid = fork();
    if (pid == 0) {
        int wrong = 0;

        for (uint64_t i = 0; i < PAGES; i++)
            wrong += memory[i * PAGE] != (i == 9 ? 0 : byte_of(i));
        _exit(wrong);
    }

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(stats_of(&s).children, 1);
    assert_int_equal(memory[4 * PAGE], byte_of(4));
    end(&s, UFFD_END_RELEASE);
    stage_release(&s);
    munmap(memory, IMAGE);
}

/* ---- Other processes ---- */

struct client {
    pid_t pid;
    int uffd; /* ours */
    uint64_t address;
    int pipe; /* bytes the child saw; end of file when it exits */
};

static int receive_fd(int sock, uint64_t *ret_address)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {ret_address, sizeof(*ret_address)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};
    int fd;

    assert_int_equal(recvmsg(sock, &msg, MSG_CMSG_CLOEXEC),
                     sizeof(*ret_address));
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
    return fd;
}

/* A child that hands its descriptor over, waits to be told to, touches pages
 * first and last and tells what it saw. */
static void client_main(int sock, int out, int memfd)
{
    struct error err = ERROR_INIT;
    uint8_t *memory = memfd >= 0 ? mmap(NULL, IMAGE, PROT_READ | PROT_WRITE,
                                        MAP_SHARED, memfd, 0)
                                 : map_pages();
    uint64_t address = (uintptr_t)memory;
    uint8_t page;
    int fd;

    if (uffd_open_telling(UFFD_SYSCALL, 0, &fd, &err) < 0 ||
        uffd_register(fd, address, IMAGE, UFFD_MODE_MISSING, NULL, &err) < 0 ||
        channel_write_with_fd(sock, &address, sizeof(address), fd, &err) < 0)
        _exit(77);
    while (read(sock, &page, 1) == 1) {
        if (write(out, memory + page * PAGE, 1) != 1)
            _exit(1);
    }
    _exit(0);
}

static struct client client_start(int *ret_sock, int memfd)
{
    struct client c;
    int sock[2];
    int out[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sock), 0);
    assert_int_equal(pipe(out), 0);
    c.pid = fork();
    if (c.pid == 0) {
        close(sock[0]);
        close(out[0]);
        client_main(sock[1], out[1], memfd);
    }
    close(sock[1]);
    close(out[1]);
    c.uffd = receive_fd(sock[0], &c.address);
    c.pipe = out[0];
    *ret_sock = sock[0];
    return c;
}

static void a_client_killed_in_the_middle_ends_the_engine(void **state)
{
    struct stage s;
    struct pollfd over;
    struct client c;
    int sock;

    c = client_start(&sock, -1);
    stage_init(&s, PAGE, 1);
    attach(&s, c.uffd, (void *)(uintptr_t)c.address, IMAGE, 0);
    start(&s);
    stop_fetch_of(&s, 3);
    assert_int_equal(write(sock, "\3", 1), 1);
    sem_wait(&s.arrived);

    kill(c.pid, SIGKILL);
    assert_int_equal(waitpid(c.pid, NULL, 0), c.pid);
    sem_post(&s.go_on);

    over =
        (struct pollfd){.fd = uffd_engine_over_fd(s.engine), .events = POLLIN};
    assert_int_equal(poll(&over, 1, -1), 1);
    end(&s, UFFD_END_RELEASE);
    stage_release(&s);
    close(sock);
    close(c.pipe);
}

static void what_one_descriptor_gets_wakes_who_waits_on_another(void **state)
{
    struct stage s;
    struct client c;
    struct toucher a;
    struct error err = ERROR_INIT;
    struct space_region region = {.len = IMAGE};
    struct uffd_attach_args args = {
        .regions = &region, .n_regions = 1, .shared = true};
    int memfd = memfd_create("test", 0);
    uint8_t *memory;
    uint8_t byte;
    int sock;

    /* given: two processes over one memfd, a page of ours being fetched */
    assert_int_equal(ftruncate(memfd, IMAGE), 0);
    memory = mmap(NULL, IMAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    c = client_start(&sock, memfd);
    stage_init(&s, PAGE, 1);
    args.fd = c.uffd;
    region.start = c.address;
    assert_int_equal(uffd_engine_attach(s.engine, &args, &err), 0);
    args.fd = open_uffd(0);
    region.start = (uintptr_t)memory;
    assert_int_equal(uffd_engine_attach(s.engine, &args, &err), 0);
    start(&s);
    stop_fetch_of(&s, 3);
    touch(&a, memory + 3 * PAGE);
    sem_wait(&s.arrived);

    /* when: the other process waits for the same page */
    assert_int_equal(write(sock, "\3", 1), 1);
    wait_for_message(c.uffd);
    sem_post(&s.go_on);

    /* then: both go on, with one page */
    assert_int_equal(touched(&a), byte_of(3));
    assert_int_equal(read(c.pipe, &byte, 1), 1);
    assert_int_equal(byte, byte_of(3));
    assert_int_equal(stats_of(&s).placed, 1);
    close(sock);
    assert_int_equal(waitpid(c.pid, NULL, 0), c.pid);
    end(&s, UFFD_END_RELEASE);
    stage_release(&s);
    munmap(memory, IMAGE);
    close(memfd);
    close(c.pipe);
}

static void descriptors_that_are_no_userfaultfd_are_refused(void **state)
{
    struct stage s;
    struct error err = ERROR_INIT;
    uint8_t *memory = map_pages();
    struct space_region region = {.start = (uintptr_t)memory, .len = IMAGE};
    struct uffd_attach_args args = {.regions = &region, .n_regions = 1};
    int fds[] = {memfd_create("test", MFD_CLOEXEC), open("/dev/null", O_RDWR),
                 -1};

    stage_init(&s, PAGE, 1);
    start(&s);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        args.fd = fds[i];
        assert_int_equal(uffd_engine_attach(s.engine, &args, &err),
                         ERR_PROTOCOL);
        if (fds[i] >= 0)
            close(fds[i]);
    }
    assert_null(uffd_engine_space(s.engine, 0));
    stage_release(&s);
    munmap(memory, IMAGE);
}

static void regions_that_make_no_sense_are_refused(void **state)
{
    struct stage s;
    uint8_t *memory = map_pages();
    uint64_t at = (uintptr_t)memory;
    const struct space_region bad[][2] = {
        {{at + 1, PAGE, 0}, {at + PAGE, PAGE, PAGE}},
        {{at, PAGE, 0}, {at, PAGE, PAGE}},
        {{at, 2 * PAGE, 0}, {at + 2 * PAGE, PAGE, PAGE}},
        {{at, PAGE, IMAGE}, {at + PAGE, PAGE, 0}},
        {{at, IMAGE + PAGE, 0}, {at + PAGE, PAGE, 0}},
        {{UINT64_MAX - PAGE + 1, PAGE, 0}, {at, PAGE, PAGE}},
        {{at, PAGE, UINT64_MAX - PAGE + 1}, {at + PAGE, PAGE, 0}},
        {{at, 0, 0}, {at + PAGE, PAGE, PAGE}},
    };
    int fd = open_uffd(0);

    stage_init(&s, PAGE, 1);
    start(&s);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct uffd_attach_args args = {
            .fd = fd, .regions = bad[i], .n_regions = 2};
        struct error err = ERROR_INIT;

        assert_int_equal(uffd_engine_attach(s.engine, &args, &err),
                         ERR_PROTOCOL);
        memory[0] = 1; /* nothing was registered: nobody waits */
    }
    close(fd);
    stage_release(&s);
    munmap(memory, IMAGE);
}

static void a_page_placed_protected_faults_once_more_when_written(void **state)
{
    struct stage s;
    uint8_t *memory = map_pages();
    struct space_region region = {.start = (uintptr_t)memory, .len = IMAGE};
    struct uffd_attach_args args = {.fd = open_uffd(0),
                                    .regions = &region,
                                    .n_regions = 1,
                                    .modes =
                                        UFFD_MODE_MISSING | UFFD_MODE_PROTECT,
                                    .place_protected = true};
    struct error err = ERROR_INIT;

    stage_init(&s, PAGE, 1);
    assert_int_equal(uffd_engine_attach(s.engine, &args, &err), 0);
    start(&s);

    assert_int_equal(memory[3 * PAGE], byte_of(3));
    assert_int_equal(stats_of(&s).faults, 1);
    memory[3 * PAGE] = 77;
    assert_int_equal(stats_of(&s).faults, 2);
    memory[3 * PAGE] = 78;
    assert_int_equal(stats_of(&s).faults, 2);
    assert_int_equal(memory[3 * PAGE], 78);

    end(&s, UFFD_END_RELEASE);
    stage_release(&s);
    munmap(memory, IMAGE);
}

static void a_page_in_the_page_cache_is_mapped_as_it_is(void **state)
{
    struct stage s;
    int memfd = memfd_create("test", MFD_CLOEXEC);
    uint8_t *memory;

    assert_int_equal(ftruncate(memfd, IMAGE), 0);
    assert_int_equal(pwrite(memfd, "x", 1, 3 * PAGE), 1);
    memory = mmap(NULL, IMAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    stage_init(&s, PAGE, 1);
    attach(&s, open_uffd(0), memory, IMAGE,
           UFFD_MODE_MISSING | UFFD_MODE_MINOR);
    start(&s);

    assert_int_equal(memory[3 * PAGE], 'x');
    assert_int_equal(s.fetched, 0);
    assert_int_equal(memory[4 * PAGE], byte_of(4));

    end(&s, UFFD_END_RELEASE);
    stage_release(&s);
    munmap(memory, IMAGE);
    close(memfd);
}

/* Pages are placed over and over by one thread while the owner drops them:
 * whatever the order, a dropped page is zero. */
#define ROUNDS 20000u

static void *place_main(void *arg)
{
    struct stage *s = arg;
    struct uffd_space *space = uffd_engine_space(s->engine, 0);
    struct error err = ERROR_INIT;
    uint8_t page[PAGE];
    uint64_t done;

    memset(page, 0xee, sizeof(page));
    while (s->stop_at != 0) {
        for (uint64_t i = 0; i < PAGES; i++)
            uffd_engine_place(s->engine, space, i * PAGE, page, PAGE, false,
                              &done, &err);
    }
    return NULL;
}

static void a_dropped_page_is_never_filled_again(void **state)
{
    struct stage s;
    uint8_t *memory = map_pages();
    pthread_t placer;
    unsigned seen[3] = {0};

    stage_init(&s, PAGE, 1);
    attach(&s, open_uffd(UFFD_TELLS_REMOVE), memory, IMAGE, 0);
    start(&s);
    s.stop_at = UINT64_MAX;
    assert_int_equal(pthread_create(&placer, NULL, place_main, &s), 0);

    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned at = i % PAGES;
        struct uffd_space *space = uffd_engine_space(s.engine, 0);
        const volatile uint8_t *p = memory + at * PAGE;

        madvise(memory + at * PAGE, PAGE, MADV_DONTNEED);
        seen[*p == 0 ? 0 : *p == 0xee ? 1 : 2]++;
        /* Once more as if new, for the next round. */
        if (at == PAGES - 1) {
            gate_close(&space->gate);
            for (uint64_t k = 0; k < PAGES; k++)
                page_marks_clear(&space->removed, k);
            gate_leave(&space->gate);
        }
    }
    s.stop_at = 0;
    pthread_join(placer, NULL);

    assert_int_equal(seen[0], ROUNDS);
    end(&s, UFFD_END_RELEASE);
    stage_release(&s);
    munmap(memory, IMAGE);
}

static void memory_of_ones_own_can_be_dropped_and_asked_for_again(void **state)
{
    struct stage s;
    struct error err = ERROR_INIT;
    uint8_t *memory = map_pages();
    struct space_region region = {.start = (uintptr_t)memory, .len = IMAGE};

    memset(memory, 200, IMAGE);
    stage_init(&s, PAGE, 1);
    attach(&s, open_uffd(0), memory, IMAGE, 0);
    assert_int_equal(uffd_engine_discard(s.engine, &region, 2 * PAGE, 4 * PAGE,
                                         false, &err),
                     0);
    assert_int_equal(uffd_engine_state(s.engine), UFFD_STATE_DISCARD);
    assert_int_equal(uffd_engine_discard(s.engine, &region, IMAGE, PAGE, false,
                                         &err),
                     ERR_INVALID);
    start(&s);

    assert_int_equal(memory[1 * PAGE], 200);
    for (uint64_t i = 2; i < 6; i++)
        assert_int_equal(memory[i * PAGE], byte_of(i));
    assert_int_equal(memory[6 * PAGE], 200);

    assert_int_equal(uffd_engine_discard(s.engine, &region, 0, PAGE, false,
                                         &err),
                     ERR_INVALID);
    end(&s, UFFD_END_RELEASE);
    stage_release(&s);
    munmap(memory, IMAGE);
}

struct notices {
    unsigned seen;
    enum uffd_notice refuse;
};

static int note(void *arg, enum uffd_notice notice, struct error *err)
{
    struct notices *n = arg;

    if (notice == n->refuse)
        return fail(err, ERR_UNSUPPORTED, "a device does not allow it");
    n->seen |= 1u << notice;
    return 0;
}

static void a_notifier_may_refuse_the_beginning_but_not_the_end(void **state)
{
    for (int refuse = 0; refuse <= UFFD_NOTICE__COUNT; refuse++) {
        struct uffd_engine_args args = {
            .image_bytes = IMAGE, .page_bytes = PAGE, .skip_probe = true};
        struct notices n = {.refuse = (enum uffd_notice)refuse};
        struct error err = ERROR_INIT;
        struct uffd_engine *e;
        int rc;

        assert_int_equal(uffd_engine_new(&args, &e, &err), 0);
        assert_int_equal(uffd_engine_add_notifier(e, note, &n, &err), 0);
        rc = uffd_engine_advise(e, &err);
        if (rc == 0)
            rc = uffd_engine_listen(e, &err);
        assert_int_equal(rc,
                         refuse <= UFFD_NOTICE_LISTEN ? ERR_UNSUPPORTED : 0);
        assert_int_equal(uffd_engine_end(e, UFFD_END_RELEASE, &err), 0);
        assert_int_equal(uffd_engine_state(e), UFFD_STATE_END);
        if (refuse == UFFD_NOTICE__COUNT)
            assert_int_equal(n.seen, 0xf);
        uffd_engine_free(e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(anonymous_memory_gets_the_images_bytes),
        cmocka_unit_test(shared_memory_gets_the_images_bytes),
        cmocka_unit_test(huge_pages_come_whole),
        cmocka_unit_test(
            a_page_placed_by_somebody_else_is_left_and_its_waiter_woken),
        cmocka_unit_test(a_fault_waits_while_an_event_is_not_read),
        cmocka_unit_test(
            a_page_removed_while_its_fault_is_answered_becomes_zero),
        cmocka_unit_test(who_waits_for_a_damaged_page_is_let_go_by_the_end),
        cmocka_unit_test(
            a_fault_read_but_not_answered_is_let_go_when_its_thread_ends),
        cmocka_unit_test(two_threads_that_touch_one_page_cost_one_fetch),
        cmocka_unit_test(memory_unmapped_under_a_copy_is_passed_over),
        cmocka_unit_test(moved_memory_gets_its_bytes_at_the_new_address),
        cmocka_unit_test(a_forked_child_is_served_through_its_own_descriptor),
        cmocka_unit_test(a_client_killed_in_the_middle_ends_the_engine),
        cmocka_unit_test(what_one_descriptor_gets_wakes_who_waits_on_another),
        cmocka_unit_test(descriptors_that_are_no_userfaultfd_are_refused),
        cmocka_unit_test(regions_that_make_no_sense_are_refused),
        cmocka_unit_test(a_page_placed_protected_faults_once_more_when_written),
        cmocka_unit_test(a_page_in_the_page_cache_is_mapped_as_it_is),
        cmocka_unit_test(a_dropped_page_is_never_filled_again),
        cmocka_unit_test(memory_of_ones_own_can_be_dropped_and_asked_for_again),
        cmocka_unit_test(a_notifier_may_refuse_the_beginning_but_not_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
