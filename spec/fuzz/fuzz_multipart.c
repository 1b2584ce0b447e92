/* SPDX-License-Identifier: Apache-2.0
 * The first byte seeds the splits, the next bytes to a line feed are the Content-Type, the rest is
 * the body. The whole body and the split one must give the same calls. */
#include <stdlib.h>
#include <string.h>
#include "http/multipart.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static int on_begin(void *arg, const struct multipart_part *p, struct err *e)
{
    (void)e;
    must(str_is_utf8(str_from(p->name)) && str_is_utf8(str_from(p->filename)));
    must(!p->filename || !strpbrk(p->filename, "/\\\r\n"));
    buf_printf(arg, "<%s|%s|%s>", p->name, p->filename ? p->filename : "-", p->ctype);
    return 0;
}

static int on_data(void *arg, const char *p, size_t n, struct err *e)
{
    (void)e;
    must(n > 0);
    buf_put(arg, p, n);
    return 0;
}

static int on_end(void *arg, struct err *e)
{
    (void)e;
    buf_puts(arg, "</>");
    return 0;
}

static enum err_code run(const char *ctype, const unsigned char *p, size_t n, unsigned seed,
                         struct buf *calls)
{
    struct multipart_sink s = {calls, on_begin, on_data, on_end};
    struct multipart *m = NULL;
    struct err e = {0};
    int rc = multipart_new(ctype, &s, &m, &e);
    while (rc == 0 && n > 0) {
        size_t k = seed ? 1 + (seed = seed * 1103515245u + 12345u) / 65536u % 37u : n;
        if (k > n)
            k = n;
        char *piece = malloc(k);
        must(piece);
        memcpy(piece, p, k);
        rc = multipart_feed(m, piece, k, &e);
        free(piece);
        p += k;
        n -= k;
    }
    if (rc == 0)
        rc = multipart_finish(m, &e);
    multipart_free(m);
    return rc == 0 ? ERR_NONE : e.code;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    char ctype[200];
    struct buf whole = {0}, split = {0};
    if (size < 2)
        return 0;
    const unsigned char *nl = memchr(data + 1, '\n', size - 1);
    size_t n = nl ? (size_t)(nl - data - 1) : 0;
    if (!nl || n >= sizeof ctype)
        return 0;
    memcpy(ctype, data + 1, n);
    ctype[n] = '\0';
    size_t left = size - n - 2;
    enum err_code a = run(ctype, nl + 1, left, 0, &whole),
                  b = run(ctype, nl + 1, left, data[0] + 1u, &split);
    must(a == b);
    must(whole.n == split.n && (whole.n == 0 || memcmp(whole.p, split.p, whole.n) == 0));
    buf_fini(&whole);
    buf_fini(&split);
    return 0;
}
