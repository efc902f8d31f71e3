#include "tests/core/vm/assert_error.h"

#include "core/wire/qemu_wire.h"
#include "core/wire/virtio_mem_decoder.h"
#include "tests/core/wire/stream_maker.h"

struct fixture {
    struct section_registry *registry;
    const struct section_handler *h;
    struct error err;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    must(section_registry_new(&f->registry, &f->err), &f->err);
    must(virtio_mem_decoder_register(f->registry, &f->err), &f->err);
    f->h = section_registry_at(f->registry, 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    section_registry_free(f->registry);
    free(f);
    return 0;
}

/* What it takes of `len` bytes, or -1 when it needs more. */
static long taken(struct fixture *f, uint64_t region, uint64_t block,
                  size_t len)
{
    cleanup_free uint8_t *body = calloc(1, len + 64);
    struct input in = {.at = cursor_of(body, len)};
    int rc;

    store_be64(body + 8, region);
    store_be64(body + 16, block);
    f->err = ERROR_INIT;
    rc = f->h->ops->load(f->h->arg, SECTION_FULL, &in, &f->err);
    if (rc < 0)
        return rc;
    assert_int_equal(rc == SECTION_LOAD_MORE, in.at.pos == 0);
    return rc == SECTION_LOAD_MORE ? -1 : (long)in.at.pos;
}

static void the_bitmap_is_as_long_as_its_region_says(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(taken(f, 0, 1 << 20, 200), 36);
    assert_int_equal(taken(f, 1, 1 << 20, 200), 44);
    assert_int_equal(taken(f, 64u << 20, 1 << 20, 200), 44);
    assert_int_equal(taken(f, (64u << 20) + 1, 1 << 20, 200), 52);
    assert_int_equal(taken(f, UINT64_C(1) << 40, 2 << 20, 1 << 20),
                     36 + (1 << 19) / 8);
}

static void a_prefix_needs_more(void **state)
{
    struct fixture *f = *state;

    for (size_t len = 0; len < 44; len++)
        assert_int_equal(taken(f, 64u << 20, 1 << 20, len), -1);
}

static void bitmaps_of_no_device_are_refused(void **state)
{
    struct fixture *f = *state;

    assert_error((int)taken(f, 64u << 20, 0, 100), &f->err, ERR_PROTOCOL,
                 "blocks of 0 bytes");
    assert_error((int)taken(f, UINT64_MAX, 1, 100), &f->err, ERR_PROTOCOL,
                 "a bitmap of");
    assert_error((int)taken(f, UINT64_C(1) << 60, 1 << 20, 100), &f->err,
                 ERR_PROTOCOL, "a bitmap of 17179869184 words");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_bitmap_is_as_long_as_its_region_says),
        TEST(a_prefix_needs_more),
        TEST(bitmaps_of_no_device_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
