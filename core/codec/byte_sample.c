/*
 * byte_sample.c - 512 bytes from 16 places, counted by value.
 *
 * With c of each value the sum of (c - 2)^2 / 2 is chi-square with 255 degrees:
 * 255 for random bytes, with a deviation of 23; 767 for bytes that a perfect
 * byte coder makes smaller by an eighth. The sum of c^2 is twice that and 1024.
 *
 * A frame of which half is random has a sum of some 6000. In frames below that,
 * and in those that are half zeros, zstd's byte coder needs 35 to 40 ms for
 * each megabyte that it saves; in text and code 6 to 15 (memory of a guest,
 * zstd 1).
 */
#include "core/codec/byte_sample.h"

#include <stdint.h>

#define PLACES      16u
#define PLACE_BYTES 32u
#define CHI_SQUARE  338u /* 3.7 deviations: few random ones are missed */
#define SQUARES     (2 * CHI_SQUARE + 1024)
#define FLAT        6000u
#define FLAT_ZEROS  (PLACES * PLACE_BYTES / 2)

enum byte_look byte_sample_look(const void *data, size_t len)
{
    const uint8_t *p = data;
    size_t stride = len / PLACES;
    uint16_t count[256] = {0};
    uint32_t squares = 0;

    if (len < BYTE_SAMPLE_LEAST)
        return BYTES_SKEWED;
    p += (stride - PLACE_BYTES) / 2;
    for (unsigned i = 0; i < PLACES; i++, p += stride) {
        for (unsigned k = 0; k < PLACE_BYTES; k++)
            count[p[k]]++;
    }
    for (unsigned v = 0; v < 256; v++)
        squares += (uint32_t)count[v] * count[v];
    if (squares < SQUARES)
        return BYTES_RANDOM;
    return squares < FLAT || count[0] >= FLAT_ZEROS ? BYTES_FLAT : BYTES_SKEWED;
}
