#include "tests/fakes/assert_error.h"

#include "restore/pages/page_queue.h"
#include "tests/fakes/assert_error.h"

/*
 * Two blocks: "a" of 8 pages and "b" of 4. Pages whose number divides by 4 are
 * zero, the others hold data. A story is what the queue hands out, as text.
 */
struct fixture {
    struct page_queue *queue;
    pgno_t pages[2];
    bool broken;
    char story[2048];
};

static int next_data(void *arg, uint32_t block, pgno_t from, pgno_t *ret,
                     struct error *err)
{
    struct fixture *f = arg;

    if (f->broken)
        return fail(err, ERR_CORRUPT, "the segment is damaged");
    while (from < f->pages[block] && from % 4 == 0)
        from++;
    *ret = MIN(from, f->pages[block]);
    return 0;
}

static void new_queue(struct fixture *f, uint32_t unit_pages)
{
    struct page_queue_block blocks[] = {
        {.idstr = "a", .pages = f->pages[0], .unit_pages = unit_pages},
        {.idstr = "b", .pages = f->pages[1], .unit_pages = 1},
    };
    struct error err = ERROR_INIT;

    page_queue_free(f->queue);
    f->queue = NULL;
    assert_int_equal(
        page_queue_new(
            &(struct page_queue_args){
                .blocks = blocks, .n = 2, .next_data = next_data, .arg = f},
            &f->queue, &err),
        0);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->pages[0] = 8;
    f->pages[1] = 4;
    new_queue(f, 1);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    page_queue_free(f->queue);
    free(f);
    return 0;
}

static void ask(struct fixture *f, const char *idstr, uint64_t page,
                uint64_t pages)
{
    struct error err = ERROR_INIT;

    assert_int_equal(page_queue_ask(f->queue, idstr, page * PAGE_BYTES,
                                    pages * PAGE_BYTES, 77, &err),
                     0);
}

/* Takes up to `n` units and tells what they were. */
static const char *story(struct fixture *f, unsigned n)
{
    static const char *const turns[] = {"none", "urgent", "prefetch", "near",
                                        "fill"};
    struct error err = ERROR_INIT;

    f->story[0] = '\0';
    for (unsigned i = 0; i < n; i++) {
        struct page_unit u;
        size_t used = strlen(f->story);

        assert_int_equal(page_queue_next(f->queue, &u, &err), 0);
        if (u.turn == PAGE_TURN_NONE)
            break;
        snprintf(f->story + used, sizeof(f->story) - used, "%s%s %s%llu+%u%s",
                 used ? ", " : "", turns[u.turn],
                 page_queue_idstr(f->queue, u.block),
                 (unsigned long long)u.first, u.pages,
                 u.known ? "" : " unknown");
    }
    return f->story;
}

static void the_background_is_every_data_page_once_in_order(void **state)
{
    struct fixture *f = *state;

    page_queue_release_background(f->queue);

    assert_string_equal(story(f, 99),
                        "fill a1+1, fill a2+1, fill a3+1, fill a5+1, "
                        "fill a6+1, fill a7+1, fill b1+1, fill b2+1, "
                        "fill b3+1");
    assert_true(page_queue_background_done(f->queue));
    assert_int_equal(page_queue_data_units(f->queue), 9);
}

static void the_background_waits_until_it_is_released(void **state)
{
    struct fixture *f = *state;

    ask(f, "a", 5, 1);

    assert_string_equal(story(f, 99), "urgent a5+1");
    assert_false(page_queue_background_done(f->queue));
}

static void a_request_overtakes_the_background(void **state)
{
    struct fixture *f = *state;

    page_queue_release_background(f->queue);
    assert_string_equal(story(f, 1), "fill a1+1");
    ask(f, "b", 3, 1);

    assert_string_equal(story(f, 2), "urgent b3+1, fill a2+1");
}

static void a_page_asked_for_twice_is_handed_out_once(void **state)
{
    struct fixture *f = *state;

    ask(f, "a", 2, 1);
    ask(f, "a", 2, 1);
    assert_string_equal(story(f, 99), "urgent a2+1");
    ask(f, "a", 2, 1);

    assert_false(page_queue_has_urgent(f->queue));
    assert_string_equal(story(f, 99), "");
}

static void a_page_asked_for_is_not_in_the_background_again(void **state)
{
    struct fixture *f = *state;

    ask(f, "a", 2, 1);
    page_queue_release_background(f->queue);

    assert_string_equal(story(f, 4), "urgent a2+1, fill a1+1, fill a3+1, "
                                     "fill a5+1");
    assert_string_equal(story(f, 99), "fill a6+1, fill a7+1, fill b1+1, "
                                      "fill b2+1, fill b3+1");
    assert_int_equal(page_queue_data_units(f->queue), 9);
}

static void a_page_sent_in_the_background_is_not_sent_on_request(void **state)
{
    struct fixture *f = *state;

    page_queue_release_background(f->queue);
    story(f, 1);
    ask(f, "a", 1, 1);

    assert_false(page_queue_has_urgent(f->queue));
    assert_true(page_queue_taken(f->queue, 0, 1));
}

static void a_zero_page_is_handed_out_only_on_request(void **state)
{
    struct fixture *f = *state;

    ask(f, "a", 4, 1);
    page_queue_release_background(f->queue);

    assert_string_equal(story(f, 1), "urgent a4+1");
    assert_null(strstr(story(f, 99), "a4"));
    assert_int_equal(page_queue_data_units(f->queue), 9);
}

static void requests_are_served_in_their_order(void **state)
{
    struct fixture *f = *state;

    ask(f, "b", 1, 1);
    ask(f, "a", 7, 1);
    ask(f, "a", 1, 1);

    assert_string_equal(story(f, 99), "urgent b1+1, urgent a7+1, urgent a1+1");
}

static void a_request_keeps_the_time_at_which_it_was_read(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    struct page_unit u;

    ask(f, "a", 1, 1);

    assert_int_equal(page_queue_next(f->queue, &u, &err), 0);
    assert_int_equal(u.asked_ns, 77);
}

static void neighbours_go_before_the_rest(void **state)
{
    struct fixture *f = *state;

    page_queue_release_background(f->queue);
    page_queue_set_near(f->queue, 0, 4, 7);

    assert_string_equal(story(f, 4),
                        "near a5+1, near a6+1, fill a1+1, fill a2+1");
    /* The linear pass meets the pages of the window, but sends them no more. */
    assert_string_equal(story(f, 2), "fill a3+1, fill a7+1");
    story(f, 99);
    assert_int_equal(page_queue_data_units(f->queue), 9);
}

static void neighbours_need_no_release(void **state)
{
    struct fixture *f = *state;

    page_queue_set_near(f->queue, 1, 0, 99);

    assert_string_equal(story(f, 99), "near b1+1, near b2+1, near b3+1");
}

static void a_huge_host_page_is_one_unit(void **state)
{
    struct fixture *f = *state;

    f->pages[0] = 16;
    new_queue(f, 8);
    ask(f, "a", 10, 1);
    page_queue_release_background(f->queue);

    assert_string_equal(story(f, 2), "urgent a8+8, fill a0+8");
    assert_string_equal(story(f, 99), "fill b1+1, fill b2+1, fill b3+1");
    assert_int_equal(page_queue_data_units(f->queue), 5);
}

static void the_last_unit_ends_with_its_block(void **state)
{
    struct fixture *f = *state;

    f->pages[0] = 10;
    new_queue(f, 8);
    ask(f, "a", 9, 1);

    assert_string_equal(story(f, 99), "urgent a8+2");
}

static void a_range_is_all_its_pages(void **state)
{
    struct fixture *f = *state;

    ask(f, "a", 2, 3);

    assert_string_equal(story(f, 99), "urgent a2+1, urgent a3+1, urgent a4+1");
}

static void an_unknown_block_is_served_each_page_once(void **state)
{
    struct fixture *f = *state;

    ask(f, "vga.vram", 900, 1);
    ask(f, "vga.vram", 3, 1);
    ask(f, "vga.vram", 900, 1);

    assert_string_equal(
        story(f, 99),
        "urgent vga.vram900+1 unknown, urgent vga.vram3+1 unknown");
    ask(f, "vga.vram", 3, 1);
    assert_false(page_queue_has_urgent(f->queue));
}

static void pages_behind_the_end_of_a_block_are_unknown(void **state)
{
    struct fixture *f = *state;

    ask(f, "b", 3, 2);
    ask(f, "b", 4, 1);

    assert_string_equal(story(f, 99), "urgent b3+1, urgent b4+1 unknown");
}

static void a_huge_page_of_an_unknown_block_is_one_unit(void **state)
{
    struct fixture *f = *state;

    ask(f, "huge", 512, 512);

    assert_string_equal(story(f, 99), "urgent huge512+512 unknown");
}

static void a_withdrawn_page_is_never_handed_out(void **state)
{
    struct fixture *f = *state;

    assert_true(page_queue_withdraw(f->queue, 0, 2));
    assert_false(page_queue_withdraw(f->queue, 0, 2));
    ask(f, "a", 2, 1);
    page_queue_release_background(f->queue);

    assert_string_equal(story(f, 2), "fill a1+1, fill a3+1");
    story(f, 99);
    assert_int_equal(page_queue_data_units(f->queue), 9);
}

static void a_request_that_is_no_range_of_pages_is_refused(void **state)
{
    static const struct {
        uint64_t start;
        uint64_t len;
    } wrong[] = {
        {1, 4096},
        {4096, 1},
        {0, 0},
        {0, UINT64_C(1) << 40},
        {UINT64_MAX - 4095, 8192},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct error err = ERROR_INIT;

        assert_int_equal(page_queue_ask(f->queue, "a", wrong[i].start,
                                        wrong[i].len, 0, &err),
                         ERR_PROTOCOL);
        assert_non_null(strstr(err.message, "no range of pages"));
    }
    assert_false(page_queue_has_urgent(f->queue));
}

static void a_page_absurdly_far_behind_is_refused(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;

    assert_int_equal(page_queue_ask(f->queue, "a", UINT64_C(1) << 60,
                                    PAGE_BYTES, 0, &err),
                     ERR_PROTOCOL);
    assert_non_null(strstr(err.message, "far behind its end"));
}

static void too_many_unknown_blocks_are_refused(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    char name[16];
    int rc = 0;

    for (int i = 0; rc == 0 && i < 1000; i++) {
        snprintf(name, sizeof(name), "x%d", i);
        rc = page_queue_ask(f->queue, name, 0, PAGE_BYTES, 0, &err);
    }
    assert_int_equal(rc, ERR_PROTOCOL);
    assert_non_null(strstr(err.message, "unknown blocks"));
}

static void more_requests_than_threads_could_make_are_refused(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    int rc = 0;

    for (uint64_t i = 0; rc == 0 && i < 200000; i++)
        rc = page_queue_ask(f->queue, "x", i * PAGE_BYTES, PAGE_BYTES, 0, &err);

    assert_int_equal(rc, ERR_PROTOCOL);
    assert_non_null(strstr(err.message, "at once"));
}

static void host_pages_of_a_gigabyte_are_refused_with_a_way_out(void **state)
{
    struct page_queue_block block = {
        .idstr = "pc.ram", .pages = 1 << 18, .unit_pages = 1 << 18};
    struct page_queue *q = NULL;
    struct error err = ERROR_INIT;

    assert_int_equal(
        page_queue_new(&(struct page_queue_args){.blocks = &block, .n = 1}, &q,
                       &err),
        ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "pc.ram"));
    assert_non_null(strstr(err.hint, "--eager"));
    assert_null(q);
}

static void a_damaged_index_ends_next_with_its_error(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    struct page_unit u;

    page_queue_release_background(f->queue);
    f->broken = true;

    assert_int_equal(page_queue_next(f->queue, &u, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.message, "damaged"));
    /* Requests do not need it. */
    ask(f, "a", 6, 1);
    assert_int_equal(page_queue_next(f->queue, &u, &err), 0);
    assert_int_equal(u.first, 6);
}

/* Frames. */

static void requests_of_one_frame_go_together(void **state)
{
    struct fixture *f = *state;
    struct page_unit u;

    ask(f, "a", 1, 1);
    ask(f, "b", 2, 1);
    ask(f, "a", 3, 1);
    ask(f, "a", 6, 1);
    assert_string_equal(story(f, 1), "urgent a1+1");

    assert_true(page_queue_next_among(f->queue, 0, 0, 4, &u));
    assert_int_equal(u.first, 3);
    assert_int_equal(u.turn, PAGE_TURN_URGENT);
    assert_int_equal(u.asked_ns, 77);
    assert_false(page_queue_next_among(f->queue, 0, 0, 4, &u));
    /* The others keep their order, and what went ahead does not come again. */
    assert_string_equal(story(f, 99), "urgent b2+1, urgent a6+1");
    assert_false(page_queue_has_urgent(f->queue));
}

static void requests_that_all_went_ahead_leave_nothing_urgent(void **state)
{
    struct fixture *f = *state;
    struct page_unit u;

    ask(f, "a", 3, 1);
    assert_true(page_queue_next_among(f->queue, 0, 0, 4, &u));
    assert_false(page_queue_has_urgent(f->queue));
    assert_string_equal(story(f, 99), "");
}

static void a_page_that_others_bring_is_taken_once(void **state)
{
    struct fixture *f = *state;
    struct page_unit u;

    assert_false(page_queue_taken(f->queue, 0, 5));
    assert_true(page_queue_take(f->queue, 0, 5, PAGE_TURN_PREFETCH, &u));
    assert_int_equal(u.turn, PAGE_TURN_PREFETCH);
    assert_int_equal(u.first, 5);
    assert_true(page_queue_taken(f->queue, 0, 5));
    assert_false(page_queue_take(f->queue, 0, 5, PAGE_TURN_FILL, &u));
    ask(f, "a", 5, 1);
    assert_string_equal(story(f, 99), "");
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_background_is_every_data_page_once_in_order),
        T(the_background_waits_until_it_is_released),
        T(a_request_overtakes_the_background),
        T(a_page_asked_for_twice_is_handed_out_once),
        T(a_page_asked_for_is_not_in_the_background_again),
        T(a_page_sent_in_the_background_is_not_sent_on_request),
        T(a_zero_page_is_handed_out_only_on_request),
        T(requests_are_served_in_their_order),
        T(a_request_keeps_the_time_at_which_it_was_read),
        T(neighbours_go_before_the_rest),
        T(neighbours_need_no_release),
        T(a_huge_host_page_is_one_unit),
        T(the_last_unit_ends_with_its_block),
        T(a_range_is_all_its_pages),
        T(an_unknown_block_is_served_each_page_once),
        T(pages_behind_the_end_of_a_block_are_unknown),
        T(a_huge_page_of_an_unknown_block_is_one_unit),
        T(a_withdrawn_page_is_never_handed_out),
        T(a_request_that_is_no_range_of_pages_is_refused),
        T(a_page_absurdly_far_behind_is_refused),
        T(too_many_unknown_blocks_are_refused),
        T(more_requests_than_threads_could_make_are_refused),
        T(host_pages_of_a_gigabyte_are_refused_with_a_way_out),
        T(a_damaged_index_ends_next_with_its_error),
        T(requests_of_one_frame_go_together),
        T(requests_that_all_went_ahead_leave_nothing_urgent),
        T(a_page_that_others_bring_is_taken_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
