/*
 * show_print.c - a snapshot for people: facts in one column, then tables.
 */
#include <inttypes.h>

#include "cli/output.h"
#include "cli/show.h"
#include "cli/summary.h"
#include "cli/wrap.h"

/* "  machine       pc-i440fx-10.0": facts stand in one column. */
#define FACT         "  %-13s "
#define FACT_COLUMNS 16u

/* Of the rounds of a capture; --json has more. */
#define ROUNDS_SHOWN 8u

/* A fact that may take more than a line. */
static int print_long(const char *name, const char *text, struct error *err)
{
    cleanup_buf struct buf wrapped = BUF_INIT;
    int rc = wrap_text(&wrapped, text, FACT_COLUMNS, FACT_COLUMNS, err);

    if (rc == 0)
        output_text(FACT "%s", name, buf_str(&wrapped));
    return rc;
}

static void print_vm(const struct snapshot_summary *s, const json_t *facts)
{
    output_text(FACT "%s%s%s%s\n", "VM", s->vm, s->vm_uuid[0] ? " (" : "",
                s->vm_uuid, s->vm_uuid[0] ? ")" : "");
    output_text(FACT "%s, QEMU %s, %s\n", "machine", s->machine,
                s->qemu_version, json_path_str(facts, "accelerator", "?"));
    output_text(FACT "%" PRId64 " x %s\n", "CPUs",
                json_path_int(facts, "cpus.count", 0),
                json_path_str(facts, "cpus.model", "?"));
    output_text(FACT "%s\n", "host", json_path_str(facts, "process.host", "?"));
}

static int print_cost(const struct show *s, struct error *err)
{
    const struct snapshot_summary *sum = snapshot_reader_summary(s->reader);
    cleanup_buf struct buf text = BUF_INIT;
    int rc;

    if (cpu_stages_total(&sum->cost.cpu) == 0)
        return 0;
    rc = summary_append_cost(&sum->cost, sum->ram_bytes, &text, err);
    return rc < 0 ? rc : print_long("cost", buf_str(&text), err);
}

/* "  rounds        100.0 MiB, 12.0 MiB, 1.0 MiB; the guest wrote 4 MiB/s" */
static void print_rounds(const json_t *capture)
{
    const json_t *rounds = json_object_get(capture, "rounds");
    int64_t dirty = json_path_int(capture, "dirty_bytes_per_s", 0);
    int64_t throttle = json_path_int(capture, "throttle_percent", 0);
    const json_t *round;
    char size[32];
    size_t i;

    if (json_array_size(rounds) == 0)
        return;
    output_text(FACT, "rounds");
    json_array_foreach(rounds, i, round)
    {
        if (i == ROUNDS_SHOWN) {
            output_text(", ...");
            break;
        }
        output_text("%s%s", i > 0 ? ", " : "",
                    output_size((uint64_t)json_path_int(round, "bytes", 0),
                                size));
    }
    if (dirty > 0)
        output_text("; the guest wrote %s/s",
                    output_size((uint64_t)dirty, size));
    if (throttle > 0)
        output_text(", held back %" PRId64 " %%", throttle);
    output_text("\n");
}

static int print_capture(const struct snapshot_summary *s,
                         const json_t *capture, struct error *err)
{
    const char *reason = json_path_str(capture, "mode_reason", "");
    int64_t expected = json_path_int(capture, "expected_downtime_ms", 0);
    char time[32], downtime[32], duration[32];
    int rc = 0;

    output_text(FACT "%s\n", "time", output_time(s->time_ns, time));
    output_text(FACT "%s, VM %s, %u round%s, %u channel%s\n", "mode", s->mode,
                s->run_state, s->rounds, s->rounds == 1 ? "" : "s", s->channels,
                s->channels == 1 ? "" : "s");
    if (reason[0])
        rc = print_long("because", reason, err);
    output_text(FACT "%s of %s", "downtime",
                output_duration(s->downtime_ms, downtime),
                output_duration(s->duration_ms, duration));
    if (expected > 0)
        output_text(", %s expected",
                    output_duration((uint64_t)expected, downtime));
    output_text("\n");
    print_rounds(capture);
    return rc;
}

static void print_kept(const struct kept *kept)
{
    char a[32], b[32];

    if (kept->sized)
        output_text(FACT "%s here alone, %s shared with others\n", "needs",
                    output_size(kept->usage.unique_bytes, a),
                    output_size(kept->usage.shared_bytes, b));
    output_text(FACT "%s, all data %s\n", "checked",
                kept->checked.structure_ns
                    ? output_time(kept->checked.structure_ns, a)
                    : "never",
                kept->checked.data_ns ? output_time(kept->checked.data_ns, b)
                                      : "never");
}

static int print_sizes(const struct show *s, struct error *err)
{
    const struct snapshot_summary *sum = snapshot_reader_summary(s->reader);
    cleanup_buf struct buf tags = BUF_INIT;
    char a[32], b[32], c[32];
    int rc = summary_append_tags(sum->tags, &tags, err);

    output_text(FACT "%s: %" PRIu64 " pages, %" PRIu64 " zero, %" PRIu64
                     " duplicate, %" PRIu64 " stored\n",
                "RAM", output_size(sum->ram_bytes, a), sum->pages_total,
                sum->pages_zero, sum->pages_duplicate, sum->pages_stored);
    if (sum->pages_superseded > 0)
        output_text(FACT "%" PRIu64 " pages, sent again later\n", "superseded",
                    sum->pages_superseded);
    if (sum->pages_unseen > 0)
        output_text(FACT "%" PRIu64 " pages, recorded as zero\n", "never sent",
                    sum->pages_unseen);
    output_text(FACT "%s new, whole image %s, devices %s\n", "stored",
                output_size(sum->stored_bytes, a),
                output_size(snapshot_reader_image_bytes(s->reader), b),
                output_size(sum->device_bytes, c));
    print_kept(&s->kept);
    if (tags.len > 0)
        output_text(FACT "%s\n", "tags", buf_str(&tags));
    return rc;
}

static int add_faults_row(struct output_table *table, const json_t *block,
                          struct error *err)
{
    char count[32], p50[32], p99[32], max[32];
    const char *name = json_path_str(block, "block", "");

    snprintf(count, sizeof(count), "%lld",
             (long long)json_path_int(block, "faults", 0));
    snprintf(p50, sizeof(p50), "%lld us",
             (long long)json_path_int(block, "fault_p50_us", 0));
    snprintf(p99, sizeof(p99), "%lld us",
             (long long)json_path_int(block, "fault_p99_us", 0));
    snprintf(max, sizeof(max), "%lld us",
             (long long)json_path_int(block, "fault_max_us", 0));
    return output_table_row(table,
                            (const char *const[]){name[0] ? name : "(unknown)",
                                                  count, p50, p99, max},
                            err);
}

/* What QEMU itself counted, if it was asked to (--blocktime). */
static void print_blocktime(const json_t *qemu)
{
    const json_t *each = json_object_get(qemu, "postcopy-vcpu-blocktime");
    const json_t *ms;
    size_t i;

    if (!json_object_get(qemu, "postcopy-blocktime"))
        return;
    output_text("QEMU counted: all vCPUs waited %lld ms at one time; each",
                (long long)json_path_int(qemu, "postcopy-blocktime", 0));
    json_array_foreach(each, i, ms)
    {
        output_text("%s %lld", i > 0 ? "," : "",
                    (long long)json_integer_value(ms));
    }
    output_text(" ms\n");
}

/* What the last lazy restore met: faults in all, then block by block. */
static int print_last_restore(const json_t *r, struct error *err)
{
    static const char *const headings[] = {"FAULTS IN", ">COUNT", ">MEDIAN",
                                           ">P99", ">MAX"};
    cleanup(output_table) struct output_table *table = NULL;
    const json_t *block;
    size_t i;
    int rc = output_table_new(headings, ARRAY_LEN(headings), &table, err);

    json_array_foreach(json_path(r, "blocks"), i, block)
    {
        if (rc == 0)
            rc = add_faults_row(table, block, err);
    }
    if (rc < 0)
        return rc;
    output_text("\nlast lazy restore, %s: %lld faults, %lld pages by hints, "
                "%lld around faults, %lld in the background\n",
                json_path_str(r, "time", "?"),
                (long long)json_path_int(r, "faults", 0),
                (long long)json_path_int(r, "prefetched_pages", 0),
                (long long)json_path_int(r, "near_pages", 0),
                (long long)json_path_int(r, "filled_pages", 0));
    print_blocktime(json_object_get(r, "qemu"));
    if (json_array_size(json_path(r, "blocks")) > 0)
        output_table_print(table);
    return 0;
}

static int print_blocks(const struct show *s, struct error *err)
{
    static const char *const headings[] = {"BLOCK", ">SIZE", ">ZERO", ">DATA"};
    const struct ramblock_list *blocks = snapshot_reader_blocks(s->reader);
    cleanup(output_table) struct output_table *table = NULL;
    int rc = output_table_new(headings, ARRAY_LEN(headings), &table, err);

    for (uint32_t i = 0; rc == 0 && i < blocks->n; i++) {
        const struct memory_map *m = &s->maps[i];
        char size[32], zero[32], data[32];

        snprintf(zero, sizeof(zero), "%" PRIu64, m->pages - m->data_pages);
        snprintf(data, sizeof(data), "%" PRIu64, m->data_pages);
        output_size(blocks->blocks[i].used_bytes, size);
        rc = output_table_row(table,
                              (const char *const[]){blocks->blocks[i].idstr,
                                                    size, zero, data},
                              err);
    }
    if (rc < 0)
        return rc;
    output_text("\n");
    output_table_print(table);
    return 0;
}

static void print_map(const char *name, const struct memory_map *m)
{
    char size[32];

    output_text("\n%s, %s a character\n", name,
                output_size(m->cell_pages * PAGE_BYTES, size));
    output_text("%" PRIu64 " pages zero, %" PRIu64 " new, %" PRIu64
                " shared, %" PRIu64 " incompressible\n",
                m->pages - m->data_pages, m->kinds[MEMORY_NEW],
                m->kinds[MEMORY_SHARED], m->kinds[MEMORY_INCOMPRESSIBLE]);
    for (uint32_t i = 0; i < m->n_cells; i++) {
        if (i % MEMORY_MAP_COLUMNS == 0)
            output_text("%12" PRIx64 " ", i * m->cell_pages * PAGE_BYTES);
        output_text("%c%s", memory_map_char(m, i),
                    (i + 1) % MEMORY_MAP_COLUMNS == 0 || i + 1 == m->n_cells
                        ? "\n"
                        : "");
    }
}

void show_print_maps(const struct show *s)
{
    const struct ramblock_list *blocks = snapshot_reader_blocks(s->reader);

    output_text("\nMAP of %s  " MEMORY_MAP_LEGEND "\n",
                snapshot_reader_summary(s->reader)->id);
    for (uint32_t i = 0; i < blocks->n; i++)
        print_map(blocks->blocks[i].idstr, &s->maps[i]);
}

static int print_devices(const struct show *s, struct error *err)
{
    static const char *const headings[] = {"DEVICE", ">INSTANCE", ">VERSION",
                                           ">BYTES"};
    const struct device_state *devices = snapshot_reader_devices(s->reader);
    cleanup(output_table) struct output_table *table = NULL;
    int rc = output_table_new(headings, ARRAY_LEN(headings), &table, err);

    for (size_t i = 0; rc == 0 && i < devices->n_sections; i++) {
        const struct device_section *d = &devices->sections[i];
        char instance[32], version[32], bytes[32];

        snprintf(instance, sizeof(instance), "%u", d->instance);
        snprintf(version, sizeof(version), "%u", d->version);
        snprintf(bytes, sizeof(bytes), "%" PRIu64, d->bytes);
        rc = output_table_row(
            table, (const char *const[]){d->name, instance, version, bytes},
            err);
    }
    if (rc < 0 || devices->n_sections == 0)
        return rc;
    output_text("\n");
    output_table_print(table);
    return 0;
}

static int print_packs(const struct show *s, struct error *err)
{
    static const char *const headings[] = {"PACK", "KIND", ">SIZE"};
    cleanup(output_table) struct output_table *table = NULL;
    size_t n;
    const struct snapshot_pack *packs = snapshot_reader_packs(s->reader, &n);
    int rc = output_table_new(headings, ARRAY_LEN(headings), &table, err);

    for (size_t i = 0; rc == 0 && i < n; i++) {
        char size[32];

        rc = output_table_row(
            table,
            (const char *const[]){packs[i].id,
                                  packs[i].index ? "index" : "pages",
                                  output_size(packs[i].bytes, size)},
            err);
    }
    if (rc < 0 || n == 0)
        return rc;
    output_text("\n");
    output_table_print(table);
    return 0;
}

static int print_disks(const json_t *facts, struct error *err)
{
    static const char *const headings[] = {"DISK", "NODE", ">SIZE", "ACCESS"};
    const json_t *disks = json_object_get(facts, "disks");
    cleanup(output_table) struct output_table *table = NULL;
    const json_t *disk;
    size_t i;
    int rc = output_table_new(headings, ARRAY_LEN(headings), &table, err);

    json_array_foreach(disks, i, disk)
    {
        bool present = json_path_bool(disk, "present", false);
        char size[32] = "-";

        if (present)
            output_size((uint64_t)json_path_int(disk, "size_bytes", 0), size);
        if (rc == 0)
            rc = output_table_row(
                table,
                (const char *const[]){json_path_str(disk, "path", "?"),
                                      json_path_str(disk, "node", ""), size,
                                      json_path_bool(disk, "read_only", false)
                                          ? "read only"
                                          : "read, write"},
                err);
    }
    if (rc < 0 || json_array_size(disks) == 0)
        return rc;
    output_text("\n");
    output_table_print(table);
    return 0;
}

/* Options and their values on one line each, quoted where a shell needs it. */
static void print_argument(const char *text)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789-_=+:,./@%^";

    if (text[0] && text[strspn(text, safe)] == '\0') {
        output_text("%s", text);
        return;
    }
    output_text("'");
    for (; *text; text++)
        output_text(*text == '\'' ? "'\\''" : "%c", *text);
    output_text("'");
}

static void print_command_line(const json_t *facts)
{
    const json_t *argv = json_path(facts, "process.argv");
    const json_t *word;
    size_t i;

    if (json_array_size(argv) == 0)
        return;
    output_text("\nCOMMAND LINE in %s\n ",
                json_path_str(facts, "process.cwd", "?"));
    json_array_foreach(argv, i, word)
    {
        const char *text = json_string_value(word);

        if (!text)
            continue;
        output_text("%s", i > 0 && text[0] == '-' ? " \\\n    " : " ");
        print_argument(text);
    }
    output_text("\n");
}

int show_print(const struct show *s, struct error *err)
{
    const struct snapshot_summary *sum = snapshot_reader_summary(s->reader);
    int rc;

    output_text("snapshot %s\n", sum->id);
    print_vm(sum, s->facts);
    rc = print_capture(sum, json_object_get(s->facts, "capture"), err);
    if (rc == 0)
        rc = print_sizes(s, err);
    if (rc == 0)
        rc = print_cost(s, err);
    if (rc == 0)
        rc = print_blocks(s, err);
    if (rc == 0 && s->last_restore)
        rc = print_last_restore(s->last_restore, err);
    if (rc == 0 && s->with_map)
        show_print_maps(s);
    if (rc == 0)
        rc = print_devices(s, err);
    if (rc == 0)
        rc = print_packs(s, err);
    if (rc == 0)
        rc = print_disks(s->facts, err);
    if (rc < 0)
        return rc;
    print_command_line(s->facts);
    return output_flush(err);
}
