/*
 * sync_points.h - how far the channels of a multifd stream have come.
 *
 * A sync point is one SYNC packet in every channel and one mark in the main
 * one. What was read between two of them has no order, and needs none: there a
 * page comes at most once. So nobody waits at a sync point. Each reader counts
 * those it has passed, and the count is the *epoch* of the pages it reads: of
 * two contents of one page the one of the higher epoch is the newer.
 *
 * At the end all must have passed the same number, with nothing behind. Pure;
 * who uses it from several threads holds a lock.
 */
#ifndef FIRN_SNAPSHOT_SYNC_POINTS_H
#define FIRN_SNAPSHOT_SYNC_POINTS_H

#include "core/wire/multifd_packet.h"

struct sync_points {
    unsigned n_channels;
    uint64_t main; /* marks read in the main channel */
    bool complete; /* nothing may follow */
    struct {
        uint64_t passed;   /* SYNC packets read */
        bool pages_behind; /* since the last of them */
        bool ended;        /* closed by QEMU, between two packets */
    } channels[MULTIFD_CHANNELS_MAX];
};

/* Nobody has passed any. */
void sync_points_init(struct sync_points *s, unsigned n_channels);

/* The main channel read a mark. */
void sync_points_mark(struct sync_points *s);
/* A packet with pages, a SYNC packet: ERR_PROTOCOL once all is complete. */
int sync_points_pages(struct sync_points *s, unsigned channel,
                      struct error *err) NODISCARD;
/* Channel `channel` (QEMU's number) read a SYNC packet. */
int sync_points_pass(struct sync_points *s, unsigned channel,
                     struct error *err) NODISCARD;
/* QEMU closed it, with no packet half read. */
void sync_points_end(struct sync_points *s, unsigned channel);

/* The main channel is through. *ret: so are all others. ERR_PROTOCOL: one of
 * them never will be, or has gone too far. */
int sync_points_check(struct sync_points *s, bool *ret,
                      struct error *err) NODISCARD;

#endif
