/*
 * qemu_wire.h - every number of QEMU's migration protocol that we speak.
 *
 * All integers are big-endian and unaligned, but for the words of a received
 * bitmap (little-endian). A `str8` is a length byte and that many bytes. Where
 * each part was learned in QEMU's tree is said above it; numbers only, no
 * layout is kept as a struct, since the stream has no fixed records.
 *
 *   stream  := magic version CONFIG element*
 *   element := COMMAND | START | PART | END | FULL | EOF [VMDESC]
 */
#ifndef FIRN_CORE_WIRE_QEMU_WIRE_H
#define FIRN_CORE_WIRE_QEMU_WIRE_H

#include "core/vm/page.h"

/* Learned from include/migration/qemu-file-types and migration/savevm.c. */
#define QEMU_MAGIC          0x5145564Du /* "QEVM" */
#define QEMU_STREAM_VERSION 3u
#define QEMU_STREAM_VERSION_COMPAT \
    2u /* before 2009; another stream altogether */

/* First bytes of connections that are no main channel: migration/multifd.c
 * (hello of a channel), and TLS's handshake record. */
#define QEMU_MULTIFD_MAGIC  0x11223344u
#define TLS_HANDSHAKE_START 0x1603u

/* Section types, learned from migration/savevm.h. */
enum qemu_section {
    QEMU_SECTION_EOF = 0x00,
    QEMU_SECTION_START = 0x01, /* u32 id, str8, u32 instance, u32 version */
    QEMU_SECTION_PART = 0x02,  /* u32 id */
    QEMU_SECTION_END = 0x03,   /* u32 id */
    QEMU_SECTION_FULL = 0x04,  /* like START; a body without a length */
    QEMU_SECTION_SUBSECTION = 0x05,    /* str8 name, u32 version, fields */
    QEMU_SECTION_VMDESCRIPTION = 0x06, /* u32 n, n bytes JSON */
    QEMU_SECTION_CONFIGURATION = 0x07, /* u32 n, name, SUBSECTION* */
    QEMU_SECTION_COMMAND = 0x08,       /* u16 command, u16 n, n bytes */
    QEMU_SECTION_FOOTER = 0x7E,        /* u32 id of the section it ends */
};

#define QEMU_FOOTER_BYTES 5u

/* The RAM handler, learned from migration/ram.c. */
#define QEMU_RAM_IDSTR   "ram"
#define QEMU_RAM_VERSION 4u

/*
 * A RAM record begins with a u64: offset in the block (a multiple of the page
 * size) or-ed with flags below the page size. Learned from migration/ram.h.
 */
enum qemu_ram_flag {
    QEMU_RAM_FULL = 0x001,          /* obsolete */
    QEMU_RAM_ZERO = 0x002,          /* u8, always 0 */
    QEMU_RAM_MEM_SIZE = 0x004,      /* block list; upper bits: total bytes */
    QEMU_RAM_PAGE = 0x008,          /* the page */
    QEMU_RAM_EOS = 0x010,           /* the section's body ends */
    QEMU_RAM_CONTINUE = 0x020,      /* modifier: the block named last */
    QEMU_RAM_XBZRLE = 0x040,        /* u8 1, u16 n, n bytes of delta */
    QEMU_RAM_HOOK = 0x080,          /* RDMA */
    QEMU_RAM_COMPRESS_PAGE = 0x100, /* u32 n, n bytes of zlib; up to 9.0 */
    QEMU_RAM_MULTIFD_FLUSH = 0x200, /* a sync point; 8.1 and later */
};

#define QEMU_RAM_FLAGS_MASK ((uint64_t)PAGE_BYTES - 1)
#define QEMU_XBZRLE_MARK    0x01u

/* Commands, learned from enum qemu_vm_cmd of migration/savevm.c. */
enum qemu_command {
    QEMU_CMD_OPEN_RETURN_PATH = 1,
    QEMU_CMD_PING = 2,            /* u32 */
    QEMU_CMD_POSTCOPY_ADVISE = 3, /* nothing, or u64 sizes, u64 page */
    QEMU_CMD_POSTCOPY_LISTEN = 4,
    QEMU_CMD_POSTCOPY_RUN = 5,
    QEMU_CMD_POSTCOPY_RAM_DISCARD = 6, /* u8 0, str8, u8 0, ranges */
    QEMU_CMD_PACKAGED = 7,             /* u32 n; n bytes follow it */
    QEMU_CMD_ENABLE_COLO = 8,
    QEMU_CMD_POSTCOPY_RESUME = 9,
    QEMU_CMD_RECV_BITMAP = 10,      /* str8 */
    QEMU_CMD_SWITCHOVER_START = 11, /* 10.0 machine types and later */
};

#define QEMU_COMMAND_HEADER_BYTES 5u

/* Versions and closing byte of a DISCARD body: migration/savevm.c. */
#define QEMU_DISCARD_VERSION     0u
#define QEMU_DISCARD_RANGE_BYTES 16u

/* Return path messages, learned from enum mig_rp_message_type of
 * migration/migration.h. Header: u16 type, u16 length. */
enum qemu_return_path {
    QEMU_RP_SHUT = 1,           /* u32, 0: loaded */
    QEMU_RP_PONG = 2,           /* u32 of the PING */
    QEMU_RP_REQ_PAGES_ID = 3,   /* u64 start, u32 length, str8 */
    QEMU_RP_REQ_PAGES = 4,      /* u64 start, u32 length */
    QEMU_RP_RECV_BITMAP = 5,    /* str8; then, uncounted, the bitmap */
    QEMU_RP_RESUME_ACK = 6,     /* u32 1 */
    QEMU_RP_SWITCHOVER_ACK = 7, /* nothing; 8.1 and later */
};

#define QEMU_RP_HEADER_BYTES 4u
#define QEMU_RP_RESUME_VALUE 1u

/* Subsections of CONFIG, learned from vmstate_configuration of
 * migration/savevm.c. */
#define QEMU_CONFIG_PAGE_BITS    "configuration/target-page-bits"
#define QEMU_CONFIG_CAPABILITIES "configuration/capabilities"
#define QEMU_CONFIG_UUID         "configuration/uuid"
#define QEMU_CONFIG_VERSION      1u

/* The run state's section, learned from migration/global_state.c: u32 length
 * of the name, 100 bytes that begin with it. */
#define QEMU_GLOBALSTATE            "globalstate"
#define QEMU_GLOBALSTATE_NAME_BYTES 100u

/*
 * multifd, learned from migration/multifd.h and migration/multifd.c: a hello
 * of u32 magic, u32 version, 16 bytes uuid, u8 channel, 39 bytes zero; then
 * packets, each with a header of the size of its fullest form.
 */
#define QEMU_MULTIFD_VERSION      1u
#define QEMU_MULTIFD_HELLO_BYTES  64u
#define QEMU_MULTIFD_NAME_AT      64u /* 256 bytes, NUL-terminated */
#define QEMU_MULTIFD_OFFSETS_AT   320u
#define QEMU_MULTIFD_PACKET_BYTES 524288u /* of pages in the fullest packet */

enum qemu_multifd_flag {
    QEMU_MULTIFD_SYNC = 0x01,
    QEMU_MULTIFD_METHOD_MASK = 0x3e,
    QEMU_MULTIFD_ZLIB = 0x02,
    QEMU_MULTIFD_ZSTD = 0x04,
    QEMU_MULTIFD_QPL = 0x08,          /* 9.1 and later */
    QEMU_MULTIFD_UADK = 0x10,         /* 9.1 and later */
    QEMU_MULTIFD_QATZIP = 0x20,       /* 9.2 and later */
    QEMU_MULTIFD_DEVICE_STATE = 0x40, /* 10.0; another header */
};

/* Saved before RAM, learned from hw/virtio/virtio-mem.c: u64 addr, u64 region
 * size, u64 block size, u32 node, u64 size, bitmap in u64 words. */
#define QEMU_VIRTIO_MEM_EARLY             "virtio-mem-device-early"
#define QEMU_VIRTIO_MEM_EARLY_VERSION     1u
#define QEMU_VIRTIO_MEM_EARLY_FIXED_BYTES 36u

#endif
