/* SPDX-License-Identifier: Apache-2.0
 * Length-carrying views, a growable buffer, and text encodings. Any thread. */
#ifndef BASE_STR_H
#define BASE_STR_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct str {
    const char *p; /* borrowed; not NUL-terminated unless said */
    size_t n;
};
#define STR_LIT(s) ((struct str){(s), sizeof(s) - 1})
struct str str_from(const char *s); /* NULL gives an empty view */
bool str_eq(struct str a, struct str b);
bool str_eqz(struct str a, const char *z);
bool str_caseeqz(struct str a, const char *z);
bool str_starts(struct str a, const char *z);
struct str str_trim(struct str a);

/* Growable buffer, heap owned. Always NUL-terminated after a put. Zero-initialise to start. */
struct buf {
    char *p;
    size_t n, cap;
};
void buf_put(struct buf *b, const void *p, size_t n);
static inline void buf_putc(struct buf *b, char c)
{
    if (b->n + 1 >= b->cap) {
        buf_put(b, &c, 1);
        return;
    }
    b->p[b->n++] = c;
    b->p[b->n] = 0;
}
void buf_puts(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Appends s as the inside of a JSON string (no quotes); invalid UTF-8 becomes U+FFFD. */
void buf_put_json(struct buf *b, struct str s);
void buf_put_json_text(struct buf *b, struct str s); /* with the quotes */
void buf_put_int(struct buf *b, int64_t v);          /* decimal */
void buf_clear(struct buf *b);                       /* keeps the memory */
void buf_fini(struct buf *b);

/* Encoders append to b. Decoders return bytes written or -1 for malformed input. */
void buf_put_hex(struct buf *b, const void *p, size_t n);
void buf_put_base64url(struct buf *b, const void *p, size_t n); /* no padding, RFC 4648 section 5 */
void buf_put_base64(struct buf *b, const void *p, size_t n);    /* padded, RFC 4648 section 4 */
long str_unhex(struct str s, void *out, size_t cap);
long str_unbase64(struct str s, void *out, size_t cap); /* either alphabet, padding optional */
/* Percent-decodes into out (cap >= s.n is enough). plus: '+' is a space (forms). -1: malformed or NUL. */
long str_unpercent(struct str s, bool plus, char *out, size_t cap);
bool str_is_utf8(struct str s);
/* How many bytes at the beginning are printable ASCII without quote and backslash: most text is, and needs no closer look. */
size_t str_plain(const char *p, size_t n);
/* Strict decimal int64: optional '-', digits only, no overflow. 0 or -1. */
int str_to_int64(struct str s, int64_t *out);
#endif
