/*
 * layout.c - ids and the folders they name.
 *
 * Ids are random, not counted: writers of one repository need not agree on
 * anything, and two repositories can be told apart. Every name that comes from
 * outside (a user, a folder, a file's content) goes through layout_is_id()
 * before it becomes a path, so that no name reaches out of its folder.
 */
#include "storage/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "storage/packs/pack_writer.h"
#include "storage/repository.h"

#define ID_MAX_BYTES 64u

static_assert(PACK_ID_LEN == 2 * LAYOUT_PACK_ID_BYTES,
              "an id is its bytes in hex");

struct object_folder layout_packs(int dirfd)
{
    return (struct object_folder){
        .dirfd = dirfd,
        .id_len = PACK_ID_LEN,
        .fan_out = true,
    };
}

struct object_folder layout_snapshots(int dirfd)
{
    return (struct object_folder){.dirfd = dirfd, .id_len = SNAPSHOT_ID_LEN};
}

struct object_folder layout_locks(int dirfd)
{
    return (struct object_folder){.dirfd = dirfd, .id_len = LAYOUT_LOCK_ID_LEN};
}

bool layout_is_id(const char *name, size_t digits)
{
    return strlen(name) == digits && strspn(name, "0123456789abcdef") == digits;
}

static uint8_t digit_value(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

bool layout_id_bytes(const char *id, uint8_t *ret, size_t n)
{
    if (!layout_is_id(id, 2 * n))
        return false;
    for (size_t i = 0; i < n; i++)
        ret[i] =
            (uint8_t)(digit_value(id[2 * i]) << 4 | digit_value(id[2 * i + 1]));
    return true;
}

void layout_id_text(const uint8_t *bytes, size_t n, char *ret)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        ret[2 * i] = digits[bytes[i] >> 4];
        ret[2 * i + 1] = digits[bytes[i] & 15];
    }
    ret[2 * n] = '\0';
}

int layout_new_id(char *ret, size_t digits, struct error *err)
{
    uint8_t bytes[ID_MAX_BYTES];

    assert(digits % 2 == 0 && digits / 2 <= sizeof(bytes));
    if (getrandom(bytes, digits / 2, 0) != (ssize_t)(digits / 2))
        return fail_errno(err, ERR_IO, "cannot make a random id");
    layout_id_text(bytes, digits / 2, ret);
    return 0;
}

int layout_pack_stat(int packs_dirfd, const char *id, uint64_t *ret_bytes,
                     struct error *err)
{
    char name[PACK_ID_LEN + 4];
    struct stat st;

    assert(layout_is_id(id, PACK_ID_LEN));
    snprintf(name, sizeof(name), "%.2s/%s", id, id);
    if (fstatat(packs_dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return fail_errno(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO,
                          "pack '%s'", id);
    *ret_bytes = (uint64_t)st.st_size;
    return 0;
}
