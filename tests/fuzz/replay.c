/*
 * replay ENTRY_FOLDER...: gives a fuzz entry every file of the folders, every
 * prefix of it and some thousand changed copies. The changes come from a seed
 * of their own, so that a failure comes again. What ran is printed; a folder
 * that is missing counts as empty, no file at all is a failure.
 */
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

/* Larger seeds are sampled: prefixes and changes at some places only. */
#define PREFIXES_MAX 500u
#define CHANGES      2500u

#define FILE_MAX_BYTES (4u << 20)

static size_t runs;

/* In memory of just this size, so that a sanitizer sees a read behind it. */
static void run(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);

    promise(copy);
    memcpy(copy, data, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
    runs++;
}

static void run_prefixes(const uint8_t *data, size_t len)
{
    size_t step = len / PREFIXES_MAX + 1;

    for (size_t n = 0; n < len; n += step)
        run(data, n);
}

/* One change of a few kinds: a bit, a byte, a run of bytes, a piece cut out. */
static size_t change(uint8_t *data, size_t len, unsigned *seed)
{
    size_t at = (size_t)rand_r(seed) % len;
    size_t n = 1 + (size_t)rand_r(seed) % 16;

    if (n > len - at)
        n = len - at;
    switch (rand_r(seed) % 5) {
    case 0:
        data[at] ^= (uint8_t)(1u << rand_r(seed) % 8);
        return len;
    case 1:
        data[at] = (uint8_t)rand_r(seed);
        return len;
    case 2:
        memset(data + at, rand_r(seed) % 2 ? 0xff : 0, n);
        return len;
    case 3:
        memmove(data + at, data + (size_t)rand_r(seed) % (len - n + 1), n);
        return len;
    default:
        memmove(data + at, data + at + n, len - at - n);
        return len - n;
    }
}

static void run_changes(const uint8_t *data, size_t len)
{
    unsigned seed = (unsigned)len;
    uint8_t *copy = malloc(len);

    promise(copy);
    for (size_t i = 0; i < CHANGES; i++) {
        size_t left = len;
        int n = 1 + rand_r(&seed) % 4;

        memcpy(copy, data, len);
        while (n-- > 0 && left > 0)
            left = change(copy, left, &seed);
        run(copy, left);
    }
    free(copy);
}

static void replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(FILE_MAX_BYTES);
    size_t len;

    promise(f && data);
    len = fread(data, 1, FILE_MAX_BYTES, f);
    fclose(f);
    run(data, len);
    if (len > 0) {
        run_prefixes(data, len);
        run_changes(data, len);
    }
    free(data);
}

static void replay_folder(const char *folder)
{
    struct dirent **names;
    int n = scandir(folder, &names, NULL, alphasort);

    for (int i = 0; i < n; i++) {
        char path[4096];
        struct stat st;

        snprintf(path, sizeof(path), "%s/%s", folder, names[i]->d_name);
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
            replay_file(path);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        replay_folder(argv[i]);
    printf("%zu inputs\n", runs);
    return runs == 0;
}
