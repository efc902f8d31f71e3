/*
 * virtio_mem_decoder.h - the one device section that comes before RAM.
 *
 * Read by its fixed form, only to find its end: which parts of a virtio-mem
 * device are plugged. Pure; one thread.
 */
#ifndef FIRN_CORE_WIRE_VIRTIO_MEM_DECODER_H
#define FIRN_CORE_WIRE_VIRTIO_MEM_DECODER_H

#include "core/vm/section_registry.h"

/* Adds the handler, for all devices of the kind; it has no state and no arg. */
int virtio_mem_decoder_register(struct section_registry *to,
                                struct error *err) NODISCARD;

#endif
