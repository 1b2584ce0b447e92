/* SPDX-License-Identifier: Apache-2.0
 * Unsigned 256-bit integers of Ethereum: exact, and what does not fit is an error, never wrapped. Any thread. */
#ifndef CRYPTO_U256_H
#define CRYPTO_U256_H
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

struct u256 {
    uint64_t w[4]; /* least significant first */
};
enum { U256_TEXT = 80 };

/* Decimal digits only, no sign, no leading zeros but for "0". ERR_INVALID. */
int u256_parse(struct str s, struct u256 *out, struct err *e);
void u256_print(const struct u256 *a, char out[U256_TEXT]);
void u256_load(const uint8_t be[32], struct u256 *out);
void u256_store(const struct u256 *a, uint8_t be[32]);
/* The significant bits, 0 for 0. */
int u256_bits(const struct u256 *a);
int u256_cmp(const struct u256 *a, const struct u256 *b);
/* ERR_INVALID when the result does not fit. */
int u256_add(const struct u256 *a, const struct u256 *b, struct u256 *out, struct err *e);
int u256_sub(const struct u256 *a, const struct u256 *b, struct u256 *out, struct err *e);
/* a * b / c with the whole product in between; up: a rest rounds up. ERR_INVALID for c = 0 and what does not fit. */
int u256_muldiv(const struct u256 *a, const struct u256 *b, const struct u256 *c, bool up,
                struct u256 *out, struct err *e);
#endif
