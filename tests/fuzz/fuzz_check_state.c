/*
 * The record of checks: any bytes give ERR_CORRUPT, or a record that is printed
 * and read again as the same.
 */
#include <string.h>

#include "storage/keeping/check_state.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup(check_state) struct check_state *s = NULL;
    cleanup(check_state) struct check_state *again = NULL;
    cleanup_buf struct buf text = BUF_INIT;
    cleanup_buf struct buf twice = BUF_INIT;
    struct error err = ERROR_INIT;

    if (check_state_parse(data, size, &s, &err) < 0) {
        promise(err.code == ERR_CORRUPT || err.code == ERR_NOMEM);
        return 0;
    }
    promise(check_state_print(s, &text, &err) == 0);
    promise(check_state_parse(text.data, text.len, &again, &err) == 0);
    promise(check_state_print(again, &twice, &err) == 0);
    promise(text.len == twice.len &&
            memcmp(text.data, twice.data, text.len) == 0);
    return 0;
}
