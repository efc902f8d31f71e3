/*
 * cmd_version.c - `version`: what a report of a fault should name: our version,
 * the repository's format, and the libraries as they are loaded now.
 */
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "storage/versions.h"

static const struct option_spec options[] = {{0}};

/* Takes `versions` over. */
static int print_json(json_t *versions, struct error *err)
{
    json_t *object =
        json_pack("{s:s, s:s}", "type", "version", "version", FIRN_VERSION);

    if (object && json_object_update(object, versions) < 0) {
        json_decref(object);
        object = NULL;
    }
    json_decref(versions);
    return output_json(object, err);
}

static void print_text(const json_t *versions)
{
    const char *name;
    json_t *version;

    output_text("firn %s\nrepository format %d\n", FIRN_VERSION,
                (int)json_path_int(versions, "format", 0));
    json_object_foreach(json_object_get(versions, "libraries"), name, version)
    {
        output_text("%s %s\n", name, json_string_value(version));
    }
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    cleanup_json json_t *versions = NULL;
    struct option_words words;
    int rc = options_parse(options, argc, argv, NULL, &words, err);

    if (rc == 0)
        rc = options_check_words(&words, 0, 0, "", err);
    if (rc == 0)
        rc = storage_versions(&versions, err);
    if (rc < 0)
        return rc;
    if (cli->json)
        return print_json(steal_ptr(&versions), err);
    print_text(versions);
    return output_flush(err);
}

const struct command cmd_version = {
    .name = "version",
    .summary = "print the versions of firn, of the format and of libraries",
    .usage = "version",
    .options = options,
    .run = run,
};
