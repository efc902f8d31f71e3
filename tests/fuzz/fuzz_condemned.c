/*
 * A list of condemned packs: any bytes give ERR_CORRUPT, or a list that is
 * printed and read again as the same.
 */
#include "storage/condemned.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct condemned c = {.packs = NULL}, again = {.packs = NULL};
    cleanup_buf struct buf text = BUF_INIT;
    struct error err = ERROR_INIT;

    if (condemned_parse(data, size, &c, &err) < 0) {
        promise(err.code == ERR_CORRUPT || err.code == ERR_NOMEM);
        return 0;
    }
    promise(condemned_print(&c, &text, &err) == 0);
    promise(condemned_parse(text.data, text.len, &again, &err) == 0);
    promise(json_equal(c.packs, again.packs));
    promise(!c.holders == !again.holders);
    promise(!c.holders || json_equal(c.holders, again.holders));
    condemned_release(&c);
    condemned_release(&again);
    return 0;
}
