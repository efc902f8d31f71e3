#include "core/wire/ram_decoder.h"

#include "core/wire/qemu_wire.h"
#include "core/wire/xbzrle.h"

/*
 * A body is a run of records, each a word of offset and flags and what the
 * flags promise, up to EOS. The body of START holds the block list first. No
 * field says which optional fields the list has: x-ignore-shared is named by
 * CONFIG, mapped-ram as well (refused), and postcopy-ram must be off. A wrong
 * guess shows as a length that does not add up or as flags nobody knows, so
 * both say where the stream came out of step.
 *
 * The block of a record with CONTINUE is the one named last, in this section
 * or an earlier one.
 */

/* Besides SECTION_LOAD_ENDED and _MORE: an item was read, go on. */
#define STEP_ON 2

/* Flags whose record concerns one page and may name its block. */
#define PAGE_RECORD_FLAGS \
    (QEMU_RAM_ZERO | QEMU_RAM_PAGE | QEMU_RAM_XBZRLE | QEMU_RAM_COMPRESS_PAGE)

struct record {
    uint32_t block;
    pgno_t pgno;
    size_t head; /* bytes of word and name */
};

/* One entry of the block list. */
static int read_block(struct ram_decoder *r, struct input *in,
                      struct error *err)
{
    size_t extra = r->config->ignore_shared ? sizeof(uint64_t) : 0;
    struct ramblock block = {.host_page_bytes = PAGE_BYTES};
    struct cursor c = in->at;
    size_t n;
    int rc;

    if (!input_have(in, 1))
        return SECTION_LOAD_MORE;
    n = 1u + *input_here(in) + sizeof(uint64_t) + extra;
    if (!input_have(in, n))
        return SECTION_LOAD_MORE;
    if (!cursor_str8(&c, block.idstr) || !cursor_be64(&c, &block.used_bytes))
        return fail_at(in, err, ERR_PROTOCOL, "malformed RAM block name");
    if (block.used_bytes > r->list_left)
        return fail_at(in, err, ERR_PROTOCOL,
                       "RAM block '%s' of 0x%lx bytes exceeds the total 0x%lx",
                       block.idstr, block.used_bytes, r->list_total);
    rc = ramblock_list_add(&r->blocks, &block, err);
    if (rc < 0)
        return error_wrap(err, "block list at stream offset %lu",
                          input_offset(in));
    r->list_left -= block.used_bytes;
    input_take(in, n);
    return STEP_ON;
}

static int end_list(struct ram_decoder *r, struct error *err)
{
    int rc;

    r->sent = calloc(r->blocks.n, sizeof(*r->sent));
    if (!r->sent)
        return fail_nomem(err);
    r->listing = false;
    r->listed = true;
    rc = r->ops->blocks(r->ops_arg, &r->blocks, err);
    return rc < 0 ? rc : STEP_ON;
}

static int start_list(struct ram_decoder *r, enum section_part part,
                      uint64_t total, struct input *in, struct error *err)
{
    if (part != SECTION_START || r->listed)
        return fail_at(in, err, ERR_PROTOCOL, "second RAM block list");
    if (total == 0)
        return fail_at(in, err, ERR_PROTOCOL, "empty RAM block list");
    r->listing = true;
    r->list_total = total;
    r->list_left = total;
    input_take(in, sizeof(uint64_t));
    return STEP_ON;
}

static int unknown_block(struct ram_decoder *r, struct input *in,
                         struct cursor name, struct error *err)
{
    char idstr[256];

    if (!cursor_str8(&name, idstr))
        return fail_at(in, err, ERR_PROTOCOL, "malformed RAM block name");
    return fail_at(in, err, ERR_PROTOCOL, "page of unknown RAM block '%s'",
                   idstr);
}

/* Where a page record belongs, and how long its head is. */
static int locate(struct ram_decoder *r, struct input *in, uint64_t word,
                  struct record *ret, struct error *err)
{
    uint64_t offset = word & ~QEMU_RAM_FLAGS_MASK;
    struct cursor name = in->at;
    char idstr[256];

    ret->head = sizeof(word);
    if (!(word & QEMU_RAM_CONTINUE)) {
        if (!input_have(in, ret->head + 1))
            return SECTION_LOAD_MORE;
        ret->head += 1u + input_here(in)[ret->head];
        if (!input_have(in, ret->head))
            return SECTION_LOAD_MORE;
        name.pos += sizeof(word);
        if (!cursor_str8(&name, idstr))
            idstr[0] = '\0'; /* no block is called that */
        r->current = ramblock_list_find(&r->blocks, idstr);
        if (r->current == RAMBLOCK_NOT_FOUND) {
            name.pos = in->at.pos + sizeof(word);
            return unknown_block(r, in, name, err);
        }
    }
    if (r->current == RAMBLOCK_NOT_FOUND)
        return fail_at(in, err, ERR_PROTOCOL,
                       "page record continues no RAM block");
    if (offset >= r->blocks.blocks[r->current].used_bytes)
        return fail_at(in, err, ERR_PROTOCOL,
                       "page 0x%lx lies behind the end of RAM block '%s'",
                       offset, r->blocks.blocks[r->current].idstr);
    ret->block = r->current;
    ret->pgno = offset >> PAGE_BITS;
    return STEP_ON;
}

static int read_data(struct ram_decoder *r, struct input *in,
                     const struct record *rec, struct error *err)
{
    int rc;

    if (!input_have(in, rec->head + PAGE_BYTES))
        return SECTION_LOAD_MORE;
    r->sent[rec->block] = true;
    r->stats->pages++;
    rc = r->ops->page(r->ops_arg, rec->block, rec->pgno,
                      input_here(in) + rec->head, err);
    if (rc < 0)
        return rc;
    input_take(in, rec->head + PAGE_BYTES);
    return STEP_ON;
}

static int read_zero(struct ram_decoder *r, struct input *in,
                     const struct record *rec, struct error *err)
{
    int rc;

    if (!input_have(in, rec->head + 1))
        return SECTION_LOAD_MORE;
    if (input_here(in)[rec->head] != 0)
        return fail_at(in, err, ERR_PROTOCOL, "zero page is filled with 0x%02x",
                       input_here(in)[rec->head]);
    r->sent[rec->block] = true;
    r->stats->zero_pages++;
    rc = r->ops->zero_page(r->ops_arg, rec->block, rec->pgno, err);
    if (rc < 0)
        return rc;
    input_take(in, rec->head + 1);
    return STEP_ON;
}

static int apply_delta(struct ram_decoder *r, struct input *in,
                       const struct record *rec, size_t n, struct error *err)
{
    const uint8_t *delta = input_here(in) + rec->head + 3;
    uint8_t page[PAGE_BYTES];
    int rc;

    rc = r->ops->current_page(r->ops_arg, rec->block, rec->pgno, page, err);
    if (rc < 0)
        return rc;
    rc = xbzrle_apply(page, delta, n, err);
    if (rc < 0)
        return error_wrap(err, "record at stream offset %lu", input_offset(in));
    r->sent[rec->block] = true;
    r->stats->pages++;
    r->stats->xbzrle_pages++;
    return r->ops->page(r->ops_arg, rec->block, rec->pgno, page, err);
}

static int read_xbzrle(struct ram_decoder *r, struct input *in,
                       const struct record *rec, struct error *err)
{
    const uint8_t *body;
    size_t n;
    int rc;

    if (!r->ops->current_page) {
        fail_at(in, err, ERR_UNSUPPORTED, "XBZRLE record");
        return error_hint(err, "switch migration capability 'xbzrle' off");
    }
    if (!input_have(in, rec->head + 3))
        return SECTION_LOAD_MORE;
    body = input_here(in) + rec->head;
    n = load_be16(body + 1);
    if (body[0] != QEMU_XBZRLE_MARK || n > PAGE_BYTES)
        return fail_at(in, err, ERR_PROTOCOL, "malformed XBZRLE record");
    if (!input_have(in, rec->head + 3 + n))
        return SECTION_LOAD_MORE;
    rc = apply_delta(r, in, rec, n, err);
    if (rc < 0)
        return rc;
    input_take(in, rec->head + 3 + n);
    return STEP_ON;
}

static int refuse(struct input *in, uint64_t flags, struct error *err)
{
    switch (flags) {
    case QEMU_RAM_FULL:
        return fail_at(in, err, ERR_UNSUPPORTED,
                       "obsolete RAM flag 0x001 (full)");
    case QEMU_RAM_HOOK:
        return fail_at(in, err, ERR_UNSUPPORTED,
                       "RAM flag 0x080 (hook: migration over RDMA)");
    case QEMU_RAM_COMPRESS_PAGE:
        fail_at(in, err, ERR_UNSUPPORTED,
                "RAM flag 0x100 (page compressed with zlib)");
        return error_hint(err, "switch migration capability 'compress' off");
    default:
        fail_at(in, err, ERR_PROTOCOL, "unknown RAM flags 0x%03lx", flags);
        return error_hint(err, "is a migration capability on that changes the "
                               "stream (postcopy-ram)?");
    }
}

static int read_mark(struct ram_decoder *r, enum section_part part,
                     uint64_t word, struct input *in, struct error *err)
{
    int rc = 0;

    if (word == QEMU_RAM_EOS) {
        input_take(in, sizeof(word));
        rc = r->ops->section_end(r->ops_arg, err);
        return rc < 0 ? rc : SECTION_LOAD_ENDED;
    }
    if (word != QEMU_RAM_MULTIFD_FLUSH)
        return refuse(in, word & QEMU_RAM_FLAGS_MASK, err);
    if (part == SECTION_START)
        r->flush_in_setup = true;
    if (r->ops->multifd_flush)
        rc = r->ops->multifd_flush(r->ops_arg, err);
    if (rc < 0)
        return rc;
    input_take(in, sizeof(word));
    return STEP_ON;
}

static int read_record(struct ram_decoder *r, enum section_part part,
                       struct input *in, struct error *err)
{
    struct record rec;
    uint64_t word;
    int rc;

    if (!input_have(in, sizeof(word)))
        return SECTION_LOAD_MORE;
    word = load_be64(input_here(in));
    if ((word & QEMU_RAM_FLAGS_MASK) == QEMU_RAM_MEM_SIZE)
        return start_list(r, part, word & ~QEMU_RAM_FLAGS_MASK, in, err);
    if (!(word & PAGE_RECORD_FLAGS))
        return read_mark(r, part, word, in, err);
    if (!r->listed)
        return fail_at(in, err, ERR_PROTOCOL,
                       "page record before the RAM block list");
    rc = locate(r, in, word, &rec, err);
    if (rc != STEP_ON)
        return rc;
    switch (word & QEMU_RAM_FLAGS_MASK & ~(uint64_t)QEMU_RAM_CONTINUE) {
    case QEMU_RAM_PAGE:
        return read_data(r, in, &rec, err);
    case QEMU_RAM_ZERO:
        return read_zero(r, in, &rec, err);
    case QEMU_RAM_XBZRLE:
        return read_xbzrle(r, in, &rec, err);
    default:
        return refuse(in, word & QEMU_RAM_FLAGS_MASK & ~QEMU_RAM_CONTINUE, err);
    }
}

static int load(void *arg, enum section_part part, struct input *in,
                struct error *err)
{
    struct ram_decoder *r = arg;
    int rc = STEP_ON;

    while (rc == STEP_ON) {
        if (!r->listing)
            rc = read_record(r, part, in, err);
        else if (r->list_left > 0)
            rc = read_block(r, in, err);
        else
            rc = end_list(r, err);
    }
    if (rc == SECTION_LOAD_ENDED && !r->listed)
        return fail_at(in, err, ERR_PROTOCOL,
                       "RAM setup section without a block list");
    return rc;
}

static const struct section_handler_ops ram_ops = {.load = load};

int ram_decoder_register(struct ram_decoder *r, struct section_registry *to,
                         struct error *err)
{
    const struct section_handler handler = {
        .idstr = QEMU_RAM_IDSTR,
        .version_min = QEMU_RAM_VERSION,
        .version = QEMU_RAM_VERSION,
        .ops = &ram_ops,
        .arg = r,
    };

    r->current = RAMBLOCK_NOT_FOUND;
    return section_registry_add(to, &handler, err);
}

void ram_decoder_release(struct ram_decoder *r)
{
    ramblock_list_release(&r->blocks);
    free(r->sent);
    r->sent = NULL;
}

void ram_decoder_settle(struct ram_decoder *r)
{
    if (!r->config->ignore_shared)
        return;
    for (uint32_t i = 0; i < r->blocks.n; i++)
        r->blocks.blocks[i].left_out = !r->sent[i];
}
