#include "tests/storage/repo_fixture.h"

#include "storage/host_bench.h"

struct heard {
    char names[32][32];
    unsigned n;
    unsigned disk;
    unsigned fail_at; /* this figure is refused; 0: none */
    struct stopper *pull_at_first;
};

static int hear(void *arg, const struct host_bench_figure *f, struct error *err)
{
    struct heard *h = arg;

    assert_true(f->value > 0);
    assert_non_null(f->detail);
    if (strncmp(f->name, "zstd ", 5) == 0 && strcmp(f->name, "zstd decode"))
        assert_true(f->ratio > 1);
    else
        assert_true(f->ratio == 0);
    h->disk += strcmp(f->name, "disk") == 0;
    snprintf(h->names[h->n % 32], sizeof(h->names[0]), "%s", f->name);
    h->n++;
    if (h->pull_at_first)
        stopper_pull(h->pull_at_first, ERR_INTERRUPTED);
    return h->n == h->fail_at ? fail(err, ERR_IO, "nobody listens") : 0;
}

static int run(struct repository *repository, struct stopper *stop,
               struct heard *h, struct error *err)
{
    return host_bench_run(&(struct host_bench_args){.repository = repository,
                                                    .spell_ms = 1,
                                                    .stop = stop,
                                                    .tell = hear,
                                                    .arg = h},
                          err);
}

static unsigned files_below(const char *folder)
{
    char command[512], line[32];
    FILE *p;

    snprintf(command, sizeof(command), "find '%s' -type f | wc -l", folder);
    p = popen(command, "r");
    assert_non_null(p);
    assert_non_null(fgets(line, sizeof(line), p));
    pclose(p);
    return (unsigned)strtoul(line, NULL, 10);
}

static void all_figures_are_told_and_nothing_is_left(void **state)
{
    static const char *const names[] = {
        "zero test", "hash",          "zstd -5",      "zstd 1",
        "zstd 3",    "zstd 6",        "zstd 9",       "zstd decode",
        "disk",      "index inserts", "first lookup", "index lookups"};
    struct fixture *f = *state;
    unsigned before = files_below(f->scratch.repo);
    struct heard heard = {0};
    struct error err;

    assert_ok(run(f->repository, NULL, &heard, &err), &err);
    assert_int_equal(heard.n, ARRAY_LEN(names));
    for (unsigned i = 0; i < heard.n; i++)
        assert_string_equal(heard.names[i], names[i]);
    assert_int_equal(files_below(f->scratch.repo), before);
}

static void without_a_repository_no_disk_is_measured(void **state)
{
    struct heard heard = {0};
    struct error err;

    (void)state;
    assert_ok(run(NULL, NULL, &heard, &err), &err);
    assert_int_equal(heard.n, 11);
    assert_int_equal(heard.disk, 0);
}

static void who_does_not_listen_ends_it(void **state)
{
    struct fixture *f = *state;
    struct heard heard = {.fail_at = 3};
    struct error err;

    assert_error(run(f->repository, NULL, &heard, &err), &err, ERR_IO,
                 "nobody listens");
    assert_int_equal(heard.n, 3);
}

static void an_interrupt_ends_it(void **state)
{
    struct fixture *f = *state;
    struct stopper stop;
    struct heard heard = {.pull_at_first = &stop};
    struct error err;

    assert_ok(stopper_init(&stop, &err), &err);
    assert_int_equal(run(f->repository, &stop, &heard, &err), ERR_INTERRUPTED);
    assert_int_equal(heard.n, 1);
    stopper_release(&stop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(all_figures_are_told_and_nothing_is_left),
        FIXTURE_TEST(without_a_repository_no_disk_is_measured),
        FIXTURE_TEST(who_does_not_listen_ends_it),
        FIXTURE_TEST(an_interrupt_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
