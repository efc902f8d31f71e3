#include "tests/storage/sample_vm.h"

#include "core/base/bytes.h"

#define CHECK(condition)                                    \
    do {                                                    \
        if (!(condition)) {                                 \
            fprintf(stderr, "sample_vm: %s\n", #condition); \
            abort();                                        \
        }                                                   \
    } while (0)

static void add_block(struct sample_vm *vm, const char *idstr, uint64_t pages)
{
    struct ramblock block = {
        .used_bytes = pages * PAGE_BYTES,
        .host_page_bytes = PAGE_BYTES,
    };
    struct error err;

    snprintf(block.idstr, sizeof(block.idstr), "%s", idstr);
    vm->memory[vm->blocks.n] = calloc(pages, PAGE_BYTES);
    CHECK(vm->memory[vm->blocks.n]);
    CHECK(ramblock_list_add(&vm->blocks, &block, &err) == 0);
}

void sample_vm_make(struct sample_vm *vm, uint64_t pages)
{
    *vm = (struct sample_vm){
        .name = "sample",
        .uuid = "8a2b0c54-0000-4000-8000-000000000001",
        .time_ns = 1000000000,
    };
    add_block(vm, "pc.ram", pages);
    add_block(vm, "vga.vram", 600);
    add_block(vm, "/rom@etc/acpi/tables", 1);
    sample_page_fill(vm->memory[2], 77);
}

void sample_vm_release(struct sample_vm *vm)
{
    for (uint32_t i = 0; i < SAMPLE_BLOCKS; i++)
        free(vm->memory[i]);
    ramblock_list_release(&vm->blocks);
}

void sample_page_fill(uint8_t *page, uint64_t number)
{
    uint64_t x = number * UINT64_C(0x9e3779b97f4a7c15);

    memset(page, 0, PAGE_BYTES);
    for (size_t i = 0; number && i < PAGE_BYTES / 2; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        store_le64(page + i, x);
    }
    for (size_t i = PAGE_BYTES / 2; number && i < PAGE_BYTES; i += 8)
        store_le64(page + i, number);
}

void sample_vm_fill(struct sample_vm *vm, uint64_t first)
{
    uint64_t pages = ramblock_pages(&vm->blocks.blocks[0]);

    for (uint64_t i = 0; i < pages; i++)
        sample_page_fill(vm->memory[0] + i * PAGE_BYTES,
                         i % 5 == 4 ? 0 : first + i);
}

int sample_vm_put(struct sample_vm *vm, struct snapshot_writer *w,
                  unsigned lane, uint64_t seq, struct error *err)
{
    struct page_batch batch = {.seq = seq};
    int rc = 0;

    for (uint32_t b = 0; b < SAMPLE_BLOCKS; b++) {
        pgno_t pages = ramblock_pages(&vm->blocks.blocks[b]);

        batch.block = b;
        for (pgno_t at = 0; rc == 0 && at < pages; at += batch.n) {
            batch.n = (uint32_t)MIN(pages - at, (pgno_t)PAGE_BATCH_MAX);
            for (uint32_t i = 0; i < batch.n; i++)
                batch.pgno[i] = at + i;
            batch.data = vm->memory[b] + at * PAGE_BYTES;
            rc = snapshot_writer_put(w, lane, &batch, err);
            batch.seq++;
        }
    }
    return rc;
}

/* Two rounds of pages that will all be superseded. */
static int put_churn(struct snapshot_writer *w, pgno_t pages, struct error *err)
{
    uint8_t page[PAGE_BYTES];
    struct page_batch batch = {.seq = 1, .n = 1, .data = page};
    int rc = 0;

    for (pgno_t i = 0; rc == 0 && i < 2 * pages; i++) {
        batch.pgno[0] = i % pages;
        sample_page_fill(page, 12345678 + i);
        rc = snapshot_writer_put(w, 0, &batch, err);
    }
    return rc;
}

int sample_vm_commit(struct sample_vm *vm, struct snapshot_writer *w,
                     bool unseen_as_zero, struct snapshot_summary *ret,
                     struct error *err)
{
    struct device_section section = {
        .name = "timer", .instance = 1, .version = 2, .offset = 0, .bytes = 9};
    struct machine_config config = {
        .machine = "pc-i440fx-7.2", .has_uuid = true, .uuid = {1, 2, 3}};
    struct device_state devices = {
        .sections = &section, .n_sections = 1, .run_state = "running"};
    struct snapshot_summary summary = {
        .time_ns = vm->time_ns++,
        .mode = "stream",
        .run_state = "running",
        .machine = "pc-i440fx-7.2",
        .qemu_version = "7.2.11",
        .downtime_ms = 12,
        .duration_ms = 345,
        .rounds = 3,
        .channels = 1,
    };
    struct snapshot_record record = {
        .config = &config,
        .devices = &devices,
        .ram_section_id = 2,
        .summary = &summary,
        .unseen_as_zero = unseen_as_zero,
        .verify = vm->verifies,
    };
    int rc = buf_append(&config.raw, "\7config", 7, err);

    if (rc == 0)
        rc = buf_append(&devices.tail, "\4sections\0", 10, err);
    if (rc == 0)
        rc = buf_append(&devices.vmdesc, "{\"page_size\":4096}", 18, err);
    if (rc == 0)
        rc = json_build(&record.facts, err, "{s:{s:i}, s:s}", "qemu", "major",
                        7, "note", "made up");
    if (rc == 0)
        rc = json_build(&summary.tags, err, "{s:s}", "purpose", "test");
    if (rc == 0)
        rc = snapshot_writer_commit(w, &record, ret, err);
    buf_release(&config.raw);
    buf_release(&devices.tail);
    buf_release(&devices.vmdesc);
    json_decref(record.facts);
    json_decref(summary.tags);
    return rc;
}

int sample_vm_capture(struct sample_vm *vm, struct repository *r,
                      struct snapshot_summary *ret, struct error *err)
{
    cleanup(snapshot_writer) struct snapshot_writer *w = NULL;
    struct snapshot_writer_args args = {
        .repository = r, .vm = vm->name, .vm_uuid = vm->uuid, .lanes = 1};
    int rc = snapshot_writer_new(&args, &w, err);

    if (rc == 0)
        rc = snapshot_writer_set_blocks(w, &vm->blocks, err);
    if (rc == 0 && vm->churns)
        rc = put_churn(w, ramblock_pages(&vm->blocks.blocks[0]), err);
    if (rc == 0)
        rc = sample_vm_put(vm, w, 0, 10, err);
    if (rc == 0)
        rc = sample_vm_commit(vm, w, false, ret, err);
    return rc;
}

static int compare_page(struct sample_vm *vm, struct snapshot_reader *s,
                        uint32_t block, pgno_t pgno, struct error *err)
{
    static const uint8_t zero[PAGE_BYTES];
    const uint8_t *page;
    int rc = snapshot_reader_page(s, block, pgno, &page, err);

    if (rc < 0)
        return rc;
    if (memcmp(page ? page : zero, vm->memory[block] + pgno * PAGE_BYTES,
               PAGE_BYTES) != 0)
        return fail(err, ERR_INVALID, "page %llu of block %u came out wrong",
                    (unsigned long long)pgno, block);
    return 0;
}

int sample_vm_compare(struct sample_vm *vm, struct repository *r,
                      const char *id, struct error *err)
{
    cleanup(snapshot_reader) struct snapshot_reader *s = NULL;
    int rc = snapshot_reader_open(r, id, &s, err);

    for (uint32_t b = 0; rc == 0 && b < SAMPLE_BLOCKS; b++) {
        pgno_t pages = ramblock_pages(&vm->blocks.blocks[b]);

        for (pgno_t i = 0; rc == 0 && i < pages; i++)
            rc = compare_page(vm, s, b, i, err);
    }
    return rc;
}
