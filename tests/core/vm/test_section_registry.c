#include "tests/core/vm/assert_error.h"

#include "core/vm/section_registry.h"

/* A thing with state that writes down how it is used. */
struct thing {
    const char *name;
    struct buf *trace;
    int iterations; /* until it says that it is done */
    bool fails;
};

static int say(struct thing *t, const char *what, struct error *err)
{
    if (t->fails)
        return fail(err, ERR_IO, "%s of %s broke", what, t->name);
    return buf_printf(t->trace, err, "%s %s\n", t->name, what);
}

static int save_setup(void *arg, struct buf *out, struct error *err)
{
    return say(arg, "setup", err);
}

static int save_iterate(void *arg, uint64_t max_bytes, struct buf *out,
                        bool *ret_done, struct error *err)
{
    struct thing *t = arg;

    *ret_done = --t->iterations <= 0;
    return say(t, "iterate", err);
}

static void save_pending(void *arg, struct section_pending *sum)
{
    sum->precopy_only += 1;
    sum->compatible += 10;
    sum->postcopy_only += 100;
}

static int save_complete(void *arg, struct buf *out, struct error *err)
{
    return say(arg, "complete", err);
}

static void save_cleanup(void *arg)
{
    struct thing *t = arg;
    struct error err;

    assert_int_equal(buf_printf(t->trace, &err, "%s cleanup\n", t->name), 0);
}

static int load_setup(void *arg, struct error *err)
{
    return say(arg, "load setup", err);
}

static int load(void *arg, enum section_part part, struct input *in,
                struct error *err)
{
    return SECTION_LOAD_ENDED;
}

static void load_cleanup(void *arg)
{
    struct thing *t = arg;
    struct error err;

    assert_int_equal(buf_printf(t->trace, &err, "%s load cleanup\n", t->name),
                     0);
}

static int resume(void *arg, struct error *err)
{
    return say(arg, "resume", err);
}

static const struct section_handler_ops memory_ops = {
    .save_setup = save_setup,
    .save_iterate = save_iterate,
    .save_pending = save_pending,
    .save_complete = save_complete,
    .save_cleanup = save_cleanup,
    .load_setup = load_setup,
    .load = load,
    .load_cleanup = load_cleanup,
    .resume = resume,
};

static const struct section_handler_ops device_ops = {
    .save_complete = save_complete,
    .load = load,
};

struct fixture {
    struct section_registry *r;
    struct buf trace;
    struct buf out;
    struct thing ram;
    struct thing disk;
    struct thing cpu;
    struct error err;
};

static int sink_begin(void *arg, enum section_part part,
                      const struct section_handler *h, struct buf *out,
                      struct error *err)
{
    static const char *const parts[] = {"START", "PART", "END", "FULL"};
    struct fixture *f = arg;

    return buf_printf(&f->trace, err, "[%s %u ", parts[part], h->section_id);
}

static int sink_end(void *arg, enum section_part part,
                    const struct section_handler *h, struct buf *out,
                    struct error *err)
{
    struct fixture *f = arg;

    f->trace.len--; /* the closing bracket goes behind the word */
    return buf_printf(&f->trace, err, "]\n");
}

static struct section_sink sink_of(struct fixture *f)
{
    return (struct section_sink){
        .out = &f->out, .begin = sink_begin, .end = sink_end, .arg = f};
}

static void add(struct fixture *f, struct thing *t, const char *name,
                const struct section_handler_ops *ops, uint32_t id)
{
    struct section_handler h = {.idstr = name,
                                .version_min = 2,
                                .version = 4,
                                .section_id = id,
                                .ops = ops,
                                .arg = t};

    t->name = name;
    t->trace = &f->trace;
    assert_int_equal(section_registry_add(f->r, &h, &f->err), 0);
}

/* Order of registration: cpu (a device), ram, disk. */
static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_int_equal(section_registry_new(&f->r, &f->err), 0);
    add(f, &f->cpu, "cpu", &device_ops, 0);
    add(f, &f->ram, "ram", &memory_ops, 7);
    add(f, &f->disk, "disk", &memory_ops, 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    section_registry_free(f->r);
    buf_release(&f->trace);
    buf_release(&f->out);
    free(f);
    return 0;
}

static void a_save_asks_each_handler_in_its_order(void **state)
{
    struct fixture *f = *state;
    struct section_sink sink = sink_of(f);
    bool done = true;

    f->ram.iterations = 2;
    f->disk.iterations = 1;

    assert_int_equal(section_registry_save_setup(f->r, &sink, &f->err), 0);
    assert_int_equal(
        section_registry_save_iterate(f->r, 100, &sink, &done, &f->err), 0);
    assert_false(done);
    assert_int_equal(
        section_registry_save_iterate(f->r, 100, &sink, &done, &f->err), 0);
    assert_true(done);
    assert_int_equal(section_registry_save_complete(f->r, &sink, &f->err), 0);
    section_registry_save_cleanup(f->r);

    assert_string_equal(buf_str(&f->trace), "[START 7 ram setup]\n"
                                            "[START 3 disk setup]\n"
                                            "[PART 7 ram iterate]\n"
                                            "[PART 7 ram iterate]\n"
                                            "[PART 3 disk iterate]\n"
                                            "[END 7 ram complete]\n"
                                            "[END 3 disk complete]\n"
                                            "[FULL 1 cpu complete]\n"
                                            "ram cleanup\n"
                                            "disk cleanup\n");
}

static void what_is_pending_is_summed_by_when_it_may_go(void **state)
{
    struct fixture *f = *state;
    struct section_pending p;

    section_registry_save_pending(f->r, &p);

    assert_int_equal(p.precopy_only, 2);
    assert_int_equal(p.compatible, 20);
    assert_int_equal(p.postcopy_only, 200);
}

static void a_failing_handler_is_named_and_cleaned_up_once(void **state)
{
    struct fixture *f = *state;
    struct section_sink sink = sink_of(f);

    f->disk.fails = true;

    assert_error(section_registry_save_setup(f->r, &sink, &f->err), &f->err,
                 ERR_IO, "section 'disk': setup of disk broke");
    buf_reset(&f->trace);
    section_registry_save_cleanup(f->r);
    section_registry_save_cleanup(f->r);

    assert_string_equal(buf_str(&f->trace), "ram cleanup\ndisk cleanup\n");
}

static void the_load_side_is_cleaned_up_by_free(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(section_registry_load_setup(f->r, &f->err), 0);
    assert_int_equal(section_registry_resume(f->r, &f->err), 0);
    section_registry_free(f->r);
    f->r = NULL;

    assert_string_equal(buf_str(&f->trace), "ram load setup\n"
                                            "disk load setup\n"
                                            "ram resume\n"
                                            "disk resume\n"
                                            "ram load cleanup\n"
                                            "disk load cleanup\n");
}

static int match(struct fixture *f, enum section_part part, const char *idstr,
                 uint32_t instance, uint32_t version,
                 const struct section_handler **ret)
{
    return section_registry_match(f->r, part, idstr, instance, version, ret,
                                  &f->err);
}

static void
a_section_finds_its_handler_by_name_instance_and_version(void **state)
{
    struct fixture *f = *state;
    const struct section_handler *h = NULL;

    for (uint32_t version = 2; version <= 4; version++) {
        assert_int_equal(match(f, SECTION_START, "ram", 0, version, &h), 0);
        assert_ptr_equal(h->arg, &f->ram);
    }
    assert_error(match(f, SECTION_START, "ram", 0, 1, &h), &f->err,
                 ERR_INCOMPATIBLE, "'ram' has version 1; known are 2 to 4");
    assert_error(match(f, SECTION_START, "ram", 0, 5, &h), &f->err,
                 ERR_INCOMPATIBLE, "version 5");
    assert_error(match(f, SECTION_START, "ram", 1, 4, &h), &f->err,
                 ERR_INCOMPATIBLE, "'ram' instance 1");
}

static void
an_unknown_iterable_section_is_refused_and_a_full_one_kept(void **state)
{
    struct fixture *f = *state;
    const struct section_handler *h = section_registry_at(f->r, 0);

    assert_error(match(f, SECTION_START, "0/vfio", 0, 1, &h), &f->err,
                 ERR_INCOMPATIBLE, "iterable section '0/vfio' instance 0");
    assert_int_equal(match(f, SECTION_FULL, "timer", 0, 1, &h), 0);
    assert_null(h);
}

static void a_device_of_any_path_is_matched_by_its_last_word(void **state)
{
    struct section_handler early = {
        .idstr = "early", .version = 1, .any_device = true, .ops = &device_ops};
    struct fixture *f = *state;
    const struct section_handler *h = NULL;

    assert_int_equal(section_registry_add(f->r, &early, &f->err), 0);

    assert_int_equal(match(f, SECTION_FULL, "0000:00:03.0/early", 5, 1, &h), 0);
    assert_string_equal(h->idstr, "early");
    assert_int_equal(match(f, SECTION_FULL, "early", 2, 0, &h), 0);
    assert_non_null(h);
    assert_int_equal(match(f, SECTION_FULL, "0/not-early", 0, 1, &h), 0);
    assert_null(h);
}

static void handlers_that_clash_are_refused(void **state)
{
    struct section_handler h = {.idstr = "ram", .ops = &memory_ops};
    struct fixture *f = *state;

    assert_error(section_registry_add(f->r, &h, &f->err), &f->err, ERR_EXISTS,
                 "'ram' instance 0 has a handler already");
    h = (struct section_handler){
        .idstr = "new", .section_id = 7, .ops = &memory_ops};
    assert_error(section_registry_add(f->r, &h, &f->err), &f->err, ERR_INVALID,
                 "section id 7 is that of 'ram'");
    h = (struct section_handler){.idstr = "", .ops = &memory_ops};
    assert_error(section_registry_add(f->r, &h, &f->err), &f->err, ERR_INVALID,
                 "without name or ops");
    h = (struct section_handler){
        .idstr = "new", .version_min = 2, .version = 1, .ops = &memory_ops};
    assert_error(section_registry_add(f->r, &h, &f->err), &f->err, ERR_INVALID,
                 "wrong way round");
    assert_int_equal(section_registry_count(f->r), 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_save_asks_each_handler_in_its_order),
        TEST(what_is_pending_is_summed_by_when_it_may_go),
        TEST(a_failing_handler_is_named_and_cleaned_up_once),
        TEST(the_load_side_is_cleaned_up_by_free),
        TEST(a_section_finds_its_handler_by_name_instance_and_version),
        TEST(an_unknown_iterable_section_is_refused_and_a_full_one_kept),
        TEST(a_device_of_any_path_is_matched_by_its_last_word),
        TEST(handlers_that_clash_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
