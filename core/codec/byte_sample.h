/*
 * byte_sample.h - a look at some of many bytes: are they worth compressing?
 *
 * Pure; any thread.
 */
#ifndef FIRN_CORE_CODEC_BYTE_SAMPLE_H
#define FIRN_CORE_CODEC_BYTE_SAMPLE_H

#include <stddef.h>

/* Less is never called random, nor flat. */
#define BYTE_SAMPLE_LEAST 4096u

enum byte_look {
    /* Each value is as likely as the others: encrypted, or compressed already.
     * What a byte coder would make smaller by an eighth does not look so. */
    BYTES_RANDOM,
    /* Only what repeats itself is worth finding: nearly random, or many zeros,
     * beside which little remains for a byte coder. */
    BYTES_FLAT,
    /* Some values are likelier than others: worth a byte coder, too. */
    BYTES_SKEWED,
};

enum byte_look byte_sample_look(const void *data, size_t len);

#endif
