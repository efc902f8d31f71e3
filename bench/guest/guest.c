/* The program of a benchmark's guest: memory like a real machine's, a
 * heartbeat, and work whose speed is seen from outside. It is the guest's
 * /init.
 *
 * A region (kernel parameter bench.mb) is filled with pages of kinds that
 * change every 16 pages; a page's content is a function of (seed, page,
 * generation), so that every page can be proved (`verify`). In percent of the
 * region:
 *
 *   15  zero
 *   12  duplicate: like another run of pages, one of the last seven (within the
 *       window of a stream compressor) or, as often, one from anywhere
 *   25  random, incompressible
 *   16  text: words of a skewed dictionary
 *   12  code: pieces of an executable, busybox, at any multiple of 16 bytes
 *   20  heap: pointers, small numbers, some text
 *
 * RAM beyond the region is the kernel's, mostly free and so zero. README.md
 * says where the shares come from.
 *
 * One thread spins (the guest's speed is how often it gets round), writes what
 * is due (bench.rate MB/s of whole pages, nine in ten of them to the working
 * set, a tenth of the pages) and says a heartbeat every bench.hb ms:
 *
 *     HB <n> <guest ms> <work> <writes>
 *
 * on the second serial port, which takes commands too; see run_command(). */

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    PAGE_WORDS = 512,
    RUN_PAGES = 16,
    NEAR_RUNS = 7,
    WORDS_COUNT = 2048,
    WRITE_SLICE = 16,
    HISTOGRAM = 65536, /* of touches, a step is 1 us */
};

enum kind { ZERO, DUPLICATE, NOISE, TEXT, CODE, HEAP };

static const struct {
    enum kind kind;
    unsigned percent;
} shares[] = {{ZERO, 15}, {DUPLICATE, 12}, {NOISE, 25},
              {TEXT, 16}, {CODE, 12},      {HEAP, 20}};

static struct guest {
    uint64_t seed;
    uint64_t pages_count;
    uint64_t runs_count;
    uint64_t rate; /* pages a second */
    uint64_t heartbeat_ms;

    uint64_t *pages;
    uint32_t *gens;
    uint32_t *hot; /* the pages of the working set */
    uint64_t hot_count;

    uint64_t random;
    uint64_t rate_from_us;
    uint64_t rate_done;

    uint64_t work;
    uint64_t writes;
    uint64_t heartbeats;
    uint64_t heartbeat_due_us;

    int port;
    char line[128];
    size_t line_len;
} g = {.random = 42, .port = -1};

static uint64_t words[WORDS_COUNT];
static uint8_t *code;
static uint64_t code_size;

static uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    return x ^ x >> 32;
}

static inline uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state ^ *state >> 29;
}

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void say(const char *format, ...)
{
    char text[200];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (write(g.port, text, (size_t)len) < 0)
        return;
}

/* Content. */

static enum kind run_kind(uint64_t run)
{
    unsigned share = mix(g.seed ^ run << 8) % 100;
    unsigned i = 0;

    while (share >= shares[i].percent)
        share -= shares[i++].percent;
    return shares[i].kind;
}

/* The run which a duplicate run is like: one with content of its own. */
static uint64_t run_original(uint64_t run, uint32_t gen)
{
    uint64_t hash = mix(g.seed ^ run << 8 ^ 1 ^ (uint64_t)gen << 40);
    uint64_t other = (hash & 1) && run > NEAR_RUNS
                         ? run - 1 - (hash >> 8) % NEAR_RUNS
                         : (hash >> 8) % g.runs_count;

    for (uint64_t i = 0; i < g.runs_count; i++) {
        enum kind kind = run_kind(other);

        if (kind != ZERO && kind != DUPLICATE)
            break;
        other = (other + 1) % g.runs_count;
    }
    return other;
}

static void put_text(uint64_t *at, uint64_t count, uint64_t *state)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t r = next_random(state);
        uint64_t a = r & 2047, b = r >> 11 & 2047, c = r >> 22 & 2047;

        /* The product of three is skewed as words of a language are. */
        at[i] = words[a * b / 2048 * c / 2048];
    }
}

static void put_heap(uint64_t *at, uint64_t *state)
{
    const uint64_t base = 0x00007f3a40000000u;

    for (unsigned i = 0; i < PAGE_WORDS; i += 8) {
        uint64_t r = next_random(state);

        at[i] = base + (r & 0x3ffff0);
        at[i + 1] = r >> 22 & 0xff;
        at[i + 2] = base + 0x1000000 + (r >> 30 & 0xff0);
        at[i + 3] = 0;
        at[i + 4] = r >> 40 & 3 ? 0 : r >> 42 & 0xffff;
        at[i + 5] = base + (r >> 20 & 0x3ffff0);
        put_text(at + i + 6, 1, state);
        at[i + 7] = 0;
    }
}

static void put_page(uint64_t *at, uint64_t page, uint32_t gen)
{
    uint64_t run = page / RUN_PAGES, state;
    enum kind kind = run_kind(run);

    if (kind == DUPLICATE) {
        page = run_original(run, gen) * RUN_PAGES + page % RUN_PAGES;
        kind = run_kind(page / RUN_PAGES);
        gen = 0;
    }
    /* A zero page that is written becomes text, and zero again. */
    if (kind == ZERO && gen % 2 == 1)
        kind = TEXT;
    state = mix(mix(g.seed + page) + gen);
    switch (kind) {
    case TEXT:
        put_text(at, PAGE_WORDS, &state);
        return;
    case CODE:
        memcpy(at, code + state % ((code_size - 4096) / 16) * 16, 4096);
        at[state % PAGE_WORDS] = state;
        return;
    case HEAP:
        put_heap(at, &state);
        return;
    case NOISE:
        for (unsigned i = 0; i < PAGE_WORDS; i++)
            at[i] = next_random(&state);
        return;
    default:
        memset(at, 0, 4096);
    }
}

static uint64_t *page_at(uint64_t page)
{
    return g.pages + page * PAGE_WORDS;
}

static void rewrite(uint64_t page)
{
    put_page(page_at(page), page, ++g.gens[page]);
    g.writes++;
}

/* The loop. */

static void heartbeat(void)
{
    uint64_t now = now_us();

    if (now < g.heartbeat_due_us)
        return;
    g.heartbeat_due_us += g.heartbeat_ms * 1000;
    if (g.heartbeat_due_us <= now)
        g.heartbeat_due_us = now + g.heartbeat_ms * 1000;
    say("HB %lu %lu %lu %lu\n", ++g.heartbeats, now / 1000, g.work, g.writes);
}

static uint64_t some_page(void)
{
    uint64_t r = next_random(&g.random) >> 8;

    return r % 10 < 9 ? g.hot[r / 10 % g.hot_count] : r / 10 % g.pages_count;
}

/* What could not be written in time is dropped after a tenth of a second, not
 * made up for in a burst. */
static void write_due(void)
{
    uint64_t elapsed = now_us() - g.rate_from_us;
    uint64_t due = elapsed * g.rate / 1000000;

    for (int i = 0; i < WRITE_SLICE && g.rate_done < due; i++) {
        rewrite(some_page());
        g.rate_done++;
    }
    if (elapsed > 100000) {
        g.rate_from_us += elapsed;
        g.rate_done = 0;
    }
}

static void spin(void)
{
    static volatile uint64_t sink;
    uint64_t x = sink;

    for (int i = 0; i < 1000; i++)
        x = next_random(&x);
    sink = x;
    g.work++;
}

/* Commands. */

/* Rewrites `count` pages, each once (but for a few that are met in both parts):
 * nine in ten of the working set, the others anywhere; evenly spread, from a
 * place that `salt` gives. */
static void dirty(uint64_t count, uint64_t salt)
{
    uint64_t hot = count * 9 / 10, cold;

    if (hot > g.hot_count)
        hot = g.hot_count;
    cold = count - hot;
    for (uint64_t i = 0; i < count; i++) {
        if (i < hot)
            rewrite(g.hot[(i * g.hot_count / hot + salt) % g.hot_count]);
        else
            rewrite(((i - hot) * g.pages_count / cold + salt) % g.pages_count);
        if (i % WRITE_SLICE == 0)
            heartbeat();
    }
    say("DIRTIED pages=%lu\n", count);
}

static uint64_t percentile(const uint32_t *histogram, uint64_t total, double p)
{
    uint64_t seen = 0, want = (uint64_t)((double)total * p);

    for (unsigned us = 0; us < HISTOGRAM; us++) {
        seen += histogram[us];
        if (seen > want)
            return us;
    }
    return HISTOGRAM;
}

/* The i-th page of the working set in the order in which it is touched: its
 * runs in an order of their own, each from its first page to its last. */
static uint64_t working_page(uint64_t i)
{
    uint64_t runs = g.hot_count / RUN_PAGES;

    return g.hot[(i / RUN_PAGES * 7919 % runs) * RUN_PAGES + i % RUN_PAGES];
}

/* Reads a word of each page of the working set or of all; a touch of 20 us or
 * more is taken for a fault, its time for its price. */
static void touch(bool all)
{
    static uint32_t histogram[HISTOGRAM];
    uint64_t count = all ? g.pages_count : g.hot_count, faults = 0, max = 0;
    uint64_t from = now_us(), before, us;

    memset(histogram, 0, sizeof histogram);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t *at = page_at(all ? i : working_page(i));

        before = now_us();
        (void)*(volatile uint64_t *)at;
        us = now_us() - before;
        if (us >= 20) {
            faults++;
            histogram[us < HISTOGRAM ? us : HISTOGRAM - 1]++;
            max = us > max ? us : max;
        }
        if (i % 64 == 0)
            heartbeat();
    }
    say("TOUCHED pages=%lu us=%lu faults=%lu p50=%lu p99=%lu max=%lu\n", count,
        now_us() - from, faults, percentile(histogram, faults, 0.5),
        percentile(histogram, faults, 0.99), max);
}

static void verify(void)
{
    uint64_t copy[PAGE_WORDS], bad = 0;

    for (uint64_t page = 0; page < g.pages_count; page++) {
        put_page(copy, page, g.gens[page]);
        bad += memcmp(copy, page_at(page), 4096) != 0;
        if (page % 64 == 0)
            heartbeat();
    }
    say("VERIFIED pages=%lu bad=%lu\n", g.pages_count, bad);
}

static void run_command(const char *line)
{
    unsigned long a = 0, b = 0;

    if (strcmp(line, "touch") == 0)
        touch(false);
    else if (strcmp(line, "scan") == 0)
        touch(true);
    else if (strcmp(line, "verify") == 0)
        verify();
    else if (sscanf(line, "dirty %lu %lu", &a, &b) == 2)
        dirty(a, b);
    else if (sscanf(line, "rate %lu", &a) == 1) {
        g.rate = a * 256;
        say("RATE mb=%lu\n", a);
    } else if (line[0])
        say("ERROR what is '%s'?\n", line);
    g.rate_from_us = now_us();
    g.rate_done = 0;
}

static void read_commands(void)
{
    char c;

    while (read(g.port, &c, 1) == 1) {
        if (c != '\n' && c != '\r') {
            if (g.line_len < sizeof g.line - 1)
                g.line[g.line_len++] = c;
            continue;
        }
        g.line[g.line_len] = '\0';
        g.line_len = 0;
        run_command(g.line);
    }
}

/* Start. */

static void die(const char *what)
{
    printf("BENCH GUEST: %s\n", what);
    fflush(stdout);
    sleep(1);
    reboot(RB_AUTOBOOT);
}

static uint64_t parameter(const char *cmdline, const char *name, uint64_t other)
{
    const char *at = strstr(cmdline, name);

    return at ? strtoull(at + strlen(name), NULL, 10) : other;
}

static void read_parameters(void)
{
    char cmdline[2048] = "";
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);

    if (fd < 0 || read(fd, cmdline, sizeof cmdline - 1) < 0)
        die("no /proc/cmdline");
    close(fd);
    g.pages_count = parameter(cmdline, "bench.mb=", 64) * 256;
    g.runs_count = g.pages_count / RUN_PAGES;
    g.rate = parameter(cmdline, "bench.rate=", 20) * 256;
    g.heartbeat_ms = parameter(cmdline, "bench.hb=", 10);
    g.seed = mix(parameter(cmdline, "bench.seed=", 1));
}

static void open_port(void)
{
    struct termios tio;

    g.port = open("/dev/ttyS1", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (g.port < 0 || tcgetattr(g.port, &tio) < 0)
        die("no second serial port");
    cfmakeraw(&tio);
    cfsetspeed(&tio, B115200);
    tio.c_cflag |= CLOCAL;
    tcsetattr(g.port, TCSANOW, &tio);
}

static void *map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        die("no memory");
    madvise(p, bytes, MADV_HUGEPAGE);
    return p;
}

static void make_sources(void)
{
    uint64_t seed = 7;
    struct stat st;
    int fd = open("/code", O_RDONLY | O_CLOEXEC);

    for (int i = 0; i < WORDS_COUNT; i++) {
        unsigned len = 2 + next_random(&seed) % 6;

        for (unsigned c = 0; c < 8; c++) {
            uint64_t letter = (next_random(&seed) >> 20) % 26;

            words[i] |= (c < len ? 'a' + letter : ' ') << 8 * c;
        }
    }
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < 65536)
        die("no /code");
    code_size = (uint64_t)st.st_size;
    code = map(code_size);
    for (uint64_t got = 0; got < code_size;) {
        ssize_t n = read(fd, code + got, code_size - got);

        if (n <= 0)
            die("cannot read /code");
        got += (uint64_t)n;
    }
    close(fd);
}

static void fill(void)
{
    uint64_t from = now_us(), count = 0;

    g.pages = map(g.pages_count * 4096);
    g.gens = map((g.pages_count + 1) * sizeof *g.gens);
    g.hot = map((g.pages_count + 1) * sizeof *g.hot);
    for (uint64_t page = 0; page < g.pages_count; page++) {
        enum kind kind = run_kind(page / RUN_PAGES);

        if (mix(g.seed ^ ~(page / RUN_PAGES)) % 10 == 0)
            g.hot[g.hot_count++] = (uint32_t)page;
        if (kind != ZERO)
            put_page(page_at(page), page, 0);
        else
            g.pages[page * PAGE_WORDS] = 0;
        count += kind != ZERO;
    }
    say("FILLED pages=%lu nonzero=%lu hot=%lu ms=%lu\n", g.pages_count, count,
        g.hot_count, (now_us() - from) / 1000);
}

int main(void)
{
    mkdir("/proc", 0755);
    mkdir("/dev", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    read_parameters();
    open_port();
    make_sources();
    fill();
    g.rate_from_us = g.heartbeat_due_us = now_us();
    for (;;) {
        spin();
        write_due();
        heartbeat();
        read_commands();
    }
}
