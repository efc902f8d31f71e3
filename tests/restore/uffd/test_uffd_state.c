#include "tests/fakes/assert_error.h"

#include "restore/uffd/uffd_state.h"

static void only_the_moves_of_the_table_are_made(void **state)
{
    const char *want = "none>advise none>end advise>discard advise>listening "
                       "advise>end discard>discard discard>listening "
                       "discard>end listening>running listening>end "
                       "running>end ";
    char got[512] = "";

    for (int from = 0; from < UFFD_STATE__COUNT; from++) {
        for (int to = 0; to < UFFD_STATE__COUNT; to++) {
            enum uffd_state s = (enum uffd_state)from;
            struct error err = ERROR_INIT;
            size_t len = strlen(got);

            if (uffd_state_move(&s, (enum uffd_state)to, &err) < 0) {
                assert_int_equal(err.code, ERR_INVALID);
                assert_int_equal(s, from);
                continue;
            }
            snprintf(got + len, sizeof(got) - len, "%s>%s ",
                     uffd_state_name((enum uffd_state)from),
                     uffd_state_name((enum uffd_state)to));
        }
    }
    assert_string_equal(got, want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_moves_of_the_table_are_made),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
