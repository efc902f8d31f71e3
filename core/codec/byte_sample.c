/*
 * byte_sample.c - 512 bytes from 16 places, counted by value.
 *
 * With c of each value the sum of (c - 2)^2 / 2 is chi-square with 255 degrees:
 * 255 for random bytes, with a deviation of 23; 767 for bytes that a perfect
 * byte coder makes smaller by an eighth. The sum of c^2 is twice that and 1024.
 */
#include "core/codec/byte_sample.h"

#include <stdint.h>

#define PLACES      16u
#define PLACE_BYTES 32u
#define CHI_SQUARE  338u /* 3.7 deviations: few random ones are missed */
#define SQUARES     (2 * CHI_SQUARE + 1024)

bool byte_sample_is_random(const void *data, size_t len)
{
    const uint8_t *p = data;
    size_t stride = len / PLACES;
    uint16_t count[256] = {0};
    uint32_t squares = 0;

    if (len < BYTE_SAMPLE_LEAST)
        return false;
    p += (stride - PLACE_BYTES) / 2;
    for (unsigned i = 0; i < PLACES; i++, p += stride) {
        for (unsigned k = 0; k < PLACE_BYTES; k++)
            count[p[k]]++;
    }
    for (unsigned v = 0; v < 256; v++)
        squares += (uint32_t)count[v] * count[v];
    return squares < SQUARES;
}
