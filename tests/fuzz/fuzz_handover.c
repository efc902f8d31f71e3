/*
 * What a client hands over: any bytes give an error, or regions that lie in the
 * image, aligned, and nowhere on one another.
 */
#include "restore/uffd/handover.h"
#include "tests/fuzz/fuzz.h"

#define IMAGE_BYTES (UINT64_C(64) << 20)

static void check(const struct handover *h)
{
    promise(h->n_regions >= 1 && h->n_regions <= HANDOVER_MAX_REGIONS);
    promise(h->page_bytes == 4096 || h->page_bytes == 2u << 20);
    for (uint32_t i = 0; i < h->n_regions; i++) {
        const struct space_region *r = &h->regions[i];

        promise(r->len > 0 && r->start + r->len > r->start);
        promise(r->offset <= IMAGE_BYTES && r->len <= IMAGE_BYTES - r->offset);
        promise((r->start | r->len | r->offset) % h->page_bytes == 0);
        for (uint32_t k = 0; k < i; k++) {
            const struct space_region *o = &h->regions[k];

            promise(r->start + r->len <= o->start ||
                    o->start + o->len <= r->start);
            promise(r->offset + r->len <= o->offset ||
                    o->offset + o->len <= r->offset);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct handover h = HANDOVER_INIT;
    struct error err = ERROR_INIT;
    size_t len = 0;

    if (handover_measure((const char *)data, size, &len, &err) < 0)
        promise(err.code == ERR_PROTOCOL);
    promise(len <= size);
    if (handover_parse((const char *)data, size, IMAGE_BYTES, &h, &err) == 0)
        check(&h);
    else
        promise(err.code == ERR_PROTOCOL || err.code == ERR_NOMEM);
    handover_release(&h);
    return 0;
}
