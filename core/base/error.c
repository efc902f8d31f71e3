/*
 * error.c - filling, wrapping and naming the error value.
 *
 * Everything is text in fixed arrays of the caller: no call here allocates or
 * can fail. What does not fit is cut at the end, so the outer words, which say
 * what was being done, survive the inner ones. fail() also leaves a debug line
 * with file and line (area "error"), for an error that a caller drops on
 * purpose is otherwise never seen.
 */
#include "core/base/error.h"

#include <errno.h>
#include <stdarg.h>

#define LOG_AREA "error"
#include "core/base/log.h"

static const struct {
    int code;
    const char *name;
    int exit_status;
    const char *sentence;
} codes[] = {
    /* The first is what find() gives for a code that is not listed. */
#define X(constant, value, name, status, sentence)                             \
    {constant, name, status, sentence},
    ERROR_CODES(X)
#undef X
};

/* Callers look for `rc < 0`: a code of another sign would pass for success. */
#define X(constant, value, name, status, sentence) \
    static_assert((constant) < 0 && (status) > 0, name);
ERROR_CODES(X)
#undef X

static size_t find(int code)
{
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        if (codes[i].code == code)
            return i;
    }
    return 0;
}

static int code_for_errno(int code, int sys_errno)
{
    if (sys_errno == ENOSPC || sys_errno == EDQUOT)
        return ERR_NOSPC;
    if (sys_errno == ENOMEM)
        return ERR_NOMEM;
    return code;
}

int error_set(struct error *err, int code, int sys_errno, const char *file,
              int line, const char *fmt, ...)
{
    char reason[128];
    size_t used;
    va_list ap;

    assert(code < 0);
    err->code = code_for_errno(code, sys_errno);
    err->sys_errno = sys_errno;
    err->file = file;
    err->line = line;
    err->hint[0] = '\0';

    va_start(ap, fmt);
    vsnprintf(err->message, sizeof(err->message), fmt, ap);
    va_end(ap);

    if (sys_errno) {
        used = strlen(err->message);
        snprintf(err->message + used, sizeof(err->message) - used, ": %s",
                 strerror_r(sys_errno, reason, sizeof(reason)));
    }
    log_debug("%s:%d: %s (%s)", file, line, err->message,
              error_code_name(err->code));
    return err->code;
}

int error_wrap(struct error *err, const char *fmt, ...)
{
    char inner[sizeof(err->message)];
    size_t used;
    va_list ap;

    memcpy(inner, err->message, sizeof(inner));
    va_start(ap, fmt);
    vsnprintf(err->message, sizeof(err->message), fmt, ap);
    va_end(ap);
    used = strlen(err->message);
    snprintf(err->message + used, sizeof(err->message) - used, ": %s", inner);
    return err->code;
}

int error_hint(struct error *err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
    va_end(ap);
    return err->code;
}

int error_copy(struct error *to, const struct error *from)
{
    *to = *from;
    return to->code;
}

const char *error_code_name(int code)
{
    return codes[find(code)].name;
}

const char *error_code_sentence(int code)
{
    return codes[find(code)].sentence;
}

int error_exit_status(int code)
{
    return code == 0 ? 0 : codes[find(code)].exit_status;
}

int error_code_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        if (strcmp(codes[i].name, name) == 0)
            return codes[i].code;
    }
    return ERR_IO;
}

int error_status_code(int exit_status)
{
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        if (codes[i].exit_status == exit_status)
            return codes[i].code;
    }
    return ERR_IO;
}
