/* SPDX-License-Identifier: Apache-2.0
 * Streaming multipart/form-data parser. Any split of the input gives the same calls. No
 * input/output, no threads. */
#ifndef HTTP_MULTIPART_H
#define HTTP_MULTIPART_H
#include <stdbool.h>
#include "base/err.h"
#include "base/str.h"
struct multipart;
struct multipart_part {
    const char *name, *filename, *ctype; /* "" when absent; filename NULL = a field */
};
/* A callback returning -1 (with e filled) ends parsing with that error. */
struct multipart_sink {
    void *arg;
    int (*begin)(void *arg, const struct multipart_part *p, struct err *e);
    int (*data)(void *arg, const char *p, size_t n, struct err *e);
    int (*end)(void *arg, struct err *e);
};
enum { MULTIPART_HEADERS_MAX = 8192, MULTIPART_PARTS_MAX = 256 };
/* Reads the boundary from a Content-Type value. -1: ERR_UNSUPPORTED (other type) or
 * ERR_BAD_REQUEST (no good boundary). */
int multipart_new(const char *content_type, const struct multipart_sink *s, struct multipart **out,
                  struct err *e);
void multipart_free(struct multipart *m);
/* Errors: ERR_BAD_REQUEST, ERR_TOO_LARGE (part headers, number of parts), or the sink's. After an
 * error only free. */
int multipart_feed(struct multipart *m, const char *p, size_t n, struct err *e);
/* The input ended: -1 unless the closing boundary was seen. */
int multipart_finish(struct multipart *m, struct err *e);
#endif
