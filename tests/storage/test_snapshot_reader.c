#include "tests/storage/repo_fixture.h"

#include "storage/manifest_builder.h"
#include "storage/repository_inside.h"
#include "storage/snapshot_reader_inside.h"

static struct snapshot_reader *open_reader(struct fixture *f, const char *id)
{
    struct snapshot_reader *r;
    struct error err;

    assert_ok(snapshot_reader_open(f->repository, id, &r, &err), &err);
    return r;
}

static void all_but_pages_comes_back_as_recorded(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct snapshot_reader *r = open_reader(f, s.id);
    const struct machine_config *config = snapshot_reader_config(r);
    const struct device_state *devices = snapshot_reader_devices(r);
    const struct ramblock_list *blocks = snapshot_reader_blocks(r);
    const struct snapshot_summary *back = snapshot_reader_summary(r);

    assert_string_equal(config->machine, "pc-i440fx-7.2");
    assert_true(config->has_uuid && config->uuid[2] == 3);
    assert_int_equal(config->raw.len, 7);
    assert_memory_equal(config->raw.data, "\7config", 7);
    assert_int_equal(devices->tail.len, 10);
    assert_memory_equal(devices->tail.data, "\4sections\0", 10);
    assert_int_equal(devices->vmdesc.len, 18);
    assert_int_equal(devices->n_sections, 1);
    assert_string_equal(devices->sections[0].name, "timer");
    assert_int_equal(devices->sections[0].bytes, 9);
    assert_string_equal(devices->run_state, "running");
    assert_int_equal(blocks->n, 3);
    assert_string_equal(blocks->blocks[2].idstr, "/rom@etc/acpi/tables");
    assert_int_equal(blocks->blocks[1].used_bytes, 600 * PAGE_BYTES);
    assert_int_equal(json_path_int(snapshot_reader_facts(r), "qemu.major", 0),
                     7);
    assert_int_equal(snapshot_reader_ram_section_id(r), 2);
    assert_int_equal(back->stored_bytes, s.stored_bytes);
    assert_string_equal(json_path_str(back->tags, "purpose", ""), "test");
    snapshot_reader_close(r);
    snapshot_reader_close(NULL);
}

static void pages_of_one_frame_have_one_place(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct snapshot_reader *r = open_reader(f, s.id);
    struct page_place a, b, zero;
    struct error err;

    assert_ok(snapshot_reader_locate(r, 0, 0, &a, &err), &err);
    assert_ok(snapshot_reader_locate(r, 0, 3, &b, &err), &err);
    assert_ok(snapshot_reader_locate(r, 0, 4, &zero, &err), &err);

    assert_false(a.zero);
    assert_int_equal(a.pack, b.pack);
    assert_int_equal(a.frame, b.frame);
    assert_int_equal(a.slot, 0);
    assert_int_equal(b.slot, 3);
    assert_true(zero.zero);
    assert_error(snapshot_reader_locate(r, 0, FIXTURE_PAGES, &a, &err), &err,
                 ERR_INVALID, "no page 2500");
    assert_error(snapshot_reader_locate(r, 3, 0, &a, &err), &err, ERR_INVALID,
                 "no block 3");
    snapshot_reader_close(r);
}

/* A walk asks for each page: it must not look for the pack each time. */
static void a_missing_pack_is_looked_for_once(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct snapshot_reader *r = open_reader(f, s.id);
    char name[128], path[256], away[264];
    struct page_place place;
    struct error err;
    const struct snapshot_pack *packs;
    size_t n, i;

    packs = snapshot_reader_packs(r, &n);
    for (i = 0; i < n && packs[i].index; i++)
        ;
    assert_true(i < n);
    snprintf(name, sizeof(name), "packs/%.2s/%s", packs[i].id, packs[i].id);
    snprintf(path, sizeof(path), "%s/%s", f->scratch.repo, name);
    snprintf(away, sizeof(away), "%s.away", path);
    assert_int_equal(rename(path, away), 0);
    assert_error(snapshot_reader_locate(r, 0, 0, &place, &err), &err,
                 ERR_CORRUPT, "is missing");
    assert_int_equal(rename(away, path), 0);
    assert_error(snapshot_reader_locate(r, 0, 1, &place, &err), &err,
                 ERR_CORRUPT, "page 1 of block 0");
    snapshot_reader_close(r);

    r = open_reader(f, s.id);
    assert_ok(snapshot_reader_locate(r, 0, 1, &place, &err), &err);
    snapshot_reader_close(r);
}

static void a_walk_visits_all_pages_that_are_not_zero(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s;
    struct snapshot_reader *r;
    struct error err;
    pgno_t at = 0, next;

    /* Segments 1 to 3 without a row. */
    memset(f->vm.memory[0] + 512 * PAGE_BYTES, 0, 1536 * PAGE_BYTES);
    s = fixture_capture(f);
    r = open_reader(f, s.id);
    for (pgno_t i = 0; i < FIXTURE_PAGES; i++) {
        bool zero = i % 5 == 4 || (i >= 512 && i < 2048);

        assert_ok(snapshot_reader_next_data(r, 0, i, &next, &err), &err);
        assert_true(zero ? next > i : next == i);
    }
    for (uint64_t n = 0;; n++) {
        assert_ok(snapshot_reader_next_data(r, 0, at, &next, &err), &err);
        if (next == FIXTURE_PAGES) {
            assert_int_equal(n, (512 * 4 + 4) / 5 + (452 * 4 + 4) / 5 - 1);
            break;
        }
        at = next + 1;
    }
    assert_ok(snapshot_reader_next_data(r, 1, 0, &next, &err), &err);
    assert_int_equal(next, 600);
    assert_ok(snapshot_reader_next_data(r, 1, 9999, &next, &err), &err);
    assert_int_equal(next, 600);
    assert_error(snapshot_reader_next_data(r, 3, 0, &next, &err), &err,
                 ERR_INVALID, "no block 3");
    snapshot_reader_close(r);
}

static void one_page_needs_little_reading(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct snapshot_reader *r = open_reader(f, s.id);
    uint64_t image = snapshot_reader_image_bytes(r);
    uint64_t opened = snapshot_reader_read_bytes(r);
    const uint8_t *page;
    struct error err;

    assert_ok(snapshot_reader_page(r, 0, 1000, &page, &err), &err);

    assert_true(image > 4000000 && image <= s.stored_bytes);
    assert_true(opened < 128 << 10);
    assert_true(snapshot_reader_read_bytes(r) > opened);
    assert_true(snapshot_reader_read_bytes(r) < opened + (256 << 10));
    snapshot_reader_close(r);
}

static void a_page_read_twice_is_read_once(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct snapshot_reader *r = open_reader(f, s.id);
    const uint8_t *page, *again;
    struct error err;
    uint64_t bytes;

    assert_ok(snapshot_reader_page(r, 0, 0, &page, &err), &err);
    bytes = snapshot_reader_read_bytes(r);
    assert_ok(snapshot_reader_page(r, 0, 0, &again, &err), &err);

    assert_ptr_equal(page, again);
    assert_int_equal(snapshot_reader_read_bytes(r), bytes);
    snapshot_reader_close(r);
}

static void the_share_of_old_packs_counts_by_items(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary first = fixture_capture(f), second;
    struct snapshot_reader *r;
    uint64_t whole, part;

    r = open_reader(f, first.id);
    whole = snapshot_reader_image_bytes(r);
    snapshot_reader_close(r);
    memset(f->vm.memory[0] + 100 * PAGE_BYTES, 0, 2400 * PAGE_BYTES);
    second = fixture_capture(f);
    r = open_reader(f, second.id);
    part = snapshot_reader_image_bytes(r);
    snapshot_reader_close(r);

    assert_true(part < whole / 10);
}

static void a_missing_pack_is_damage(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct snapshot_reader *r = open_reader(f, s.id);
    const struct snapshot_pack *packs;
    const uint8_t *page;
    char path[256];
    struct error err;
    size_t n;

    packs = snapshot_reader_packs(r, &n);
    assert_int_equal(n, 2);
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "%s/packs/%.2s/%s", f->scratch.repo,
                 packs[i].id, packs[i].id);
        assert_int_equal(unlink(path), 0);
    }
    assert_error(snapshot_reader_page(r, 0, 0, &page, &err), &err, ERR_CORRUPT,
                 "is missing");
    assert_message(&err, s.id);
    assert_message(&err, "page 0 of block 0");
    snapshot_reader_close(r);
}

static void a_pack_of_another_snapshot_under_the_name_is_damage(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary a = fixture_capture(f), b;
    struct buf other = BUF_INIT;
    struct snapshot_reader *ra, *rb;
    const struct snapshot_pack *pa, *pb;
    char name[128];
    const uint8_t *page;
    struct error err;
    size_t n;

    sample_vm_fill(&f->vm, 500000);
    b = fixture_capture(f);
    ra = open_reader(f, a.id);
    rb = open_reader(f, b.id);
    pa = snapshot_reader_packs(ra, &n);
    pb = snapshot_reader_packs(rb, &n);
    for (size_t i = 0; i < 2; i++) {
        for (size_t j = 0; j < n; j++) {
            if (pa[i].index != pb[j].index || strcmp(pa[i].id, pb[j].id) == 0)
                continue;
            snprintf(name, sizeof(name), "packs/%.2s/%s", pb[j].id, pb[j].id);
            scratch_read(f->scratch.repo, name, &other);
            snprintf(name, sizeof(name), "packs/%.2s/%s", pa[i].id, pa[i].id);
            scratch_write(f->scratch.repo, name, other.data, other.len);
        }
    }
    assert_error(snapshot_reader_page(ra, 0, 0, &page, &err), &err, ERR_CORRUPT,
                 "pack");
    snapshot_reader_close(ra);
    snapshot_reader_close(rb);
    buf_release(&other);
}

static void a_snapshot_under_another_name_is_damage(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct snapshot_reader *r = NULL;
    struct buf object = BUF_INIT;
    struct error err;
    char name[64];

    snprintf(name, sizeof(name), "snapshots/%s", s.id);
    scratch_read(f->scratch.repo, name, &object);
    scratch_write(f->scratch.repo, "snapshots/0123456789abcdef", object.data,
                  object.len);

    assert_error(snapshot_reader_open(f->repository, "0123456789abcdef", &r,
                                      &err),
                 &err, ERR_CORRUPT, "snapshot '0123456789abcdef'");
    assert_error(snapshot_reader_open(f->repository, "fedcba9876543210", &r,
                                      &err),
                 &err, ERR_NOTFOUND, "snapshot 'fedcba9876543210'");
    assert_null(r);
    buf_release(&object);
}

/* A legal snapshot object that says what our writer would never say: all of
 * `id`, with its segments passed through `change`. */
static void
forge_snapshot(struct fixture *f, const char *id, const char *new_id,
               void (*change)(struct manifest_segment *row, uint32_t *block))
{
    cleanup(manifest) struct manifest *m = NULL;
    cleanup(manifest_builder) struct manifest_builder *b = NULL;
    const struct manifest_pack *packs;
    struct manifest_segment row;
    struct snapshot_summary s;
    struct snapshot_record record;
    struct buf object = BUF_INIT;
    char name[64];
    struct error err;
    uint32_t n;

    assert_ok(manifest_open(repository_snapshots_dirfd(f->repository), id, &m,
                            &err),
              &err);
    assert_ok(manifest_builder_new(&b, &err), &err);
    assert_ok(manifest_builder_add_blocks(b, manifest_blocks(m), &err), &err);
    packs = manifest_packs(m, &n);
    for (uint32_t i = 0; i < n; i++)
        assert_ok(manifest_builder_add_pack(b, i, &packs[i], &err), &err);
    for (uint32_t block = 0; block < 3; block++) {
        bool found = true;

        for (uint64_t segno = 0; found; segno = row.segno + 1) {
            uint32_t to = block;

            assert_ok(manifest_next_segment(m, block, segno, &row, &found,
                                            &err),
                      &err);
            if (!found)
                break;
            struct manifest_segment changed = row;

            change(&changed, &to);
            assert_ok(manifest_builder_add_segment(b, to, &changed, &err),
                      &err);
        }
    }
    s = *manifest_summary(m);
    memcpy(s.id, new_id, sizeof(s.id));
    record = (struct snapshot_record){
        .config = manifest_config(m),
        .devices = manifest_devices(m),
        .summary = manifest_summary(m),
    };
    assert_ok(manifest_builder_finish(b, &s, &record, &object, &err), &err);
    snprintf(name, sizeof(name), "snapshots/%s", new_id);
    scratch_write(f->scratch.repo, name, object.data, object.len);
    buf_release(&object);
}

#define FORGED "00000000000000ff"

static void first_page_fails(struct fixture *f, pgno_t pgno, const char *piece)
{
    struct snapshot_reader *r = open_reader(f, FORGED);
    const uint8_t *page;
    struct error err;

    assert_error(snapshot_reader_page(r, 0, pgno, &page, &err), &err,
                 ERR_CORRUPT, piece);
    snapshot_reader_close(r);
}

static void keep(struct manifest_segment *row, uint32_t *block)
{
}

static void a_copy_of_a_snapshot_reads_the_same(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct error err;

    forge_snapshot(f, s.id, FORGED, keep);
    assert_ok(sample_vm_compare(&f->vm, f->repository, FORGED, &err), &err);
}

/* Segments 0 and 1 swapped, with their checksums. */
static void swap_rows(struct manifest_segment *row, uint32_t *block)
{
    if (*block == 0 && row->segno < 2)
        row->segno = 1 - row->segno;
}

static void a_segment_at_another_place_is_damage(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);

    forge_snapshot(f, s.id, FORGED, swap_rows);
    first_page_fails(f, 0, "is not segment 0 of block 'pc.ram'");
}

/* The content of segment 1 under the checksum of segment 0. */
static void point_elsewhere(struct manifest_segment *row, uint32_t *block)
{
    if (*block == 0 && row->segno == 0)
        row->item++;
}

static void a_row_that_points_elsewhere_is_damage(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);

    forge_snapshot(f, s.id, FORGED, point_elsewhere);
    first_page_fails(f, 0, "is not segment 0");
}

static void move_to_block(struct manifest_segment *row, uint32_t *block)
{
    *block = *block == 0 && row->segno < 2 ? 1 : *block;
}

static void a_segment_of_another_block_is_damage(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);
    struct snapshot_reader *r;
    const uint8_t *page;
    struct error err;

    forge_snapshot(f, s.id, FORGED, move_to_block);
    r = open_reader(f, FORGED);
    assert_error(snapshot_reader_page(r, 1, 0, &page, &err), &err, ERR_CORRUPT,
                 "is not segment 0 of block 'vga.vram'");
    snapshot_reader_close(r);
}

static void to_a_page_pack(struct manifest_segment *row, uint32_t *block)
{
    row->pack = row->pack ? 0 : 1;
}

static void no_such_pack(struct manifest_segment *row, uint32_t *block)
{
    row->pack = 2;
}

static void no_such_item(struct manifest_segment *row, uint32_t *block)
{
    row->item = 4000000000u;
}

static void past_the_block(struct manifest_segment *row, uint32_t *block)
{
    if (*block == 0)
        row->segno += 5;
}

static void rows_that_make_no_sense_are_damage(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s = fixture_capture(f);

    forge_snapshot(f, s.id, FORGED, to_a_page_pack);
    first_page_fails(f, 0, "lies in no index pack");
    forge_snapshot(f, s.id, FORGED, no_such_pack);
    first_page_fails(f, 0, "lies in no index pack");
    forge_snapshot(f, s.id, FORGED, no_such_item);
    first_page_fails(f, 0, "no item 4000000000");
    forge_snapshot(f, s.id, FORGED, past_the_block);
    first_page_fails(f, 0, "out of range");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(all_but_pages_comes_back_as_recorded),
        FIXTURE_TEST(pages_of_one_frame_have_one_place),
        FIXTURE_TEST(a_missing_pack_is_looked_for_once),
        FIXTURE_TEST(a_walk_visits_all_pages_that_are_not_zero),
        FIXTURE_TEST(one_page_needs_little_reading),
        FIXTURE_TEST(a_page_read_twice_is_read_once),
        FIXTURE_TEST(the_share_of_old_packs_counts_by_items),
        FIXTURE_TEST(a_missing_pack_is_damage),
        FIXTURE_TEST(a_pack_of_another_snapshot_under_the_name_is_damage),
        FIXTURE_TEST(a_snapshot_under_another_name_is_damage),
        FIXTURE_TEST(a_copy_of_a_snapshot_reads_the_same),
        FIXTURE_TEST(a_segment_at_another_place_is_damage),
        FIXTURE_TEST(a_row_that_points_elsewhere_is_damage),
        FIXTURE_TEST(a_segment_of_another_block_is_damage),
        FIXTURE_TEST(rows_that_make_no_sense_are_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
