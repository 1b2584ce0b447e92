/* SPDX-License-Identifier: Apache-2.0
 * Hashes, MACs, key derivation, random bytes, AES-128-CBC (OpenSSL). Any thread; nothing blocks or fails for valid
 * arguments (a failing library aborts: there is no safe way on). */
#ifndef CRYPTO_DIGEST_H
#define CRYPTO_DIGEST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void digest_sha256(const void *p, size_t n, uint8_t out[32]);
void digest_sha512(const void *p, size_t n, uint8_t out[64]);
void digest_sha1(const void *p, size_t n,
                 uint8_t out[20]); /* only where a foreign protocol asks for it */
void digest_keccak256(const void *p, size_t n, uint8_t out[32]); /* Ethereum's, not SHA3-256 */
void digest_hmac_sha256(const void *key, size_t klen, const void *p, size_t n, uint8_t out[32]);
void digest_hmac_sha512(const void *key, size_t klen, const void *p, size_t n, uint8_t out[64]);
void digest_hmac_sha1(const void *key, size_t klen, const void *p, size_t n,
                      uint8_t out[20]); /* TOTP */
/* The same SHA-256 MAC with the key's own blocks hashed once: for keys that sign many short texts. Holds key material. */
struct digest_key {
    uint32_t inner[8], outer[8];
};
void digest_key_init(struct digest_key *k, const void *key, size_t klen);
void digest_key_mac(const struct digest_key *k, const void *p, size_t n, uint8_t out[32]);
/* RFC 5869, empty salt when slen is 0; ilen <= 1024, outlen <= 8160. */
void digest_hkdf_sha256(const void *secret, size_t n, const void *salt, size_t slen,
                        const void *info, size_t ilen, void *out, size_t outlen);
/* Its first half with an empty salt, made once for a secret; its second half for 16 bytes is
 * digest_key_mac over info and a byte 1. */
void digest_key_extract(struct digest_key *k, const void *secret, size_t n);
void digest_random(void *out, size_t n);
/* CRC-32 as of zlib, PNG and Ethernet: no protection against intent, only where a foreign protocol asks for it. */
uint32_t digest_crc32(const void *p, size_t n);
/* Constant time in n. */
bool digest_equal(const void *a, const void *b, size_t n);
/* Overwrites; not removed by the optimiser. */
void digest_wipe(void *p, size_t n);

/* Streaming SHA-256, for files. */
struct digest;
struct digest *digest_new(void);
void digest_update(struct digest *d, const void *p, size_t n);
void digest_final(struct digest *d, uint8_t out[32]); /* does not free */
void digest_free(struct digest *d);                   /* NULL is fine */

/* AES-128-CBC with PKCS#7 padding (HLS). out needs n + 16 bytes for encryption, n for decryption. Return bytes written;
 * decryption: -1 for a wrong length or padding. */
long digest_aes128_cbc_encrypt(const uint8_t key[16], const uint8_t iv[16], const void *in,
                               size_t n, void *out);
long digest_aes128_cbc_decrypt(const uint8_t key[16], const uint8_t iv[16], const void *in,
                               size_t n, void *out);
#endif
