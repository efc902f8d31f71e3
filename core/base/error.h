/*
 * error.h - the error value, and the closed list of what can go wrong.
 *
 * A function that can fail returns 0 or one of the negative codes below and
 * fills the `struct error` that is its last parameter. The value lives on the
 * caller's stack and owns no memory, so running out of memory can be told as
 * well. The callee neither reads it nor touches it on success. Errors are born
 * with fail(), wrapped at doors with error_wrap(), and printed in cli alone.
 *
 * Grammar of a message: lower case, no full stop, the failure first, the
 * subject in single quotes. What the user can do goes into error_hint().
 */
#ifndef FIRN_CORE_BASE_ERROR_H
#define FIRN_CORE_BASE_ERROR_H

#include "core/base/banned.h"
#include "core/base/compiler.h"

/*
 * X(constant, value, name, exit status, sentence): a code exists only if a
 * caller decides by it or the exit status differs. `name` is the `code` of
 * JSON errors and never changes.
 */
#define ERROR_CODES(X)                                                         \
    X(ERR_IO, -1, "io", 1, "reading or writing failed")                        \
    X(ERR_NOMEM, -2, "no_memory", 1, "out of memory")                          \
    X(ERR_INVALID, -3, "invalid", 1, "a value makes no sense")                 \
    X(ERR_USAGE, -4, "usage", 2, "the command line is wrong")                  \
    X(ERR_PARTIAL, -5, "partial", 3, "done, but not as asked")                 \
    X(ERR_NOTFOUND, -6, "not_found", 1, "there is no such thing")              \
    X(ERR_EXISTS, -7, "exists", 1, "it is there already")                      \
    X(ERR_UNSUPPORTED, -8, "unsupported", 1, "this cannot be done here")       \
    X(ERR_PROTOCOL, -9, "protocol", 1, "the peer broke the protocol")          \
    X(ERR_NOREPO, -10, "no_repository", 10, "there is no repository")          \
    X(ERR_LOCKED, -11, "locked", 11, "somebody else holds it")                 \
    X(ERR_WRONGKEY, -12, "wrong_key", 12, "the key does not fit")              \
    X(ERR_CORRUPT, -13, "damaged", 13, "stored data is damaged")               \
    X(ERR_FORMAT, -14, "format", 14, "repository format is not known")         \
    X(ERR_NOSPC, -15, "no_space", 15, "no space left")                         \
    X(ERR_PEER, -20, "vm_unreachable", 20, "the VM cannot be reached")         \
    X(ERR_INCOMPATIBLE, -21, "incompatible", 21, "snapshot and VM differ")     \
    X(ERR_BUDGET, -22, "downtime_budget", 22, "downtime cannot be held")       \
    X(ERR_TIMEOUT, -23, "timeout", 23, "it took too long")                     \
    X(ERR_CANCELLED, -30, "cancelled", 1, "another part failed first")         \
    X(ERR_INTERRUPTED, -130, "interrupted", 130, "interrupted by SIGINT")      \
    X(ERR_TERMINATED, -143, "terminated", 143, "ended by SIGTERM")

enum error_code {
#define X(constant, value, name, status, sentence) constant = value,
    ERROR_CODES(X)
#undef X
};

struct error {
    int code;         /* an enum error_code; 0 while nothing happened */
    int sys_errno;    /* errno behind it, or 0 */
    const char *file; /* where it was born */
    int line;
    char message[768];
    char hint[384]; /* what the user can do; empty if nothing is known */
};

#define ERROR_INIT ((struct error){0})

/*
 * Fills `err` and returns `code`, so that one writes `return fail(err, ...)`.
 * fail_errno() adds the text of errno; ENOSPC and EDQUOT always become
 * ERR_NOSPC, ENOMEM always ERR_NOMEM, whatever code was asked for.
 */
#define fail(err, code, ...)                                                   \
    error_set((err), (code), 0, __FILE__, __LINE__, __VA_ARGS__)
#define fail_errno(err, code, ...)                                             \
    error_set((err), (code), errno, __FILE__, __LINE__, __VA_ARGS__)
#define fail_nomem(err) fail((err), ERR_NOMEM, "out of memory")

/* What the macros above call; `file` must live for ever, as __FILE__ does. */
int error_set(struct error *err, int code, int sys_errno, const char *file,
              int line, const char *fmt, ...) PRINTF_LIKE(6, 7);

/* Puts "text: " before the message; returns the code, which stays. */
int error_wrap(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Sets the hint ("start it with ..."); returns the code, which stays. */
int error_hint(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Copies `from` into `to` and returns the code: for errors kept by threads. */
int error_copy(struct error *to, const struct error *from);

/* Name, sentence and exit status of a code; unknown codes read as ERR_IO. */
const char *error_code_name(int code);
/* For people, where an error has no words of its own. */
const char *error_code_sentence(int code);
/* 0 for 0; what main() returns. */
int error_exit_status(int code);
/* The way back, for what another process of ours told: the code of a name, the
 * first code of an exit status. ERR_IO for what is not known. */
int error_code_find(const char *name);
/* Several codes share a status: this gives the first. */
int error_status_code(int exit_status);

#endif
