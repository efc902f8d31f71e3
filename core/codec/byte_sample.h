/*
 * byte_sample.h - a look at some of many bytes: are they worth compressing?
 *
 * Pure; any thread.
 */
#ifndef FIRN_CORE_CODEC_BYTE_SAMPLE_H
#define FIRN_CORE_CODEC_BYTE_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>

/* Less is never called random. */
#define BYTE_SAMPLE_LEAST 4096u

/* Whether the bytes of all parts look as if each value were as likely as the
 * others: encrypted, or compressed already. What a byte coder would make
 * smaller by an eighth does not; what only repeats itself may. */
bool byte_sample_is_random(const void *data, size_t len);

#endif
