/*
 * fake_session.h - a monitor of the fake's, negotiated with out-of-band.
 *
 * Header only; after assert_error.h. The steps begin with FAKE_OPENING.
 */
#ifndef FIRN_TESTS_FAKES_FAKE_SESSION_H
#define FIRN_TESTS_FAKES_FAKE_SESSION_H

#include "core/qmp/qmp_session.h"
#include "tests/fakes/fake_monitor.h"

static inline UNUSED struct qmp_session *
fake_session_open(struct fake_monitor *m, const struct fake_step *steps,
                  size_t n, struct stopper *stop)
{
    const struct qmp_open_args args = {
        .path = m->path, .stop = stop, .timeout_ms = 5000, .oob = true};
    struct qmp_session *s;
    struct error err;

    fake_monitor_start(m, steps, n);
    assert_ok(qmp_session_open(&args, &s, &err), &err);
    return s;
}

#endif
