/*
 * A file of hints: any bytes give ERR_CORRUPT, or hints that are written back
 * as the same bytes.
 */
#include <string.h>

#include "storage/hints.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup(hints) struct hints h = {0};
    cleanup_buf struct buf text = BUF_INIT;
    struct error err = ERROR_INIT;

    if (hints_decode(data, size, &h, &err) < 0) {
        promise(err.code == ERR_CORRUPT || err.code == ERR_NOMEM);
        return 0;
    }
    promise(hints_encode(&h, &text, &err) == 0);
    promise(text.len == size && memcmp(text.data, data, size) == 0);
    return 0;
}
