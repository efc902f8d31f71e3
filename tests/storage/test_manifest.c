#include "tests/storage/repo_fixture.h"

#include "core/base/cursor.h"
#include "storage/manifest_builder.h"
#include "storage/repository_inside.h"

#define ID "00000000000000ab"

/* What a legal object is made of; tests change one thing of it. */
struct parts {
    struct ramblock blocks[2];
    struct ramblock_list list;
    struct manifest_pack packs[2];
    struct manifest_segment segment;
    struct device_section section;
    struct machine_config config;
    struct device_state devices;
    struct snapshot_summary summary;
    struct snapshot_record record;
    uint32_t first_pack;
};

static void make_parts(struct parts *p)
{
    struct error err;

    *p = (struct parts){
        .blocks = {{.idstr = "pc.ram",
                    .used_bytes = 8 << 20,
                    .host_page_bytes = 4096},
                   {.idstr = "vga.vram", .used_bytes = 4096}},
        .packs = {{.id = "00112233445566778899aabbccddeeff",
                   .kind = PACK_PAGES,
                   .bytes = 5000,
                   .items = 10,
                   .used = 3},
                  {.id = "ff112233445566778899aabbccddee00",
                   .kind = PACK_INDEX,
                   .bytes = 300,
                   .items = 1,
                   .used = 1}},
        .segment = {.segno = 3,
                    .pack = 1,
                    .item = 0,
                    .checksum = UINT64_MAX - 5},
        .section = {.name = "timer", .offset = 2, .bytes = 3},
        .config = {.machine = "pc", .target_page_bits = 12},
        .summary = {.id = ID,
                    .vm = "vm",
                    .time_ns = 77,
                    .mode = "stream",
                    .stored_bytes = 5300},
    };
    p->list = (struct ramblock_list){.blocks = p->blocks, .n = 2};
    p->devices = (struct device_state){
        .sections = &p->section, .n_sections = 1, .run_state = "paused"};
    assert_ok(buf_append(&p->devices.tail, "12345", 5, &err), &err);
    p->record = (struct snapshot_record){.config = &p->config,
                                         .devices = &p->devices,
                                         .ram_section_id = 4,
                                         .summary = &p->summary};
}

static void drop_parts(struct parts *p)
{
    buf_release(&p->devices.tail);
    buf_release(&p->config.raw);
    json_decref(p->record.facts);
    json_decref(p->summary.tags);
}

static void build(struct parts *p, struct buf *ret)
{
    cleanup(manifest_builder) struct manifest_builder *b = NULL;
    struct error err;

    buf_reset(ret);
    assert_ok(manifest_builder_new(&b, &err), &err);
    assert_ok(manifest_builder_add_blocks(b, &p->list, &err), &err);
    for (uint32_t i = 0; i < 2; i++)
        assert_ok(manifest_builder_add_pack(b, p->first_pack + i, &p->packs[i],
                                            &err),
                  &err);
    assert_ok(manifest_builder_add_segment(b, 0, &p->segment, &err), &err);
    assert_ok(manifest_builder_finish(b, &p->summary, &p->record, ret, &err),
              &err);
}

static void put(struct fixture *f, const void *data, size_t len)
{
    scratch_write(f->scratch.repo, "snapshots/" ID, data, len);
}

/* A footer that fits what is before it, and says the same of its length. */
static void put_forged(struct fixture *f, struct buf *object)
{
    size_t len = object->len - MANIFEST_FOOTER_BYTES;
    uint8_t *footer = object->data + len;

    manifest_file_footer(footer, ID, object->data, len, load_le32(footer + 12));
    put(f, object->data, object->len);
}

static int open_it(struct fixture *f, struct manifest **ret, struct error *err)
{
    return manifest_open(repository_snapshots_dirfd(f->repository), ID, ret,
                         err);
}

/* Builds, puts, and says that opening fails with these words. */
static void refused(struct fixture *f, struct parts *p, const char *piece)
{
    struct manifest *m = NULL;
    struct buf object = BUF_INIT;
    struct error err;

    build(p, &object);
    put(f, object.data, object.len);
    assert_error(open_it(f, &m, &err), &err, ERR_CORRUPT, piece);
    assert_message(&err, "snapshot '" ID "'");
    assert_null(m);
    buf_release(&object);
    drop_parts(p);
    make_parts(p);
}

static void an_object_holds_what_was_put_in(void **state)
{
    struct fixture *f = *state;
    cleanup(manifest) struct manifest *m = NULL;
    struct buf object = BUF_INIT;
    struct manifest_segment row;
    const struct manifest_pack *packs;
    struct parts p;
    struct error err;
    bool found;
    uint32_t n;
    uint64_t count;

    make_parts(&p);
    build(&p, &object);
    put(f, object.data, object.len);
    assert_ok(open_it(f, &m, &err), &err);

    assert_int_equal(manifest_object_bytes(m), object.len);
    assert_int_equal(manifest_summary(m)->stored_bytes, 5300 + object.len);
    packs = manifest_packs(m, &n);
    assert_int_equal(n, 2);
    assert_string_equal(packs[1].id, p.packs[1].id);
    assert_int_equal(packs[0].used, 3);
    assert_int_equal(manifest_ram_section_id(m), 4);
    assert_int_equal(json_object_size(manifest_facts(m)), 0);
    assert_ok(manifest_next_segment(m, 0, 0, &row, &found, &err), &err);
    assert_true(found);
    assert_memory_equal(&row, &p.segment, sizeof(row));
    assert_ok(manifest_next_segment(m, 0, 4, &row, &found, &err), &err);
    assert_false(found);
    assert_ok(manifest_next_segment(m, 1, 0, &row, &found, &err), &err);
    assert_false(found);
    assert_ok(manifest_count_segments(m, &count, &err), &err);
    assert_int_equal(count, 1);
    buf_release(&object);
    drop_parts(&p);
}

static void what_makes_no_sense_is_refused(void **state)
{
    struct fixture *f = *state;
    struct parts p;

    make_parts(&p);
    memcpy(p.summary.id, "00000000000000ac", 17);
    {
        /* The right footer around another snapshot's database. */
        struct buf object = BUF_INIT;
        struct manifest *m = NULL;
        struct error err;

        build(&p, &object);
        put_forged(f, &object);
        assert_error(open_it(f, &m, &err), &err, ERR_CORRUPT,
                     "holds another snapshot");
        buf_release(&object);
        memcpy(p.summary.id, ID, 17);
    }
    p.summary.tags = json_pack("{s:i}", "a", 1);
    refused(f, &p, "tags are no strings");
    p.blocks[1].used_bytes = 4097;
    refused(f, &p, "snapshot");
    p.blocks[1] = p.blocks[0];
    refused(f, &p, "pc.ram");
    p.blocks[1].used_bytes = UINT64_C(1) << 62;
    refused(f, &p, "used_bytes");
    p.first_pack = 1;
    refused(f, &p, "a pack's row is missing");
    memcpy(p.packs[1].id, p.packs[0].id, 33);
    refused(f, &p, "listed twice");
    p.packs[0].id[0] = 'X';
    refused(f, &p, "a pack's id is none");
    p.packs[0].used = 11;
    refused(f, &p, "'used'");
    p.packs[0].kind = 0;
    refused(f, &p, "kind is not known");
    p.section.offset = 6;
    refused(f, &p, "'offset'");
    p.section.bytes = 4;
    refused(f, &p, "'bytes'");
    p.record.facts = json_pack("[s]", "x");
    refused(f, &p, "JSON is no object");
    drop_parts(&p);
}

static void every_prefix_is_refused(void **state)
{
    struct fixture *f = *state;
    struct manifest *m = NULL;
    struct buf object = BUF_INIT;
    struct parts p;
    struct error err;

    make_parts(&p);
    build(&p, &object);
    for (size_t len = 0; len < object.len;
         len += len < 200 || object.len - len < 200 ? 1 : 101) {
        put(f, object.data, len);
        assert_int_equal(open_it(f, &m, &err), ERR_CORRUPT);
    }
    assert_null(m);
    buf_release(&object);
    drop_parts(&p);
}

static void every_flipped_bit_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct manifest *m = NULL;
    struct buf object = BUF_INIT;
    struct parts p;
    struct error err;
    unsigned n = 0;

    make_parts(&p);
    build(&p, &object);
    for (size_t bit = 0; bit < object.len * 8; n++) {
        size_t left = object.len * 8 - bit;

        object.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        put(f, object.data, object.len);
        assert_int_equal(open_it(f, &m, &err), ERR_CORRUPT);
        object.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        bit += left <= 64 * 8 ? 1 : 7;
    }
    assert_true(n > 1000);
    assert_null(m);
    buf_release(&object);
    drop_parts(&p);
}

/* A checksum is no signature: databases changed at random, with a footer that
 * fits, may be refused or read, but do no harm. */
static void a_forged_database_does_no_harm(void **state)
{
    struct fixture *f = *state;
    cleanup(manifest_file) struct manifest_file file = {0};
    uint8_t footer[MANIFEST_FOOTER_BYTES];
    struct buf object = BUF_INIT, copy = BUF_INIT;
    struct parts p;
    uint64_t x = 99;
    unsigned opened = 0, refused_n = 0;
    struct error err;

    make_parts(&p);
    build(&p, &object);
    put(f, object.data, object.len);
    assert_ok(manifest_file_read(repository_snapshots_dirfd(f->repository), ID,
                                 "it", &file, &err),
              &err);
    for (unsigned i = 0; i < 3000; i++) {
        struct manifest *m = NULL;
        struct manifest_segment row;
        uint64_t count;
        bool found;

        buf_reset(&copy);
        assert_ok(buf_append(&copy, file.image.data, file.image.len, &err),
                  &err);
        for (unsigned j = 0; j <= i % 4; j++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            copy.data[(x >> 8) % copy.len] ^= (uint8_t)(1u << (x & 7));
        }
        manifest_file_footer(footer, ID, copy.data, copy.len,
                             (uint32_t)copy.len);
        assert_ok(buf_append(&copy, footer, sizeof(footer), &err), &err);
        put(f, copy.data, copy.len);
        if (open_it(f, &m, &err) < 0) {
            refused_n++;
            continue;
        }
        opened++;
        for (uint32_t b = 0; b < manifest_blocks(m)->n; b++) {
            if (manifest_next_segment(m, b, 0, &row, &found, &err) < 0)
                assert_int_not_equal(err.code, 0);
        }
        if (manifest_count_segments(m, &count, &err) < 0)
            assert_int_not_equal(err.code, 0);
        manifest_close(m);
    }
    assert_true(opened > 0 && refused_n > 0);
    buf_release(&object);
    buf_release(&copy);
    drop_parts(&p);
}

static void a_checksum_covers_the_place_of_a_segment(void **state)
{
    uint64_t sum = manifest_segment_checksum("pc.ram", 5, "bytes", 5);

    assert_true(sum == manifest_segment_checksum("pc.ram", 5, "bytes", 5));
    assert_true(sum != manifest_segment_checksum("pc.ram", 6, "bytes", 5));
    assert_true(sum != manifest_segment_checksum("pc.ran", 5, "bytes", 5));
    assert_true(sum != manifest_segment_checksum("pc.ram", 5, "bytez", 5));
    assert_true(sum != manifest_segment_checksum("pc.ram", 5, "byte", 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(an_object_holds_what_was_put_in),
        FIXTURE_TEST(what_makes_no_sense_is_refused),
        FIXTURE_TEST(every_prefix_is_refused),
        FIXTURE_TEST(every_flipped_bit_is_noticed),
        FIXTURE_TEST(a_forged_database_does_no_harm),
        cmocka_unit_test(a_checksum_covers_the_place_of_a_segment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
