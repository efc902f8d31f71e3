#include "tests/fakes/assert_error.h"

#include <stdlib.h>

#include "storage/place_book.h"

static uint32_t code_of(struct place_book *b, uint32_t pack, uint32_t item)
{
    uint32_t code;

    assert_true(place_book_code(b, (struct dedup_place){pack, item}, &code));
    return code;
}

static void a_code_is_its_place_and_no_other(void **state)
{
    struct place_book b = {0};
    uint32_t codes[3][3000];

    /* As lanes do: packs grow side by side. */
    for (uint32_t item = 0; item < 3000; item++) {
        for (uint32_t pack = 0; pack < 3; pack++)
            codes[pack][item] = code_of(&b, pack, item);
    }
    for (uint32_t pack = 0; pack < 3; pack++) {
        for (uint32_t item = 0; item < 3000; item++) {
            struct dedup_place p = place_book_place(&b, codes[pack][item]);

            assert_int_equal(p.pack, pack);
            assert_int_equal(p.item, item);
            assert_int_equal(code_of(&b, pack, item), codes[pack][item]);
            assert_true(codes[pack][item] < PLACE_CODE_ZERO);
        }
    }
    assert_int_equal(b.n_chunks, 9);
    place_book_release(&b);
}

static void far_items_and_packs_take_no_codes_in_between(void **state)
{
    struct place_book b = {0};
    uint32_t far = code_of(&b, 1000, 16000000);

    assert_int_equal(b.n_chunks, 1);
    assert_int_equal(place_book_place(&b, far).pack, 1000);
    assert_int_equal(place_book_place(&b, far).item, 16000000);
    place_book_release(&b);
    assert_null(b.chunks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_code_is_its_place_and_no_other),
        cmocka_unit_test(far_items_and_packs_take_no_codes_in_between),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
