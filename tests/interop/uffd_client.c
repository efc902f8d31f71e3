/*
 * uffd_client.c - does what Firecracker does: maps memory, registers it with a
 * userfaultfd, hands it over, touches it. Knows nothing of firn but the
 * protocol. Prints one JSON line of what it saw; exits 0 when every byte was
 * right, 1 when one was not, 77 when this host cannot do it.
 *
 *   --socket PATH       where the server listens; without it nothing is
 *                       registered: the kernel's own faults
 *   --image FILE        the memory as it should be
 *   --memory KIND       anon (as it is), memfd, huge
 *   --pages N           touch so many pages (all)
 *   --stride N          of every N-th page only (1)
 *   --order random|seq  (random)
 *   --seed N            of the order (1)
 *   --remove N          drop N pages before, and N that were touched
 *   --regions N         hand the memory over in N pieces (1)
 *   --bytes             compare whole pages, not only their first bytes
 *   --hold              at the end wait for a line on stdin
 *   --wait-resident MS  at first touch nothing for so long
 *   --hang-up           close the socket after half of the touches
 *   --think NS          spin so long between touches
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SMALL 4096u
#define HUGE  (2u << 20)

struct options {
    const char *socket;
    const char *image;
    const char *memory;
    const char *order;
    uint64_t pages;
    uint64_t stride;
    uint64_t seed;
    uint64_t remove;
    uint64_t regions;
    uint64_t wait_ms;
    uint64_t think_ns;
    bool bytes;
    bool hold;
    bool hang_up;
};

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
    exit(errno == EPERM || errno == ENOSYS ? 77 : 2);
}

static uint64_t state;

static uint64_t next_random(void)
{
    state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint8_t *map_memory(const char *kind, size_t len)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    int fd = -1;
    void *p;

    if (strcmp(kind, "huge") == 0)
        flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
    if (strcmp(kind, "memfd") == 0) {
        flags = MAP_SHARED;
        fd = memfd_create("guest", MFD_CLOEXEC);
        if (fd < 0 || ftruncate(fd, (off_t)len) < 0)
            die("memfd");
    }
    p = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (p == MAP_FAILED) {
        if (strcmp(kind, "huge") == 0)
            exit(77); /* no huge pages are reserved */
        die("mmap");
    }
    if (strcmp(kind, "anon") == 0)
        madvise(p, len, MADV_NOHUGEPAGE);
    return p;
}

static int register_memory(uint8_t *memory, size_t len)
{
    struct uffdio_api api = {.api = UFFD_API,
                             .features = UFFD_FEATURE_EVENT_REMOVE};
    struct uffdio_register r = {.range = {.start = (uintptr_t)memory,
                                          .len = len},
                                .mode = UFFDIO_REGISTER_MODE_MISSING};
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        die("userfaultfd");
    if (ioctl(fd, UFFDIO_API, &api) < 0)
        die("UFFDIO_API");
    if (ioctl(fd, UFFDIO_REGISTER, &r) < 0)
        die("UFFDIO_REGISTER");
    return fd;
}

static int connect_to(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        die("connect");
    return fd;
}

static void hand_over(int sock, int uffd, uint8_t *memory, size_t len,
                      uint64_t regions, uint64_t page)
{
    size_t cap = 200 * regions + 16;
    char *text = malloc(cap);
    size_t used = 0;
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov;
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};
    struct cmsghdr *c;
    uint64_t offset = 0;

    used += (size_t)snprintf(text + used, cap - used, "[");
    for (uint64_t i = 0; i < regions; i++) {
        uint64_t size =
            i + 1 < regions ? len / regions / page * page : len - offset;

        used += (size_t)snprintf(
            text + used, cap - used,
            "%s{\"base_host_virt_addr\":%llu,\"size\":%llu,\"offset\":%llu,"
            "\"page_size\":%llu,\"page_size_kib\":%llu}",
            i ? "," : "", (unsigned long long)(uintptr_t)memory + offset,
            (unsigned long long)size, (unsigned long long)offset,
            (unsigned long long)page, (unsigned long long)page);
        offset += size;
    }
    used += (size_t)snprintf(text + used, cap - used, "]");
    iov = (struct iovec){text, used};
    c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &uffd, sizeof(int));
    if (sendmsg(sock, &msg, MSG_NOSIGNAL) != (ssize_t)used)
        die("sendmsg");
    free(text);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static uint64_t *make_order(const struct options *o, uint64_t n_all,
                            uint64_t *ret_n)
{
    uint64_t n = n_all / o->stride;
    uint64_t *order = malloc((n + 1) * sizeof(*order));

    state = o->seed;
    for (uint64_t i = 0; i < n; i++)
        order[i] =
            i * o->stride + (o->stride > 1 ? next_random() % o->stride : 0);
    if (strcmp(o->order, "random") == 0) {
        for (uint64_t i = n; i > 1; i--) {
            uint64_t k = next_random() % i;
            uint64_t t = order[i - 1];

            order[i - 1] = order[k];
            order[k] = t;
        }
    }
    *ret_n = o->pages && o->pages < n ? o->pages : n;
    return order;
}

static bool is_right(const uint8_t *memory, const uint8_t *image, uint64_t page,
                     uint64_t i, bool bytes, bool removed)
{
    static const uint8_t zeros[SMALL];

    if (!image)
        return true;
    for (uint64_t at = 0; at < page; at += SMALL) {
        const uint8_t *want = removed ? zeros : image + i * page + at;

        if (memcmp(memory + i * page + at, want, bytes ? SMALL : 64) != 0)
            return false;
    }
    return true;
}

static void spin(uint64_t ns)
{
    uint64_t end = now_ns() + ns;

    while (now_ns() < end)
        continue;
}

static uint64_t parse(const char *text)
{
    return text ? strtoull(text, NULL, 10) : 0;
}

static struct options read_options(int argc, char **argv)
{
    struct options o = {.memory = "anon",
                        .order = "random",
                        .stride = 1,
                        .seed = 1,
                        .regions = 1};

    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        const char *v = i + 1 < argc ? argv[i + 1] : NULL;

#define FLAG(name, field)       \
    if (strcmp(a, name) == 0) { \
        o.field = true;         \
        continue;               \
    }
#define VALUE(name, field, read) \
    if (strcmp(a, name) == 0) {  \
        o.field = read(v);       \
        i++;                     \
        continue;                \
    }
        FLAG("--bytes", bytes)
        FLAG("--hold", hold)
        FLAG("--hang-up", hang_up)
        VALUE("--socket", socket, )
        VALUE("--image", image, )
        VALUE("--memory", memory, )
        VALUE("--order", order, )
        VALUE("--pages", pages, parse)
        VALUE("--stride", stride, parse)
        VALUE("--seed", seed, parse)
        VALUE("--remove", remove, parse)
        VALUE("--regions", regions, parse)
        VALUE("--wait-resident", wait_ms, parse)
        VALUE("--think", think_ns, parse)
        fprintf(stderr, "client: unknown word '%s'\n", a);
        exit(2);
    }
    return o;
}

int main(int argc, char **argv)
{
    struct options o = read_options(argc, argv);
    uint64_t page = strcmp(o.memory, "huge") == 0 ? HUGE : SMALL;
    int image_fd = open(o.image ? o.image : "", O_RDONLY | O_CLOEXEC);
    struct stat st;
    const uint8_t *image;
    uint8_t *memory;
    uint64_t n_all;
    uint64_t n;
    uint64_t *order;
    uint64_t *took;
    bool *removed;
    uint64_t wrong = 0;
    uint64_t start;
    uint64_t first_ns = 0;
    uint64_t total;
    int sock = -1;

    if (image_fd < 0 || fstat(image_fd, &st) < 0)
        die("image");
    image = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE,
                 image_fd, 0);
    if (image == MAP_FAILED)
        die("image");
    memory = map_memory(o.memory, (size_t)st.st_size);
    n_all = (uint64_t)st.st_size / page;
    order = make_order(&o, n_all, &n);
    took = calloc(n + 1, sizeof(*took));
    removed = calloc(n_all, sizeof(*removed));

    start = now_ns();
    if (o.socket) {
        int uffd = register_memory(memory, (size_t)st.st_size);

        sock = connect_to(o.socket);
        start = now_ns();
        hand_over(sock, uffd, memory, (size_t)st.st_size, o.regions, page);
    }
    for (uint64_t i = 0; i < o.remove && i < n; i++) {
        uint64_t k = next_random() % n_all;

        madvise(memory + k * page, page, MADV_DONTNEED);
        removed[k] = strcmp(o.memory, "memfd") != 0;
    }
    if (o.wait_ms)
        usleep((unsigned)o.wait_ms * 1000);
    total = now_ns();
    for (uint64_t i = 0; i < n; i++) {
        const volatile uint8_t *p = memory + order[i] * page;
        uint64_t t = now_ns();

        (void)*p;
        took[i] = now_ns() - t;
        if (i == 0)
            first_ns = now_ns() - start;
        if (o.hang_up && i == n / 2)
            close(sock);
        if (o.think_ns)
            spin(o.think_ns);
        if (o.bytes && o.socket &&
            !is_right(memory, image, page, order[i], true, removed[order[i]]))
            wrong++;
    }
    total = now_ns() - total;
    for (uint64_t i = 0; i < n && !o.bytes && o.socket; i++)
        wrong +=
            !is_right(memory, image, page, order[i], false, removed[order[i]]);
    for (uint64_t i = 0; i < o.remove && i < n; i++) {
        madvise(memory + order[i] * page, page, MADV_DONTNEED);
        if (strcmp(o.memory, "memfd") != 0 && memory[order[i] * page] != 0)
            wrong++;
    }
    qsort(took, n, sizeof(*took), compare_u64);
    printf("{\"touched\":%llu,\"wrong\":%llu,\"first_ms\":%.3f,"
           "\"total_ms\":%.3f,\"p50_us\":%.2f,\"p90_us\":%.2f,"
           "\"p99_us\":%.2f}\n",
           (unsigned long long)n, (unsigned long long)wrong,
           (double)first_ns / 1e6, (double)total / 1e6,
           (double)took[n / 2] / 1e3, (double)took[n * 9 / 10] / 1e3,
           (double)took[n * 99 / 100] / 1e3);
    fflush(stdout);
    if (o.hold)
        (void)!getchar();
    return wrong ? 1 : 0;
}
