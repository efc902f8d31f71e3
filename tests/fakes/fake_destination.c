#include "tests/fakes/fake_destination.h"

#include "tests/fakes/assert_error.h"

#include <sys/socket.h>

#include "core/base/bytes.h"
#include "core/wire/return_path.h"

/* What QEMU would die of. */
#define refuse(...)                \
    do {                           \
        print_error(__VA_ARGS__);  \
        print_error("\n");         \
        _fail(__FILE__, __LINE__); \
    } while (0)

static bool try_read(struct fake_destination *d, void *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = recv(d->fd, (uint8_t *)data + done, len - done, 0);

        /* io_uring finishes work of a thread by interrupting it. */
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            refuse("nothing came within 10 s");
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

static void need(struct fake_destination *d, void *data, size_t len)
{
    if (!try_read(d, data, len))
        refuse("the stream ends too early");
}

static uint8_t need_u8(struct fake_destination *d)
{
    uint8_t v;

    need(d, &v, 1);
    return v;
}

static uint16_t need_be16(struct fake_destination *d)
{
    uint8_t b[2];

    need(d, b, 2);
    return load_be16(b);
}

static uint32_t need_be32(struct fake_destination *d)
{
    uint8_t b[4];

    need(d, b, 4);
    return load_be32(b);
}

static uint64_t need_be64(struct fake_destination *d)
{
    uint8_t b[8];

    need(d, b, 8);
    return load_be64(b);
}

static void need_str8(struct fake_destination *d, char text[static 256])
{
    uint8_t n = need_u8(d);

    need(d, text, n);
    text[n] = '\0';
}

static void append(struct buf *b, const void *data, size_t len)
{
    struct error err = ERROR_INIT;

    assert_ok(buf_append(b, data, len, &err), &err);
}

static void read_footer(struct fake_destination *d)
{
    assert_int_equal(need_u8(d), 0x7e);
    assert_int_equal(need_be32(d), d->ram_section_id);
}

static void read_config(struct fake_destination *d)
{
    uint32_t n = need_be32(d);

    assert_true(n < sizeof(d->machine));
    need(d, d->machine, n);
    d->machine[n] = '\0';
}

/* A page size is there exactly where it is not 4096: the tests' blocks that
 * have one are called "huge...". */
static void read_block_list(struct fake_destination *d)
{
    uint64_t left;

    d->ram_section_id = need_be32(d);
    need_str8(d, d->last_idstr);
    assert_string_equal(d->last_idstr, "ram");
    assert_int_equal(need_be32(d), 0);
    assert_int_equal(need_be32(d), 4);
    left = need_be64(d);
    assert_int_equal(left & 0xfff, 4);
    for (left &= ~UINT64_C(0xfff); left > 0;) {
        char name[256];
        char line[320];
        uint64_t len;
        uint64_t size = 4096;

        need_str8(d, name);
        len = need_be64(d);
        if (d->advised_sizes && strncmp(name, "huge", 4) == 0)
            size = need_be64(d);
        snprintf(line, sizeof(line), "%s %llu %llu\n", name,
                 (unsigned long long)len, (unsigned long long)size);
        append(&d->blocks, line, strlen(line));
        assert_true(len <= left);
        left -= len;
    }
    assert_int_equal(need_be64(d), 0x10);
    read_footer(d);
}

static void read_package(struct fake_destination *d)
{
    uint32_t n = need_be32(d);
    struct error err = ERROR_INIT;

    assert_true(n < (1u << 20));
    assert_ok(buf_reserve(&d->package, n, &err), &err);
    need(d, d->package.data, n);
    d->package.len = n;
}

/* True after the package. */
static bool read_command(struct fake_destination *d)
{
    uint16_t command = need_be16(d);
    uint16_t len = need_be16(d);
    uint8_t body[1024];

    if (command == 7) {
        assert_int_equal(len, 4);
        read_package(d);
        return true;
    }
    assert_true(len <= sizeof(body));
    need(d, body, len);
    if (command == 2)
        d->pings++;
    else if (command == 3)
        d->advised_sizes = load_be64(body);
    else if (command == 6)
        d->discards++;
    else
        assert_int_equal(command, 1);
    return false;
}

void fake_read_prologue(struct fake_destination *d)
{
    assert_int_equal(need_be32(d), 0x5145564d);
    assert_int_equal(need_be32(d), 3);
    for (;;) {
        uint8_t type = need_u8(d);

        if (type == 7)
            read_config(d);
        else if (type == 1)
            read_block_list(d);
        else if (type != 8)
            refuse("section of type %u", type);
        else if (read_command(d))
            return;
    }
}

void fake_read_precopy_prologue(struct fake_destination *d)
{
    assert_int_equal(need_be32(d), 0x5145564d);
    assert_int_equal(need_be32(d), 3);
    assert_int_equal(need_u8(d), 7);
    read_config(d);
    assert_int_equal(need_u8(d), 1);
    read_block_list(d);
    d->last_idstr[0] = '\0';
}

static void place(struct fake_destination *d, pgno_t pgno, bool zero)
{
    struct fake_placed *p = &d->placed[d->n_placed];
    uint8_t page[PAGE_BYTES];

    if (fake_find(d, d->last_idstr, pgno))
        refuse("page %llu of '%s' was placed twice", (unsigned long long)pgno,
               d->last_idstr);
    assert_true(d->n_placed < FAKE_PAGES_MAX);
    *p = (struct fake_placed){.pgno = pgno, .zero = zero};
    snprintf(p->idstr, sizeof(p->idstr), "%s", d->last_idstr);
    if (zero) {
        assert_int_equal(need_u8(d), 0);
    } else {
        need(d, page, sizeof(page));
        memcpy(p->first, page, sizeof(p->first));
    }
    d->n_placed++;
}

/* A record; false when it was the section's end. */
static bool read_record(struct fake_destination *d)
{
    uint64_t word = need_be64(d);
    unsigned flags = word & 0xfff;

    if (flags == 0x10) {
        read_footer(d);
        d->in_section = false;
        return false;
    }
    if (flags != 0x08 && flags != 0x28 && flags != 0x02 && flags != 0x22)
        refuse("flags %#x", flags);
    if (!(flags & 0x20))
        need_str8(d, d->last_idstr);
    else
        assert_true(d->last_idstr[0] != '\0');
    place(d, word >> 12, (flags & 0x02) != 0);
    return true;
}

bool fake_read_page(struct fake_destination *d)
{
    for (;;) {
        uint8_t type;

        if (d->in_section && read_record(d))
            return true;
        if (d->in_section)
            continue;
        if (d->ended || !try_read(d, &type, 1))
            return false;
        if (type == 0) {
            d->ended = true;
            return false;
        }
        assert_int_equal(type, 2);
        assert_int_equal(need_be32(d), d->ram_section_id);
        d->in_section = true;
        if (d->n_placed == 0)
            d->last_idstr[0] = '\0';
    }
}

const struct fake_placed *fake_find(const struct fake_destination *d,
                                    const char *idstr, pgno_t pgno)
{
    for (unsigned i = 0; i < d->n_placed; i++) {
        if (d->placed[i].pgno == pgno && strcmp(d->placed[i].idstr, idstr) == 0)
            return &d->placed[i];
    }
    return NULL;
}

void fake_await_page(struct fake_destination *d, const char *idstr, pgno_t pgno)
{
    while (!fake_find(d, idstr, pgno)) {
        if (!fake_read_page(d))
            refuse("page %llu of '%s' never came", (unsigned long long)pgno,
                   idstr);
    }
}

unsigned fake_count(const struct fake_destination *d, const char *idstr)
{
    unsigned n = 0;

    for (unsigned i = 0; i < d->n_placed; i++)
        n += strcmp(d->placed[i].idstr, idstr) == 0;
    return n;
}

void fake_send(struct fake_destination *d, const struct buf *b)
{
    assert_int_equal(send(d->fd, b->data, b->len, MSG_NOSIGNAL), b->len);
}

void fake_ask(struct fake_destination *d, const char *idstr, pgno_t pgno,
              uint32_t pages)
{
    cleanup_buf struct buf b = BUF_INIT;
    struct error err = ERROR_INIT;

    assert_ok(return_path_put_request(&b, idstr, pgno * PAGE_BYTES,
                                      pages * PAGE_BYTES, &err),
              &err);
    fake_send(d, &b);
}

void fake_pong(struct fake_destination *d, uint32_t value)
{
    cleanup_buf struct buf b = BUF_INIT;
    struct error err = ERROR_INIT;

    assert_ok(return_path_put_pong(&b, value, &err), &err);
    fake_send(d, &b);
}

void fake_shut(struct fake_destination *d, uint32_t status)
{
    cleanup_buf struct buf b = BUF_INIT;
    struct error err = ERROR_INIT;

    assert_ok(return_path_put_shut(&b, status, &err), &err);
    fake_send(d, &b);
}

void fake_await_close(struct fake_destination *d)
{
    uint8_t byte;

    if (try_read(d, &byte, 1))
        refuse("byte %#x instead of the end", byte);
}

void fake_release(struct fake_destination *d)
{
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
    buf_release(&d->blocks);
    buf_release(&d->package);
}
