#include "restore/pages/telltales.h"

int telltales_init(struct telltales *t, size_t capacity, struct error *err)
{
    *t = (struct telltales){.capacity = capacity};
    t->pages = calloc(capacity, sizeof(*t->pages));
    /* Not touched before it is needed: a small guest takes little. */
    t->room = malloc(capacity * PAGE_BYTES);
    return t->pages && t->room ? 0 : fail_nomem(err);
}

void telltales_release(struct telltales *t)
{
    free(t->pages);
    free(t->room);
    *t = (struct telltales){0};
}

size_t telltales_take(struct telltales *t, struct stock_page *pages, size_t n)
{
    size_t stay = 0;

    for (size_t i = 0; i < n; i++) {
        size_t at = (t->first + t->n) % t->capacity;
        uint8_t *to = t->room + at * PAGE_BYTES;

        if (!pages[i].data || !is_telltale(pages[i].pgno)) {
            pages[stay++] = pages[i];
            continue;
        }
        assert(telltales_left(t) > 0);
        memcpy(to, pages[i].data, PAGE_BYTES);
        t->pages[at] = pages[i];
        t->pages[at].data = to;
        t->n++;
    }
    return stay;
}

size_t telltales_give(struct telltales *t, struct stock_page *pages,
                      uint8_t *room, size_t max)
{
    size_t n = MIN(max, t->n);

    for (size_t i = 0; i < n; i++) {
        uint8_t *to = room + i * PAGE_BYTES;

        pages[i] = t->pages[t->first];
        memcpy(to, pages[i].data, PAGE_BYTES);
        pages[i].data = to;
        t->first = (t->first + 1) % t->capacity;
    }
    t->n -= n;
    return n;
}
