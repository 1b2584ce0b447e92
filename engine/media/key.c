// SPDX-License-Identifier: Apache-2.0
#include "media/key.h"
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdio.h>
#include <string.h>
#include "base/err.h"

int key_derive(const uint8_t secret[32], const char *info, void *out, size_t n)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    OSSL_PARAM p[] = {OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 6),
                      OSSL_PARAM_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, 32),
                      OSSL_PARAM_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, strlen(info)),
                      OSSL_PARAM_END};
    int rc = ctx && EVP_KDF_derive(ctx, out, n, p) == 1 ? 0 : -1;
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    return rc;
}

void key_info(char out[64], const char *rendition, const char *variant, int segment)
{
    snprintf(out, 64, "v1|%.11s|%.24s|%d", rendition, variant, segment);
}

void key_mac(const uint8_t key[32], const char *text, uint8_t out[32])
{
    unsigned n = 0;
    must(HMAC(EVP_sha256(), key, 32, (const uint8_t *)text, strlen(text), out, &n) && n == 32);
}
