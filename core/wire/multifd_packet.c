#include "core/wire/multifd_packet.h"

#include "core/base/bytes.h"

/*
 * multifd_packet.c - the fixed headers of multifd, read by offset.
 *
 * Every number is checked against what the packet may hold before anything is
 * done by it: counts against the room for offsets, each offset against its
 * block, the payload's size against the pages it must become. So the receiver
 * can allocate and read by the result without looking again. Fields that some
 * QEMU leaves stale (see the table in the header) are ignored, not trusted.
 */

/* Offsets of the header's fields; the rest of it is not used. */
#define AT_FLAGS        8u
#define AT_PAGES_ALLOC  12u
#define AT_NORMAL_PAGES 16u
#define AT_NEXT_SIZE    20u
#define AT_NUMBER       24u
#define AT_ZERO_PAGES   32u

#define KNOWN_FLAGS \
    (QEMU_MULTIFD_SYNC | QEMU_MULTIFD_METHOD_MASK | QEMU_MULTIFD_DEVICE_STATE)

static_assert(AT_ZERO_PAGES + 4 <= QEMU_MULTIFD_NAME_AT &&
                  QEMU_MULTIFD_NAME_AT + 256 == QEMU_MULTIFD_OFFSETS_AT,
              "counts, then the block's name, then the offsets");
static_assert(4 + 4 + 16 + 1 + 39 == QEMU_MULTIFD_HELLO_BYTES,
              "magic, version, uuid, channel, nothing");
static_assert(QEMU_MULTIFD_METHOD_MASK ==
                  (QEMU_MULTIFD_ZLIB | QEMU_MULTIFD_ZSTD | QEMU_MULTIFD_QPL |
                   QEMU_MULTIFD_UADK | QEMU_MULTIFD_QATZIP),
              "each bit of the mask is a method");

const char *multifd_method_name(enum multifd_method method)
{
    static const char *const names[] = {"none", "zlib", "zstd"};

    static_assert(ARRAY_LEN(names) == MULTIFD_ZSTD + 1, "a name a method");
    assert(method <= MULTIFD_ZSTD);
    return names[method];
}

static int check_magic(const uint8_t *bytes, const char *what,
                       struct error *err)
{
    if (load_be32(bytes) != QEMU_MULTIFD_MAGIC)
        return fail(err, ERR_PROTOCOL, "multifd %s begins with 0x%08x", what,
                    load_be32(bytes));
    if (load_be32(bytes + 4) != QEMU_MULTIFD_VERSION)
        return fail(err, ERR_PROTOCOL, "multifd %s of version %u, not %u", what,
                    load_be32(bytes + 4), QEMU_MULTIFD_VERSION);
    return 0;
}

int multifd_hello_read(const uint8_t hello[static QEMU_MULTIFD_HELLO_BYTES],
                       unsigned n_channels, struct multifd_hello *ret,
                       struct error *err)
{
    int rc = check_magic(hello, "hello", err);

    if (rc < 0)
        return rc;
    memcpy(ret->uuid, hello + 8, sizeof(ret->uuid));
    ret->channel = hello[24];
    if (ret->channel >= n_channels)
        return fail(err, ERR_PROTOCOL,
                    "multifd channel %u, only %u were asked for", ret->channel,
                    n_channels);
    return 0;
}

/* Flags. */

static int read_method(uint32_t flags, enum multifd_method *ret,
                       struct error *err)
{
    const char *name = NULL;

    switch (flags & QEMU_MULTIFD_METHOD_MASK) {
    case 0:
        *ret = MULTIFD_NONE;
        return 0;
    case QEMU_MULTIFD_ZLIB:
        *ret = MULTIFD_ZLIB;
        return 0;
    case QEMU_MULTIFD_ZSTD:
        *ret = MULTIFD_ZSTD;
        return 0;
    case QEMU_MULTIFD_QPL:
        name = "qpl";
        break;
    case QEMU_MULTIFD_UADK:
        name = "uadk";
        break;
    case QEMU_MULTIFD_QATZIP:
        name = "qatzip";
        break;
    default:
        return fail(err, ERR_PROTOCOL, "several methods at once, flags 0x%x",
                    flags);
    }
    fail(err, ERR_UNSUPPORTED, "pages compressed by method '%s'", name);
    return error_hint(err, "set QEMU's migration parameter multifd-compression "
                           "to 'none'");
}

static int read_flags(uint32_t flags, struct multifd_packet *ret,
                      struct error *err)
{
    if (flags & QEMU_MULTIFD_DEVICE_STATE) {
        fail(err, ERR_UNSUPPORTED, "device state in a multifd channel");
        return error_hint(err, "a VFIO device does that; take its property "
                               "x-migration-multifd-transfer off");
    }
    if (flags & ~(uint32_t)KNOWN_FLAGS)
        return fail(err, ERR_PROTOCOL, "unknown multifd flags 0x%x", flags);
    ret->sync = flags & QEMU_MULTIFD_SYNC;
    return read_method(flags, &ret->method, err);
}

/* Counts. */

static int read_counts(const uint8_t *header, struct multifd_packet *ret,
                       struct error *err)
{
    uint32_t alloc = load_be32(header + AT_PAGES_ALLOC);
    uint32_t size = load_be32(header + AT_NEXT_SIZE);
    uint32_t data = load_be32(header + AT_NORMAL_PAGES);
    uint32_t zero = load_be32(header + AT_ZERO_PAGES);

    if (alloc != 0 && alloc != PAGE_BATCH_MAX)
        return fail(err, ERR_PROTOCOL, "packets of %u pages, not of %u", alloc,
                    PAGE_BATCH_MAX);
    if (data > PAGE_BATCH_MAX || zero > PAGE_BATCH_MAX - data)
        return fail(err, ERR_PROTOCOL,
                    "%u pages and %u zero pages in a packet of %u", data, zero,
                    PAGE_BATCH_MAX);
    ret->n_data = data;
    ret->n_zero = zero;
    /* What stands there without pages is left from an earlier packet. */
    ret->payload_bytes = data > 0 ? size : 0;
    if (data > 0 && ret->method == MULTIFD_NONE && size != data * PAGE_BYTES)
        return fail(err, ERR_PROTOCOL, "%u pages with %u bytes of payload",
                    data, size);
    if (data > 0 && (size == 0 || size > MULTIFD_PAYLOAD_MAX))
        return fail(err, ERR_PROTOCOL, "%u pages compressed to %u bytes", data,
                    size);
    return 0;
}

/* Pages. */

static int read_block(const uint8_t *header, const struct ramblock_list *blocks,
                      struct multifd_packet *ret, struct error *err)
{
    const char *name = (const char *)header + QEMU_MULTIFD_NAME_AT;
    size_t room = QEMU_MULTIFD_OFFSETS_AT - QEMU_MULTIFD_NAME_AT;

    if (strnlen(name, room) == room)
        return fail(err, ERR_PROTOCOL, "RAM block name without an end");
    ret->block = ramblock_list_find(blocks, name);
    if (ret->block == RAMBLOCK_NOT_FOUND)
        return fail(err, ERR_PROTOCOL, "pages of unknown RAM block '%s'", name);
    return 0;
}

static int read_pages(const uint8_t *header, const struct ramblock_list *blocks,
                      struct multifd_packet *ret, struct error *err)
{
    const struct ramblock *block;
    int rc;

    ret->block = RAMBLOCK_NOT_FOUND;
    if (ret->n_data + ret->n_zero == 0)
        return 0;
    rc = read_block(header, blocks, ret, err);
    if (rc < 0)
        return rc;
    block = &blocks->blocks[ret->block];
    for (uint32_t i = 0; i < ret->n_data + ret->n_zero; i++) {
        uint64_t offset =
            load_be64(header + QEMU_MULTIFD_OFFSETS_AT + i * sizeof(uint64_t));

        if (offset % PAGE_BYTES != 0)
            return fail(err, ERR_PROTOCOL, "page at odd offset 0x%lx", offset);
        if (offset >= block->used_bytes)
            return fail(err, ERR_PROTOCOL,
                        "page 0x%lx lies behind the end of RAM block '%s'",
                        offset, block->idstr);
        ret->pgno[i] = offset >> PAGE_BITS;
    }
    return 0;
}

int multifd_packet_read(const uint8_t header[static MULTIFD_HEADER_BYTES],
                        const struct ramblock_list *blocks,
                        struct multifd_packet *ret, struct error *err)
{
    int rc = check_magic(header, "packet", err);

    if (rc == 0)
        rc = read_flags(load_be32(header + AT_FLAGS), ret, err);
    if (rc == 0)
        rc = read_counts(header, ret, err);
    if (rc < 0)
        return rc;
    ret->number = load_be64(header + AT_NUMBER);
    return read_pages(header, blocks, ret, err);
}
