/*
 * fake_destination.h - an -incoming QEMU on a socketpair, driven by a test.
 *
 * Reads the stream with a parser of its own, as QEMU's loadvm does, and keeps
 * what was placed. What a real QEMU would die or pause of (a page twice, an
 * unknown record, a wrong order) fails the test. All reads end after 10 s.
 */
#ifndef FIRN_TESTS_FAKES_FAKE_DESTINATION_H
#define FIRN_TESTS_FAKES_FAKE_DESTINATION_H

#include "core/base/buf.h"
#include "core/vm/page.h"

#define FAKE_PAGES_MAX 4096

struct fake_placed {
    char idstr[256];
    pgno_t pgno;
    bool zero;
    uint8_t first[16]; /* of the content */
};

struct fake_destination {
    int fd;
    /* of the prologue */
    char machine[256];
    uint64_t advised_sizes;
    uint32_t ram_section_id;
    struct buf blocks;  /* "name length pagesize\n" each */
    struct buf package; /* the bytes inside */
    unsigned discards;
    unsigned pings; /* outside the package */
    /* of the pages */
    struct fake_placed placed[FAKE_PAGES_MAX];
    unsigned n_placed;
    char last_idstr[256];
    bool in_section;
    bool ended; /* EOF byte was read */
};

/* From the header to the end of the package. */
void fake_read_prologue(struct fake_destination *d);
/* From the header to the opening of the first RAM section with pages. */
void fake_read_precopy_prologue(struct fake_destination *d);
/* The next page record; false at the EOF byte or when the other side closed. */
bool fake_read_page(struct fake_destination *d);
/* Reads until this page was placed, at once if it was. */
void fake_await_page(struct fake_destination *d, const char *idstr,
                     pgno_t pgno);
const struct fake_placed *fake_find(const struct fake_destination *d,
                                    const char *idstr, pgno_t pgno);
/* Pages placed of one block. */
unsigned fake_count(const struct fake_destination *d, const char *idstr);

void fake_send(struct fake_destination *d, const struct buf *b);
void fake_ask(struct fake_destination *d, const char *idstr, pgno_t pgno,
              uint32_t pages);
void fake_pong(struct fake_destination *d, uint32_t value);
void fake_shut(struct fake_destination *d, uint32_t status);
/* The other side closes and says nothing more. */
void fake_await_close(struct fake_destination *d);
void fake_release(struct fake_destination *d);

#endif
