#include "tests/fakes/assert_error.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "core/base/path.h"
#include "storage/objects/ring.h"
#include "tests/fakes/temp_folder.h"

#define BUFFER (64u << 10)

struct fixture {
    struct temp_folder folder;
    struct ring *ring;
    int fd;
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
    struct ring_args args = {
        .buffer_bytes = BUFFER, .buffers = 8, .no_uring = no_uring};

    temp_folder_init(&f->folder);
    f->fd = openat(f->folder.fd, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(f->fd >= 0);
    assert_int_equal(ring_new(&args, &f->ring, &f->err), 0);
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

    ring_free(f->ring);
    close(f->fd);
    temp_folder_release(&f->folder);
    free(f);
    return 0;
}

static uint8_t *take(struct ring *ring)
{
    struct error err;
    uint8_t *b = NULL;

    assert_int_equal(ring_take_buffer(ring, &b, &err), 0);
    return b;
}

/* Buffer `i` of a file holds the byte i + 1 throughout. */
static int write_one(struct ring *ring, int fd, unsigned i, struct error *err)
{
    uint8_t *b = take(ring);

    memset(b, (int)(i + 1), BUFFER);
    return ring_write(ring, fd, b, BUFFER, (uint64_t)i * BUFFER, err);
}

static void assert_written(int fd, unsigned n)
{
    static uint8_t want[BUFFER];
    static uint8_t got[BUFFER];
    struct error err;

    for (unsigned i = 0; i < n; i++) {
        memset(want, (int)(i + 1), BUFFER);
        assert_int_equal(
            path_read_at(fd, got, BUFFER, (uint64_t)i * BUFFER, &err), 0);
        assert_memory_equal(got, want, BUFFER);
    }
    assert_int_equal(lseek(fd, 0, SEEK_END), (off_t)n * BUFFER);
}

static void io_uring_is_used_where_the_kernel_has_it(void **state)
{
    struct fixture *f = *state;

    if (!kernel_has_uring())
        skip();
    assert_true(ring_is_uring(f->ring));
    assert_string_equal(ring_kind(f->ring), "io_uring");
}

static void writes_go_to_the_kernel_in_batches(void **state)
{
    struct fixture *f = *state;
    struct ring_stats stats;

    if (!ring_is_uring(f->ring))
        skip();
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(write_one(f->ring, f->fd, i, &f->err), 0);
    assert_int_equal(ring_sync(f->ring, f->fd, &f->err), 0);

    ring_stats(f->ring, &stats);
    assert_int_equal(stats.writes, 64);
    assert_int_equal(stats.bytes, 64 * BUFFER);
    /* Two a batch, and one call for the sync. */
    assert_in_range(stats.submits, 8, 40);
    assert_in_range(stats.most_in_flight, 2, 8);
    assert_int_equal(stats.syncs, 1);
    assert_written(f->fd, 64);
}

static void without_io_uring_the_same_bytes_are_written(void **state)
{
    struct fixture *f = *state;
    struct ring_stats stats;

    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(write_one(f->ring, f->fd, i, &f->err), 0);
    assert_int_equal(ring_sync(f->ring, f->fd, &f->err), 0);

    assert_false(ring_is_uring(f->ring));
    assert_string_equal(ring_kind(f->ring), "pwrite: io_uring was not wanted");
    ring_stats(f->ring, &stats);
    assert_int_equal(stats.submits, 0);
    assert_int_equal(stats.writes, 64);
    assert_written(f->fd, 64);
}

/* From here on this process gets `error` for io_uring_setup(2). */
static void forbid_uring(int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_LEN(code), code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        _exit(77);
}

static int run_child(int (*body)(struct fixture *f, int arg), struct fixture *f,
                     int arg)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(body(f, arg));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Answers with the step that went wrong. */
static int write_refused(struct fixture *f, int error)
{
    const struct ring_args args = {.buffer_bytes = BUFFER};
    struct ring *ring;

    forbid_uring(error);
    if (ring_new(&args, &ring, &f->err) < 0)
        return 1;
    if (ring_is_uring(ring) || !strstr(ring_kind(ring), "is refused") ||
        !strstr(ring_kind(ring), strerror(error)))
        return 2;
    if (write_one(ring, f->fd, 0, &f->err) < 0 ||
        ring_sync(ring, f->fd, &f->err) < 0)
        return 3;
    ring_free(ring);
    return 0;
}

static void a_refused_io_uring_is_replaced_and_the_reason_told(void **state)
{
    static const int errors[] = {EPERM, ENOSYS, ENOMEM};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        int answer = run_child(write_refused, f, errors[i]);

        if (answer == 77)
            skip();
        assert_int_equal(answer, 0);
        assert_written(f->fd, 1);
        assert_int_equal(ftruncate(f->fd, 0), 0);
    }
}

static int write_with_little_locked_memory(struct fixture *f, int arg)
{
    const struct ring_args args = {.buffer_bytes = BUFFER};
    /* Enough for the ring's own pages, not for the buffers. */
    const struct rlimit little = {BUFFER, BUFFER};
    struct ring_stats stats;
    struct ring *ring;

    /* root may lock any amount */
    if (setrlimit(RLIMIT_MEMLOCK, &little) < 0 ||
        (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0))
        return 77;
    if (ring_new(&args, &ring, &f->err) < 0)
        return 1;
    ring_stats(ring, &stats);
    if (!ring_is_uring(ring))
        return 77;
    if (stats.registered)
        return 2;
    if (write_one(ring, f->fd, 0, &f->err) < 0 ||
        ring_sync(ring, f->fd, &f->err) < 0)
        return 3;
    ring_free(ring);
    return 0;
}

static void unregistered_buffers_are_written_by_the_ring_too(void **state)
{
    struct fixture *f = *state;
    int answer = run_child(write_with_little_locked_memory, f, 0);

    if (answer == 77)
        skip();
    assert_int_equal(answer, 0);
    assert_written(f->fd, 1);
}

static void buffers_are_registered_where_the_limit_allows(void **state)
{
    struct fixture *f = *state;
    struct ring_stats stats;
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
    if (!ring_is_uring(f->ring) || limit.rlim_cur < 16 * BUFFER)
        skip();
    ring_stats(f->ring, &stats);
    assert_true(stats.registered);
}

static void a_buffer_given_back_can_be_taken_again(void **state)
{
    struct fixture *f = *state;
    uint8_t *all[8];

    for (unsigned i = 0; i < 8; i++)
        all[i] = take(f->ring);
    ring_give_buffer(f->ring, all[5]);

    assert_ptr_equal(take(f->ring), all[5]);
}

static void buffers_are_aligned_and_apart(void **state)
{
    struct fixture *f = *state;
    uint8_t *a = take(f->ring);
    uint8_t *b = take(f->ring);

    assert_int_equal((uintptr_t)a % 4096, 0);
    assert_true((size_t)(a > b ? a - b : b - a) >= BUFFER);
    assert_int_equal(ring_buffer_bytes(f->ring), BUFFER);
}

static void assert_writes_fail(struct fixture *f, int fd, int code,
                               const char *piece)
{
    int rc = write_one(f->ring, fd, 3, &f->err);

    if (rc == 0)
        rc = ring_wait(f->ring, &f->err);
    else
        assert_int_equal(ring_wait(f->ring, &f->err), rc);
    assert_int_equal(rc, code);
    assert_message(&f->err, piece);
}

static void an_error_is_told_by_wait_and_then_forgotten(void **state)
{
    struct fixture *f = *state;
    int read_only = openat(f->folder.fd, "file", O_RDONLY | O_CLOEXEC);

    assert_writes_fail(f, read_only, ERR_IO,
                       "cannot write at offset 196608: Bad file descriptor");

    assert_int_equal(ring_wait(f->ring, &f->err), 0);
    assert_int_equal(write_one(f->ring, f->fd, 0, &f->err), 0);
    assert_int_equal(ring_wait(f->ring, &f->err), 0);
    assert_written(f->fd, 1);
    close(read_only);
}

static void a_closed_descriptor_is_an_error(void **state)
{
    struct fixture *f = *state;

    assert_writes_fail(f, 1000, ERR_IO, "Bad file descriptor");
    assert_int_equal(ring_sync(f->ring, 1000, &f->err), ERR_IO);
    assert_message(&f->err, "cannot sync");
}

static void take_and_write_go_on_telling_an_error(void **state)
{
    struct fixture *f = *state;
    uint8_t *spare = take(f->ring);
    uint8_t *b;
    int rc = 0;

    for (unsigned i = 0; i < 16 && rc == 0; i++) {
        rc = ring_take_buffer(f->ring, &b, &f->err);
        if (rc == 0)
            rc = ring_write(f->ring, 1000, b, BUFFER, 0, &f->err);
    }

    assert_int_equal(rc, ERR_IO);
    assert_int_equal(ring_take_buffer(f->ring, &b, &f->err), ERR_IO);
    assert_int_equal(ring_write(f->ring, f->fd, spare, BUFFER, 0, &f->err),
                     ERR_IO);
    assert_int_equal(ring_wait(f->ring, &f->err), ERR_IO);
    assert_int_equal(lseek(f->fd, 0, SEEK_END), 0);
}

static void a_full_device_gives_no_space(void **state)
{
    struct fixture *f = *state;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

    if (full < 0)
        skip();
    assert_writes_fail(f, full, ERR_NOSPC, "No space left");
    close(full);
}

static void a_full_file_system_gives_no_space(void **state)
{
    struct fixture *f = *state;
    struct ring_stats stats;
    int fd;
    int rc = 0;

    if (!temp_folder_mount(&f->folder, 2 * BUFFER + BUFFER / 2))
        skip();
    fd = openat(f->folder.fd, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (unsigned i = 0; i < 4 && rc == 0; i++) {
        uint8_t *b = NULL;

        rc = ring_take_buffer(f->ring, &b, &f->err);
        if (rc == 0)
            rc = ring_write(f->ring, fd, b, BUFFER, (uint64_t)i * BUFFER,
                            &f->err);
    }
    if (rc == 0)
        rc = ring_wait(f->ring, &f->err);

    assert_int_equal(rc, ERR_NOSPC);
    assert_message(&f->err, "No space left");
    ring_stats(f->ring, &stats);
    /* The write that did not fit whole was taken up to the brim, then tried
     * again for its rest. */
    if (ring_is_uring(f->ring)) {
        assert_int_equal(stats.bytes, 2 * BUFFER + BUFFER / 2);
        assert_int_equal(stats.continued, 1);
    }
    close(fd);
}

static void *drain_pipe(void *arg)
{
    static uint8_t piece[1000];
    int fd = *(int *)arg;
    size_t total = 0;
    ssize_t n;

    while ((n = read(fd, piece, sizeof(piece))) > 0) {
        for (ssize_t i = 0; i < n; i++)
            assert(piece[i] == 1);
        total += (size_t)n;
    }
    return (void *)(uintptr_t)total;
}

static void short_writes_are_continued(void **state)
{
    struct fixture *f = *state;
    struct ring_stats stats;
    pthread_t reader;
    void *total;
    int ends[2];

    if (!ring_is_uring(f->ring))
        skip();
    /* A pipe of one page that takes what it has room for and no more. */
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    assert_true(fcntl(ends[1], F_SETPIPE_SZ, 4096) > 0);
    assert_int_equal(fcntl(ends[0], F_SETFL, 0), 0);

    assert_int_equal(write_one(f->ring, ends[1], 0, &f->err), 0);
    pthread_create(&reader, NULL, drain_pipe, &ends[0]);
    assert_int_equal(ring_wait(f->ring, &f->err), 0);

    close(ends[1]);
    pthread_join(reader, &total);
    close(ends[0]);
    assert_int_equal((uintptr_t)total, BUFFER);
    ring_stats(f->ring, &stats);
    assert_true(stats.continued > 0);
    assert_int_equal(stats.bytes, BUFFER);
}

static void *fill_ring(void *arg)
{
    struct fixture *f = arg;

    for (unsigned i = 0; i < 8; i++) {
        if (write_one(f->ring, f->fd, i, &f->err) < 0)
            return f;
    }
    return NULL;
}

static void a_ring_filled_by_a_thread_that_ended_loses_nothing(void **state)
{
    struct fixture *f = *state;

    for (unsigned round = 0; round < 20; round++) {
        pthread_t filler;
        void *failed;

        assert_int_equal(ftruncate(f->fd, 0), 0);
        pthread_create(&filler, NULL, fill_ring, f);
        pthread_join(filler, &failed);
        assert_null(failed);
        assert_int_equal(ring_wait(f->ring, &f->err), 0);
        assert_written(f->fd, 8);
    }
}

static void freeing_ends_the_writes_in_flight_first(void **state)
{
    struct fixture *f = *state;

    assert_null(fill_ring(f));
    ring_free(f->ring);
    f->ring = NULL;

    assert_written(f->fd, 8);
}

static void buffers_that_are_no_whole_pages_are_refused(void **state)
{
    struct fixture *f = *state;
    const struct ring_args args = {.buffer_bytes = 5000};
    struct ring *ring = NULL;

    assert_int_equal(ring_new(&args, &ring, &f->err), ERR_INVALID);
    assert_message(&f->err, "buffers of 5000 bytes");
    assert_null(ring);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define BOTH(name)                                             \
    cmocka_unit_test_setup_teardown(name, set_up, tear_down),  \
    {                                                          \
#name " (pwrite)", name, set_up_plain, tear_down, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(io_uring_is_used_where_the_kernel_has_it),
        TEST(writes_go_to_the_kernel_in_batches),
        cmocka_unit_test_setup_teardown(
            without_io_uring_the_same_bytes_are_written, set_up_plain,
            tear_down),
        TEST(a_refused_io_uring_is_replaced_and_the_reason_told),
        TEST(unregistered_buffers_are_written_by_the_ring_too),
        TEST(buffers_are_registered_where_the_limit_allows),
        BOTH(a_buffer_given_back_can_be_taken_again),
        BOTH(buffers_are_aligned_and_apart),
        BOTH(an_error_is_told_by_wait_and_then_forgotten),
        BOTH(a_closed_descriptor_is_an_error),
        BOTH(take_and_write_go_on_telling_an_error),
        BOTH(a_full_device_gives_no_space),
        BOTH(a_full_file_system_gives_no_space),
        TEST(short_writes_are_continued),
        BOTH(a_ring_filled_by_a_thread_that_ended_loses_nothing),
        BOTH(freeing_ends_the_writes_in_flight_first),
        TEST(buffers_that_are_no_whole_pages_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
