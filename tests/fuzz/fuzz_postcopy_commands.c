/*
 * Bodies of commands. A DISCARD that is taken, encoded again, is the same
 * bytes.
 */
#include "core/wire/postcopy_commands.h"
#include "tests/core/wire/stream_maker.h"
#include "tests/fuzz/fuzz.h"

struct ranges {
    char idstr[256];
    struct discard_range *r;
    size_t n;
};

static int keep(void *arg, const char *idstr, struct discard_range range,
                struct error *err)
{
    struct ranges *all = arg;

    all->r = realloc(all->r, (all->n + 1) * sizeof(*all->r));
    promise(all->r);
    all->r[all->n++] = range;
    memcpy(all->idstr, idstr, strlen(idstr) + 1);
    return 0;
}

static void check_discard(const uint8_t *data, size_t size)
{
    struct ranges all = {.n = 0};
    struct buf b = BUF_INIT;
    struct error err;

    if (postcopy_get_discard(data, size, keep, &all, &err) == 0 &&
        all.n <= POSTCOPY_DISCARD_RANGES_MAX) {
        must(postcopy_put_discard(&b, all.idstr, all.r, all.n, &err), &err);
        promise(b.len == size + 5 && memcmp(b.data + 5, data, size) == 0);
    }
    buf_release(&b);
    free(all.r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t sizes;
    uint64_t target;
    char idstr[256];
    struct error err;

    check_discard(data, size);
    if (postcopy_get_advise(data, size, &sizes, &target, &err) == 0)
        promise(size == 16);
    if (postcopy_get_recv_bitmap(data, size, idstr, &err) == 0)
        promise(strlen(idstr) + 1 == size);
    return 0;
}
