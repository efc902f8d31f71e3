/*
 * handover.h - a VMM hands over its memory: Firecracker's protocol.
 *
 *   client: connects, sends a JSON array, one object a region, and with its
 *           first byte one descriptor, a userfaultfd (SCM_RIGHTS)
 *   then:   nothing more; the socket stays open while the client lives
 *
 *   region = {"base_host_virt_addr": address, "size": bytes, "offset": bytes
 *             in the image, "page_size": bytes (or, of old, "page_size_kib",
 *             which holds bytes as well)}
 *
 * Everything a client sends is untrusted: numbers are checked against the
 * image and against one another before any is used. Parsing is pure.
 */
#ifndef FIRN_RESTORE_UFFD_HANDOVER_H
#define FIRN_RESTORE_UFFD_HANDOVER_H

#include "core/base/buf.h"
#include "core/base/stopper.h"
#include "restore/uffd/uffd_space.h"

/* 1024 regions with long numbers are half of it. */
#define HANDOVER_MAX_BYTES   (256u << 10)
#define HANDOVER_MAX_REGIONS 1024u

struct handover {
    int fd; /* the client's userfaultfd; owned */
    struct space_region *regions;
    uint32_t n_regions;
    uint32_t page_bytes;
};

#define HANDOVER_INIT ((struct handover){.fd = -1})

/* Closes the descriptor unless it was taken out (set to -1), frees the
 * regions. */
void handover_release(struct handover *h);

/* How much of the text is the array: its length once it is complete, 0 while
 * it is not. ERR_PROTOCOL: no array begins here. */
int handover_measure(const char *text, size_t len, size_t *ret_len,
                     struct error *err) NODISCARD;
/* Regions and page size; the descriptor is not touched. ERR_PROTOCOL names the
 * region and what is wrong with it. */
int handover_parse(const char *text, size_t len, uint64_t image_bytes,
                   struct handover *ret, struct error *err) NODISCARD;
/* Reads the whole message from a socket. */
int handover_receive(int sock, uint64_t image_bytes, struct stopper *stop,
                     uint64_t deadline_ns, struct handover *ret,
                     struct error *err) NODISCARD;

static inline UNUSED void cleanup_handover_fn(struct handover *h)
{
    handover_release(h);
}

#endif
