/* SPDX-License-Identifier: Apache-2.0
 * Two bytes: the length of an init segment; then it, then a segment. What is taken comes out in whole packets, and alike when
 * it is done again. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "media/ts.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t n = (size_t)data[0] << 8 | data[1];
    size -= 2;
    if (n > size)
        n = size;
    /* Copies of their own: a byte too far is not the other one's. */
    char *init = malloc(n + 1), *segment = malloc(size - n + 1);
    must(init && segment);
    memcpy(init, data + 2, n);
    memcpy(segment, data + 2 + n, size - n);
    struct buf out = {0};
    struct err e = {0};
    int rc = ts_segment((struct str){init, n}, (struct str){segment, size - n}, &out, &e);
    must(rc == 0 ? out.n > 0 && out.n % 188 == 0 : out.n == 0);
    for (size_t at = 0; at < out.n; at += 188)
        must(out.p[at] == 0x47);
    size_t first = out.n;
    must(ts_segment((struct str){init, n}, (struct str){segment, size - n}, &out, &e) == rc);
    must(out.n == 2 * first && (!first || !memcmp(out.p, out.p + first, first)));
    buf_fini(&out);
    free(init);
    free(segment);
    return 0;
}
