#include "tests/fakes/fake_store.h"

#include <pthread.h>
#include <stdatomic.h>

#define LANES_MAX 16u

struct page {
    uint64_t seq;
    uint8_t *data;
};

struct snapshot_writer {
    unsigned lanes;
};

struct fake_store fake_store;
static struct ramblock_list blocks;
static struct page **pages;
/* Protects the pages and `busy`. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static bool busy[LANES_MAX];
static struct snapshot_writer the_writer;

static void free_pages(void)
{
    for (uint32_t b = 0; b < blocks.n; b++) {
        for (pgno_t p = 0; p < ramblock_pages(&blocks.blocks[b]); p++)
            free(pages[b][p].data);
        free(pages[b]);
    }
    free(pages);
    pages = NULL;
    ramblock_list_release(&blocks);
    blocks = (struct ramblock_list){0};
}

void fake_store_reset(void)
{
    free_pages();
    json_decref(fake_store.facts);
    fake_store = (struct fake_store){0};
    memset(busy, 0, sizeof(busy));
}

const uint8_t *fake_store_page(uint32_t block, pgno_t pgno)
{
    return pages[block][pgno].data;
}

uint32_t fake_store_block(const char *idstr)
{
    return ramblock_list_find(&blocks, idstr);
}

static void broken(const char *rule)
{
    snprintf(fake_store.broken, sizeof(fake_store.broken), "%s", rule);
}

int snapshot_writer_new(const struct snapshot_writer_args *args,
                        struct snapshot_writer **ret, struct error *err)
{
    fake_store.lanes = args->lanes;
    snprintf(fake_store.vm, sizeof(fake_store.vm), "%s", args->vm);
    fake_store.open++;
    *ret = &the_writer;
    return 0;
}

void snapshot_writer_spent(struct snapshot_writer *w, enum cpu_stage stage,
                           uint64_t ns)
{
    pthread_mutex_lock(&mutex);
    fake_store.spent_ns[stage] += ns;
    pthread_mutex_unlock(&mutex);
}

int snapshot_writer_set_blocks(struct snapshot_writer *w,
                               const struct ramblock_list *list,
                               struct error *err)
{
    if (blocks.n > 0 || fake_store.puts > 0)
        broken("the blocks come once, before all pages");
    for (uint32_t i = 0; i < list->n; i++) {
        int rc = ramblock_list_add(&blocks, &list->blocks[i], err);

        if (rc < 0)
            return rc;
    }
    pages = calloc(blocks.n, sizeof(*pages));
    for (uint32_t i = 0; i < blocks.n; i++)
        pages[i] = calloc(ramblock_pages(&blocks.blocks[i]), sizeof(**pages));
    return 0;
}

static void keep(const struct page_batch *batch, uint32_t i)
{
    struct page *p = &pages[batch->block][batch->pgno[i]];

    if (p->data && p->seq == batch->seq)
        broken("a page twice in one batch");
    if (p->data && p->seq > batch->seq)
        return;
    if (!p->data)
        p->data = malloc(PAGE_BYTES);
    p->seq = batch->seq;
    if (batch->data)
        memcpy(p->data, batch->data + (size_t)i * PAGE_BYTES, PAGE_BYTES);
    else
        memset(p->data, 0, PAGE_BYTES);
}

/* The lane is taken, the pages are kept; 0 or the planned failure. */
static int enter(unsigned lane, const struct page_batch *batch,
                 struct error *err)
{
    unsigned at_work = 0;
    int rc = 0;

    pthread_mutex_lock(&mutex);
    if (lane >= fake_store.lanes || busy[lane])
        broken("one thread at a time a lane");
    busy[lane] = true;
    for (unsigned i = 0; i < LANES_MAX; i++)
        at_work += busy[i];
    fake_store.busiest = MAX(fake_store.busiest, at_work);
    fake_store.puts++;
    if (batch->n == 0 || batch->n > PAGE_BATCH_MAX)
        broken("a batch has 1 to PAGE_BATCH_MAX pages");
    if (fake_store.fail_put_at && fake_store.puts >= fake_store.fail_put_at)
        rc = fail(err, fake_store.fail_put_code, "the fake store fails");
    for (uint32_t i = 0; rc == 0 && i < batch->n; i++)
        keep(batch, i);
    pthread_mutex_unlock(&mutex);
    return rc;
}

int snapshot_writer_put(struct snapshot_writer *w, unsigned lane,
                        const struct page_batch *batch, struct error *err)
{
    int rc = enter(lane, batch, err);

    pthread_mutex_lock(&mutex);
    busy[lane] = false;
    pthread_mutex_unlock(&mutex);
    return rc;
}

int snapshot_writer_get(struct snapshot_writer *w, uint32_t block, pgno_t pgno,
                        uint8_t *page, struct error *err)
{
    return fail(err, ERR_NOTFOUND, "the fake store gives nothing back");
}

const char *snapshot_writer_slow_io(const struct snapshot_writer *w)
{
    (void)w;
    return NULL;
}

void snapshot_writer_stats(struct snapshot_writer *w,
                           struct snapshot_writer_stats *ret)
{
    *ret = (struct snapshot_writer_stats){0};
}

static uint64_t count_unseen(void)
{
    uint64_t n = 0;

    for (uint32_t b = 0; b < blocks.n; b++) {
        for (pgno_t p = 0; p < ramblock_pages(&blocks.blocks[b]); p++)
            n += pages[b][p].data == NULL;
    }
    return n;
}

int snapshot_writer_commit(struct snapshot_writer *w,
                           const struct snapshot_record *record,
                           struct snapshot_summary *ret, struct error *err)
{
    fake_store.unseen = count_unseen();
    if (fake_store.fail_commit_code)
        return fail(err, fake_store.fail_commit_code, "the commit fails");
    if (fake_store.unseen > 0 && !record->unseen_as_zero)
        return fail(err, ERR_PROTOCOL, "pages were never sent");
    fake_store.commits++;
    fake_store.summary = *record->summary;
    fake_store.summary.tags = NULL;
    fake_store.facts = json_incref(record->facts);
    *ret = fake_store.summary;
    snprintf(ret->id, sizeof(ret->id), "0123456789abcdef");
    return 0;
}

void snapshot_writer_free(struct snapshot_writer *w)
{
    if (w)
        fake_store.open--;
}
