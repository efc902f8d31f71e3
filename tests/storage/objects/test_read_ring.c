/*
 * test_read_ring.c - the same promises by io_uring and by pread.
 *
 * Both system calls are wrapped: what they bring is counted, cut short, or
 * refused.
 */
#include "tests/fakes/assert_error.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "core/base/path.h"
#include "storage/objects/read_ring.h"
#include "tests/fakes/temp_folder.h"

#define DEPTH      8u
#define PIECE      5000u
#define PIECES     64u
#define FILE_BYTES (PIECE * PIECES)
#define POISON     0xa5

struct io_uring;

/* ---- What the kernel is let do ---- */

static struct {
    unsigned calls;
    unsigned batches;  /* calls that showed requests */
    unsigned biggest;  /* requests in one of them */
    int fail_first[4]; /* answers of the first calls, until 0 */
    int fail_all;
    size_t pread_max; /* 0: no bound */
    int pread_errno;  /* of the first call */
} kernel;

int __real_io_uring_submit_and_wait(struct io_uring *uring, unsigned n);
int __wrap_io_uring_submit_and_wait(struct io_uring *uring, unsigned n);
ssize_t __real_pread64(int fd, void *data, size_t len, off_t offset);
ssize_t __wrap_pread64(int fd, void *data, size_t len, off_t offset);

int __wrap_io_uring_submit_and_wait(struct io_uring *uring, unsigned n)
{
    unsigned call = kernel.calls++;
    int rc;

    if (kernel.fail_all)
        return kernel.fail_all;
    if (call < ARRAY_LEN(kernel.fail_first) && kernel.fail_first[call])
        return kernel.fail_first[call];
    rc = __real_io_uring_submit_and_wait(uring, n);
    if (rc > 0) {
        kernel.batches++;
        kernel.biggest = MAX(kernel.biggest, (unsigned)rc);
    }
    return rc;
}

ssize_t __wrap_pread64(int fd, void *data, size_t len, off_t offset)
{
    kernel.calls++;
    if (kernel.pread_errno && kernel.calls == 1) {
        errno = kernel.pread_errno;
        return -1;
    }
    if (kernel.pread_max)
        len = MIN(len, kernel.pread_max);
    return __real_pread64(fd, data, len, offset);
}

/* ---- The fixture ---- */

struct fixture {
    struct temp_folder folder;
    struct read_ring *ring;
    int fd;
    uint8_t *file; /* what is in it */
    uint8_t *data; /* a piece for each request */
    struct read_request requests[PIECES];
    struct error err;
};

static bool kernel_has_uring(void)
{
    uint8_t params[120] = {0};
    long fd = syscall(SYS_io_uring_setup, 1, params);

    if (fd >= 0)
        close((int)fd);
    return fd >= 0;
}

static int set_up_with(void **state, bool no_uring)
{
    struct fixture *f = calloc(1, sizeof(*f));

    temp_folder_init(&f->folder);
    f->file = malloc(FILE_BYTES);
    f->data = malloc(FILE_BYTES);
    assert_true(f->file && f->data);
    for (uint32_t i = 0; i < FILE_BYTES; i++)
        f->file[i] = (uint8_t)(i * UINT32_C(2654435761) >> 24);
    memset(f->data, POISON, FILE_BYTES);
    f->fd = openat(f->folder.fd, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(f->fd >= 0);
    assert_ok(path_write_at(f->fd, f->file, FILE_BYTES, 0, &f->err), &f->err);
    assert_ok(read_ring_new(DEPTH, no_uring, &f->ring, &f->err), &f->err);
    memset(&kernel, 0, sizeof(kernel));
    *state = f;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, false);
}

static int set_up_plain(void **state)
{
    return set_up_with(state, true);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    memset(&kernel, 0, sizeof(kernel));
    read_ring_free(f->ring);
    close(f->fd);
    temp_folder_release(&f->folder);
    free(f->file);
    free(f->data);
    free(f);
    return 0;
}

/* Asks for piece `i` into its place. */
static struct read_request *ask(struct fixture *f, unsigned i)
{
    struct read_request *q = &f->requests[i];

    *q = (struct read_request){
        .fd = f->fd,
        .offset = (uint64_t)i * PIECE,
        .data = f->data + (size_t)i * PIECE,
        .len = PIECE,
        .arg = f,
        /* of an earlier use */
        .done = 77,
        .sys_errno = EIO,
    };
    assert_ok(read_ring_add(f->ring, q, &f->err), &f->err);
    return q;
}

static struct read_request *take(struct fixture *f)
{
    struct read_request *q = NULL;

    assert_ok(read_ring_next(f->ring, &q, &f->err), &f->err);
    return q;
}

static void assert_whole(struct fixture *f, const struct read_request *q)
{
    assert_non_null(q);
    assert_int_equal(q->sys_errno, 0);
    assert_int_equal(q->done, q->len);
    assert_memory_equal(q->data, f->file + q->offset, q->len);
}

/* ---- Which way ---- */

static void io_uring_is_used_where_the_kernel_has_it(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(read_ring_is_uring(f->ring), kernel_has_uring());
}

static void reads_are_shown_to_the_kernel_in_one_call(void **state)
{
    struct fixture *f = *state;

    if (!read_ring_is_uring(f->ring))
        skip();
    for (unsigned i = 0; i < DEPTH; i++)
        ask(f, i);
    assert_int_equal(kernel.calls, 0);
    assert_int_equal(f->data[0], POISON);

    for (unsigned i = 0; i < DEPTH; i++)
        assert_whole(f, take(f));

    assert_int_equal(kernel.batches, 1);
    assert_int_equal(kernel.biggest, DEPTH);
}

static void without_io_uring_a_read_is_done_when_it_is_added(void **state)
{
    struct fixture *f = *state;
    struct read_request *q;

    assert_false(read_ring_is_uring(f->ring));
    q = ask(f, 3);
    assert_int_equal(kernel.calls, 1);
    assert_memory_equal(q->data, f->file + q->offset, PIECE);

    assert_ptr_equal(take(f), q);
    assert_whole(f, q);
    assert_int_equal(kernel.calls, 1);
}

/* From here on this process gets EPERM for io_uring_setup(2). */
static void forbid_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_LEN(code), code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        _exit(77);
}

/* Answers with the step that went wrong. */
static int read_refused(struct fixture *f)
{
    struct read_request q = {.fd = f->fd, .data = f->data, .len = PIECE};
    struct read_request *back;
    struct read_ring *ring;

    forbid_uring();
    if (read_ring_new(DEPTH, false, &ring, &f->err) < 0)
        return 1;
    if (read_ring_is_uring(ring))
        return 2;
    if (read_ring_add(ring, &q, &f->err) < 0 ||
        read_ring_next(ring, &back, &f->err) < 0)
        return 3;
    if (back != &q || q.sys_errno || memcmp(q.data, f->file, PIECE) != 0)
        return 4;
    read_ring_free(ring);
    return 0;
}

static int run_child(int (*body)(struct fixture *f), struct fixture *f)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(body(f));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void a_refused_io_uring_is_replaced_by_pread(void **state)
{
    int status = run_child(read_refused, *state);

    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- Reading ---- */

static void each_read_comes_back_once_with_its_bytes(void **state)
{
    struct fixture *f = *state;
    bool seen[PIECES] = {false};
    unsigned added = 0;
    unsigned most = 0;

    for (unsigned got = 0; got < PIECES; got++) {
        struct read_request *q;

        while (added < PIECES && read_ring_in_flight(f->ring) < DEPTH)
            ask(f, added++);
        most = MAX(most, read_ring_in_flight(f->ring));
        q = take(f);
        assert_whole(f, q);
        assert_ptr_equal(q->arg, f);
        assert_false(seen[q - f->requests]);
        seen[q - f->requests] = true;
    }

    assert_int_equal(most, DEPTH);
    assert_int_equal(read_ring_in_flight(f->ring), 0);
    assert_null(take(f));
    assert_memory_equal(f->data, f->file, FILE_BYTES);
}

static int add_one_too_many(struct fixture *f)
{
    int quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);

    dup2(quiet, STDERR_FILENO);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    signal(SIGABRT, SIG_DFL);
    for (unsigned i = 0; i <= DEPTH; i++)
        ask(f, i);
    return 0;
}

static void more_than_depth_in_flight_is_our_own_mistake(void **state)
{
#ifdef NDEBUG
    skip();
#else
    int status = run_child(add_one_too_many, *state);

    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
#endif
}

static void what_is_in_flight_is_waited_for_at_the_end(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < DEPTH; i++)
        ask(f, i);
    read_ring_free(f->ring);
    f->ring = NULL;

    assert_memory_equal(f->data, f->file, DEPTH * PIECE);
    assert_int_equal(f->data[DEPTH * PIECE], POISON);
    read_ring_free(NULL);
}

/* ---- Short reads ---- */

static void a_short_pread_goes_on_from_where_it_stopped(void **state)
{
    struct fixture *f = *state;

    kernel.pread_max = 999;
    ask(f, 5);

    assert_whole(f, take(f));
    assert_int_equal(kernel.calls, PIECE / 999 + 1);
    assert_int_equal(f->data[6 * PIECE], POISON);
}

/* A pipe gives what it has. */
static void a_short_read_of_the_ring_goes_on_from_where_it_stopped(void **state)
{
    struct fixture *f = *state;
    struct read_request q = {.data = f->data, .len = PIECE};
    struct read_request *back;
    int ends[2];

    if (!read_ring_is_uring(f->ring))
        skip();
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    q.fd = ends[0];
    assert_int_equal(write(ends[1], f->file, 1000), 1000);
    assert_ok(read_ring_add(f->ring, &q, &f->err), &f->err);
    /* Asks the kernel once, without waiting for the whole. */
    kernel.fail_first[1] = -EIO;
    assert_error(read_ring_next(f->ring, &back, &f->err), &f->err, ERR_IO,
                 "io_uring failed");
    assert_int_equal(q.done, 1000);
    assert_int_equal(read_ring_in_flight(f->ring), 1);
    assert_int_equal(write(ends[1], f->file + 1000, PIECE - 1000),
                     PIECE - 1000);

    assert_ptr_equal(take(f), &q);
    assert_whole(f, &q);
    assert_int_equal(kernel.batches, 2);
    close(ends[0]);
    close(ends[1]);
}

static void a_file_that_ends_before_is_told_with_what_was_read(void **state)
{
    struct fixture *f = *state;
    struct read_request *q;

    assert_int_equal(ftruncate(f->fd, 7 * PIECE + 123), 0);
    q = ask(f, 7);
    assert_ptr_equal(take(f), q);
    assert_int_equal(q->sys_errno, ENODATA);
    assert_int_equal(q->done, 123);
    assert_memory_equal(q->data, f->file + q->offset, 123);
    assert_int_equal(q->data[123], POISON);

    q = ask(f, 9);
    assert_ptr_equal(take(f), q);
    assert_int_equal(q->sys_errno, ENODATA);
    assert_int_equal(q->done, 0);
}

/* ---- Errors ---- */

static void an_error_is_carried_by_its_own_request(void **state)
{
    struct fixture *f = *state;
    struct read_request bad = {
        .fd = f->folder.fd, .data = f->data + 4 * PIECE, .len = PIECE};
    unsigned good = 0;

    ask(f, 0);
    assert_ok(read_ring_add(f->ring, &bad, &f->err), &f->err);
    ask(f, 1);
    for (unsigned i = 0; i < 3; i++) {
        struct read_request *q = take(f);

        if (q == &bad)
            continue;
        assert_whole(f, q);
        good++;
    }

    assert_int_equal(good, 2);
    assert_int_equal(bad.sys_errno, EISDIR);
    assert_int_equal(bad.done, 0);
}

static void
a_failed_pread_is_carried_and_an_interrupted_one_repeated(void **state)
{
    struct fixture *f = *state;
    struct read_request *q;

    kernel.pread_errno = EIO;
    q = ask(f, 0);
    assert_ptr_equal(take(f), q);
    assert_int_equal(q->sys_errno, EIO);
    assert_int_equal(q->done, 0);

    kernel.calls = 0;
    kernel.pread_errno = EINTR;
    ask(f, 1);
    assert_whole(f, take(f));
    assert_int_equal(kernel.calls, 2);
}

static void an_interrupted_wait_is_repeated(void **state)
{
    struct fixture *f = *state;

    if (!read_ring_is_uring(f->ring))
        skip();
    kernel.fail_first[0] = -EINTR;
    kernel.fail_first[1] = -EAGAIN;
    ask(f, 0);

    assert_whole(f, take(f));
    assert_int_equal(kernel.calls, 3);
}

static void a_ring_that_fails_is_told_and_loses_nothing(void **state)
{
    struct fixture *f = *state;
    struct read_request *q = NULL;

    if (!read_ring_is_uring(f->ring))
        skip();
    ask(f, 0);
    kernel.fail_all = -ENXIO;
    assert_error(read_ring_next(f->ring, &q, &f->err), &f->err, ERR_IO,
                 "io_uring failed");
    assert_int_equal(f->err.sys_errno, ENXIO);
    assert_null(q);
    assert_int_equal(read_ring_in_flight(f->ring), 1);

    kernel.fail_all = 0;
    assert_whole(f, take(f));
    assert_int_equal(read_ring_in_flight(f->ring), 0);
}

#define URING(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define PLAIN(name) \
    cmocka_unit_test_setup_teardown(name, set_up_plain, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        URING(io_uring_is_used_where_the_kernel_has_it),
        URING(reads_are_shown_to_the_kernel_in_one_call),
        PLAIN(without_io_uring_a_read_is_done_when_it_is_added),
        URING(a_refused_io_uring_is_replaced_by_pread),
        URING(each_read_comes_back_once_with_its_bytes),
        PLAIN(each_read_comes_back_once_with_its_bytes),
        URING(more_than_depth_in_flight_is_our_own_mistake),
        PLAIN(more_than_depth_in_flight_is_our_own_mistake),
        URING(what_is_in_flight_is_waited_for_at_the_end),
        PLAIN(what_is_in_flight_is_waited_for_at_the_end),
        PLAIN(a_short_pread_goes_on_from_where_it_stopped),
        URING(a_short_read_of_the_ring_goes_on_from_where_it_stopped),
        URING(a_file_that_ends_before_is_told_with_what_was_read),
        PLAIN(a_file_that_ends_before_is_told_with_what_was_read),
        URING(an_error_is_carried_by_its_own_request),
        PLAIN(an_error_is_carried_by_its_own_request),
        PLAIN(a_failed_pread_is_carried_and_an_interrupted_one_repeated),
        URING(an_interrupted_wait_is_repeated),
        URING(a_ring_that_fails_is_told_and_loses_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
