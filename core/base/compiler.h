/*
 * compiler.h - attributes, and small helpers that every source may use.
 *
 * REQUIRES is checked by clang with -Wthread-safety and is a word for the
 * reader everywhere else, as GUARDED_BY is for all.
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
#define REQUIRES(x)   __attribute__((requires_capability(x)))
#else
#define CAPABILITY(x)
#define REQUIRES(x)
#endif
/* In C, clang cannot name a member from the attribute of another. */
#define GUARDED_BY(x)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#endif
