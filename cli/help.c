/*
 * help.c - every text is put together in a buffer and printed at once, so that
 * an error while it is made leaves no half text.
 */
#include "cli/help.h"

#include "cli/options.h"
#include "cli/output.h"
#include "cli/wrap.h"

static const char introduction[] =
    "firn snapshots running QEMU virtual machines into a deduplicated "
    "repository and brings them back while their memory is still being read.";

static const char words[] =
    "REPO is a folder: --repo, else the variable FIRN_REPOSITORY, else the "
    "line 'repository = PATH' of ~/.config/firn/config or /etc/firn/config.\n"
    "SNAP is an id, a unique beginning of one (4 digits at least), 'latest', "
    "'VM@latest' or 'VM@-N' (its N-th newest).\n"
    "\n"
    "'firn help COMMAND' explains a command, 'firn help exit-codes' lists what "
    "can go wrong and the exit status of each.";

static const char outlook[] =
    "Data goes to stdout, messages to stderr. A status that is not listed "
    "means failure. Fields may be added to JSON objects and are never renamed.";

static int append_paragraph(struct buf *b, const char *text, struct error *err)
{
    return wrap_text(b, text, 0, 0, err);
}

static int append_heading(struct buf *b, const char *text, struct error *err)
{
    return buf_printf(b, err, "\n%s\n", text);
}

static int append_commands(struct buf *b, const struct command *const *commands,
                           struct error *err)
{
    int rc = append_heading(b, "Commands:", err);

    for (; rc == 0 && *commands; commands++) {
        if ((*commands)->hidden)
            continue;
        rc = buf_printf(b, err, "  %-10s  ", (*commands)->name);
        if (rc == 0)
            rc = wrap_text(b, (*commands)->summary, 14, 14, err);
    }
    if (rc == 0)
        rc = buf_printf(b, err, "  %-10s  explain a command\n", "help");
    return rc;
}

static int append_overview(struct buf *b, const struct command *const *commands,
                           const struct option_spec *globals, struct error *err)
{
    int rc =
        append_paragraph(b, "usage: firn [--repo REPO] COMMAND [options]", err);

    if (rc == 0)
        rc = buf_append_u8(b, '\n', err);
    if (rc == 0)
        rc = append_paragraph(b, introduction, err);
    if (rc == 0)
        rc = append_commands(b, commands, err);
    if (rc == 0)
        rc = append_heading(b, "Options of every command:", err);
    if (rc == 0)
        rc = options_help(globals, b, err);
    if (rc == 0)
        rc = buf_append_u8(b, '\n', err);
    return rc < 0 ? rc : append_paragraph(b, words, err);
}

int help_print_overview(const struct command *const *commands,
                        const struct option_spec *globals, struct error *err)
{
    cleanup_buf struct buf b = BUF_INIT;
    int rc = append_overview(&b, commands, globals, err);

    if (rc < 0)
        return rc;
    output_text("%s", buf_str(&b));
    return output_flush(err);
}

/* "usage: firn X" for the first form of a command, "firn Y" below it. */
static int append_usage(struct buf *b, const char *usage, struct error *err)
{
    const char *lead = "usage: firn ";

    while (*usage) {
        size_t len = strcspn(usage, "\n");
        cleanup_free char *line = strndup(usage, len);
        int rc;

        if (!line)
            return fail_nomem(err);
        rc = buf_printf(b, err, "%s", lead);
        if (rc == 0)
            rc = wrap_text(b, line, 12, 16, err);
        if (rc < 0)
            return rc;
        lead = "       firn ";
        usage += len + (usage[len] == '\n');
    }
    return 0;
}

static int append_command(struct buf *b, const struct command *c,
                          const struct option_spec *globals, struct error *err)
{
    int rc = append_usage(b, c->usage, err);

    if (rc == 0)
        rc = buf_printf(b, err, "\n%c", c->summary[0] & ~0x20);
    if (rc == 0)
        rc = wrap_text(b, c->summary + 1, 1, 0, err);
    /* The sentence ends as one. */
    b->len -= b->len > 0;
    if (rc == 0)
        rc = buf_printf(b, err, ".\n");
    if (rc == 0 && c->options && c->options->name) {
        rc = append_heading(b, "Options:", err);
        if (rc == 0)
            rc = options_help(c->options, b, err);
    }
    if (rc == 0)
        rc = append_heading(b, "Options of every command:", err);
    if (rc == 0)
        rc = options_help(globals, b, err);
    if (rc == 0 && c->details)
        rc = buf_append_u8(b, '\n', err);
    if (rc == 0 && c->details)
        rc = append_paragraph(b, c->details, err);
    return rc;
}

int help_print_command(const struct command *command,
                       const struct option_spec *globals, struct error *err)
{
    cleanup_buf struct buf b = BUF_INIT;
    int rc = append_command(&b, command, globals, err);

    if (rc < 0)
        return rc;
    output_text("%s", buf_str(&b));
    return output_flush(err);
}

/* Every code once, and 0; by status, in the order of the list within one. */
struct exit_code {
    int status;
    const char *name;
    const char *sentence;
};

static const struct exit_code exit_codes[] = {{0, "ok", "done as asked"},
#define X(constant, value, name, status, sentence) {status, name, sentence},
                                              ERROR_CODES(X)
#undef X
};

static int print_exit_code(const struct exit_code *c, bool json,
                           struct error *err)
{
    if (!json) {
        output_text("  %3d  %-16s %s\n", c->status, c->name, c->sentence);
        return 0;
    }
    return output_json(json_pack("{s:s, s:i, s:s, s:s}", "type", "exit_code",
                                 "status", c->status, "code", c->name,
                                 "sentence", c->sentence),
                       err);
}

int help_print_exit_codes(bool json, struct error *err)
{
    cleanup_buf struct buf b = BUF_INIT;
    int rc = 0;

    if (!json)
        output_text("status code             meaning\n");
    /* A status fits a byte; few codes, so that a walk for each is nothing. */
    for (int status = 0; status < 256; status++) {
        for (size_t i = 0; rc == 0 && i < ARRAY_LEN(exit_codes); i++) {
            if (exit_codes[i].status == status)
                rc = print_exit_code(&exit_codes[i], json, err);
        }
    }
    if (rc == 0 && !json)
        rc = wrap_text(&b, outlook, 0, 0, err);
    if (rc < 0)
        return rc;
    if (!json)
        output_text("\n%s", buf_str(&b));
    return output_flush(err);
}
