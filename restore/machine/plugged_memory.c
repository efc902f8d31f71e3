/*
 * plugged_memory.c - DIMMs that the command line of the first run did not have.
 *
 * Only modules are made again here: other memory devices (virtio-mem) are PCI
 * devices, which preflight asks for by name. Slot and address must be as they
 * were, since the guest's own tables point there; what backed the module on the
 * old host (a file, hugetlbfs) may not exist here and is not guessed at.
 */
#include "restore/machine/plugged_memory.h"

#include <inttypes.h>

static const json_t *find_backend(const json_t *facts, const char *id)
{
    const json_t *backend;
    size_t i;

    json_array_foreach((json_t *)json_path(facts, "memory.backends"), i,
                       backend)
    {
        if (strcmp(json_path_str(backend, "id", ""), id) == 0)
            return backend;
    }
    return NULL;
}

static int add_option(json_t *words, const char *option, struct buf *value,
                      struct error *err)
{
    if (json_array_append_new(words, json_string(option)) < 0 ||
        json_array_append_new(words, json_text(buf_str(value))) < 0)
        return fail_nomem(err);
    return 0;
}

/* "/objects/mem1": the name behind the last slash. */
static const char *object_id(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static int add_backend(const json_t *facts, const json_t *module, json_t *words,
                       struct error *err)
{
    const char *id = object_id(json_path_str(module, "memdev", ""));
    bool share = json_path_bool(find_backend(facts, id), "share", false);
    cleanup_buf struct buf b = BUF_INIT;
    int rc =
        buf_printf(&b, err, "memory-backend-ram,id=%s,size=%" PRId64 "%s", id,
                   json_path_int(module, "size", 0), share ? ",share=on" : "");

    return rc < 0 ? rc : add_option(words, "-object", &b, err);
}

static int add_module(const json_t *module, json_t *words, struct error *err)
{
    const char *id = json_path_str(module, "id", "");
    cleanup_buf struct buf b = BUF_INIT;
    int rc =
        buf_printf(&b, err,
                   "pc-dimm,memdev=%s,slot=%" PRId64 ",addr=%" PRId64
                   ",node=%" PRId64 "%s%s",
                   object_id(json_path_str(module, "memdev", "")),
                   json_path_int(module, "slot", 0),
                   json_path_int(module, "addr", 0),
                   json_path_int(module, "node", 0), id[0] ? ",id=" : "", id);

    return rc < 0 ? rc : add_option(words, "-device", &b, err);
}

static int note(const json_t *module, json_t *notes, struct error *err)
{
    cleanup_buf struct buf b = BUF_INIT;
    int rc = buf_printf(&b, err,
                        "memory '%s' was plugged in while the VM ran; it comes "
                        "back as anonymous memory",
                        object_id(json_path_str(module, "memdev", "")));

    if (rc == 0 && json_array_append_new(notes, json_text(buf_str(&b))) < 0)
        rc = fail_nomem(err);
    return rc;
}

int plugged_memory_arguments(const json_t *facts, json_t *notes, json_t **ret,
                             struct error *err)
{
    cleanup_json json_t *words = json_array();
    const json_t *device;
    size_t i;
    int rc = words ? 0 : fail_nomem(err);

    json_array_foreach((json_t *)json_path(facts, "memory.devices"), i, device)
    {
        const json_t *module = json_path(device, "data");

        /* Others, such as virtio-mem, are PCI devices and named as such. */
        if (rc < 0 || strcmp(json_path_str(device, "type", ""), "dimm") != 0 ||
            !json_path_bool(module, "hotplugged", false))
            continue;
        rc = add_backend(facts, module, words, err);
        if (rc == 0)
            rc = add_module(module, words, err);
        if (rc == 0)
            rc = note(module, notes, err);
    }
    if (rc == 0)
        *ret = steal_ptr(&words);
    return rc;
}
