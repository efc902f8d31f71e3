/* The program of a test guest: memory that proves itself.
 *
 * It fills a region with pages whose content is a function of (page number,
 * generation). The generations live elsewhere in the guest's memory, so a page
 * that came back whole but stale is caught just as a damaged one. It rewrites
 * pages, a few of them without ever pausing, verifies them all in a loop, and
 * reports on the first serial port; the second one, if there is one, takes
 * commands. tests/lab/README.md lists parameters, messages and commands.
 *
 * One thread does everything in small slices, since under TCG there is one
 * slow vCPU and a slice has an end that a scheduler does not know. It also
 * makes each write whole with respect to each check: whatever instant a
 * snapshot picks, the loop goes on behind it as if nothing had happened.
 *
 * A page is checked before it is rewritten. Otherwise the rewriting would heal
 * a stale page of the hot set long before the verifier came round.
 *
 * Content. By a hash of its number a page is of one of these classes:
 *
 *   25 %  zero; every fourth generation is data
 *   50 %  text or pointers (zstd -3 makes a third or a quarter of them); every
 *         twelfth generation is zero
 *   10 %  text whose content depends on one of 512 keys instead of the page
 *         number, and on the low 4 bits of the generation: duplicates
 *   15 %  noise, incompressible
 *
 * A page is 64 chunks of 8 words. One chunk, the stamp, is different in each
 * generation; the others change with every fourth one, so that most rewrites
 * change a small part of the page, like those of a real guest, and a delta
 * encoder has something to do. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    PAGE_SIZE = 4096,
    CHUNK_WORDS = 8,
    PAGE_CHUNKS = PAGE_SIZE / (CHUNK_WORDS * 8),
    PAGE_WORDS = PAGE_CHUNKS * CHUNK_WORDS,
    /* Pages between two looks at the clock: well below a millisecond. */
    SLICE_PAGES = 32,
    BAD_LINES_MAX = 20,
    DUPLICATE_KEYS = 512,
};

enum kind { KIND_ZERO, KIND_TEXT, KIND_POINTERS, KIND_NOISE };

/* What a page must contain. */
struct look {
    enum kind kind;
    unsigned stamp_chunk;
    uint64_t bulk_seed;
    uint64_t stamp_seed;
};

struct guest {
    /* Parameters. */
    uint64_t pages_count;
    uint64_t hot_count;
    uint64_t rate_per_s;
    uint64_t heartbeat_ms;
    bool verify_always;

    uint64_t *pages;
    uint32_t *gens;

    bool idle;
    uint64_t random;
    uint64_t hot_next;
    uint64_t verify_next;
    uint64_t rate_from_ms;
    uint64_t rate_done;

    uint64_t writes;
    uint64_t passes;
    uint64_t bad;
    uint64_t heartbeats;
    uint64_t heartbeat_due_ms;

    int control_fd;
    char line[128];
    size_t line_len;
};

static uint64_t dictionary[64];

static uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 32;
    return x;
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state ^ (*state >> 29);
}

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Content. */

static struct look page_look(uint64_t page, uint32_t gen)
{
    uint64_t hash = mix(page + 1), key = page, g = gen;
    unsigned share = hash % 100;
    struct look look;

    if (share < 25) {
        look.kind = gen % 4 == 1 ? KIND_TEXT : KIND_ZERO;
    } else if (share < 75) {
        look.kind = share & 1 ? KIND_TEXT : KIND_POINTERS;
        if (gen % 12 == 11)
            look.kind = KIND_ZERO;
    } else if (share < 85) {
        look.kind = KIND_TEXT;
        key = (1ull << 40) | ((hash >> 32) % DUPLICATE_KEYS);
        g &= 15;
    } else {
        look.kind = KIND_NOISE;
    }
    look.stamp_chunk = mix(key) % PAGE_CHUNKS;
    look.stamp_seed = mix(key << 32 ^ g);
    look.bulk_seed = mix(~(key << 32 ^ g >> 2));
    return look;
}

/* Puts a word into the page, or says in which bits the page's word differs. */
static inline __attribute__((always_inline)) uint64_t
put(uint64_t *at, uint64_t word, bool check)
{
    if (check)
        return *at ^ word;
    *at = word;
    return 0;
}

static inline __attribute__((always_inline)) uint64_t
put_chunk(uint64_t *at, enum kind kind, uint64_t *seed, bool check)
{
    const uint64_t base = 0x00007f3a40000000u;
    uint64_t r, differs = 0;

    switch (kind) {
    case KIND_ZERO:
        for (int i = 0; i < CHUNK_WORDS; i++)
            differs |= put(at + i, 0, check);
        break;
    case KIND_TEXT:
        r = next_random(seed);
        for (int i = 0; i < CHUNK_WORDS; i++)
            differs |= put(at + i, dictionary[r >> (6 * i) & 63], check);
        break;
    case KIND_POINTERS:
        r = next_random(seed);
        for (int i = 0; i < CHUNK_WORDS; i += 4) {
            differs |= put(at + i, base + (r & 0x3fff8), check);
            differs |= put(at + i + 1, r >> 20 & 0xff, check);
            differs |= put(at + i + 2, base + (r >> 16 & 0xff8), check);
            differs |= put(at + i + 3, 0, check);
            r >>= 32;
        }
        break;
    case KIND_NOISE:
        for (int i = 0; i < CHUNK_WORDS; i++)
            differs |= put(at + i, next_random(seed), check);
        break;
    }
    return differs;
}

static inline __attribute__((always_inline)) uint64_t
put_page(uint64_t *at, uint64_t page, uint32_t gen, bool check)
{
    struct look look = page_look(page, gen);
    uint64_t differs = 0;

    for (unsigned c = 0; c < PAGE_CHUNKS; c++, at += CHUNK_WORDS) {
        if (c == look.stamp_chunk && look.kind != KIND_ZERO)
            differs |= put_chunk(at, KIND_NOISE, &look.stamp_seed, check);
        else
            differs |= put_chunk(at, look.kind, &look.bulk_seed, check);
    }
    return differs;
}

static void page_write(uint64_t *at, uint64_t page, uint32_t gen)
{
    put_page(at, page, gen, false);
}

static bool page_is(const uint64_t *at, uint64_t page, uint32_t gen)
{
    return put_page((uint64_t *)at, page, gen, true) == 0;
}

static uint64_t *page_at(const struct guest *g, uint64_t page)
{
    return g->pages + page * PAGE_WORDS;
}

/* Reports. */

/* Says what is wrong with a page: older or newer than it should be, zero, or
 * none of its own contents. */
static void tell_bad(const struct guest *g, uint64_t page)
{
    const uint64_t *at = page_at(g, page);
    uint32_t want = g->gens[page];
    unsigned words = 0;
    uint64_t copy[PAGE_WORDS];

    for (uint32_t d = 1; d <= 4096; d++) {
        if (d <= want && page_is(at, page, want - d)) {
            printf("BAD page=%lu want_gen=%u reason=stale by=%u\n", page, want,
                   d);
            return;
        }
        if (page_is(at, page, want + d)) {
            printf("BAD page=%lu want_gen=%u reason=newer by=%u\n", page, want,
                   d);
            return;
        }
    }
    page_write(copy, page, want);
    bool zero = true;
    for (unsigned i = 0; i < PAGE_WORDS; i++) {
        words += at[i] != copy[i];
        zero = zero && at[i] == 0;
    }
    printf("BAD page=%lu want_gen=%u reason=%s words=%u\n", page, want,
           zero ? "zero" : "damaged", words);
}

static bool check_page(struct guest *g, uint64_t page)
{
    if (page_is(page_at(g, page), page, g->gens[page]))
        return true;
    g->bad++;
    if (g->bad <= BAD_LINES_MAX)
        tell_bad(g, page);
    return false;
}

static void heartbeat(struct guest *g)
{
    uint64_t now = now_ms();

    if (now < g->heartbeat_due_ms)
        return;
    g->heartbeat_due_ms += g->heartbeat_ms;
    if (g->heartbeat_due_ms <= now)
        g->heartbeat_due_ms = now + g->heartbeat_ms;
    printf("HB %lu t=%lu writes=%lu pass=%lu bad=%lu\n", ++g->heartbeats, now,
           g->writes, g->passes, g->bad);
}

/* Work, in slices. */

static void rewrite_page(struct guest *g, uint64_t page)
{
    check_page(g, page);
    page_write(page_at(g, page), page, ++g->gens[page]);
    g->writes++;
}

static void write_hot_slice(struct guest *g)
{
    for (int i = 0; i < SLICE_PAGES && g->hot_count > 0; i++) {
        rewrite_page(g, g->hot_next);
        g->hot_next = (g->hot_next + 1) % g->hot_count;
    }
}

/* Writes the pages that are due since the last call; what could not be done in
 * time (at most a slice a call) is dropped, not made up for in a burst. */
static void write_rate_slice(struct guest *g)
{
    uint64_t elapsed_ms = now_ms() - g->rate_from_ms;
    uint64_t due = elapsed_ms * g->rate_per_s / 1000;
    uint64_t others = g->pages_count - g->hot_count;

    for (int i = 0; i < SLICE_PAGES && g->rate_done < due && others > 0; i++) {
        rewrite_page(g,
                     g->hot_count + (next_random(&g->random) >> 16) % others);
        g->rate_done++;
    }
    if (elapsed_ms > 1000) {
        g->rate_from_ms += elapsed_ms;
        g->rate_done = 0;
    }
}

static void write_slices(struct guest *g)
{
    if (g->idle)
        return;
    write_hot_slice(g);
    write_rate_slice(g);
}

/* Whether it is the verifier's turn: a quarter of the time if there are hot
 * pages, in one piece. A verifier mixed finely with the rewriting would push
 * the hot pages out of TCG's TLB (256 entries at first) again and again, and
 * refilling the TLB is just what makes a QEMU that loses writes see them. */
static bool verifiers_turn(const struct guest *g)
{
    if (!g->verify_always)
        return false;
    return g->idle || g->hot_count == 0 || now_ms() % 100 < 25;
}

static void verify_slice(struct guest *g)
{
    for (int i = 0; i < SLICE_PAGES; i++) {
        check_page(g, g->verify_next);
        if (++g->verify_next == g->pages_count) {
            g->verify_next = 0;
            g->passes++;
        }
    }
}

/* Commands. */

static void answer(const struct guest *g, const char *format, ...)
{
    char text[160];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    /* Not waited for: who does not read his answers loses them. */
    if (write(g->control_fd, text, (size_t)len) < 0)
        return;
}

static void verify_now(struct guest *g)
{
    uint64_t bad = 0, sum = 0;

    for (uint64_t page = 0; page < g->pages_count; page++) {
        bad += !check_page(g, page);
        if (page % SLICE_PAGES == 0) {
            write_slices(g);
            heartbeat(g);
        }
    }
    for (uint64_t page = 0; page < g->pages_count; page++)
        sum += g->gens[page];
    answer(g, "VERIFIED pages=%lu bad=%lu gen_sum=%lu\n", g->pages_count, bad,
           sum);
}

/* Spoils a page on purpose, so that the tests can test the verifier: writes the
 * content of the generation before (or flips a bit) behind the back of `gens`.
 */
static void spoil(struct guest *g, bool stale)
{
    uint64_t page = g->pages_count - 1;

    while (page_look(page, g->gens[page]).kind != KIND_NOISE)
        page--;
    if (stale)
        page_write(page_at(g, page), page, g->gens[page]++);
    else
        page_at(g, page)[PAGE_WORDS / 2] ^= 1;
    answer(g, "SPOILED page=%lu\n", page);
}

static void run_command(struct guest *g, const char *line)
{
    if (strcmp(line, "verify") == 0) {
        verify_now(g);
    } else if (strcmp(line, "state") == 0) {
        answer(g, "STATE pages=%lu writes=%lu pass=%lu bad=%lu\n",
               g->pages_count, g->writes, g->passes, g->bad);
    } else if (strcmp(line, "idle") == 0 || strcmp(line, "busy") == 0) {
        g->idle = line[0] == 'i';
        g->rate_from_ms = now_ms();
        g->rate_done = 0;
        answer(g, "OK %s\n", line);
    } else if (strcmp(line, "spoil stale") == 0 ||
               strcmp(line, "spoil bit") == 0) {
        spoil(g, line[6] == 's');
    } else if (strcmp(line, "off") == 0) {
        answer(g, "OK off\n");
        tcdrain(g->control_fd);
        reboot(RB_AUTOBOOT);
    } else if (line[0] != '\0') {
        answer(g, "ERROR unknown command\n");
    }
}

static void read_commands(struct guest *g)
{
    char c;

    while (g->control_fd >= 0 && read(g->control_fd, &c, 1) == 1) {
        if (c != '\n' && c != '\r') {
            if (g->line_len < sizeof g->line - 1)
                g->line[g->line_len++] = c;
            continue;
        }
        g->line[g->line_len] = '\0';
        g->line_len = 0;
        run_command(g, g->line);
    }
}

/* Sleeps if there is nothing to do without a pause, so that an idle guest is
 * one: until the next heartbeat or command, or 5 ms if pages may be due. */
static void rest(const struct guest *g)
{
    struct pollfd pollfd = {.fd = g->control_fd, .events = POLLIN};
    uint64_t now = now_ms();
    int wait_ms =
        g->heartbeat_due_ms > now ? (int)(g->heartbeat_due_ms - now) : 0;

    if (g->verify_always || (!g->idle && g->hot_count > 0))
        return;
    if (!g->idle && g->rate_per_s > 0 && wait_ms > 5)
        wait_ms = 5;
    poll(&pollfd, 1, wait_ms);
}

/* Start. */

static uint64_t parameter(const char *cmdline, const char *name,
                          uint64_t otherwise)
{
    const char *at = strstr(cmdline, name);

    return at != NULL ? strtoull(at + strlen(name), NULL, 10) : otherwise;
}

static void read_parameters(struct guest *g)
{
    char cmdline[2048] = "";
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);

    if (fd < 0 || read(fd, cmdline, sizeof cmdline - 1) < 0)
        printf("GUEST cannot read its command line: %s\n", strerror(errno));
    close(fd);
    g->pages_count = parameter(cmdline, "firn.mb=", 64) * 256;
    g->hot_count = parameter(cmdline, "firn.hot=", 1) * 256;
    g->rate_per_s = parameter(cmdline, "firn.rate=", 500);
    g->heartbeat_ms = parameter(cmdline, "firn.hb=", 100);
    g->verify_always = parameter(cmdline, "firn.verify=", 1) != 0;
    if (g->hot_count > g->pages_count)
        g->hot_count = g->pages_count;
}

/* A serial port without echo, line discipline or waiting. */
static int open_port(const char *path)
{
    struct termios tio;
    int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return -1;
    /* A port that is not there opens, but has no attributes. */
    if (tcgetattr(fd, &tio) < 0) {
        close(fd);
        return -1;
    }
    cfmakeraw(&tio);
    cfsetspeed(&tio, B115200);
    tio.c_cflag |= CLOCAL;
    tcsetattr(fd, TCSANOW, &tio);
    return fd;
}

static void *map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        printf("GUEST no memory for %zu bytes\n", bytes);
        exit(1);
    }
    return p;
}

static void fill(struct guest *g)
{
    uint64_t seed = 1, from_ms;

    for (int i = 0; i < 64; i++) {
        for (int c = 0; c < 64; c += 8)
            dictionary[i] |= ('a' + (next_random(&seed) >> 32) % 26) << c;
    }
    from_ms = now_ms();
    g->pages = map(g->pages_count * PAGE_SIZE);
    /* One entry more: a region of its own, never a part of the pages' one. */
    g->gens = map((g->pages_count + 1) * sizeof *g->gens);
    madvise(g->pages, g->pages_count * PAGE_SIZE, MADV_HUGEPAGE);
    for (uint64_t page = 0; page < g->pages_count; page++) {
        g->gens[page] = 0;
        page_write(page_at(g, page), page, 0);
    }
    printf("GUEST pages=%lu hot=%lu rate=%lu hb=%lu verify=%d fill_ms=%lu\n",
           g->pages_count, g->hot_count, g->rate_per_s, g->heartbeat_ms,
           g->verify_always, now_ms() - from_ms);
}

int main(void)
{
    static struct guest g = {.random = 42};

    /* Line by line: a heartbeat is worth something when it is out. */
    setvbuf(stdout, NULL, _IOLBF, 0);
    read_parameters(&g);
    g.control_fd = open_port("/dev/ttyS1");
    fill(&g);
    g.rate_from_ms = g.heartbeat_due_ms = now_ms();
    for (;;) {
        if (verifiers_turn(&g)) {
            verify_slice(&g);
            if (!g.idle)
                write_rate_slice(&g);
        } else {
            write_slices(&g);
        }
        heartbeat(&g);
        read_commands(&g);
        rest(&g);
    }
}
