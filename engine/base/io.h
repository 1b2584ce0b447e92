/* SPDX-License-Identifier: Apache-2.0
 * Descriptors. */
#ifndef BASE_IO_H
#define BASE_IO_H
#include <stddef.h>

/* Writes all n bytes to a blocking descriptor, after interruptions too. -1: errno says why, a part may have been written. */
int io_write_all(int fd, const void *p, size_t n);
#endif
