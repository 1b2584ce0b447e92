// SPDX-License-Identifier: Apache-2.0
#include "base/io.h"
#include <errno.h>
#include <unistd.h>

int io_write_all(int fd, const void *p, size_t n)
{
    for (const char *at = p; n > 0;) {
        ssize_t k = write(fd, at, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return -1;
        at += k;
        n -= (size_t)k;
    }
    return 0;
}
