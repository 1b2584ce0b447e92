/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/digest.h"

#define OPENSSL_SUPPRESS_DEPRECATED /* SHA256_*: the only way to keep a half-done hash by value */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <string.h>

#include "base/err.h"

/* struct digest is never defined: it is an EVP_MD_CTX under a name of ours. */

static void hash(const EVP_MD *md, const void *p, size_t n, uint8_t *out)
{
    unsigned len;
    must(EVP_Digest(n ? p : "", n, out, &len, md, NULL) == 1);
}

void digest_sha256(const void *p, size_t n, uint8_t out[32])
{
    hash(EVP_sha256(), p, n, out);
}

void digest_sha512(const void *p, size_t n, uint8_t out[64])
{
    hash(EVP_sha512(), p, n, out);
}

void digest_sha1(const void *p, size_t n, uint8_t out[20])
{
    hash(EVP_sha1(), p, n, out);
}

uint32_t digest_crc32(const void *p, size_t n)
{
    static const uint32_t nibble[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                        0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t c = 0xffffffff;
    for (const uint8_t *b = p, *end = b + n; b < end; b++) {
        c = c >> 4 ^ nibble[(c ^ *b) & 15];
        c = c >> 4 ^ nibble[(c ^ (uint32_t)(*b >> 4)) & 15];
    }
    return ~c;
}

static uint64_t rotate(uint64_t v, int n)
{
    return n ? v << n | v >> (64 - n) : v;
}

static void keccak_f(uint64_t s[25])
{
    static const uint8_t turn[25] = {0,  1,  62, 28, 27, 36, 44, 6,  55, 20, 3,  10, 43,
                                     25, 39, 41, 45, 15, 21, 8,  18, 2,  61, 56, 14};
    uint64_t b[25], c[5];
    uint8_t lfsr = 1; /* makes the round constants */
    for (int round = 0; round < 24; round++) {
        for (int x = 0; x < 5; x++)
            c[x] = s[x] ^ s[x + 5] ^ s[x + 10] ^ s[x + 15] ^ s[x + 20];
        for (int i = 0; i < 25; i++)
            s[i] ^= c[(i + 4) % 5] ^ rotate(c[(i + 1) % 5], 1);
        for (int x = 0; x < 5; x++)
            for (int y = 0; y < 5; y++)
                b[y + 5 * ((2 * x + 3 * y) % 5)] = rotate(s[x + 5 * y], turn[x + 5 * y]);
        for (int y = 0; y < 25; y += 5)
            for (int x = 0; x < 5; x++)
                s[y + x] = b[y + x] ^ (~b[y + (x + 1) % 5] & b[y + (x + 2) % 5]);
        for (int j = 0; j < 7; j++) {
            if (lfsr & 1)
                s[0] ^= (uint64_t)1 << ((1 << j) - 1);
            lfsr = (uint8_t)(lfsr << 1 ^ (lfsr & 0x80 ? 0x71 : 0));
        }
    }
}

void digest_keccak256(const void *p, size_t n, uint8_t out[32])
{
    enum { RATE = 136 };
    const uint8_t *in = p;
    uint64_t s[25] = {0};
    uint8_t block[RATE];
    for (bool last = false; !last;) {
        size_t part = n < RATE ? n : RATE;
        last = n < RATE;
        memset(block, 0, RATE);
        if (part)
            memcpy(block, in, part);
        if (last) {
            block[part] ^= 0x01; /* SHA3 has 0x06 here */
            block[RATE - 1] ^= 0x80;
        }
        for (int i = 0; i < RATE; i++)
            s[i / 8] ^= (uint64_t)block[i] << (i % 8 * 8);
        keccak_f(s);
        if (!last)
            in += part;
        n -= part;
    }
    for (int i = 0; i < 32; i++)
        out[i] = (uint8_t)(s[i / 8] >> (i % 8 * 8));
}

static void hmac(const EVP_MD *md, const void *key, size_t klen, const void *p, size_t n,
                 uint8_t *out)
{
    unsigned len;
    must(klen <= INT32_MAX &&
         HMAC(md, klen ? key : "", (int)klen, n ? p : (const void *)"", n, out, &len));
}

void digest_hmac_sha256(const void *key, size_t klen, const void *p, size_t n, uint8_t out[32])
{
    hmac(EVP_sha256(), key, klen, p, n, out);
}

void digest_hmac_sha512(const void *key, size_t klen, const void *p, size_t n, uint8_t out[64])
{
    hmac(EVP_sha512(), key, klen, p, n, out);
}

void digest_hmac_sha1(const void *key, size_t klen, const void *p, size_t n, uint8_t out[20])
{
    hmac(EVP_sha1(), key, klen, p, n, out);
}

/* By hand on HMAC: the library's KDF objects cost ten times as much, and this runs for every key request. */
void digest_hkdf_sha256(const void *secret, size_t n, const void *salt, size_t slen,
                        const void *info, size_t ilen, void *out, size_t outlen)
{
    static const uint8_t zeros[32];
    uint8_t prk[32], t[32], *dst = out;
    must(outlen <= 255 * 32);
    digest_hmac_sha256(slen ? salt : zeros, slen ? slen : 32, secret, n, prk);
    uint8_t block[32 + 1024 + 1];
    must(ilen <= 1024);
    for (uint8_t i = 1; outlen > 0; i++) {
        size_t at = i > 1 ? 32 : 0, part = outlen < 32 ? outlen : 32;
        if (at)
            memcpy(block, t, 32);
        if (ilen)
            memcpy(block + at, info, ilen);
        block[at + ilen] = i;
        digest_hmac_sha256(prk, 32, block, at + ilen + 1, t);
        memcpy(dst, t, part);
        dst += part;
        outlen -= part;
    }
    digest_wipe(prk, sizeof prk);
    digest_wipe(t, sizeof t);
    digest_wipe(block, 64);
}

static void half_hash(uint32_t out[8], const uint8_t block[64])
{
    SHA256_CTX c;
    SHA256_Init(&c);
    SHA256_Transform(&c, block);
    memcpy(out, c.h, 32);
    digest_wipe(&c, sizeof c);
}

void digest_key_init(struct digest_key *k, const void *key, size_t klen)
{
    uint8_t block[64] = {0};
    if (klen > sizeof block)
        digest_sha256(key, klen, block);
    else if (klen)
        memcpy(block, key, klen);
    for (int i = 0; i < 64; i++)
        block[i] ^= 0x36;
    half_hash(k->inner, block);
    for (int i = 0; i < 64; i++)
        block[i] ^= 0x36 ^ 0x5c;
    half_hash(k->outer, block);
    digest_wipe(block, sizeof block);
}

static void go_on(const uint32_t half[8], const void *p, size_t n, uint8_t out[32])
{
    SHA256_CTX c;
    SHA256_Init(&c);
    memcpy(c.h, half, 32);
    c.Nl = 64 * 8; /* bits so far */
    SHA256_Update(&c, p, n);
    SHA256_Final(out, &c);
}

void digest_key_mac(const struct digest_key *k, const void *p, size_t n, uint8_t out[32])
{
    uint8_t md[32];
    go_on(k->inner, n ? p : "", n, md);
    go_on(k->outer, md, sizeof md, out);
}

void digest_key_extract(struct digest_key *k, const void *secret, size_t n)
{
    static const uint8_t zeros[32];
    uint8_t prk[32];
    digest_hmac_sha256(zeros, sizeof zeros, secret, n, prk);
    digest_key_init(k, prk, sizeof prk);
    digest_wipe(prk, sizeof prk);
}

void digest_random(void *out, size_t n)
{
    must(n <= INT32_MAX && RAND_bytes(out, (int)n) == 1);
}

bool digest_equal(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}

void digest_wipe(void *p, size_t n)
{
    OPENSSL_cleanse(p, n);
}

struct digest *digest_new(void)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    must(c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1);
    return (struct digest *)c;
}

void digest_update(struct digest *d, const void *p, size_t n)
{
    must(EVP_DigestUpdate((EVP_MD_CTX *)d, p, n) == 1);
}

void digest_final(struct digest *d, uint8_t out[32])
{
    unsigned len;
    must(EVP_DigestFinal_ex((EVP_MD_CTX *)d, out, &len) == 1);
}

void digest_free(struct digest *d)
{
    EVP_MD_CTX_free((EVP_MD_CTX *)d);
}

static long aes(bool encrypt, const uint8_t *key, const uint8_t *iv, const void *in, size_t n,
                void *out)
{
    must(n < INT32_MAX - 16);
    int a = 0, b = 0;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    must(c && EVP_CipherInit_ex(c, EVP_aes_128_cbc(), NULL, key, iv, encrypt) == 1);
    bool ok = EVP_CipherUpdate(c, out, &a, in, (int)n) == 1 &&
              EVP_CipherFinal_ex(c, (uint8_t *)out + a, &b) == 1;
    EVP_CIPHER_CTX_free(c);
    return ok ? (long)a + b : -1;
}

long digest_aes128_cbc_encrypt(const uint8_t key[16], const uint8_t iv[16], const void *in,
                               size_t n, void *out)
{
    long r = aes(true, key, iv, in, n, out);
    must(r >= 0);
    return r;
}

long digest_aes128_cbc_decrypt(const uint8_t key[16], const uint8_t iv[16], const void *in,
                               size_t n, void *out)
{
    return n == 0 || n % 16 ? -1 : aes(false, key, iv, in, n, out);
}
