#include "tests/fakes/assert_error.h"

#include "restore/machine/plugged_memory.h"

struct made {
    json_t *notes;
    json_t *words;
    char text[1024]; /* the words, joined by spaces */
};

static struct made make(const char *facts)
{
    struct made m = {.notes = json_array()};
    json_t *parsed = json_loads(facts, 0, NULL);
    struct error err;
    size_t used = 0;
    json_t *word;
    size_t i;

    assert_non_null(parsed);
    assert_ok(plugged_memory_arguments(parsed, m.notes, &m.words, &err), &err);
    json_array_foreach(m.words, i, word) used +=
        (size_t)snprintf(m.text + used, sizeof(m.text) - used, "%s%s",
                         i ? " " : "", json_string_value(word));
    json_decref(parsed);
    return m;
}

static void release(struct made *m)
{
    json_decref(m->notes);
    json_decref(m->words);
}

static void assert_made(const char *facts, const char *words, size_t notes)
{
    struct made m = make(facts);

    assert_string_equal(m.text, words);
    assert_int_equal(json_array_size(m.notes), notes);
    release(&m);
}

#define DIMM(more)                                                    \
    "{\"type\": \"dimm\", \"data\": {\"memdev\": \"/objects/mem1\", " \
    "\"size\": 134217728, \"slot\": 2, \"addr\": 4294967296, "        \
    "\"node\": 1, \"hotplugged\": true" more "}}"

static void
a_module_comes_back_with_its_place_and_memory_behind_it(void **state)
{
    assert_made("{\"memory\": {\"devices\": [" DIMM(", \"id\": \"d1\"") "]}}",
                "-object memory-backend-ram,id=mem1,size=134217728 "
                "-device pc-dimm,memdev=mem1,slot=2,addr=4294967296,node=1,"
                "id=d1",
                1);
}

static void a_module_without_a_name_gets_none(void **state)
{
    assert_made("{\"memory\": {\"devices\": [" DIMM("") "]}}",
                "-object memory-backend-ram,id=mem1,size=134217728 "
                "-device pc-dimm,memdev=mem1,slot=2,addr=4294967296,node=1",
                1);
}

static void shared_memory_stays_shared(void **state)
{
    assert_made("{\"memory\": {\"devices\": [" DIMM(
                    "") "], \"backends\": ["
                        "{\"id\": \"mem0\", \"share\": false}, "
                        "{\"id\": \"mem1\", \"share\": true}]}}",
                "-object memory-backend-ram,id=mem1,size=134217728,share=on "
                "-device pc-dimm,memdev=mem1,slot=2,addr=4294967296,node=1",
                1);
    /* Only its own backend counts. */
    assert_made("{\"memory\": {\"devices\": [" DIMM(
                    "") "], \"backends\": ["
                        "{\"id\": \"mem2\", \"share\": true}]}}",
                "-object memory-backend-ram,id=mem1,size=134217728 "
                "-device pc-dimm,memdev=mem1,slot=2,addr=4294967296,node=1",
                1);
}

static void each_module_is_told_by_the_name_of_its_memory(void **state)
{
    struct made m = make("{\"memory\": {\"devices\": [" DIMM(
        "") ", {\"type\": \"dimm\", "
            "\"data\": {\"memdev\": \"plain\", \"size\": 4096, \"slot\": 0, "
            "\"addr\": 8192, \"node\": 0, \"hotplugged\": true}}]}}");

    assert_int_equal(json_array_size(m.words), 8);
    assert_non_null(strstr(m.text, "id=plain,size=4096"));
    assert_int_equal(json_array_size(m.notes), 2);
    assert_non_null(
        strstr(json_string_value(json_array_get(m.notes, 0)), "'mem1'"));
    assert_non_null(
        strstr(json_string_value(json_array_get(m.notes, 1)), "'plain'"));
    release(&m);
}

static void what_the_command_line_knows_is_left_to_it(void **state)
{
    assert_made("{}", "", 0);
    assert_made("{\"memory\": {\"devices\": []}}", "", 0);
    assert_made("{\"memory\": {\"devices\": [{\"type\": \"dimm\", \"data\": "
                "{\"memdev\": \"/objects/m\", \"hotplugged\": false}}, "
                "{\"type\": \"dimm\", \"data\": {\"memdev\": \"/objects/m\"}}, "
                "{\"type\": \"virtio-mem\", \"data\": {\"hotplugged\": true}}, "
                "{\"type\": \"dimm\"}, 7]}}",
                "", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            a_module_comes_back_with_its_place_and_memory_behind_it),
        cmocka_unit_test(a_module_without_a_name_gets_none),
        cmocka_unit_test(shared_memory_stays_shared),
        cmocka_unit_test(each_module_is_told_by_the_name_of_its_memory),
        cmocka_unit_test(what_the_command_line_knows_is_left_to_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
