/*
 * device_state.c - letting go of a device state.
 *
 * Nothing else happens here: core/wire/device_tail.c fills the struct from a
 * stream, the storage room keeps its bytes and gives them back.
 */
#include "core/vm/device_state.h"

void device_state_release(struct device_state *d)
{
    buf_release(&d->tail);
    buf_release(&d->vmdesc);
    buf_release(&d->early);
    free(d->sections);
    *d = (struct device_state){0};
}
