#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>

#include "cli/progress.h"

/* stderr is replaced by one end of a terminal or a pipe; the test reads the
 * other. Reads wait for the drawing thread, with a limit of their own. */
struct screen {
    int near;
    int far;
    int saved;
};

static void screen_open(struct screen *s, bool terminal)
{
    struct winsize size = {.ws_row = 5, .ws_col = 40};
    int fds[2];

    if (terminal) {
        assert_int_equal(openpty(&fds[0], &fds[1], NULL, NULL, &size), 0);
    } else {
        assert_int_equal(pipe(fds), 0);
    }
    s->far = fds[0];
    s->near = fds[1];
    s->saved = dup(STDERR_FILENO);
    dup2(s->near, STDERR_FILENO);
}

static void screen_close(struct screen *s)
{
    dup2(s->saved, STDERR_FILENO);
    close(s->saved);
    close(s->near);
    close(s->far);
}

/* Reads until `wanted` has been seen; all that came is in `text`. */
static bool screen_shows(const struct screen *s, const char *wanted,
                         char text[static 1024])
{
    size_t used = 0;

    text[0] = '\0';
    while (!strstr(text, wanted) && used + 1 < 1024) {
        struct pollfd p = {.fd = s->far, .events = POLLIN};
        ssize_t n;

        if (poll(&p, 1, 10000) != 1)
            return false;
        n = read(s->far, text + used, 1023 - used);
        if (n <= 0)
            return false;
        used += (size_t)n;
        text[used] = '\0';
    }
    return strstr(text, wanted) != NULL;
}

static bool screen_is_empty(const struct screen *s)
{
    struct pollfd p = {.fd = s->far, .events = POLLIN};

    return poll(&p, 1, 0) == 0;
}

static void a_terminal_shows_the_last_text(void **state)
{
    struct cli cli = {0};
    struct progress *p;
    struct screen s;
    struct error err;
    char text[1024];
    bool shown, cleared;

    screen_open(&s, true);
    assert_int_equal(progress_new(&cli, &p, &err), 0);
    progress_update(p, "first");
    progress_update(p, "round %d", 2);
    shown = screen_shows(&s, "round 2", text);
    progress_free(p);
    cleared = screen_shows(&s, "\r\033[K", text);
    screen_close(&s);

    assert_true(shown);
    assert_true(cleared);
}

static void a_line_is_never_wider_than_the_terminal(void **state)
{
    struct cli cli = {0};
    struct progress *p;
    struct screen s;
    struct error err;
    char text[1024];
    bool shown;

    screen_open(&s, true);
    assert_int_equal(progress_new(&cli, &p, &err), 0);
    progress_update(p, "%060d", 0);
    shown = screen_shows(&s, "000", text);
    progress_free(p);
    screen_close(&s);

    assert_true(shown);
    assert_int_equal(strspn(text, "0"), 39);
}

static void a_message_stands_on_a_line_of_its_own(void **state)
{
    struct cli cli = {0};
    struct progress *p;
    struct screen s;
    struct error err;
    char text[1024];
    bool shown, again;

    screen_open(&s, true);
    assert_int_equal(progress_new(&cli, &p, &err), 0);
    progress_update(p, "working");
    shown = screen_shows(&s, "working", text);
    progress_say(p, "a %s", "note");
    again = screen_shows(&s, "working", text);
    progress_free(p);
    screen_close(&s);

    assert_true(shown && again);
    /* The terminal turns \n into \r\n. */
    assert_string_equal(text, "\r\033[Ka note\r\nworking");
}

static void no_terminal_no_progress(void **state)
{
    struct cli cli = {0};
    struct progress *p;
    struct screen s;
    struct error err;
    bool empty;

    screen_open(&s, false);
    assert_int_equal(progress_new(&cli, &p, &err), 0);
    progress_update(p, "working");
    progress_free(p);
    empty = screen_is_empty(&s);
    screen_close(&s);

    assert_true(empty);
}

static void quiet_and_json_show_nothing_on_a_terminal(void **state)
{
    for (int json = 0; json < 2; json++) {
        struct cli cli = {.json = json, .quiet = !json};
        struct progress *p;
        struct screen s;
        struct error err;
        bool empty;

        screen_open(&s, true);
        assert_int_equal(progress_new(&cli, &p, &err), 0);
        progress_update(p, "working");
        progress_free(p);
        empty = screen_is_empty(&s);
        screen_close(&s);

        assert_true(empty);
    }
}

static void sigusr1_prints_a_line_anywhere(void **state)
{
    struct cli cli = {.quiet = true};
    struct progress *p;
    struct screen s;
    struct error err;
    char text[1024];
    bool first, second;

    screen_open(&s, false);
    assert_int_equal(progress_new(&cli, &p, &err), 0);
    raise(SIGUSR1);
    first = screen_shows(&s, "nothing done yet\n", text);
    progress_update(p, "3 of 4\033");
    raise(SIGUSR1);
    second = screen_shows(&s, "\n", text);
    progress_free(p);
    screen_close(&s);

    assert_true(first && second);
    assert_string_equal(text, "3 of 4?\n");
}

static void count_usr1(int number)
{
}

static void the_old_signal_handler_comes_back(void **state)
{
    struct sigaction mine = {.sa_handler = count_usr1};
    struct sigaction now;
    struct cli cli = {0};
    struct progress *p;
    struct error err;

    sigaction(SIGUSR1, &mine, NULL);
    assert_int_equal(progress_new(&cli, &p, &err), 0);
    sigaction(SIGUSR1, NULL, &now);
    assert_true(now.sa_handler != count_usr1);
    progress_free(p);

    sigaction(SIGUSR1, NULL, &now);
    assert_true(now.sa_handler == count_usr1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_terminal_shows_the_last_text),
        cmocka_unit_test(a_line_is_never_wider_than_the_terminal),
        cmocka_unit_test(a_message_stands_on_a_line_of_its_own),
        cmocka_unit_test(no_terminal_no_progress),
        cmocka_unit_test(quiet_and_json_show_nothing_on_a_terminal),
        cmocka_unit_test(sigusr1_prints_a_line_anywhere),
        cmocka_unit_test(the_old_signal_handler_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
