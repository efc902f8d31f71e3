/*
 * doctor.h - what `doctor` finds, one check after the other.
 */
#ifndef FIRN_CLI_DOCTOR_H
#define FIRN_CLI_DOCTOR_H

#include "cli/command.h"
#include "core/host/host_probe.h"

struct doctor {
    struct cli *cli;
    unsigned n_warnings;
    unsigned n_missing;
};

/* Prints one finding under the name of its check, as text or as JSON. */
int doctor_report(struct doctor *d, const char *check,
                  const struct host_finding *finding,
                  struct error *err) NODISCARD;

/* The host: kernel, userfaultfd, io_uring, limits, QEMU binaries. */
int doctor_check_host(struct doctor *d, struct error *err) NODISCARD;

/* The repository that is meant, if any. */
int doctor_check_repository(struct doctor *d, struct error *err) NODISCARD;

/* The VM behind a QMP socket; changes nothing there. ERR_PEER when it cannot
 * be reached, after the finding was printed. */
int doctor_check_vm(struct doctor *d, const char *qmp_path,
                    struct error *err) NODISCARD;

#endif
