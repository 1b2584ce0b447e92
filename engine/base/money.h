/* SPDX-License-Identifier: Apache-2.0
 * Money is int64 minor units; never a float. Any thread. Every function is total: overflow is an error. */
#ifndef BASE_MONEY_H
#define BASE_MONEY_H
#include <stdint.h>
#include "base/err.h"

int money_add(int64_t a, int64_t b, int64_t *out, struct err *e);
int money_mul(int64_t a, int64_t b, int64_t *out, struct err *e);
/* floor(amount * bp / 10000), amount >= 0, 0 <= bp <= 10000, exact in 128 bits. */
int money_bp(int64_t amount, int64_t bp, int64_t *out, struct err *e);

/* THE remainder rule of a sale, stated once:
 *   creator_gross = floor(price * (10000 - fee_bp) / 10000); platform = price - creator_gross (gets the remainder);
 *   commission = min(floor(price * pct / 100), creator_gross); creator = creator_gross - commission. */
struct money_split {
    int64_t platform, creator, commission;
};
int money_split(int64_t price, int fee_bp, int pct, struct money_split *out, struct err *e);

/* ISO 4217 exponent (IDR 2, JPY 0 ...), or -1 for an unknown code. */
int money_exponent(const char *currency);
/* "12.34" <-> 1234 by the currency's exponent; parse refuses signs, spaces, exponents, more decimals than there are. */
int money_parse(const char *s, const char *currency, int64_t *out, struct err *e);
/* amount >= 0 of one currency in another, by a decimal rate ("16250.50" = units of `to` for one unit of `from`): exact, the half
 * minor unit rounds up. The rate has at most 18 digits. */
int money_convert(int64_t amount, const char *from, const char *to, const char *rate, int64_t *out,
                  struct err *e);
int money_format(int64_t amount, const char *currency, char out[40], struct err *e);
#endif
