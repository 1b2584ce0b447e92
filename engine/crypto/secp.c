/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/secp.h"

#include <ctype.h>
#include <pthread.h>
#include <secp256k1.h>
#include <secp256k1_recovery.h>
#include <string.h>

#include "crypto/digest.h"

static secp256k1_context *ctx;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_context(void)
{
    uint8_t seed[32];
    ctx = secp256k1_context_create(SECP256K1_CONTEXT_SIGN | SECP256K1_CONTEXT_VERIFY);
    must(ctx);
    digest_random(seed, sizeof seed); /* blinds what the signing time could tell about a key */
    must(secp256k1_context_randomize(ctx, seed));
    digest_wipe(seed, sizeof seed);
}

static const secp256k1_context *context(void)
{
    must(pthread_once(&once, make_context) == 0);
    return ctx;
}

bool secp_key_valid(const uint8_t key[32])
{
    return secp256k1_ec_seckey_verify(context(), key) == 1;
}

void secp_key_new(uint8_t key[32])
{
    do
        digest_random(key, 32);
    while (!secp_key_valid(key));
}

static void address_of(const secp256k1_pubkey *point, uint8_t address[20])
{
    uint8_t flat[65], hash[32];
    size_t n = sizeof flat;
    must(secp256k1_ec_pubkey_serialize(context(), flat, &n, point, SECP256K1_EC_UNCOMPRESSED) == 1);
    digest_keccak256(flat + 1, 64, hash);
    memcpy(address, hash + 12, 20);
}

void secp_key_address(const uint8_t key[32], uint8_t address[20])
{
    secp256k1_pubkey point;
    must(secp256k1_ec_pubkey_create(context(), &point, key) == 1);
    address_of(&point, address);
}

void secp_sign(const uint8_t key[32], const uint8_t digest[32], uint8_t sig[SECP_SIG])
{
    secp256k1_ecdsa_recoverable_signature s;
    int recid = 0;
    must(secp256k1_ecdsa_sign_recoverable(context(), &s, digest, key, NULL, NULL) == 1);
    secp256k1_ecdsa_recoverable_signature_serialize_compact(context(), sig, &recid, &s);
    must(recid == 0 || recid == 1);
    sig[64] = (uint8_t)(27 + recid);
}

/* The library recovers from the twin with the high s as well. */
static bool low(const secp256k1_ecdsa_recoverable_signature *s)
{
    secp256k1_ecdsa_signature plain, normal;
    secp256k1_ecdsa_recoverable_signature_convert(context(), &plain, s);
    return secp256k1_ecdsa_signature_normalize(context(), &normal, &plain) == 0;
}

int secp_recover(const uint8_t digest[32], struct str sig, uint8_t address[20], struct err *e)
{
    secp256k1_ecdsa_recoverable_signature s;
    secp256k1_pubkey point;
    if (sig.n != SECP_SIG)
        return ERR(e, ERR_INVALID, "a signature has 65 bytes");
    int v = (uint8_t)sig.p[64];
    v = v >= 27 ? v - 27 : v;
    if (v != 0 && v != 1)
        return ERR(e, ERR_INVALID, "v of the signature is not 27 or 28");
    if (secp256k1_ecdsa_recoverable_signature_parse_compact(context(), &s, (const uint8_t *)sig.p,
                                                            v) != 1 ||
        secp256k1_ecdsa_recover(context(), &point, &s, digest) != 1)
        return ERR(e, ERR_INVALID, "not a signature");
    if (!low(&s))
        return ERR(e, ERR_INVALID, "s of the signature is in the upper half");
    address_of(&point, address);
    return 0;
}

void secp_address_print(const uint8_t address[20], char out[SECP_ADDRESS_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t hash[32];
    out[0] = '0';
    out[1] = 'x';
    for (int i = 0; i < 20; i++) {
        out[2 + 2 * i] = digits[address[i] >> 4];
        out[3 + 2 * i] = digits[address[i] & 15];
    }
    out[42] = 0;
    digest_keccak256(out + 2, 40, hash);
    for (int i = 0; i < 40; i++)
        if ((hash[i / 2] >> (i % 2 ? 0 : 4) & 15) >= 8)
            out[2 + i] = (char)toupper((unsigned char)out[2 + i]);
}

int secp_address_parse(struct str s, uint8_t address[20], struct err *e)
{
    char want[SECP_ADDRESS_TEXT];
    bool upper = false, lower = false;
    if (s.n != 42 || s.p[0] != '0' || s.p[1] != 'x' ||
        str_unhex((struct str){s.p + 2, 40}, address, 20) != 20)
        return ERR(e, ERR_INVALID, "an address is 0x and 40 hexadecimal digits");
    for (int i = 2; i < 42; i++) {
        upper |= s.p[i] >= 'A' && s.p[i] <= 'F';
        lower |= s.p[i] >= 'a' && s.p[i] <= 'f';
    }
    secp_address_print(address, want);
    if (upper && lower && memcmp(want, s.p, 42) != 0)
        return ERR(e, ERR_INVALID, "the address is mistyped: its checksum is wrong");
    return 0;
}
