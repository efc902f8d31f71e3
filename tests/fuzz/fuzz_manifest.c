/*
 * A snapshot object whose footer fits, around a database of any bytes: SQLite
 * and our own reading of the rows meet what no writer of ours makes. The input
 * is the length of the database, four bytes, and what is stored for it.
 */
#include "storage/manifest.h"

#include "core/base/cursor.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/object_input.h"

static const char id[] = "0123456789abcdef";

static void walk(struct manifest *m)
{
    const struct ramblock_list *blocks = manifest_blocks(m);
    struct error err;
    uint64_t count;
    uint32_t n;

    manifest_packs(m, &n);
    if (manifest_count_segments(m, &count, &err) < 0)
        return;
    for (uint32_t b = 0; b < blocks->n; b++) {
        struct manifest_segment segment = {0};
        bool found = true;

        for (uint64_t at = 0; found; at = segment.segno + 1) {
            if (manifest_next_segment(m, b, at, &segment, &found, &err) < 0)
                return;
            promise(!found || (segment.segno >= at && segment.pack < n));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manifest *m = NULL;
    struct error err;
    uint8_t *object;
    uint32_t raw;
    int rc;

    if (size < 4)
        return 0;
    raw = load_le32(data);
    data += 4;
    size -= 4;
    object = malloc(size + MANIFEST_FOOTER_BYTES);
    promise(object);
    memcpy(object, data, size);
    manifest_file_footer(object + size, id, object, size, raw);
    object_input_put(id, object, size + MANIFEST_FOOTER_BYTES);
    free(object);

    rc = manifest_open(object_input_folder(), id, &m, &err);
    if (rc == 0)
        walk(m);
    else
        promise(rc == ERR_CORRUPT || rc == ERR_FORMAT);
    manifest_close(m);
    return 0;
}
