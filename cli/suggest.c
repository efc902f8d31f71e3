/*
 * The distance is the restricted Damerau-Levenshtein one: three rows of the
 * table are enough. A word is near when at most a third of it is wrong, and at
 * most 3 letters; a beginning ("snap" of "snapshot") is always near.
 */
#include "cli/suggest.h"

#include <string.h>

#define WORD_MAX 63u

unsigned suggest_distance(const char *a, const char *b)
{
    size_t n = strlen(a);
    size_t m = strlen(b);
    unsigned rows[3][WORD_MAX + 1] = {0};

    if (n > WORD_MAX || m > WORD_MAX)
        return WORD_MAX;
    for (unsigned j = 0; j <= m; j++)
        rows[0][j] = j;
    for (unsigned i = 1; i <= n; i++) {
        unsigned *now = rows[i % 3];
        const unsigned *before = rows[(i + 2) % 3];
        const unsigned *two_before = rows[(i + 1) % 3];

        now[0] = i;
        for (unsigned j = 1; j <= m; j++) {
            unsigned change = before[j - 1] + (a[i - 1] != b[j - 1]);

            now[j] = MIN(change, MIN(before[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = MIN(now[j], two_before[j - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

/* Lower is nearer; above `limit` it cannot have been meant. */
static unsigned score(const char *word, const char *candidate)
{
    size_t len = strlen(word);

    if (len >= 2 && strncmp(word, candidate, len) == 0)
        return 0;
    return suggest_distance(word, candidate);
}

void suggest_consider(const char *word, const char *candidate,
                      const char **best)
{
    unsigned limit = MIN(3u, (unsigned)(strlen(candidate) + 2) / 3);
    unsigned found = score(word, candidate);

    if (found > limit || (*best && score(word, *best) <= found))
        return;
    *best = candidate;
}
