#include "tests/fakes/assert_error.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "core/base/clock.h"
#include "restore/pager_process.h"

#define S NS_PER_SEC

/* A pager of which only the socket matters. */
static struct pager_process pager_on(int socket)
{
    struct pager_process p = PAGER_PROCESS_INIT;

    p.pid = 1;
    p.socket = socket;
    p.heard_ns = p.looked_ns = 100 * S;
    return p;
}

static void who_is_silent_for_long_hangs(void **state)
{
    int fds[2];
    struct pager_process p;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    p = pager_on(fds[0]);
    for (uint64_t now = 101; now <= 110; now++)
        assert_false(pager_process_hangs(&p, now * S, 10 * S));
    assert_true(pager_process_hangs(&p, 111 * S, 10 * S));
    pager_process_heard(&p, 111 * S);
    assert_false(pager_process_hangs(&p, 112 * S, 10 * S));
    close(fds[0]);
    close(fds[1]);
}

static void who_cannot_write_does_not_hang(void **state)
{
    uint8_t page[4096] = {0};
    int fds[2];
    struct pager_process p;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    while (send(fds[0], page, sizeof(page), MSG_DONTWAIT) > 0)
        continue;
    p = pager_on(fds[0]);
    for (uint64_t now = 101; now < 150; now++)
        assert_false(pager_process_hangs(&p, now * S, 10 * S));
    close(fds[0]);
    close(fds[1]);
}

static void time_in_which_nobody_looked_is_not_counted(void **state)
{
    int fds[2];
    struct pager_process p;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    p = pager_on(fds[0]);
    assert_false(pager_process_hangs(&p, 500 * S, 10 * S));
    assert_false(pager_process_hangs(&p, 501 * S, 10 * S));
    close(fds[0]);
    close(fds[1]);
}

static void without_a_pager_nothing_hangs(void **state)
{
    struct pager_process p = PAGER_PROCESS_INIT;

    assert_false(pager_process_hangs(&p, 500 * S, 1));
    pager_process_kill(&p);
    pager_process_reap(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_silent_for_long_hangs),
        cmocka_unit_test(who_cannot_write_does_not_hang),
        cmocka_unit_test(time_in_which_nobody_looked_is_not_counted),
        cmocka_unit_test(without_a_pager_nothing_hangs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
