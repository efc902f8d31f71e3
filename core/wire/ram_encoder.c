/*
 * ram_encoder.c - heads of page records, without the pages.
 *
 * A record is a word and, only when the block changes, its name: so most heads
 * are eight bytes, written into the caller's vector beside the page they belong
 * to, and no page is copied to be sent. Which block was named last belongs to a
 * channel; two writers of one channel would break it.
 */
#include "core/base/bytes.h"
#include "core/wire/qemu_wire.h"
#include "core/wire/stream_encoder.h"

static_assert(RAM_RECORD_HEADER_MAX == sizeof(uint64_t) + 1 + UINT8_MAX,
              "word, and a str8 of any length");
static_assert(QEMU_RAM_MULTIFD_FLUSH < PAGE_BYTES,
              "all flags fit below a page's offset");

/* Word and, unless the channel's last record was of this block, its name. The
 * names are those of one list, so that most often the pointers tell. */
static size_t put_head(struct ram_encoder *e, const char *idstr, pgno_t pgno,
                       uint64_t flags, uint8_t *ret)
{
    uint64_t word = (pgno << PAGE_BITS) | flags;
    size_t n;

    if (e->last_idstr == idstr ||
        (e->last_idstr && strcmp(e->last_idstr, idstr) == 0)) {
        store_be64(ret, word | QEMU_RAM_CONTINUE);
        return sizeof(word);
    }
    e->last_idstr = idstr;
    n = strlen(idstr);
    assert(n <= UINT8_MAX);
    store_be64(ret, word);
    ret[sizeof(word)] = (uint8_t)n;
    memcpy(ret + sizeof(word) + 1, idstr, n);
    return sizeof(word) + 1 + n;
}

size_t ram_encoder_page(struct ram_encoder *e, const char *idstr, pgno_t pgno,
                        uint8_t ret[static RAM_RECORD_HEADER_MAX])
{
    return put_head(e, idstr, pgno, QEMU_RAM_PAGE, ret);
}

size_t ram_encoder_zero(struct ram_encoder *e, const char *idstr, pgno_t pgno,
                        uint8_t ret[static RAM_RECORD_HEADER_MAX + 1])
{
    size_t n = put_head(e, idstr, pgno, QEMU_RAM_ZERO, ret);

    ret[n] = 0;
    return n + 1;
}

int ram_encoder_put_xbzrle(struct ram_encoder *e, const char *idstr,
                           pgno_t pgno, const struct buf *delta, struct buf *b,
                           struct error *err)
{
    uint8_t head[RAM_RECORD_HEADER_MAX];
    size_t n;
    int rc;

    if (delta->len > PAGE_BYTES)
        return fail(err, ERR_INVALID, "delta of %zu bytes exceeds a page",
                    delta->len);
    n = put_head(e, idstr, pgno, QEMU_RAM_XBZRLE, head);
    rc = buf_append(b, head, n, err);
    if (rc == 0)
        rc = buf_append_u8(b, QEMU_XBZRLE_MARK, err);
    if (rc == 0)
        rc = buf_append_be16(b, (uint16_t)delta->len, err);
    if (rc == 0)
        rc = buf_append(b, delta->data, delta->len, err);
    return rc;
}
