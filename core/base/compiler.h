/*
 * compiler.h - attributes, and small helpers that every source may use.
 *
 * The thread-safety attributes (GUARDED_BY, REQUIRES) are checked by clang
 * with -Wthread-safety and are words for the reader everywhere else.
 */
#ifndef FIRN_CORE_BASE_COMPILER_H
#define FIRN_CORE_BASE_COMPILER_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define NODISCARD              __attribute__((warn_unused_result))
#define UNUSED                 __attribute__((unused))
#define PACKED                 __attribute__((packed))

#if defined(__clang__)
#define CAPABILITY(x) __attribute__((capability(x)))
#define GUARDED_BY(x) __attribute__((guarded_by(x)))
#define REQUIRES(x)   __attribute__((requires_capability(x)))
#else
#define CAPABILITY(x)
#define GUARDED_BY(x)
#define REQUIRES(x)
#endif

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#endif
