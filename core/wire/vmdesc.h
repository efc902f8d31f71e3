/*
 * vmdesc.h - the description at the end of a stream cuts the device tail.
 *
 * The device sections have no lengths; the JSON that QEMU sends behind them
 * says what each holds, from which its length follows. Walking the bytes with
 * it, header by header and footer by footer, proves that nothing is missing.
 * Pure; any thread.
 */
#ifndef FIRN_CORE_WIRE_VMDESC_H
#define FIRN_CORE_WIRE_VMDESC_H

#include "core/base/cursor.h"
#include "core/base/json.h"
#include "core/vm/device_state.h"

#define VMDESC_MAX_BYTES JSON_MAX_BYTES

struct vmdesc_cut {
    struct device_section *sections; /* of the tail; free() them */
    size_t n;
    size_t n_searched; /* whose end was searched for: sizes did not add up */
};

/*
 * `early` and `tail` are the FULL sections before and behind RAM, without the
 * closing EOF: the description covers both, in this order, and must end where
 * they end. ERR_PROTOCOL with the device and the place where they part.
 */
int vmdesc_walk(const void *json, size_t json_len, struct cursor early,
                struct cursor tail, struct vmdesc_cut *ret,
                struct error *err) NODISCARD;

#endif
