/*
 * Whatever a destination writes, whole or byte by byte: the same messages and
 * the same outcome, and requests that a pager may take at their word.
 */
#include "core/vm/page.h"
#include "core/wire/return_path.h"
#include "tests/core/wire/stream_maker.h"
#include "tests/fuzz/fuzz.h"

static int on_u32(void *arg, uint32_t value, struct error *err)
{
    return buf_printf(arg, err, "%u\n", value);
}

static int on_request(void *arg, const char *idstr, uint64_t start,
                      uint32_t len, struct error *err)
{
    promise(*idstr && len > 0 && start % PAGE_BYTES == 0 &&
            len % PAGE_BYTES == 0 && start + len > start);
    return buf_printf(arg, err, "%s %lx %x\n", idstr, start, len);
}

static int on_bitmap(void *arg, const char *idstr, const uint64_t *words,
                     uint64_t n_pages, struct error *err)
{
    uint64_t sum = 0;

    promise(*idstr && n_pages > 0 && n_pages % 64 == 0);
    for (uint64_t i = 0; i < n_pages / 64; i++)
        sum = sum * 31 + words[i];
    return buf_printf(arg, err, "%s %lu %lx\n", idstr, n_pages, sum);
}

static const struct return_path_ops ops = {
    .shut = on_u32,
    .pong = on_u32,
    .request = on_request,
    .bitmap = on_bitmap,
    .resume_ack = on_u32,
};

static int decode(const uint8_t *data, size_t len, size_t chunk,
                  struct buf *trace)
{
    struct return_path_decoder *d = NULL;
    struct error err;
    int rc = 0;

    must(return_path_decoder_new(&ops, trace, &d, &err), &err);
    for (size_t at = 0; at < len && rc == 0; at += chunk) {
        size_t n = len - at < chunk ? len - at : chunk;

        rc = return_path_decoder_feed(d, data + at, n, &err);
    }
    return_path_decoder_free(d);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = BUF_INIT;
    struct buf cut = BUF_INIT;

    promise(decode(data, size, size + 1, &whole) ==
            decode(data, size, 1, &cut));
    promise(strcmp(buf_str(&whole), buf_str(&cut)) == 0);
    buf_release(&whole);
    buf_release(&cut);
    return 0;
}
