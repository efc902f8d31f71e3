/*
 * The first byte says how the rest is cut. Whatever the bytes: cut or whole,
 * the same events and the same outcome; and a tail that is proved is covered by
 * its sections.
 */
#include "core/wire/stream_decoder.h"
#include "tests/core/wire/stream_maker.h"
#include "tests/fuzz/fuzz.h"

struct outcome {
    struct listener listener;
    int rc;
    bool complete;
};

static void check_tail(const struct device_state *s)
{
    uint64_t at = 0;

    for (size_t i = 0; i < s->n_sections; i++) {
        promise(s->sections[i].offset == at);
        at += s->sections[i].bytes;
    }
    promise(at == s->tail.len);
}

static void decode(const uint8_t *data, size_t len, size_t chunk,
                   struct outcome *ret)
{
    struct stream_decoder *d = NULL;
    struct error err;

    must(stream_decoder_new(&listener_ops, &ret->listener, &d, &err), &err);
    for (size_t at = 0; at < len && ret->rc == 0; at += chunk) {
        size_t n = len - at < chunk ? len - at : chunk;

        ret->rc = stream_decoder_feed(d, data + at, n, &err);
    }
    ret->complete = stream_decoder_complete(d);
    promise(!ret->complete || ret->rc == 0);
    promise((stream_decoder_finish(d, &err) == 0) == ret->complete);
    if (ret->complete)
        check_tail(stream_decoder_device_state(d));
    stream_decoder_free(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole = {0};
    struct outcome cut = {0};

    if (size == 0)
        return 0;
    decode(data + 1, size - 1, size, &whole);
    decode(data + 1, size - 1, 1u + data[0] % 64u, &cut);

    promise(whole.rc == cut.rc && whole.complete == cut.complete);
    promise(strcmp(buf_str(&whole.listener.trace),
                   buf_str(&cut.listener.trace)) == 0);
    listener_release(&whole.listener);
    listener_release(&cut.listener);
    return 0;
}
