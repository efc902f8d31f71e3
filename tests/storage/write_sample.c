/*
 * write_sample.c - a small repository for the reader in Python to read.
 *
 *   write_sample FOLDER
 *
 * Makes FOLDER/repo with three snapshots of a VM that changes in between, so
 * that segments refer to several packs, and of each the memory as it was:
 * FOLDER/<id>/<block>.raw. Prints the ids.
 */
#include <sys/stat.h>

#include "tests/storage/sample_vm.h"

#define PAGES  9000u
#define ROUNDS 3

static int write_memory(const struct sample_vm *vm, const char *folder,
                        const char *id)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", folder, id);
    if (mkdir(path, 0700) < 0)
        return -1;
    for (uint32_t b = 0; b < SAMPLE_BLOCKS; b++) {
        size_t bytes = vm->blocks.blocks[b].used_bytes;
        FILE *file;

        snprintf(path, sizeof(path), "%s/%s/%u.raw", folder, id, b);
        file = fopen(path, "wb");
        if (!file || fwrite(vm->memory[b], 1, bytes, file) != bytes ||
            fclose(file) != 0)
            return -1;
    }
    return 0;
}

/* Scattered single pages, and a stretch that is moved by one page. */
static void change(struct sample_vm *vm, unsigned round)
{
    uint8_t *ram = vm->memory[0];

    for (uint64_t i = round; i < PAGES; i += 7)
        sample_page_fill(ram + i * PAGE_BYTES, 100000 * round + i);
    memmove(ram + 2001 * PAGE_BYTES, ram + 2000 * PAGE_BYTES, 900 * PAGE_BYTES);
}

int main(int argc, char **argv)
{
    cleanup(repository) struct repository *r = NULL;
    struct snapshot_summary summary;
    struct sample_vm vm;
    struct error err;
    char repo[128];
    int rc;

    if (argc != 2)
        return 2;
    snprintf(repo, sizeof(repo), "%s/repo", argv[1]);
    sample_vm_make(&vm, PAGES);
    sample_vm_fill(&vm, 1);
    rc = repository_create(repo, &err);
    if (rc == 0)
        rc = repository_open(repo, &r, &err);
    for (unsigned i = 0; rc == 0 && i < ROUNDS; i++) {
        rc = sample_vm_capture(&vm, r, &summary, &err);
        if (rc == 0 && write_memory(&vm, argv[1], summary.id) < 0)
            rc = fail_errno(&err, ERR_IO, "cannot write the memory");
        if (rc == 0)
            printf("%s\n", summary.id);
        change(&vm, i + 1);
    }
    if (rc < 0)
        fprintf(stderr, "write_sample: %s\n", err.message);
    sample_vm_release(&vm);
    return rc < 0;
}
