#include "tests/core/vm/assert_error.h"

#include "core/vm/postcopy_state.h"

/* Rows are states, columns messages in the order of the enum: CONFIG,
 * OPEN_RETURN_PATH, PING, ADVISE, RAM_SETUP, RAM_PAGES, DISCARD, PACKAGED,
 * LISTEN, DEVICES, RUN, RECV_BITMAP, RESUME, EOF. */
static const char *const table[POSTCOPY__COUNT] = {
    /* none      */ "xxxxxx...x...x",
    /* advise    */ ".xx.xxx..x...x",
    /* discard   */ "..x...xxx.....",
    /* listening */ "..x..x...xx...",
    /* running   */ ".xx..x.......x",
    /* end       */ "..............",
    /* paused    */ "..............",
    /* recover   */ "...........xx.",
};

static void exactly_the_messages_of_the_table_are_legal(void **state)
{
    for (unsigned s = 0; s < POSTCOPY__COUNT; s++) {
        for (unsigned m = 0; m < POSTCOPY_SEND__COUNT; m++) {
            bool before_setup =
                m == POSTCOPY_SEND_ADVISE || m == POSTCOPY_SEND_RAM_SETUP;
            struct postcopy p = {
                .state = s, .return_path = true, .setup_sent = !before_setup};

            assert_int_equal(postcopy_state_allows(&p, m), table[s][m] == 'x');
        }
    }
}

static void a_whole_restore_goes_through_its_states(void **state)
{
    static const struct {
        enum postcopy_message message;
        enum postcopy_state after;
    } steps[] = {
        {POSTCOPY_SEND_CONFIG, POSTCOPY_NONE},
        {POSTCOPY_SEND_OPEN_RETURN_PATH, POSTCOPY_NONE},
        {POSTCOPY_SEND_PING, POSTCOPY_NONE},
        {POSTCOPY_SEND_ADVISE, POSTCOPY_ADVISE},
        {POSTCOPY_SEND_RAM_SETUP, POSTCOPY_ADVISE},
        {POSTCOPY_SEND_DISCARD, POSTCOPY_DISCARD},
        {POSTCOPY_SEND_DISCARD, POSTCOPY_DISCARD},
        {POSTCOPY_SEND_PACKAGED, POSTCOPY_DISCARD},
        {POSTCOPY_SEND_LISTEN, POSTCOPY_LISTENING},
        {POSTCOPY_SEND_DEVICES, POSTCOPY_LISTENING},
        {POSTCOPY_SEND_PING, POSTCOPY_LISTENING},
        {POSTCOPY_SEND_RUN, POSTCOPY_RUNNING},
        {POSTCOPY_SEND_RAM_PAGES, POSTCOPY_RUNNING},
        {POSTCOPY_SEND_EOF, POSTCOPY_END},
    };
    struct postcopy p = {0};
    struct error err;

    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        assert_int_equal(postcopy_state_send(&p, steps[i].message, &err), 0);
        assert_int_equal(p.state, steps[i].after);
    }
}

static void
listen_without_a_discard_is_refused_since_it_hangs_qemu(void **state)
{
    struct postcopy p = {
        .state = POSTCOPY_ADVISE, .return_path = true, .setup_sent = true};
    struct error err;

    assert_error(postcopy_state_send(&p, POSTCOPY_SEND_LISTEN, &err), &err,
                 ERR_INVALID,
                 "LISTEN must not be sent in postcopy state 'advise'");
    assert_int_equal(p.state, POSTCOPY_ADVISE);
}

static void listen_or_advise_to_a_running_guest_is_refused(void **state)
{
    struct postcopy p = {
        .state = POSTCOPY_RUNNING, .return_path = true, .setup_sent = true};
    struct error err;

    assert_error(postcopy_state_send(&p, POSTCOPY_SEND_LISTEN, &err), &err,
                 ERR_INVALID, "LISTEN");
    assert_error(postcopy_state_send(&p, POSTCOPY_SEND_ADVISE, &err), &err,
                 ERR_INVALID, "ADVISE");
}

static void advise_behind_the_block_list_is_refused(void **state)
{
    struct postcopy p = {0};
    struct error err;

    assert_int_equal(postcopy_state_send(&p, POSTCOPY_SEND_RAM_SETUP, &err), 0);

    assert_error(postcopy_state_send(&p, POSTCOPY_SEND_ADVISE, &err), &err,
                 ERR_INVALID, "ADVISE must not be sent");
}

static void without_a_return_path_nothing_is_packaged(void **state)
{
    struct postcopy p = {.state = POSTCOPY_DISCARD, .setup_sent = true};
    struct error err;

    assert_error(postcopy_state_send(&p, POSTCOPY_SEND_PACKAGED, &err), &err,
                 ERR_INVALID, "PACKAGED");
}

static void a_pager_that_takes_over_goes_on_after_resume(void **state)
{
    struct postcopy p = POSTCOPY_TAKEN_OVER;
    struct error err;

    assert_int_equal(
        postcopy_state_move(&p, POSTCOPY_PAUSED, POSTCOPY_RECOVER, &err), 0);
    assert_int_equal(postcopy_state_send(&p, POSTCOPY_SEND_RECV_BITMAP, &err),
                     0);
    assert_int_equal(postcopy_state_send(&p, POSTCOPY_SEND_RESUME, &err), 0);
    assert_int_equal(p.state, POSTCOPY_RUNNING);
    assert_int_equal(postcopy_state_send(&p, POSTCOPY_SEND_RAM_PAGES, &err), 0);
}

static void illegal_moves_are_refused(void **state)
{
    struct postcopy p = {
        .state = POSTCOPY_LISTENING, .return_path = true, .setup_sent = true};
    struct error err;

    assert_error(postcopy_state_move(&p, POSTCOPY_LISTENING, POSTCOPY_PAUSED,
                                     &err),
                 &err, ERR_INVALID, "cannot go from 'listening' to 'paused'");
    assert_error(postcopy_state_move(&p, POSTCOPY_RUNNING, POSTCOPY_END, &err),
                 &err, ERR_INVALID, "postcopy is 'listening', not 'running'");
    assert_int_equal(
        postcopy_state_move(&p, POSTCOPY_LISTENING, POSTCOPY_END, &err), 0);
}

static void states_and_messages_have_names(void **state)
{
    for (unsigned i = 0; i < POSTCOPY__COUNT; i++)
        assert_true(strlen(postcopy_state_name(i)) > 0);
    for (unsigned i = 0; i < POSTCOPY_SEND__COUNT; i++)
        assert_true(strlen(postcopy_message_name(i)) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exactly_the_messages_of_the_table_are_legal),
        cmocka_unit_test(a_whole_restore_goes_through_its_states),
        cmocka_unit_test(
            listen_without_a_discard_is_refused_since_it_hangs_qemu),
        cmocka_unit_test(listen_or_advise_to_a_running_guest_is_refused),
        cmocka_unit_test(advise_behind_the_block_list_is_refused),
        cmocka_unit_test(without_a_return_path_nothing_is_packaged),
        cmocka_unit_test(a_pager_that_takes_over_goes_on_after_resume),
        cmocka_unit_test(illegal_moves_are_refused),
        cmocka_unit_test(states_and_messages_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
