/*
 * A delta writes within its page and nowhere else; what it makes of the page
 * can be encoded and applied again.
 */
#include "core/wire/xbzrle.h"
#include "tests/core/wire/stream_maker.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *page = malloc(PAGE_BYTES);
    uint8_t old[PAGE_BYTES];
    struct buf delta = BUF_INIT;
    struct error err;

    promise(page);
    fill_page(old, 1, 2, 3);
    memcpy(page, old, PAGE_BYTES);
    if (xbzrle_apply(page, data, size, &err) == 0) {
        must(xbzrle_encode(&delta, old, page, &err), &err);
        must(xbzrle_apply(old, delta.data, delta.len, &err), &err);
        promise(memcmp(old, page, PAGE_BYTES) == 0);
    }
    buf_release(&delta);
    free(page);
    return 0;
}
