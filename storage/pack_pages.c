/*
 * pack_pages.c - reads a page here and a page there, cheaply enough.
 *
 * For the rare readers that compare or fetch single pages (dedup across VMs, a
 * page that comes again as a delta): neighbours in time are mostly neighbours
 * in a pack, so the last frame and a handful of open packs are remembered.
 * Whole images are read by frame_reader.c instead.
 */
#include "storage/pack_pages.h"

#include "core/vm/page.h"

void pack_pages_init(struct pack_pages *p, int packs_dirfd)
{
    *p = (struct pack_pages){.packs_dirfd = packs_dirfd};
}

void pack_pages_release(struct pack_pages *p)
{
    for (unsigned i = 0; i < PACK_PAGES_OPEN; i++)
        pack_reader_close(p->open[i].reader);
    frame_codec_free(p->codec);
    buf_release(&p->frame);
    *p = (struct pack_pages){.packs_dirfd = p->packs_dirfd};
}

/* The one that is open, else the place of the one not used for longest. */
static unsigned place_of(const struct pack_pages *p, uint32_t pack)
{
    unsigned oldest = 0;

    for (unsigned i = 0; i < PACK_PAGES_OPEN; i++) {
        if (p->open[i].reader && p->open[i].pack == pack)
            return i;
        if (p->open[i].used < p->open[oldest].used)
            oldest = i;
    }
    return oldest;
}

static int open_pack(struct pack_pages *p, uint32_t pack, const char *id,
                     struct pack_reader **ret, struct error *err)
{
    unsigned at = place_of(p, pack);
    int rc = 0;

    if (!p->open[at].reader || p->open[at].pack != pack) {
        pack_reader_close(p->open[at].reader);
        p->open[at].reader = NULL;
        rc = pack_reader_open(p->packs_dirfd, id, PACK_PAGES,
                              &p->open[at].reader, err);
    }
    if (rc < 0)
        return rc;
    p->open[at].pack = pack;
    p->open[at].used = ++p->uses;
    *ret = p->open[at].reader;
    return 0;
}

static int load_frame(struct pack_pages *p, struct pack_reader *reader,
                      uint32_t pack, const struct pack_place *at,
                      struct error *err)
{
    int rc;

    if (p->frame.len > 0 && p->frame_pack == pack &&
        p->frame_number == at->frame)
        return 0;
    buf_reset(&p->frame);
    rc = buf_reserve(&p->frame, at->raw_bytes, err);
    if (rc == 0 && !p->codec)
        rc = frame_codec_new(0, &p->codec, err);
    if (rc == 0)
        rc = pack_reader_frame(reader, at->frame, p->codec, p->frame.data, err);
    if (rc < 0)
        return rc;
    p->frame.len = at->raw_bytes;
    p->frame_pack = pack;
    p->frame_number = at->frame;
    return 0;
}

int pack_pages_get(struct pack_pages *p, uint32_t pack, const char *id,
                   uint32_t item, const uint8_t **ret, struct error *err)
{
    struct pack_reader *reader;
    struct pack_place at;
    int rc = open_pack(p, pack, id, &reader, err);

    if (rc == 0)
        rc = pack_reader_place(reader, item, &at, err);
    if (rc == 0)
        rc = load_frame(p, reader, pack, &at, err);
    if (rc == 0)
        *ret = p->frame.data + (size_t)at.slot * PAGE_BYTES;
    return rc;
}
