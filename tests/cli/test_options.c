#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#include "cli/options.h"
#include "core/codec/frame_codec.h"

struct values {
    bool flag;
    bool on;
    const char *string;
    uint64_t number;
    uint64_t size;
    uint64_t rate;
    uint64_t duration;
    int choice;
    json_t *tags;
    unsigned percent;
    int count;
    int level;
};

static const char *const choices[] = {"auto", "stream", "background", NULL};

#define AT(field) offsetof(struct values, field)
static const struct option_spec specs[] = {
    {"flag", 'f', OPTION_FLAG, AT(flag), NULL, "a switch"},
    {"on", 0, OPTION_ON_OFF, AT(on), "on|off", "on or off"},
    {"name", 'n', OPTION_STRING, AT(string), "NAME", "a text"},
    {"number", 0, OPTION_UINT, AT(number), "N", "a number"},
    {"size", 0, OPTION_SIZE, AT(size), "SIZE", "bytes"},
    {"rate", 0, OPTION_RATE, AT(rate), "RATE", "bytes a second"},
    {"time", 0, OPTION_DURATION, AT(duration), "DUR", "how long"},
    {"mode", 0, OPTION_CHOICE, AT(choice), "MODE", "one of some", choices},
    {"tag", 0, OPTION_TAG, AT(tags), "K=V", "a tag"},
    {"percent", 0, OPTION_PERCENT, AT(percent), "PERCENT", "a share"},
    {"verbose", 'v', OPTION_COUNT, AT(count), NULL, "once more"},
    {"level", 0, OPTION_LEVEL, AT(level), "LEVEL", "how hard to try"},
    {0},
};

struct parsed {
    struct values v;
    struct option_words words;
    struct error err;
    char *argv[16];
    int argc;
    int rc;
};

static void fill(struct parsed *p, const char *const *words)
{
    *p = (struct parsed){.argv = {(char *)"command"}, .argc = 1};
    while (words[p->argc - 1]) {
        p->argv[p->argc] = (char *)words[p->argc - 1];
        p->argc++;
    }
}

static void parse(struct parsed *p, const char *const *words)
{
    fill(p, words);
    p->rc = options_parse(specs, p->argc, p->argv, &p->v, &p->words, &p->err);
}

#define PARSE(p, ...) parse((p), (const char *const[]){__VA_ARGS__, NULL})

static void each_kind_lands_at_its_place(void **state)
{
    struct parsed p;

    PARSE(&p, "--flag", "--on=on", "--name", "vm", "--number", "7", "--size",
          "1.5G", "--rate", "10M/s", "--time=300ms", "--mode", "background");

    assert_int_equal(p.rc, 0);
    assert_true(p.v.flag);
    assert_true(p.v.on);
    assert_string_equal(p.v.string, "vm");
    assert_int_equal(p.v.number, 7);
    assert_int_equal(p.v.size, UINT64_C(3) << 29);
    assert_int_equal(p.v.rate, 10 << 20);
    assert_int_equal(p.v.duration, 300);
    assert_int_equal(p.v.choice, 2);
}

static void a_level_has_a_sign_or_a_name(void **state)
{
    static const struct {
        const char *text;
        int level; /* 0: refused */
    } cases[] = {{"1", 1},       {"19", 19},
                 {"-1", -1},     {"-7", -7},
                 {"0", 0},       {"20", 0},
                 {"-8", 0},      {"fastest", -5},
                 {"fast", 0},    {"", 0},
                 {"-", 0},       {"1x", 0},
                 {"default", 1}, {"none", FRAME_CODEC_NONE}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct parsed p;

        PARSE(&p, "--level", cases[i].text);
        assert_int_equal(p.rc, cases[i].level ? 0 : ERR_USAGE);
        assert_int_equal(p.v.level, cases[i].level);
    }
}

static void words_keep_their_order_among_options(void **state)
{
    struct parsed p;

    PARSE(&p, "one", "--flag", "two", "-n", "x", "three");

    assert_int_equal(p.rc, 0);
    assert_int_equal(p.words.n_rest, 3);
    assert_string_equal(p.words.rest[0], "one");
    assert_string_equal(p.words.rest[1], "two");
    assert_string_equal(p.words.rest[2], "three");
    assert_null(p.words.rest[3]);
    assert_null(p.words.behind);
}

static void what_stands_behind_two_dashes_is_left_alone(void **state)
{
    struct parsed p;

    PARSE(&p, "snap", "--", "--flag", "-x", "--");

    assert_int_equal(p.rc, 0);
    assert_false(p.v.flag);
    assert_int_equal(p.words.n_rest, 1);
    assert_null(p.words.rest[1]);
    assert_string_equal(p.words.behind[0], "--flag");
    assert_string_equal(p.words.behind[1], "-x");
    assert_string_equal(p.words.behind[2], "--");
    assert_null(p.words.behind[3]);
}

static void two_dashes_at_the_end_give_an_empty_list(void **state)
{
    struct parsed p;

    PARSE(&p, "snap", "--");

    assert_int_equal(p.rc, 0);
    assert_non_null(p.words.behind);
    assert_null(p.words.behind[0]);
}

static void letters_may_stand_together(void **state)
{
    struct parsed p;

    PARSE(&p, "-fvvnvm");

    assert_int_equal(p.rc, 0);
    assert_true(p.v.flag);
    assert_int_equal(p.v.count, 2);
    assert_string_equal(p.v.string, "vm");
}

static void a_single_dash_is_a_word(void **state)
{
    struct parsed p;

    PARSE(&p, "-");

    assert_int_equal(p.rc, 0);
    assert_int_equal(p.words.n_rest, 1);
}

static void a_percentage_needs_no_value(void **state)
{
    struct parsed p;

    PARSE(&p, "--percent", "50");
    assert_int_equal(p.rc, 0);
    assert_int_equal(p.v.percent, 100);
    assert_int_equal(p.words.n_rest, 1);

    PARSE(&p, "--percent=5%");
    assert_int_equal(p.rc, 0);
    assert_int_equal(p.v.percent, 5);
}

static void tags_gather_in_one_object(void **state)
{
    struct parsed p;

    PARSE(&p, "--tag", "a=1", "--tag", "b=x=y", "--tag", "a=2");

    assert_int_equal(p.rc, 0);
    assert_int_equal(json_object_size(p.v.tags), 2);
    assert_string_equal(json_path_str(p.v.tags, "a", ""), "2");
    assert_string_equal(json_path_str(p.v.tags, "b", ""), "x=y");
    json_decref(p.v.tags);
}

struct refused {
    const char *words[4];
    const char *message;
    const char *hint;
};

static const struct refused refusals[] = {
    {{"--nmae", "x"}, "unknown option '--nmae'", "did you mean '--name'?"},
    {{"--nmae=x"}, "unknown option '--nmae'", "did you mean '--name'?"},
    {{"--zzzzzz"}, "unknown option '--zzzzzz'", ""},
    {{"-x"}, "unknown option '-x'", ""},
    {{"-fx"}, "unknown option '-x'", ""},
    {{"--name"}, "option '--name' needs a value: NAME", ""},
    {{"-n"}, "option '--name' needs a value: NAME", ""},
    {{"--name", "--flag"},
     "option '--name' needs a value: NAME",
     "if '--flag' is the value, write '--name=--flag'"},
    {{"--name", "--"}, "option '--name' needs a value: NAME", ""},
    {{"--flag=yes"}, "option '--flag' takes no value", ""},
    {{"--on", "maybe"}, "option '--on': 'maybe' is neither", ""},
    {{"--number", "7x"}, "option '--number': '7x' is no number", ""},
    {{"--number", "-7"}, "option '--number': '-7' is no number", ""},
    {{"--number", ""}, "option '--number': '' is no number", ""},
    {{"--number", "18446744073709551616"}, "is no number", ""},
    {{"--size", "5Q"}, "option '--size': '5Q' is no size such as 64K", ""},
    {{"--size", "16777216T"}, "'16777216T' is no size", ""},
    {{"--size", "1.2345K"}, "'1.2345K' is no size", ""},
    {{"--size", "1.K"}, "'1.K' is no size", ""},
    {{"--size", "KiB"}, "'KiB' is no size", ""},
    {{"--rate", "5M/m"}, "'5M/m' is no rate such as 100M/s", ""},
    {{"--time", "5 s"}, "'5 s' is no duration such as 300ms", ""},
    {{"--mode", "best"}, "'best' is none of auto, stream, background", ""},
    {{"--tag", "plain"}, "'plain' is no tag such as KEY=VALUE", ""},
    {{"--tag", "=v"}, "'=v' is no tag", ""},
    {{"--tag", "k=\xff"}, "tag 'k' is no UTF-8 text", ""},
    {{"--percent=0"}, "'0' is no percentage from 1 to 100", ""},
    {{"--percent=101"}, "'101' is no percentage", ""},
    {{"--percent="}, "'' is no percentage", ""},
};

static void what_is_wrong_is_named(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        struct parsed p;

        parse(&p, refusals[i].words);
        json_decref(p.v.tags);

        assert_int_equal(p.rc, ERR_USAGE);
        assert_non_null(strstr(p.err.message, refusals[i].message));
        assert_string_equal(p.err.hint, refusals[i].hint);
    }
}

static void sizes_count_in_powers_of_1024(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {
        {"0", 0},
        {"4096", 4096},
        {"100B", 100},
        {"64K", 65536},
        {"64k", 65536},
        {"64KiB", 65536},
        {"0.5M", 524288},
        {"1.125G", UINT64_C(1207959552)},
        {"2T", UINT64_C(2) << 40},
        {"16777215T", UINT64_C(16777215) << 40},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error err;
        uint64_t bytes = 1;

        assert_int_equal(option_parse_size(cases[i].text, &bytes, &err), 0);
        assert_int_equal(bytes, cases[i].bytes);
    }
}

static void a_bare_duration_is_in_seconds(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } cases[] = {
        {"0", 0},       {"5", 5000},     {"1.5", 1500},     {"300ms", 300},
        {"2m", 120000}, {"1h", 3600000}, {"2d", 172800000}, {"0.25s", 250},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error err;
        uint64_t ms = 1;

        assert_int_equal(option_parse_duration(cases[i].text, &ms, &err), 0);
        assert_int_equal(ms, cases[i].ms);
    }
}

static void missing_and_extra_words_are_told(void **state)
{
    struct parsed p;

    PARSE(&p, "a", "b");
    assert_int_equal(options_check_words(&p.words, 3, 3, "SNAP", &p.err),
                     ERR_USAGE);
    assert_string_equal(p.err.message, "SNAP is missing");
    assert_int_equal(options_check_words(&p.words, 0, 1, "SNAP", &p.err),
                     ERR_USAGE);
    assert_string_equal(p.err.message, "one word too many: 'b'");
    assert_int_equal(options_check_words(&p.words, 0, 2, "SNAP", &p.err), 0);

    PARSE(&p, "a", "--", "b");
    assert_int_equal(options_check_words(&p.words, 0, 2, "SNAP", &p.err),
                     ERR_USAGE);
}

/* Extraction of the global options from among those of a command. */

struct globals {
    bool json;
    bool quiet;
    const char *repo;
};

static const struct option_spec globals[] = {
    {"json", 0, OPTION_FLAG, offsetof(struct globals, json), NULL, "JSON"},
    {"quiet", 'q', OPTION_FLAG, offsetof(struct globals, quiet), NULL, "less"},
    {"repo", 0, OPTION_STRING, offsetof(struct globals, repo), "REPO", "where"},
    {0},
};

static void global_options_are_found_everywhere(void **state)
{
    struct globals g = {0};
    struct parsed p;

    fill(&p, (const char *const[]){"--repo", "/r", "list", "-q", "--flag", "x",
                                   "--json", NULL});
    assert_int_equal(
        options_extract(globals, specs, &p.argc, p.argv, &g, &p.err), 0);

    assert_true(g.json);
    assert_true(g.quiet);
    assert_string_equal(g.repo, "/r");
    assert_int_equal(p.argc, 4);
    assert_string_equal(p.argv[1], "list");
    assert_string_equal(p.argv[2], "--flag");
    assert_string_equal(p.argv[3], "x");
    assert_null(p.argv[4]);
}

static void a_value_is_not_taken_for_a_global_option(void **state)
{
    struct globals g = {0};
    struct parsed p;

    fill(&p, (const char *const[]){"--name", "-q", "--number=1", "-n-q", NULL});
    assert_int_equal(
        options_extract(globals, specs, &p.argc, p.argv, &g, &p.err), 0);

    assert_false(g.quiet);
    assert_int_equal(p.argc, 5);
    assert_string_equal(p.argv[2], "-q");
}

static void global_options_end_at_two_dashes(void **state)
{
    struct globals g = {0};
    struct parsed p;

    fill(&p, (const char *const[]){"snap", "--json", "--", "qemu", "-q",
                                   "--json", NULL});
    assert_int_equal(
        options_extract(globals, specs, &p.argc, p.argv, &g, &p.err), 0);

    assert_true(g.json);
    assert_false(g.quiet);
    assert_int_equal(p.argc, 6);
    assert_string_equal(p.argv[5], "--json");
    assert_null(p.argv[6]);
}

static void an_option_of_neither_list_is_refused(void **state)
{
    struct globals g = {0};
    struct parsed p;

    fill(&p, (const char *const[]){"list", "--jsno", NULL});
    assert_int_equal(options_extract(globals, specs, &p.argc, p.argv, &g,
                                     &p.err),
                     ERR_USAGE);
    assert_string_equal(p.err.hint, "did you mean '--json'?");

    /* Without a command nobody knows which options there are. */
    assert_int_equal(
        options_extract(globals, NULL, &p.argc, p.argv, &g, &p.err), 0);
    assert_int_equal(p.argc, 3);
}

static void help_stays_within_80_columns(void **state)
{
    static const struct option_spec wordy[] = {
        {"a", 'a', OPTION_FLAG, 0, NULL,
         "words words words words words words words words words words words "
         "words words words words"},
        {"a-name-that-is-longer-than-its-column", 0, OPTION_STRING, 0, "TEXT",
         "its help starts on the next line"},
        {0},
    };
    cleanup_buf struct buf b = BUF_INIT;
    struct error err;

    assert_int_equal(options_help(wordy, &b, &err), 0);

    assert_string_equal(
        buf_str(&b),
        "  -a, --a                   words words words words words words words "
        "words\n"
        "                            words words words words words words "
        "words\n"
        "      --a-name-that-is-longer-than-its-column TEXT\n"
        "                            its help starts on the next line\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_lands_at_its_place),
        cmocka_unit_test(a_level_has_a_sign_or_a_name),
        cmocka_unit_test(words_keep_their_order_among_options),
        cmocka_unit_test(what_stands_behind_two_dashes_is_left_alone),
        cmocka_unit_test(two_dashes_at_the_end_give_an_empty_list),
        cmocka_unit_test(letters_may_stand_together),
        cmocka_unit_test(a_single_dash_is_a_word),
        cmocka_unit_test(a_percentage_needs_no_value),
        cmocka_unit_test(tags_gather_in_one_object),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(sizes_count_in_powers_of_1024),
        cmocka_unit_test(a_bare_duration_is_in_seconds),
        cmocka_unit_test(missing_and_extra_words_are_told),
        cmocka_unit_test(global_options_are_found_everywhere),
        cmocka_unit_test(a_value_is_not_taken_for_a_global_option),
        cmocka_unit_test(global_options_end_at_two_dashes),
        cmocka_unit_test(an_option_of_neither_list_is_refused),
        cmocka_unit_test(help_stays_within_80_columns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
