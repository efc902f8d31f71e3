/*
 * cmd_doctor.c - `doctor`: every check prints its finding at once, so that a
 * check that hangs shows which one it is. What is missing makes the exit
 * status, warnings do not.
 */
#include "cli/doctor.h"
#include "cli/options.h"
#include "cli/output.h"

struct doctor_options {
    const char *qmp;
};

static const struct option_spec options[] = {
    {"qmp", 0, OPTION_STRING, offsetof(struct doctor_options, qmp), "SOCKET",
     "look at the VM behind this QMP socket as well; nothing is changed"},
    {0},
};

int doctor_report(struct doctor *d, const char *check,
                  const struct host_finding *f, struct error *err)
{
    d->n_warnings += f->status == HOST_WARNING;
    d->n_missing += f->status == HOST_MISSING;
    if (d->cli->json)
        return output_json(
            json_pack("{s:s, s:s, s:s, s:o, s:o}", "type", "doctor", "check",
                      check, "status", host_status_name(f->status), "detail",
                      json_text(f->detail), "remedy", json_text(f->remedy)),
            err);
    output_text("%-8s %-13s %s\n", host_status_name(f->status), check,
                f->detail);
    if (f->remedy[0])
        output_text("%22s -> %s\n", "", f->remedy);
    return output_flush(err);
}

static int finish(const struct doctor *d, struct error *err)
{
    if (d->n_missing > 0) {
        fail(err, ERR_UNSUPPORTED, "%u thing%s firn needs %s missing",
             d->n_missing, d->n_missing == 1 ? "" : "s",
             d->n_missing == 1 ? "is" : "are");
        return error_hint(err, "the lines marked 'missing' say what helps");
    }
    if (!d->cli->json && !d->cli->quiet)
        output_text("\n%s\n", d->n_warnings == 0
                                  ? "Everything firn needs is here."
                                  : "Everything firn needs is here; the "
                                    "warnings say what does not work.");
    return output_flush(err);
}

static int run(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct doctor doctor = {.cli = cli};
    struct doctor_options o = {0};
    struct option_words words;
    int rc = options_parse(options, argc, argv, &o, &words, err);

    if (rc == 0)
        rc = options_check_words(&words, 0, 0, "", err);
    if (rc == 0)
        rc = doctor_check_host(&doctor, err);
    if (rc == 0)
        rc = doctor_check_repository(&doctor, err);
    if (rc == 0 && o.qmp)
        rc = doctor_check_vm(&doctor, o.qmp, err);
    return rc < 0 ? rc : finish(&doctor, err);
}

const struct command cmd_doctor = {
    .name = "doctor",
    .summary = "try what works on this host, in the repository, with a VM",
    .usage = "doctor [--qmp SOCKET]",
    .options = options,
    .details = "Each line says ok, warning or missing, what that means and "
               "what helps. The exit status is 1 when something is missing "
               "that firn cannot do without.",
    .run = run,
};
