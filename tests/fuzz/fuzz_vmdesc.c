/*
 * Two bytes say how long the text is; behind it is the tail. What is proved is
 * covered by the sections, one after the other.
 */
#include "core/wire/vmdesc.h"
#include "tests/fuzz/fuzz.h"

static void check(const uint8_t *json, size_t json_len, const uint8_t *tail,
                  size_t tail_len)
{
    struct vmdesc_cut cut = {0};
    uint64_t at = 0;
    struct error err;

    if (vmdesc_walk(json, json_len, cursor_of("", 0), cursor_of(tail, tail_len),
                    &cut, &err) < 0) {
        promise(err.message[0]);
        return;
    }
    promise(cut.n_searched <= cut.n);
    for (size_t i = 0; i < cut.n; i++) {
        promise(cut.sections[i].offset == at && cut.sections[i].bytes > 0);
        at += cut.sections[i].bytes;
    }
    promise(at == tail_len);
    free(cut.sections);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t json_len;

    if (size < 2)
        return 0;
    json_len = load_be16(data);
    if (json_len > size - 2)
        json_len = size - 2;
    check(data + 2, json_len, data + 2 + json_len, size - 2 - json_len);
    return 0;
}
