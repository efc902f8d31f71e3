/* new_pages OLD NEW: what the pages of NEW that OLD does not hold anywhere need
 * when nothing but they are compressed: in frames of 64 KiB at zstd level 1,
 * each content once. Raw images or pipes of them. The floor for a snapshot that
 * follows another. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>
#include <zstd.h>

enum { PAGE = 4096, FRAME_PAGES = 16 };

/* An open hash table of contents; 0 is an empty place. */
static uint64_t *known;
static uint64_t places = 1 << 20, used;

static void grow(void);

static bool add(uint64_t hash)
{
    uint64_t at;

    hash += hash == 0;
    if (used * 2 > places)
        grow();
    for (at = hash & (places - 1); known[at]; at = (at + 1) & (places - 1)) {
        if (known[at] == hash)
            return false;
    }
    known[at] = hash;
    used++;
    return true;
}

static void grow(void)
{
    uint64_t *old = known, count = places;

    places *= 2;
    used = 0;
    known = calloc(places, sizeof *known);
    if (!known)
        abort();
    for (uint64_t i = 0; i < count; i++) {
        if (old[i])
            add(old[i]);
    }
    free(old);
}

static bool is_zero(const char *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

static FILE *open_image(const char *path)
{
    FILE *f = fopen(path, "rb");

    if (!f) {
        perror(path);
        exit(1);
    }
    setvbuf(f, NULL, _IOFBF, 1 << 20);
    return f;
}

int main(int argc, char **argv)
{
    static char page[PAGE], frame[PAGE * FRAME_PAGES], out[PAGE * (FRAME_PAGES + 2)];
    uint64_t pages = 0, zero = 0, fresh = 0, bytes = 0;
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    size_t filled = 0;
    FILE *old, *new;

    if (argc != 3) {
        fprintf(stderr, "usage: new_pages OLD NEW\n");
        return 2;
    }
    known = calloc(places, sizeof *known);
    old = open_image(argv[1]);
    new = open_image(argv[2]);
    if (!known || !zstd)
        return 1;
    while (fread(page, PAGE, 1, old) == 1)
        add(XXH3_64bits(page, PAGE));
    while (fread(page, PAGE, 1, new) == 1) {
        pages++;
        if (is_zero(page)) {
            zero++;
        } else if (add(XXH3_64bits(page, PAGE))) {
            fresh++;
            memcpy(frame + filled, page, PAGE);
            filled += PAGE;
        }
        if (filled == sizeof frame) {
            bytes += ZSTD_compressCCtx(zstd, out, sizeof out, frame, filled, 1);
            filled = 0;
        }
    }
    if (filled)
        bytes += ZSTD_compressCCtx(zstd, out, sizeof out, frame, filled, 1);
    printf("pages=%llu zero=%llu new=%llu bytes=%llu\n",
           (unsigned long long)pages, (unsigned long long)zero,
           (unsigned long long)fresh, (unsigned long long)bytes);
    ZSTD_freeCCtx(zstd);
    free(known);
    return 0;
}
