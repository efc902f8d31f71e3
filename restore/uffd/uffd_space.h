/*
 * uffd_space.h - one descriptor: the memory behind it, and what is known of
 * each of its pages.
 *
 * The image is flat and cut in host pages; the map says at which address each
 * lies. Any thread may place; who reads events must do it through
 * space_read(). The kernel is the truth about a page being there: the marks
 * only save it questions. The space owns its descriptor.
 */
#ifndef FIRN_RESTORE_UFFD_UFFD_SPACE_H
#define FIRN_RESTORE_UFFD_UFFD_SPACE_H

#include "core/base/lock.h"
#include "core/host/uffd.h"
#include "restore/prefetch/page_marks.h"
#include "restore/uffd/address_map.h"
#include "restore/uffd/gate.h"

/* How much is placed behind one passage of the gate: some 20 us. */
#define SPACE_STEP_BYTES (64u << 10)

/* Pages that threads are answering at one time, each. */
#define SPACE_SERVICE_MAX 16u

struct space_region {
    uint64_t start; /* address */
    uint64_t len;
    uint64_t offset; /* in the image */
};

struct uffd_space_args {
    int fd; /* taken over on success */
    const struct space_region *regions;
    uint32_t n_regions;
    uint64_t image_bytes;
    uint32_t page_bytes;   /* host page: 4096 or 2 MiB */
    unsigned modes;        /* registered by us; MISSING at least */
    bool local;            /* the memory is this process's own */
    bool place_protected;  /* COPY with MODE_WP */
    const void *zero_page; /* page_bytes of zeros, outlives the space */
};

struct space_counts {
    _Atomic uint64_t placed;  /* pages, zero ones included */
    _Atomic uint64_t zeroed;  /* of them, zero */
    _Atomic uint64_t present; /* were there already */
    _Atomic uint64_t removed; /* by the client */
    _Atomic uint64_t busy;    /* turned away by a waiting event */
    _Atomic uint64_t gone;    /* unmapped when they were to be placed */
};

struct uffd_space {
    /* set before the threads start, then read only */
    int fd;
    uint32_t page_bytes;
    uint64_t image_bytes;
    unsigned tells; /* events (UFFD_TELLS_…) */
    unsigned can;   /* operations (UFFD_CAN_…) of every region */
    unsigned modes;
    bool local;
    bool place_protected;
    bool child; /* of a fork */
    const void *zero_page;

    /* by any thread, each bit and number for itself */
    struct page_marks received; /* placed, or found there */
    struct page_marks removed;  /* by the client: zero from then on */
    struct space_counts counts;
    _Atomic bool exited; /* its process is gone */

    /* changed behind the closed gate, read behind the entered one */
    struct gate gate;
    struct address_map map;

    /* protected by `lock` */
    struct lock lock; /* `service` */
    struct {
        bool used;
        bool again; /* somebody else waits for it as well */
        uint64_t page;
    } service[SPACE_SERVICE_MAX] GUARDED_BY(lock);
};

/* Registers the regions. ERR_PROTOCOL names what is wrong with a region,
 * ERR_UNSUPPORTED what the kernel does not offer for this memory. */
int uffd_space_new(const struct uffd_space_args *args, struct uffd_space **ret,
                   struct error *err) NODISCARD;
/* The space of a forked child: the same pages, at the same addresses. Takes
 * `fd` over on success. Only behind the closed gate of `parent`. */
int uffd_space_fork(const struct uffd_space *parent, int fd,
                    struct uffd_space **ret, struct error *err) NODISCARD;
/* Closes the descriptor and frees; NULL is fine. */
void uffd_space_free(struct uffd_space *s);

static inline uint64_t uffd_space_pages(const struct uffd_space *s)
{
    return s->image_bytes / s->page_bytes;
}

enum space_how {
    SPACE_WAKING = 0, /* who waits for a page goes on */
    SPACE_QUIETLY,    /* a fault thread will wake them, one by one */
    SPACE_FOR_FAULT,  /* wakes in any case: the page is there, or never was */
};

/*
 * Places image bytes from `offset` (whole host pages; `data` NULL: zeros) where
 * they belong. Removed pages are passed over, or made zero for a fault.
 * DONE: every page is dealt with. BUSY: *ret_done tells how far it came.
 */
enum uffd_outcome uffd_space_place(struct uffd_space *s, uint64_t offset,
                                   const void *data, uint64_t len,
                                   enum space_how how, uint64_t *ret_done,
                                   struct error *err);
/* Wakes who waits for a page. */
enum uffd_outcome uffd_space_wake(struct uffd_space *s, uint64_t offset,
                                  struct error *err);
/* The page is there, but protected, or only in the page cache. */
enum uffd_outcome uffd_space_unprotect(struct uffd_space *s, uint64_t offset,
                                       struct error *err);
enum uffd_outcome uffd_space_continue(struct uffd_space *s, uint64_t offset,
                                      struct error *err);

/* A fault that was read, as a place in the image. */
struct space_fault {
    uint64_t offset; /* of the host page */
    uint64_t address;
    bool protected;
    bool minor;
};

/*
 * Reads what waits: events are applied to map and marks, faults are returned
 * (several of one page only once). `forked` is called for each child, behind
 * the gate, and owns its space.
 */
int uffd_space_read(struct uffd_space *s, struct space_fault *ret, unsigned max,
                    unsigned *ret_n,
                    int (*forked)(void *arg, struct uffd_space *child,
                                  struct error *err),
                    void *arg, struct error *err) NODISCARD;

/* True: the caller is the one who answers for this page and calls end().
 * False: somebody else does. *ret_slot is for end(). */
NODISCARD bool uffd_space_begin(struct uffd_space *s, uint64_t page,
                                unsigned *ret_slot);
/* Lets the page go; wakes who asked for it while it was served. */
void uffd_space_end(struct uffd_space *s, unsigned slot);

/* Drops pages, so that they are missing again. Own memory only, and not while
 * it is registered. */
int uffd_space_discard(const struct space_region *region, uint64_t offset,
                       uint64_t len, bool shared, struct error *err) NODISCARD;

/* Unregisters every region and wakes who waits: what is missing becomes zero.
 * Never fails: a process that is gone needs nothing. */
void uffd_space_unregister(struct uffd_space *s);

DEFINE_CLEANUP(uffd_space, struct uffd_space *, uffd_space_free)

#endif
