/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"

struct str str_from(const char *s)
{
    return s ? (struct str){s, strlen(s)} : (struct str){"", 0};
}

bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_eqz(struct str a, const char *z)
{
    return str_eq(a, str_from(z));
}

bool str_caseeqz(struct str a, const char *z)
{
    return a.n == strlen(z) && (a.n == 0 || strncasecmp(a.p, z, a.n) == 0);
}

bool str_starts(struct str a, const char *z)
{
    size_t n = strlen(z);
    return a.n >= n && (n == 0 || memcmp(a.p, z, n) == 0);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

struct str str_trim(struct str a)
{
    while (a.n && is_space(a.p[0])) {
        a.p++;
        a.n--;
    }
    while (a.n && is_space(a.p[a.n - 1]))
        a.n--;
    return a;
}

static void grow(struct buf *b, size_t need)
{
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need)
        cap *= 2;
    char *p = realloc(b->p, cap);
    must(p);
    b->p = p;
    b->cap = cap;
}

static inline void reserve(struct buf *b, size_t more)
{
    must(more < SIZE_MAX / 4 && b->n < SIZE_MAX / 4);
    size_t need = b->n + more + 1;
    if (need > b->cap)
        grow(b, need);
}

void buf_put(struct buf *b, const void *p, size_t n)
{
    reserve(b, n);
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = 0;
}

void buf_puts(struct buf *b, const char *s)
{
    buf_put(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    must(n >= 0);
    reserve(b, (size_t)n);
    va_start(ap, fmt);
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->n += (size_t)n;
}

void buf_put_int(struct buf *b, int64_t v)
{
    char digits[20];
    size_t at = sizeof digits;
    uint64_t left = v < 0 ? -(uint64_t)v : (uint64_t)v;
    do
        digits[--at] = (char)('0' + left % 10);
    while (left /= 10);
    if (v < 0)
        digits[--at] = '-';
    buf_put(b, digits + at, sizeof digits - at);
}

void buf_clear(struct buf *b)
{
    b->n = 0;
    if (b->p)
        b->p[0] = 0;
}

void buf_fini(struct buf *b)
{
    free(b->p);
    *b = (struct buf){0};
}

/* True when one of eight bytes is not what str_plain passes. */
static bool has_special(uint64_t w)
{
    const uint64_t ones = UINT64_MAX / 255, high = ones * 0x80;
    uint64_t quote = w ^ ones * '"', slash = w ^ ones * '\\', del = w ^ ones * 0x7f;
    return ((w | (w - ones * 0x20) | (quote - ones) | (slash - ones) | (del - ones)) & high) != 0;
}

size_t str_plain(const char *p, size_t n)
{
    size_t i = 0;
    for (uint64_t w; i + sizeof w <= n; i += sizeof w) {
        memcpy(&w, p + i, sizeof w);
        if (has_special(w))
            break;
    }
    while (i < n && p[i] >= 0x20 && p[i] < 0x7f && p[i] != '"' && p[i] != '\\')
        i++;
    return i;
}

/* Length of the valid UTF-8 sequence at p, 0 when there is none (RFC 3629: no surrogates, no overlong forms). */
static size_t utf8_len(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80)
        return 1;
    size_t len = p[0] >= 0xc2 && p[0] <= 0xdf   ? 2
                 : (p[0] & 0xf0) == 0xe0        ? 3
                 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                                : 0;
    if (len == 0 || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

bool str_is_utf8(struct str s)
{
    for (size_t i = str_plain(s.p, s.n); i < s.n;) {
        size_t len = utf8_len((const unsigned char *)s.p + i, s.n - i);
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}

static void put_json_control(struct buf *b, unsigned char c)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *at = c ? strchr(from, c) : NULL;
    if (at) {
        char two[2] = {'\\', to[at - from]};
        buf_put(b, two, 2);
    } else {
        buf_printf(b, "\\u%04x", c);
    }
}

void buf_put_json(struct buf *b, struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t i = str_plain(s.p, s.n), run = 0; /* [run, i) is copied as it is */
    while (i < s.n) {
        size_t len = utf8_len(p + i, s.n - i);
        bool plain =
            len > 1 || (len == 1 && p[i] >= 0x20 && p[i] != '"' && p[i] != '\\' && p[i] != 0x7f);
        if (plain) {
            i += len;
            continue;
        }
        buf_put(b, p + run, i - run);
        if (len == 0)
            buf_puts(b, "\xef\xbf\xbd");
        else
            put_json_control(b, p[i]);
        run = ++i;
    }
    buf_put(b, p + run, s.n - run);
}

void buf_put_json_text(struct buf *b, struct str s)
{
    if (str_plain(s.p, s.n) < s.n) {
        buf_putc(b, '"');
        buf_put_json(b, s);
        buf_putc(b, '"');
        return;
    }
    reserve(b, s.n + 2);
    char *p = b->p + b->n;
    *p++ = '"';
    memcpy(p, s.p, s.n);
    p[s.n] = '"';
    p[s.n + 1] = 0;
    b->n += s.n + 2;
}

void buf_put_hex(struct buf *b, const void *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *s = p;
    reserve(b, n * 2);
    for (size_t i = 0; i < n; i++) {
        b->p[b->n++] = digits[s[i] >> 4];
        b->p[b->n++] = digits[s[i] & 15];
    }
    b->p[b->n] = 0;
}

static void put_base64(struct buf *b, const void *p, size_t n, const char *alphabet, bool pad)
{
    const unsigned char *s = p;
    reserve(b, (n + 2) / 3 * 4);
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        unsigned v = (unsigned)s[i] << 16 | (left > 1 ? (unsigned)s[i + 1] << 8 : 0) |
                     (left > 2 ? s[i + 2] : 0);
        size_t digits = left > 2 ? 4 : left + 1;
        for (size_t d = 0; d < 4; d++) {
            if (d < digits)
                b->p[b->n++] = alphabet[v >> (18 - 6 * d) & 63];
            else if (pad)
                b->p[b->n++] = '=';
        }
    }
    b->p[b->n] = 0;
}

#define ALNUM64 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

void buf_put_base64url(struct buf *b, const void *p, size_t n)
{
    put_base64(b, p, n, ALNUM64 "-_", false);
}

void buf_put_base64(struct buf *b, const void *p, size_t n)
{
    put_base64(b, p, n, ALNUM64 "+/", true);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

long str_unhex(struct str s, void *out, size_t cap)
{
    if (s.n % 2 || s.n / 2 > cap)
        return -1;
    unsigned char *o = out;
    for (size_t i = 0; i < s.n; i += 2) {
        int hi = hex_value(s.p[i]), lo = hex_value(s.p[i + 1]);
        if (hi < 0 || lo < 0)
            return -1;
        o[i / 2] = (unsigned char)(hi << 4 | lo);
    }
    return (long)(s.n / 2);
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

long str_unbase64(struct str s, void *out, size_t cap)
{
    if (s.n && s.n % 4 == 0)
        for (int i = 0; i < 2 && s.n && s.p[s.n - 1] == '='; i++)
            s.n--;
    size_t want = s.n / 4 * 3 + (s.n % 4 ? s.n % 4 - 1 : 0);
    if (s.n % 4 == 1 || want > cap)
        return -1;
    unsigned char *o = out;
    size_t n = 0;
    unsigned acc = 0;
    int bits = 0;
    for (size_t i = 0; i < s.n; i++) {
        int v = base64_value(s.p[i]);
        if (v < 0)
            return -1;
        acc = acc << 6 | (unsigned)v;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            o[n++] = (unsigned char)(acc >> bits);
            acc &= (1u << bits) - 1;
        }
    }
    /* Non-zero left-over bits would give one value two spellings: refused, signatures depend on it. */
    return acc ? -1 : (long)n;
}

long str_unpercent(struct str s, bool plus, char *out, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            int hi = i + 2 < s.n ? hex_value(s.p[i + 1]) : -1;
            int lo = i + 2 < s.n ? hex_value(s.p[i + 2]) : -1;
            if (hi < 0 || lo < 0)
                return -1;
            c = (char)(hi << 4 | lo);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if (c == 0 || n >= cap)
            return -1;
        out[n++] = c;
    }
    return (long)n;
}

int str_to_int64(struct str s, int64_t *out)
{
    bool neg = s.n && s.p[0] == '-';
    size_t i = neg ? 1 : 0;
    if (i == s.n)
        return -1;
    int64_t v = 0; /* negative: its range is the larger one */
    for (; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return -1;
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_sub_overflow(v, s.p[i] - '0', &v))
            return -1;
    }
    if (!neg && v == INT64_MIN)
        return -1;
    *out = neg ? v : -v;
    return 0;
}
