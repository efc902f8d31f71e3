/*
 * versions.c - each library is asked by the one source that includes it.
 *
 * A loaded library may be another than the one we were built with, and bug
 * reports need the one that ran.
 */
#include "storage/versions.h"

#include "core/codec/frame_codec.h"
#include "storage/index/sql.h"
#include "storage/packs/page_hash.h"
#include "storage/repository_config.h"

int storage_versions(json_t **ret, struct error *err)
{
    unsigned xxhash = page_hash_library_version();
    char text[32];

    snprintf(text, sizeof(text), "%u.%u.%u", xxhash / 10000, xxhash / 100 % 100,
             xxhash % 100);
    return json_build(ret, err, "{s:i, s:{s:s, s:s, s:s, s:s}}", "format",
                      REPOSITORY_FORMAT, "libraries", "zstd",
                      frame_codec_library_version(), "xxhash", text, "sqlite",
                      sql_library_version(), "jansson", jansson_version_str());
}
