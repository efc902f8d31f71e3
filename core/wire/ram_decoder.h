/*
 * ram_decoder.h - the handler of section `ram`: block list and page records.
 *
 * Registered with a section registry and called through it alone. What it
 * reads goes to the ops of the stream decoder. Open, since the stream decoder
 * owns it and hands its block list out; others do not touch it. One thread.
 */
#ifndef FIRN_CORE_WIRE_RAM_DECODER_H
#define FIRN_CORE_WIRE_RAM_DECODER_H

#include "core/vm/section_registry.h"
#include "core/wire/stream_decoder.h"

struct ram_decoder {
    /* Set before the first byte, then read only. */
    const struct stream_decoder_ops *ops;
    void *ops_arg;
    const struct machine_config *config;
    struct stream_decoder_stats *stats;

    struct ramblock_list blocks;
    bool listing;        /* within the block list */
    bool listed;         /* the list is complete */
    uint64_t list_total; /* bytes of all blocks, as START says */
    uint64_t list_left;  /* bytes of the blocks still to be listed */

    uint32_t current;    /* block of the record last read, or NOT_FOUND */
    bool *sent;          /* by block: some page of it came */
    bool flush_in_setup; /* START held a MULTIFD_FLUSH: sync once a round */
};

/* `r` is zeroed and its first band set by the caller. */
int ram_decoder_register(struct ram_decoder *r, struct section_registry *to,
                         struct error *err) NODISCARD;
/* Frees the block list; the registry must not call it any more. */
void ram_decoder_release(struct ram_decoder *r);

/* No page comes any more: with x-ignore-shared, marks the blocks of which
 * none came as left out. */
void ram_decoder_settle(struct ram_decoder *r);

#endif
