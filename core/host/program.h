/*
 * program.h - other programs of this host: where they are, what they say.
 */
#ifndef FIRN_CORE_HOST_PROGRAM_H
#define FIRN_CORE_HOST_PROGRAM_H

#include "core/base/stopper.h"

/* The file that a shell would start for `name`; a new string. ERR_NOTFOUND. */
int program_find(const char *name, char **ret, struct error *err) NODISCARD;

/*
 * The first line that `path` prints on stdout when it is started with the one
 * argument `arg`, within `size` bytes, without the newline. It is killed when
 * it says nothing for 5 s. ERR_UNSUPPORTED: it did not start or said nothing.
 */
int program_first_line(const char *path, const char *arg, struct stopper *stop,
                       char *ret, size_t size, struct error *err) NODISCARD;

#endif
