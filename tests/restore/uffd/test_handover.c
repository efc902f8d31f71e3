#include "tests/fakes/assert_error.h"

#include <sys/socket.h>

#include "core/base/channel.h"
#include "core/base/clock.h"
#include "restore/uffd/handover.h"

#define IMAGE (UINT64_C(64) << 20)

static const char good[] =
    " [ {\"base_host_virt_addr\": 4096, \"size\": 8192, \"offset\": 0,"
    " \"page_size\": 4096, \"note\": \"]}\\\"[\"},\n"
    "{\"base_host_virt_addr\":1048576,\"size\":4096,\"offset\":8192,"
    "\"page_size_kib\":4096}]";

static void a_message_is_measured_by_its_brackets(void **state)
{
    struct error err = ERROR_INIT;
    size_t len = sizeof(good) - 1;
    size_t got;

    for (size_t n = 0; n < len; n++) {
        assert_int_equal(handover_measure(good, n, &got, &err), 0);
        assert_int_equal(got, 0);
    }
    assert_int_equal(handover_measure(good, len, &got, &err), 0);
    assert_int_equal(got, len);
    assert_int_equal(handover_measure("[]x", 3, &got, &err), 0);
    assert_int_equal(got, 2);
    assert_error(handover_measure("{}", 2, &got, &err), &err, ERR_PROTOCOL,
                 "no JSON array");
    assert_error(handover_measure("\0", 1, &got, &err), &err, ERR_PROTOCOL,
                 "no JSON array");
}

static void regions_are_what_the_message_says(void **state)
{
    struct error err = ERROR_INIT;
    struct handover h = HANDOVER_INIT;

    assert_int_equal(handover_parse(good, sizeof(good) - 1, IMAGE, &h, &err),
                     0);

    assert_int_equal(h.n_regions, 2);
    assert_int_equal(h.page_bytes, 4096);
    assert_int_equal(h.regions[0].start, 4096);
    assert_int_equal(h.regions[1].start, 1048576);
    assert_int_equal(h.regions[1].len, 4096);
    assert_int_equal(h.regions[1].offset, 8192);
    handover_release(&h);
}

static void a_cut_message_is_refused(void **state)
{
    for (size_t n = 0; n < sizeof(good) - 1; n++) {
        struct error err = ERROR_INIT;
        struct handover h = HANDOVER_INIT;
        char *copy = malloc(n + 1);

        memcpy(copy, good, n);
        assert_int_equal(handover_parse(copy, n, IMAGE, &h, &err),
                         ERR_PROTOCOL);
        free(copy);
    }
}

/* Any byte may be wrong: an error, or regions that keep the promises. */
static void a_flipped_bit_never_gives_regions_of_no_sense(void **state)
{
    for (size_t bit = 0; bit < (sizeof(good) - 1) * 8; bit++) {
        struct error err = ERROR_INIT;
        struct handover h = HANDOVER_INIT;
        char copy[sizeof(good)];

        memcpy(copy, good, sizeof(good));
        copy[bit / 8] = (char)(copy[bit / 8] ^ (1 << (bit % 8)));
        if (handover_parse(copy, sizeof(good) - 1, IMAGE, &h, &err) < 0)
            continue;
        for (uint32_t i = 0; i < h.n_regions; i++) {
            assert_true(h.regions[i].len > 0);
            assert_true(h.regions[i].offset + h.regions[i].len <= IMAGE);
            assert_int_equal(h.regions[i].start % h.page_bytes, 0);
        }
        handover_release(&h);
    }
}

static void check_refused(const char *text, const char *piece)
{
    struct error err = ERROR_INIT;
    struct handover h = HANDOVER_INIT;

    assert_error(handover_parse(text, strlen(text), IMAGE, &h, &err), &err,
                 ERR_PROTOCOL, piece);
}

#define REGION(start, size, offset, page)                                     \
    "{\"base_host_virt_addr\":" start ",\"size\":" size ",\"offset\":" offset \
    ",\"page_size\":" page "}"

static void numbers_of_no_sense_are_named(void **state)
{
    check_refused("[]", "has 0 regions");
    check_refused("{}", "has 0 regions");
    check_refused("[7]", "is no object");
    check_refused("[" REGION("0", "0", "0", "4096") "]", "size is 0");
    check_refused("[" REGION("-4096", "4096", "0", "4096") "]", "no number");
    check_refused("[" REGION("4096.0", "4096", "0", "4096") "]", "no number");
    check_refused("[" REGION("1", "4096", "0", "4096") "]", "multiple");
    check_refused("[" REGION("4096", "4096", "0", "1024") "]", "pages of 1024");
    check_refused("[" REGION("4096", "4096", "67108864", "4096") "]",
                  "reach past the image");
    check_refused("[" REGION("4096", "9223372036854771712",
                             "9223372036854771712", "4096") "]",
                  "reach past the image");
    check_refused("[" REGION("0", "2097152", "0", "2097152") "," REGION(
                      "4194304", "4096", "2097152", "4096") "]",
                  "page size differs");
    check_refused("[" REGION("4096", "8192", "0", "4096") "," REGION(
                      "8192", "8192", "8192", "4096") "]",
                  "overlap");
    check_refused("[" REGION("4096", "8192", "0", "4096") "," REGION(
                      "16384", "8192", "4096", "4096") "]",
                  "overlap");
}

static void a_client_that_sends_no_descriptor_is_refused(void **state)
{
    struct error err = ERROR_INIT;
    struct handover h = HANDOVER_INIT;
    struct stopper stop;
    int sock[2];

    assert_int_equal(stopper_init(&stop, &err), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sock), 0);
    assert_int_equal(write(sock[1], good, sizeof(good) - 1), sizeof(good) - 1);
    assert_error(handover_receive(sock[0], IMAGE, &stop, 0, &h, &err), &err,
                 ERR_PROTOCOL, "no descriptor");

    assert_int_equal(channel_write_with_fd(sock[1], good, sizeof(good) - 1,
                                           sock[1], &err),
                     0);
    assert_error(handover_receive(sock[0], IMAGE, &stop, 0, &h, &err), &err,
                 ERR_PROTOCOL, "no userfaultfd");

    assert_int_equal(write(sock[1], good, 20), 20);
    assert_error(handover_receive(sock[0], IMAGE, &stop,
                                  clock_monotonic_ns() + 1, &h, &err),
                 &err, ERR_TIMEOUT, "time limit");
    close(sock[1]);
    assert_error(handover_receive(sock[0], IMAGE, &stop, 0, &h, &err), &err,
                 ERR_PROTOCOL, "left after 0 bytes");
    close(sock[0]);
    stopper_release(&stop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_measured_by_its_brackets),
        cmocka_unit_test(regions_are_what_the_message_says),
        cmocka_unit_test(a_cut_message_is_refused),
        cmocka_unit_test(a_flipped_bit_never_gives_regions_of_no_sense),
        cmocka_unit_test(numbers_of_no_sense_are_named),
        cmocka_unit_test(a_client_that_sends_no_descriptor_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
