/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/u256.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef unsigned __int128 u128;

static const uint64_t TEN19 = 10000000000000000000u;

/* a = a * m + add; the carry out. */
static uint64_t scale(uint64_t *a, int n, uint64_t m, uint64_t add)
{
    u128 carry = add;
    for (int i = 0; i < n; i++) {
        carry += (u128)a[i] * m;
        a[i] = (uint64_t)carry;
        carry >>= 64;
    }
    return (uint64_t)carry;
}

int u256_parse(struct str s, struct u256 *out, struct err *e)
{
    struct u256 v = {0};
    if (s.n < 1 || s.n > 78 || (s.n > 1 && s.p[0] == '0'))
        return ERR(e, ERR_INVALID, "not a decimal number of 256 bits");
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9' || scale(v.w, 4, 10, (uint64_t)(s.p[i] - '0')))
            return ERR(e, ERR_INVALID, "not a decimal number of 256 bits");
    *out = v;
    return 0;
}

static bool is_zero(const struct u256 *a)
{
    return !(a->w[0] | a->w[1] | a->w[2] | a->w[3]);
}

static uint64_t short_div(struct u256 *a, uint64_t by)
{
    u128 rest = 0;
    for (int i = 3; i >= 0; i--) {
        rest = rest << 64 | a->w[i];
        a->w[i] = (uint64_t)(rest / by);
        rest %= by;
    }
    return (uint64_t)rest;
}

void u256_print(const struct u256 *a, char out[U256_TEXT])
{
    struct u256 v = *a;
    uint64_t part[5];
    int n = 0;
    do
        part[n++] = short_div(&v, TEN19);
    while (!is_zero(&v));
    int at = snprintf(out, U256_TEXT, "%" PRIu64, part[--n]);
    while (n > 0)
        at += snprintf(out + at, (size_t)(U256_TEXT - at), "%019" PRIu64, part[--n]);
}

void u256_load(const uint8_t be[32], struct u256 *out)
{
    for (int i = 0; i < 4; i++) {
        uint64_t w = 0;
        for (int k = 0; k < 8; k++)
            w = w << 8 | be[(3 - i) * 8 + k];
        out->w[i] = w;
    }
}

void u256_store(const struct u256 *a, uint8_t be[32])
{
    for (int i = 0; i < 32; i++)
        be[31 - i] = (uint8_t)(a->w[i / 8] >> (i % 8 * 8));
}

int u256_bits(const struct u256 *a)
{
    for (int i = 3; i >= 0; i--)
        if (a->w[i])
            return 64 * i + 64 - __builtin_clzll(a->w[i]);
    return 0;
}

int u256_cmp(const struct u256 *a, const struct u256 *b)
{
    for (int i = 3; i >= 0; i--)
        if (a->w[i] != b->w[i])
            return a->w[i] < b->w[i] ? -1 : 1;
    return 0;
}

int u256_add(const struct u256 *a, const struct u256 *b, struct u256 *out, struct err *e)
{
    u128 carry = 0;
    struct u256 v;
    for (int i = 0; i < 4; i++) {
        carry += (u128)a->w[i] + b->w[i];
        v.w[i] = (uint64_t)carry;
        carry >>= 64;
    }
    if (carry)
        return ERR(e, ERR_INVALID, "the sum has more than 256 bits");
    *out = v;
    return 0;
}

int u256_sub(const struct u256 *a, const struct u256 *b, struct u256 *out, struct err *e)
{
    if (u256_cmp(a, b) < 0)
        return ERR(e, ERR_INVALID, "the difference is negative");
    uint64_t borrow = 0;
    struct u256 v;
    for (int i = 0; i < 4; i++) {
        u128 d = (u128)a->w[i] - b->w[i] - borrow;
        v.w[i] = (uint64_t)d;
        borrow = d >> 64 ? 1 : 0;
    }
    *out = v;
    return 0;
}

static void product(const struct u256 *a, const struct u256 *b, uint64_t out[8])
{
    memset(out, 0, 64);
    for (int i = 0; i < 4; i++) {
        u128 carry = 0;
        for (int k = 0; k < 4; k++) {
            carry += (u128)a->w[i] * b->w[k] + out[i + k];
            out[i + k] = (uint64_t)carry;
            carry >>= 64;
        }
        out[i + 4] = (uint64_t)carry;
    }
}

/* Bit by bit: 512 steps are nothing here, and there is nothing to get wrong. rest stays below c, so its bit 256 can
 * only be the one shifted out. */
static bool divide(const uint64_t n[8], const struct u256 *c, struct u256 *q, struct u256 *rest)
{
    bool fits = true;
    *q = *rest = (struct u256){0};
    for (int bit = 511; bit >= 0; bit--) {
        uint64_t out = scale(rest->w, 4, 2, n[bit / 64] >> bit % 64 & 1);
        if (!out && u256_cmp(rest, c) < 0)
            continue;
        uint64_t borrow = 0;
        for (int i = 0; i < 4; i++) {
            u128 d = (u128)rest->w[i] - c->w[i] - borrow;
            rest->w[i] = (uint64_t)d;
            borrow = d >> 64 ? 1 : 0;
        }
        if (bit < 256)
            q->w[bit / 64] |= (uint64_t)1 << bit % 64;
        else
            fits = false;
    }
    return fits;
}

int u256_muldiv(const struct u256 *a, const struct u256 *b, const struct u256 *c, bool up,
                struct u256 *out, struct err *e)
{
    uint64_t n[8];
    struct u256 q, rest;
    static const struct u256 one = {{1, 0, 0, 0}};
    if (is_zero(c))
        return ERR(e, ERR_INVALID, "division by zero");
    product(a, b, n);
    if (!divide(n, c, &q, &rest))
        return ERR(e, ERR_INVALID, "the quotient has more than 256 bits");
    if (up && !is_zero(&rest))
        return u256_add(&q, &one, out, e);
    *out = q;
    return 0;
}
