/*
 * device_tail.h - everything behind RAM, until it is proved to be whole.
 *
 * Bytes are collected as they come; after any of them one may ask whether they
 * end exactly with a description that proves them. All zero is a fresh tail;
 * the caller owns the struct. One thread.
 */
#ifndef FIRN_CORE_WIRE_DEVICE_TAIL_H
#define FIRN_CORE_WIRE_DEVICE_TAIL_H

#include "core/vm/device_state.h"

struct device_tail {
    /* While not proved, `state.tail` holds all bytes that came. */
    struct device_state state;
    bool proved;
    size_t last_nul;  /* 1 + index of the last byte 0 in the tail; 0: none */
    size_t tried_len; /* length at which the last proof was tried */
    struct error why; /* why that one failed; code 0 if nothing looked like
                       * a description */
};

/* ERR_PROTOCOL when the tail gets larger than any VM's. Bytes behind a proved
 * end make it unproved again. */
int device_tail_append(struct device_tail *t, const void *data, size_t len,
                       struct error *err) NODISCARD;

/* Cheap unless there is something new to prove. */
bool device_tail_prove(struct device_tail *t);

/* The error that says why the tail, as it is, is not whole. */
int device_tail_explain(const struct device_tail *t, struct error *err);

/* Frees what came so far; what is left is a fresh tail. */
void device_tail_release(struct device_tail *t);

#endif
