/*
 * config_decoder.h - the CONFIG section, piece by piece.
 *
 * Two steps of the stream decoder. Both give 0 when their piece was read, 1
 * when it is not whole (see struct input), or an error. Pure; one thread.
 */
#ifndef FIRN_CORE_WIRE_CONFIG_DECODER_H
#define FIRN_CORE_WIRE_CONFIG_DECODER_H

#include "core/vm/input.h"
#include "core/vm/machine_config.h"

/* The type byte and the machine's name. */
int config_read_machine(struct machine_config *c, struct input *in,
                        struct error *err) NODISCARD;

/* One subsection, from its type byte on. ERR_UNSUPPORTED: an unknown one, or
 * something in it that changes the stream in a way we do not read. */
int config_read_subsection(struct machine_config *c, struct input *in,
                           struct error *err) NODISCARD;

#endif
