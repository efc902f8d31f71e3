#include "bench/storage/image.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CODE_BYTES ((size_t)48 << 20)
#define LIBRARIES  "/usr/lib/x86_64-linux-gnu"
#define WORDS      2048u

enum kind {
    KIND_ZERO,
    KIND_COPY,
    KIND_RANDOM,
    KIND_TEXT,
    KIND_CODE,
    KIND_HEAP
};

struct maker {
    uint64_t random;
    uint8_t *code;
    size_t n_code;
    char words[WORDS][12];
};

static uint64_t next(struct maker *m)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return m->random * UINT64_C(0x9e3779b97f4a7c15);
}

static uint32_t below(struct maker *m, uint32_t n)
{
    return (uint32_t)((next(m) >> 33) % n);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static size_t load_file(const char *name, uint8_t *to, size_t room)
{
    char path[512];
    FILE *f;
    size_t n;

    snprintf(path, sizeof(path), "%s/%s", LIBRARIES, name);
    f = fopen(path, "rb");
    if (!f)
        return 0;
    n = fread(to, 1, room, f);
    fclose(f);
    return n / PAGE_BYTES * PAGE_BYTES;
}

/* The first libraries by name, up to CODE_BYTES. */
static void load_code(struct maker *m)
{
    char *names[4096];
    size_t n = 0;
    DIR *d = opendir(LIBRARIES);
    struct dirent *e;

    m->code = malloc(CODE_BYTES);
    while (d && m->code && n < 4096 && (e = readdir(d))) {
        if (strstr(e->d_name, ".so.") && e->d_type == DT_REG)
            names[n++] = strdup(e->d_name);
    }
    if (d)
        closedir(d);
    qsort(names, n, sizeof(*names), by_name);
    for (size_t i = 0; i < n; i++) {
        m->n_code +=
            load_file(names[i], m->code + m->n_code, CODE_BYTES - m->n_code);
        free(names[i]);
    }
}

static void make_words(struct maker *m)
{
    for (unsigned i = 0; i < WORDS; i++) {
        unsigned len = 2 + below(m, 9);

        for (unsigned k = 0; k < len; k++)
            m->words[i][k] =
                "etaoinshrdlucmfwypvbgkqjxz"[below(m, 1 + below(m, 26))];
        m->words[i][len] = '\0';
    }
}

static void fill_text(struct maker *m, uint8_t *page, size_t len)
{
    size_t at = 0;

    while (at < len) {
        /* Frequent words are frequent. */
        const char *word = m->words[below(m, 1 + below(m, WORDS))];
        size_t n = MIN(strlen(word), len - at);

        memcpy(page + at, word, n);
        at += n;
        if (at < len)
            page[at++] = below(m, 12) ? ' ' : '\n';
    }
}

/* Objects of 64 bytes: a type, two pointers, counts, flags, some text. */
static void fill_heap(struct maker *m, uint8_t *page, size_t len)
{
    uint64_t base = UINT64_C(0x00007f0000000000) | (next(m) & 0xfffffff000);

    for (size_t at = 0; at + 64 <= len; at += 64) {
        uint64_t object[8] = {
            base + 64 * below(m, 40),
            base + (next(m) & 0xffff0),
            base + (next(m) & 0xfffff8),
            below(m, 4) ? below(m, 200) : next(m),
            below(m, 3) ? 0 : 1u << below(m, 16),
            next(m) & 0xffffff,
        };

        fill_text(m, (uint8_t *)&object[6], below(m, 16));
        memcpy(page + at, object, sizeof(object));
    }
}

static void fill_random(struct maker *m, uint8_t *page, size_t len)
{
    for (size_t at = 0; at < len; at += 8) {
        uint64_t v = next(m);

        memcpy(page + at, &v, sizeof(v));
    }
}

static void fill_code(struct maker *m, uint8_t *to, size_t len)
{
    size_t pages = m->n_code / PAGE_BYTES;
    size_t from, n;

    if (pages == 0) {
        fill_heap(m, to, len);
        return;
    }
    from = below(m, (uint32_t)pages) * (size_t)PAGE_BYTES;
    n = MIN(len, m->n_code - from);
    memcpy(to, m->code + from, n);
    /* Relocated, and so no copy of another page. */
    for (size_t at = 0; at < n; at += PAGE_BYTES) {
        uint64_t v = next(m);

        memcpy(to + at + below(m, 500) * 8, &v, sizeof(v));
    }
}

static enum kind kind_of(struct maker *m)
{
    static const struct {
        enum kind kind;
        uint32_t share;
    } shares[] = {{KIND_ZERO, 15}, {KIND_COPY, 12}, {KIND_RANDOM, 25},
                  {KIND_TEXT, 16}, {KIND_CODE, 12}, {KIND_HEAP, 20}};
    uint32_t n = below(m, 100);
    size_t i = 0;

    while (n >= shares[i].share)
        n -= shares[i++].share;
    return shares[i].kind;
}

static void fill_run(struct maker *m, uint8_t *memory, uint64_t run, size_t len)
{
    uint8_t *to = memory + run * IMAGE_RUN_PAGES * PAGE_BYTES;

    switch (kind_of(m)) {
    case KIND_COPY:
        if (run > 0)
            memcpy(to,
                   memory + (next(m) >> 1) % run * IMAGE_RUN_PAGES * PAGE_BYTES,
                   len);
        break;
    case KIND_RANDOM:
        fill_random(m, to, len);
        break;
    case KIND_TEXT:
        fill_text(m, to, len);
        break;
    case KIND_CODE:
        fill_code(m, to, len);
        break;
    case KIND_HEAP:
        fill_heap(m, to, len);
        break;
    case KIND_ZERO:
        break;
    }
}

static void maker_init(struct maker *m, uint64_t seed)
{
    *m = (struct maker){.random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1};
    make_words(m);
}

void image_fill(uint8_t *memory, uint64_t pages, uint64_t seed)
{
    struct maker *m = malloc(sizeof(*m));
    uint64_t runs = pages / IMAGE_RUN_PAGES;

    maker_init(m, seed);
    load_code(m);
    for (uint64_t run = 0; run < runs / 4 * 3; run++)
        fill_run(m, memory, run, IMAGE_RUN_PAGES * PAGE_BYTES);
    free(m->code);
    free(m);
}

uint64_t image_dirty(uint8_t *memory, uint64_t pages, uint64_t one_in,
                     uint64_t seed)
{
    struct maker *m = malloc(sizeof(*m));
    uint64_t n = 0;

    maker_init(m, seed);
    for (uint64_t i = 0; i < pages / 4 * 3; i++) {
        if (below(m, (uint32_t)one_in) != 0)
            continue;
        if (below(m, 2))
            fill_text(m, memory + i * PAGE_BYTES, PAGE_BYTES);
        else
            fill_heap(m, memory + i * PAGE_BYTES, PAGE_BYTES);
        n++;
    }
    free(m);
    return n;
}
