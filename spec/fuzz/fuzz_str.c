/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/money.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a decoder accepts, its encoder gives back; JSON output is always valid UTF-8 without raw controls. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str s = {(const char *)data, size};
    char *out = malloc(size + 1);
    struct buf b = {0};
    long n = str_unbase64(s, out, size);
    if (n >= 0 && !memchr(s.p, '=', s.n) && !memchr(s.p, '+', s.n) && !memchr(s.p, '/', s.n)) {
        buf_put_base64url(&b, out, (size_t)n);
        must(str_eq(s, (struct str){b.p, b.n}));
        buf_clear(&b);
    }
    must((n = str_unpercent(s, true, out, size)) < 0 || !memchr(out, 0, (size_t)n));
    str_unhex(s, out, size / 2);
    buf_put_json(&b, s);
    must(str_is_utf8((struct str){b.p, b.n}));
    for (size_t i = 0; i < b.n; i++)
        must((unsigned char)b.p[i] >= ' ');
    char *z = strndup((const char *)data, size), text[40];
    int64_t v;
    struct err e;
    if (money_parse(z, "KWD", &v, &e) == 0)
        must(v >= 0 && money_format(v, "KWD", text, &e) == 0);
    buf_fini(&b);
    free(z);
    free(out);
    return 0;
}
