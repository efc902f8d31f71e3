#include "core/wire/virtio_mem_decoder.h"

#include "core/wire/qemu_wire.h"

/*
 * virtio_mem_decoder.c - finds the end of virtio-mem's early section.
 *
 * A section has no length, and this one stands where no description helps yet.
 * Its form is fixed but for a bitmap, whose length follows from region and
 * block size; so two fields are read and all bytes are passed over. What they
 * mean is not looked at: they are stored and sent back as they came.
 */

/* One bit a block of at least 1 MiB: 128 TiB of it are 16 MiB of bits. */
#define BITMAP_MAX_BYTES (16u << 20)

static_assert(8 + 8 + 8 + 4 + 8 == QEMU_VIRTIO_MEM_EARLY_FIXED_BYTES,
              "address, region, block, node, size");

static int load(void *arg, enum section_part part, struct input *in,
                struct error *err)
{
    const size_t fixed = QEMU_VIRTIO_MEM_EARLY_FIXED_BYTES;
    uint64_t region;
    uint64_t block;
    uint64_t bits;
    uint64_t words;

    if (!input_have(in, fixed))
        return SECTION_LOAD_MORE;
    region = load_be64(input_here(in) + 8);
    block = load_be64(input_here(in) + 16);
    if (block == 0)
        return fail_at(in, err, ERR_PROTOCOL,
                       "virtio-mem section with blocks of 0 bytes");
    bits = region / block + (region % block != 0);
    words = bits / 64 + (bits % 64 != 0);
    if (words > BITMAP_MAX_BYTES / 8)
        return fail_at(in, err, ERR_PROTOCOL,
                       "virtio-mem section with a bitmap of %lu words", words);
    if (!input_have(in, fixed + words * 8))
        return SECTION_LOAD_MORE;
    input_take(in, fixed + words * 8);
    return SECTION_LOAD_ENDED;
}

static const struct section_handler_ops virtio_mem_ops = {.load = load};

int virtio_mem_decoder_register(struct section_registry *to, struct error *err)
{
    const struct section_handler handler = {
        .idstr = QEMU_VIRTIO_MEM_EARLY,
        .version_min = QEMU_VIRTIO_MEM_EARLY_VERSION,
        .version = QEMU_VIRTIO_MEM_EARLY_VERSION,
        .any_device = true,
        .ops = &virtio_mem_ops,
    };

    return section_registry_add(to, &handler, err);
}
