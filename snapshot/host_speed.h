/*
 * host_speed.h - how fast this host takes memory in, measured for a moment.
 *
 * As many threads as a capture has compress made-up pages, half of them text
 * and half noise, while the guest and everybody else go on: compression is
 * what a capture waits for. One thread.
 */
#ifndef FIRN_SNAPSHOT_HOST_SPEED_H
#define FIRN_SNAPSHOT_HOST_SPEED_H

#include "core/base/stopper.h"

/* Raw bytes a second that all threads together compress; takes some 150 ms.
 * `level` as zstd's, `threads` at least 1 (16 are the most that are started). */
int host_speed_measure(int level, unsigned threads, struct stopper *stop,
                       uint64_t *ret_bytes_per_s, struct error *err) NODISCARD;

#endif
