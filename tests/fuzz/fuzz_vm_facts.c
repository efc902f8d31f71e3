/*
 * What QEMU's human monitor prints; the first byte chooses the command. Guests
 * and users choose names in it.
 */
#include "core/qmp/vm_facts.h"
#include "tests/fuzz/fuzz.h"

static void check_ramblocks(const char *text)
{
    json_t *list = NULL;
    const json_t *b;
    struct error err;
    size_t i;

    promise(vm_facts_parse_ramblocks(text, &list, &err) == 0);
    json_array_foreach(list, i, b)
    {
        promise(json_path_str(b, "idstr", "")[0]);
        promise(json_path_int(b, "used_bytes", -1) >= 0);
        promise(json_path_int(b, "max_bytes", -1) >= 0);
    }
    json_decref(list);
}

static void check_qtree(const char *text)
{
    json_t *list = NULL;
    const json_t *line;
    struct error err;
    size_t i;

    promise(vm_facts_parse_qtree(text, &list, &err) == 0);
    json_array_foreach(list, i, line)
        promise(strncmp(json_string_value(line), "dev: ", 5) == 0);
    json_decref(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;

    if (size < 1)
        return 0;
    text = strndup((const char *)data + 1, size - 1);
    promise(text);
    if (data[0] % 2)
        check_ramblocks(text);
    else
        check_qtree(text);
    free(text);
    return 0;
}
