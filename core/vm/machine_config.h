/*
 * machine_config.h - the CONFIG section: what a destination compares first.
 */
#ifndef FIRN_CORE_VM_MACHINE_CONFIG_H
#define FIRN_CORE_VM_MACHINE_CONFIG_H

#include "core/base/buf.h"

struct machine_config {
    char machine[256];         /* resolved type, "pc-i440fx-10.0" */
    uint32_t target_page_bits; /* 0 when the stream does not say (x86) */
    bool ignore_shared;        /* capability x-ignore-shared was on */
    bool mapped_ram;           /* capability mapped-ram was on */
    bool has_uuid;
    uint8_t uuid[16];
    struct buf raw; /* the section as it came, type byte included */
};

static inline void machine_config_release(struct machine_config *c)
{
    buf_release(&c->raw);
}

#endif
