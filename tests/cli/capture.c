#include "tests/cli/capture.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

void capture_start(struct capture *c, int fd)
{
    fflush(stdout);
    c->fd = fd;
    c->saved = dup(fd);
    c->file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    assert(c->saved >= 0 && c->file >= 0);
    dup2(c->file, fd);
}

void capture_end(struct capture *c, char *ret, size_t size)
{
    ssize_t n;

    fflush(stdout);
    dup2(c->saved, c->fd);
    close(c->saved);
    n = pread(c->file, ret, size - 1, 0);
    assert(n >= 0);
    ret[n] = '\0';
    close(c->file);
}
