/* SPDX-License-Identifier: Apache-2.0
 * Ethereum's signatures (secp256k1, libsecp256k1) and addresses. A signature is r || s || v with v 27 or 28; the library
 * signs by RFC 6979 with the low s. Any thread. */
#ifndef CRYPTO_SECP_H
#define CRYPTO_SECP_H
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

enum { SECP_SIG = 65, SECP_ADDRESS_TEXT = 43 };

/* Is it a number from 1 to the order less one? */
bool secp_key_valid(const uint8_t key[32]);
void secp_key_new(uint8_t key[32]);
/* The last 20 bytes of the hash of the public key. The key must be valid. */
void secp_key_address(const uint8_t key[32], uint8_t address[20]);
void secp_sign(const uint8_t key[32], const uint8_t digest[32], uint8_t sig[SECP_SIG]);
/* Who signed the digest. ERR_INVALID: r or s is 0 or not below the order, s is in the upper half (somebody's twin of a
 * genuine signature), v is not 27, 28, 0 or 1, or there is no such point. Compare the address: any signature fits some. */
int secp_recover(const uint8_t digest[32], struct str sig, uint8_t address[20], struct err *e);

/* "0x" and 40 hexadecimal digits; mixed case must be the checksum (EIP-55). ERR_INVALID. */
int secp_address_parse(struct str s, uint8_t address[20], struct err *e);
void secp_address_print(const uint8_t address[20], char out[SECP_ADDRESS_TEXT]);
#endif
