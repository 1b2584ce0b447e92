/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/ed25519.h"

#include <openssl/evp.h>

#include "base/err.h"

static EVP_PKEY *private_key(const uint8_t seed[32])
{
    EVP_PKEY *k = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
    must(k);
    return k;
}

void ed25519_public(const uint8_t seed[32], uint8_t out[32])
{
    EVP_PKEY *k = private_key(seed);
    size_t n = 32;
    must(EVP_PKEY_get_raw_public_key(k, out, &n) == 1);
    EVP_PKEY_free(k);
}

void ed25519_sign(const uint8_t seed[32], const void *p, size_t n, uint8_t out[64])
{
    EVP_PKEY *k = private_key(seed);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    size_t len = 64;
    must(c && EVP_DigestSignInit(c, NULL, NULL, NULL, k) == 1);
    must(EVP_DigestSign(c, out, &len, n ? p : (const void *)"", n) == 1);
    EVP_MD_CTX_free(c);
    EVP_PKEY_free(k);
}

bool ed25519_verify(const uint8_t key[32], const void *p, size_t n, const uint8_t sig[64])
{
    EVP_PKEY *k = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key, 32);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    must(c);
    bool fine = k && EVP_DigestVerifyInit(c, NULL, NULL, NULL, k) == 1 &&
                EVP_DigestVerify(c, sig, 64, n ? p : (const void *)"", n) == 1;
    EVP_MD_CTX_free(c);
    EVP_PKEY_free(k);
    return fine;
}
