#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include <errno.h>
#include <fcntl.h>

#include "core/base/cleanup.h"
#include "core/host/uffd.h"

/* Whether a way works depends on the host; what it means does not. */
static void each_way_works_or_says_why(void **state)
{
    for (int way = 0; way < UFFD_WAY__COUNT; way++) {
        struct uffd_features features = {0};
        struct error err = ERROR_INIT;
        cleanup_close int fd = -1;
        int rc = uffd_open((enum uffd_way)way, &fd, &features, &err);

        if (rc == 0) {
            assert_true(fd >= 0);
            assert_int_equal(uffd_try(fd, features.write_protect, &err), 0);
        } else {
            assert_int_equal(rc, ERR_UNSUPPORTED);
            assert_true(err.sys_errno != 0);
            assert_int_equal(fd, -1);
        }
    }
}

static void a_descriptor_serves_more_than_once(void **state)
{
    struct uffd_features features;
    struct error err;
    cleanup_close int fd = -1;

    if (uffd_open(UFFD_SYSCALL_USER, &fd, &features, &err) < 0)
        skip();

    assert_int_equal(uffd_try(fd, false, &err), 0);
    assert_int_equal(uffd_try(fd, false, &err), 0);
}

static void another_descriptor_is_no_userfaultfd(void **state)
{
    cleanup_close int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct error err = ERROR_INIT;

    assert_int_equal(uffd_try(fd, false, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "memory cannot be registered"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_way_works_or_says_why),
        cmocka_unit_test(a_descriptor_serves_more_than_once),
        cmocka_unit_test(another_descriptor_is_no_userfaultfd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
