/*
 * The first byte says where the rest is cut into reads. However it is cut, the
 * same messages come out, and the same kind of end.
 */
#include "core/qmp/qmp_message.h"
#include "tests/fuzz/fuzz.h"

struct outcome {
    uint64_t messages; /* kinds and ids, folded */
    unsigned n;
    int rc;
};

static void take_all(struct qmp_reader *r, struct outcome *o)
{
    struct error err;
    bool got = true;

    while (o->rc == 0 && got) {
        struct qmp_message m = {0};

        o->rc = qmp_reader_next(r, &m, &got, &err);
        if (o->rc < 0 || !got)
            break;
        promise(m.kind >= QMP_GREETING && m.kind <= QMP_EVENT);
        promise(json_is_object(m.body));
        json_decref(m.body);
        o->messages = o->messages * 31 + (uint64_t)m.kind * 7 + (uint64_t)m.id;
        o->n++;
    }
}

static struct outcome read_in(const uint8_t *data, size_t size, size_t piece)
{
    struct qmp_reader r = QMP_READER_INIT;
    struct outcome o = {0};
    struct error err;

    for (size_t i = 0; o.rc == 0 && i < size; i += piece) {
        promise(qmp_reader_feed(&r, data + i, MIN(piece, size - i), &err) == 0);
        take_all(&r, &o);
    }
    promise(o.rc == 0 || o.rc == ERR_PROTOCOL);
    qmp_reader_release(&r);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole, cut;

    if (size < 2)
        return 0;
    whole = read_in(data + 1, size - 1, size);
    cut = read_in(data + 1, size - 1, (size_t)data[0] + 1);
    promise(whole.n == cut.n && whole.messages == cut.messages);
    promise(whole.rc == cut.rc);
    return 0;
}
