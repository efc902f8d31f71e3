#include "tests/storage/repo_fixture.h"

#include "core/base/bytes.h"
#include "storage/packs/page_hash.h"

/* Pages that begin with one of these have one hash between them: as if a guest
 * had found two such. */
#define FORGED_A UINT64_C(0x66f0aaaaaaaaaaaa)
#define FORGED_B UINT64_C(0x66f0bbbbbbbbbbbb)

struct page_hash __real_page_hash_of(const struct hash_key *key,
                                     const void *data, size_t len);
struct page_hash __wrap_page_hash_of(const struct hash_key *key,
                                     const void *data, size_t len);

struct page_hash __wrap_page_hash_of(const struct hash_key *key,
                                     const void *data, size_t len)
{
    uint64_t first = len >= 8 ? load_le64(data) : 0;

    if (first == FORGED_A || first == FORGED_B)
        return (struct page_hash){.low = 4711, .high = 4712};
    return __real_page_hash_of(key, data, len);
}

static void forge(struct fixture *f, pgno_t pgno, uint64_t first)
{
    uint8_t *page = f->vm.memory[0] + pgno * PAGE_BYTES;

    sample_page_fill(page, 31337);
    store_le64(page, first);
}

static void be(struct fixture *f, const char *name, const char *uuid)
{
    f->vm.name = name;
    f->vm.uuid = uuid;
}

static struct snapshot_summary capture(struct fixture *f, bool across)
{
    struct snapshot_writer_args args = {.repository = f->repository,
                                        .vm = f->vm.name,
                                        .vm_uuid = f->vm.uuid,
                                        .lanes = 2,
                                        .across_vms = across};
    cleanup(snapshot_writer) struct snapshot_writer *w = NULL;
    struct snapshot_summary s;
    struct error err;

    assert_ok(snapshot_writer_new(&args, &w, &err), &err);
    assert_ok(snapshot_writer_set_blocks(w, &f->vm.blocks, &err), &err);
    assert_ok(sample_vm_put(&f->vm, w, 0, 1, &err), &err);
    assert_ok(sample_vm_commit(&f->vm, w, false, &s, &err), &err);
    assert_ok(sample_vm_compare(&f->vm, f->repository, s.id, &err), &err);
    return s;
}

static size_t foreign_packs(struct fixture *f, const char *id)
{
    cleanup(snapshot_reader) struct snapshot_reader *r = NULL;
    struct error err;

    assert_ok(snapshot_reader_open(f->repository, id, &r, &err), &err);
    return json_array_size(
        json_object_get(snapshot_reader_facts(r), "foreign_packs"));
}

static void two_vms_share_when_asked(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary a, b, c;

    be(f, "a", "11111111-0000-4000-8000-000000000001");
    a = capture(f, true);
    assert_int_equal(foreign_packs(f, a.id), 0);
    be(f, "b", "22222222-0000-4000-8000-000000000002");
    b = capture(f, true);
    assert_int_equal(b.pages_stored, 0);
    assert_int_equal(b.pages_duplicate, a.pages_stored);
    assert_int_equal(foreign_packs(f, b.id), 1);
    be(f, "c", "33333333-0000-4000-8000-000000000003");
    c = capture(f, false);
    assert_int_equal(c.pages_stored, a.pages_stored);
    assert_int_equal(foreign_packs(f, c.id), 0);
}

static void a_forged_hash_gives_nobody_the_page_of_another(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s;

    be(f, "a", "11111111-0000-4000-8000-000000000001");
    forge(f, 3, FORGED_A);
    capture(f, true);
    be(f, "b", "22222222-0000-4000-8000-000000000002");
    forge(f, 3, FORGED_B);
    s = capture(f, true); /* which compares what comes back */
    assert_int_equal(s.pages_stored, 1);
    assert_int_equal(foreign_packs(f, s.id), 1);
}

/* The packs of others are in one's own history by then. */
static void what_was_shared_once_is_compared_ever_after(void **state)
{
    struct fixture *f = *state;
    struct snapshot_summary s;

    be(f, "a", "11111111-0000-4000-8000-000000000001");
    forge(f, 3, FORGED_A);
    capture(f, true);
    be(f, "b", "22222222-0000-4000-8000-000000000002");
    sample_page_fill(f->vm.memory[0] + 3 * PAGE_BYTES, 555);
    s = capture(f, true);
    assert_int_equal(s.pages_stored, 1);
    forge(f, 3, FORGED_B);
    s = capture(f, false);
    assert_int_equal(s.pages_stored, 1);
    assert_int_equal(foreign_packs(f, s.id), 1);
    s = capture(f, false);
    assert_int_equal(foreign_packs(f, s.id), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(two_vms_share_when_asked),
        FIXTURE_TEST(a_forged_hash_gives_nobody_the_page_of_another),
        FIXTURE_TEST(what_was_shared_once_is_compared_ever_after),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
