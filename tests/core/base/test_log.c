#include "tests/fakes/assert_error.h"

#include <errno.h>
#include <unistd.h>

#define LOG_AREA "ring"
#include "core/base/log.h"

/* What one statement writes to standard error. */
static char said[4096];
static int saved_stderr;
static int ends[2];

static void listen_begin(void)
{
    assert_int_equal(pipe(ends), 0);
    saved_stderr = dup(STDERR_FILENO);
    assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    close(ends[1]);
}

static void listen_end(void)
{
    ssize_t n;
    size_t used = 0;

    assert_int_equal(dup2(saved_stderr, STDERR_FILENO), STDERR_FILENO);
    close(saved_stderr);
    while ((n = read(ends[0], said + used, sizeof(said) - 1 - used)) > 0)
        used += (size_t)n;
    said[used] = '\0';
    close(ends[0]);
}

#define LISTEN(statement) \
    do {                  \
        listen_begin();   \
        statement;        \
        listen_end();     \
    } while (0)

static int tear_down(void **state)
{
    log_configure(LOG_LEVEL_WARN, NULL);
    return 0;
}

static void lines_are_for_people(void **state)
{
    log_configure(LOG_LEVEL_INFO, NULL);

    LISTEN(log_error("no room on '%s'", "/x"));
    assert_string_equal(said, "firn: error: no room on '/x'\n");
    LISTEN(log_warn("slow"));
    assert_string_equal(said, "firn: warning: slow\n");
    LISTEN(log_info("done"));
    assert_string_equal(said, "firn: done\n");
}

static void what_is_above_the_level_is_dropped(void **state)
{
    log_configure(LOG_LEVEL_WARN, NULL);

    LISTEN(log_info("x"); log_debug("y"));
    assert_string_equal(said, "");
    log_configure(LOG_LEVEL_ERROR, NULL);
    LISTEN(log_warn("x"); log_error("y"));
    assert_string_equal(said, "firn: error: y\n");
}

static void debug_areas_pass_at_any_level(void **state)
{
    log_configure(LOG_LEVEL_ERROR, "qmp,ring");
    LISTEN(log_debug("%u writes", 3u));
    assert_string_equal(said, "firn[ring]: 3 writes\n");

    log_configure(LOG_LEVEL_ERROR, "qmp,rings,rin,");
    LISTEN(log_debug("x"));
    assert_string_equal(said, "");

    log_configure(LOG_LEVEL_ERROR, "qmp,all");
    LISTEN(log_debug("x"));
    assert_string_equal(said, "firn[ring]: x\n");
}

static unsigned evaluated;

static unsigned evaluate(void)
{
    return ++evaluated;
}

static void a_dropped_line_evaluates_nothing(void **state)
{
    log_configure(LOG_LEVEL_ERROR, NULL);
    evaluated = 0;

    log_debug("%u", evaluate());

    assert_int_equal(evaluated, 0);
}

static void a_long_line_is_cut_and_still_ends(void **state)
{
    char text[3000];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_configure(LOG_LEVEL_INFO, NULL);

    LISTEN(log_info("%s", text));

    assert_in_range(strlen(said), 1000, 1024);
    assert_int_equal(said[strlen(said) - 1], '\n');
    assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
}

static void errno_survives_a_line(void **state)
{
    int after = 0;

    log_configure(LOG_LEVEL_INFO, NULL);

    listen_begin();
    close(STDERR_FILENO); /* so that the write itself sets errno */
    errno = EXDEV;
    log_info("x");
    after = errno;
    listen_end();

    assert_int_equal(after, EXDEV);
    assert_string_equal(said, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(lines_are_for_people, tear_down),
        cmocka_unit_test_teardown(what_is_above_the_level_is_dropped,
                                  tear_down),
        cmocka_unit_test_teardown(debug_areas_pass_at_any_level, tear_down),
        cmocka_unit_test_teardown(a_dropped_line_evaluates_nothing, tear_down),
        cmocka_unit_test_teardown(a_long_line_is_cut_and_still_ends, tear_down),
        cmocka_unit_test_teardown(errno_survives_a_line, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
