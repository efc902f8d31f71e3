/*
 * page.h - page numbers and the zero-page rule. Pure; any thread.
 *
 * A page is a *target page* of the guest: 4096 bytes for every machine firn
 * captures. A page number counts within its RAM block, from 0.
 */
#ifndef FIRN_CORE_VM_PAGE_H
#define FIRN_CORE_VM_PAGE_H

#include "core/base/compiler.h"

typedef uint64_t pgno_t;

#define PAGE_BYTES 4096u
#define PAGE_BITS  12u
static_assert(PAGE_BYTES == 1u << PAGE_BITS, "two names of one size");

/* The most pages one packet between threads carries (multifd's packet). */
#define PAGE_BATCH_MAX 128u

/* All PAGE_BYTES are 0: such a page is recorded, never stored. */
bool page_is_zero(const void *page);

#endif
