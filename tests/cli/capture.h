/*
 * capture.h - what a piece of code writes to stdout or stderr, as a string.
 */
#ifndef FIRN_TESTS_CLI_CAPTURE_H
#define FIRN_TESTS_CLI_CAPTURE_H

#include <stddef.h>

struct capture {
    int fd;    /* STDOUT_FILENO or STDERR_FILENO */
    int saved; /* what was there */
    int file;
};

/* From now on `fd` goes to a file without a name. */
void capture_start(struct capture *c, int fd);
/* Puts the old one back; the text, at most `size` - 1 bytes of it, in `ret`. */
void capture_end(struct capture *c, char *ret, size_t size);

#endif
