/*
 * manifest_file.h - the file that a snapshot is: a database's image, mostly
 * compressed, and a footer that sums it. docs/format.md, "Snapshots".
 *
 * Knows nothing of what the image holds. An idle guest's snapshot is little
 * but the description of its devices, which compresses to a tenth.
 */
#ifndef FIRN_STORAGE_MANIFEST_FILE_H
#define FIRN_STORAGE_MANIFEST_FILE_H

#include "core/base/buf.h"

#define MANIFEST_FOOTER_BYTES 64u
#define MANIFEST_MAX_BYTES    (UINT64_C(1) << 30) /* of file and image */

struct manifest_file {
    struct buf image;
    uint64_t bytes; /* of the file, footer included */
};

/* Turns an image into the whole file of snapshot `id`. ERR_UNSUPPORTED when it
 * would be too long. After an error `image` holds nothing of use. */
int manifest_file_seal(const char *id, struct buf *image,
                       struct error *err) NODISCARD;

/* Reads and verifies all of it: ERR_NOTFOUND, ERR_CORRUPT, or ERR_FORMAT when
 * its version is not known. `what` names it in messages. The caller releases.
 */
int manifest_file_read(int snapshots_dirfd, const char *id, const char *what,
                       struct manifest_file *ret, struct error *err) NODISCARD;
/* Frees the image; an empty struct remains. */
void manifest_file_release(struct manifest_file *f);

/* The footer for `len` bytes that stand for an image of `raw` bytes: they are
 * the image where both are the same, else one zstd frame. */
void manifest_file_footer(uint8_t ret[static MANIFEST_FOOTER_BYTES],
                          const char *id, const void *stored, size_t len,
                          uint32_t raw);

static inline UNUSED void cleanup_manifest_file_fn(struct manifest_file *f)
{
    manifest_file_release(f);
}

#endif
