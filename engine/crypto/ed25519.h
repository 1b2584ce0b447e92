/* SPDX-License-Identifier: Apache-2.0
 * Ed25519 signatures (RFC 8032; OpenSSL), for what others must be able to check without our secret. Any thread. */
#ifndef CRYPTO_ED25519_H
#define CRYPTO_ED25519_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void ed25519_public(const uint8_t seed[32], uint8_t out[32]);
void ed25519_sign(const uint8_t seed[32], const void *p, size_t n, uint8_t out[64]);
bool ed25519_verify(const uint8_t key[32], const void *p, size_t n, const uint8_t sig[64]);
#endif
