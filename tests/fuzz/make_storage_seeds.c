/*
 * make_storage_seeds FOLDER STAMP: packs, a snapshot object and segments as
 * our writer makes them, for the entries that read them; at last the stamp.
 */
#include <sys/stat.h>

#include "storage/index/segment.h"
#include "storage/manifest.h"
#include "storage/repository_inside.h"
#include "tests/fuzz/fuzz.h"
#include "tests/storage/sample_vm.h"
#include "tests/storage/scratch.h"

static void seed(const char *folder, const char *entry, const char *name,
                 const struct buf *bytes)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/%s", folder, entry);
    mkdir(folder, 0777);
    mkdir(path, 0777);
    scratch_write(path, name, bytes->data, bytes->len);
}

/* The first byte says what the entry is to do with the pack. */
static void seed_pack(const char *folder, const struct buf *pack)
{
    bool index = pack->len > 12 && pack->data[12] == PACK_INDEX;

    for (uint8_t mended = 0; mended < 2; mended++) {
        cleanup_buf struct buf b = BUF_INIT;
        struct error err;
        char name[32];

        snprintf(name, sizeof(name), "%s-%u", index ? "index" : "pages",
                 mended);
        promise(buf_append_u8(&b, (uint8_t)(mended | index << 1), &err) == 0);
        promise(buf_append(&b, pack->data, pack->len, &err) == 0);
        seed(folder, "pack_reader", name, &b);
    }
}

/* The object as it is stored, and its database bare; see fuzz_manifest.c. */
static void seed_manifest(const char *folder, int dirfd, const char *id,
                          const struct buf *object)
{
    cleanup(manifest_file) struct manifest_file file = {0};
    cleanup_buf struct buf stored = BUF_INIT, bare = BUF_INIT;
    struct error err;

    promise(manifest_file_read(dirfd, id, id, &file, &err) == 0);
    promise(file.image.len > object->len);
    promise(buf_append_le32(&stored, (uint32_t)file.image.len, &err) == 0);
    promise(buf_append(&stored, object->data,
                       object->len - MANIFEST_FOOTER_BYTES, &err) == 0);
    promise(buf_append_le32(&bare, (uint32_t)file.image.len, &err) == 0);
    promise(buf_append(&bare, file.image.data, file.image.len, &err) == 0);
    seed(folder, "manifest", "object", &stored);
    seed(folder, "manifest", "database", &bare);
}

static void seed_objects(const char *folder)
{
    struct scratch_files files;
    struct scratch scratch;
    struct snapshot_summary summary;
    struct repository *r = NULL;
    struct sample_vm vm;
    struct error err;

    scratch_make(&scratch);
    sample_vm_make(&vm, 24);
    sample_vm_fill(&vm, 1);
    promise(repository_create(scratch.repo, &err) == 0);
    promise(repository_open(scratch.repo, &r, &err) == 0);
    promise(sample_vm_capture(&vm, r, &summary, &err) == 0);
    scratch_files_list(scratch.repo, &files);
    for (size_t i = 0; i < files.n; i++) {
        cleanup_buf struct buf b = BUF_INIT;

        scratch_read(scratch.repo, files.names[i], &b);
        if (strncmp(files.names[i], "packs/", 6) == 0)
            seed_pack(folder, &b);
        if (strncmp(files.names[i], "snapshots/", 10) == 0)
            seed_manifest(folder, repository_snapshots_dirfd(r),
                          files.names[i] + 10, &b);
    }
    scratch_files_release(&files);
    repository_close(r);
    sample_vm_release(&vm);
    scratch_remove(&scratch);
}

/* Pages `step` apart, `packs` packs in turn. */
static void seed_segment(const char *folder, const char *name, uint32_t step,
                         uint32_t packs)
{
    static struct segment s;
    cleanup_buf struct buf b = BUF_INIT;
    struct error err;

    segment_init(&s);
    for (uint32_t page = 0; page < SEGMENT_PAGES; page += step) {
        uint8_t pack[SEGMENT_PACK_ID_BYTES] = {(uint8_t)(page % packs)};

        segment_add(&s, page, pack, page * 3 / 2);
    }
    promise(segment_encode(&s, &b, &err) == 0);
    seed(folder, "segment", name, &b);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    seed_objects(argv[1]);
    seed_segment(argv[1], "dense", 1, 1);
    seed_segment(argv[1], "scattered", 7, 5);
    scratch_write(".", argv[2], "", 0);
    return 0;
}
