/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A refused file says why, with its line; an accepted one can be printed. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[64];
    static FILE *null;
    if (fd < 0) {
        fd = memfd_create("conf", 0);
        null = fopen("/dev/null", "w");
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    must(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    struct err e = {0};
    if (conf_load(path, NULL, &e))
        must(e.code == ERR_CONFIG && strchr(e.msg, ':'));
    else
        conf_dump(null);
    return 0;
}
