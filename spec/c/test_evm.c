/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <stdlib.h>

#include "crypto/abi.h"
#include "crypto/digest.h"
#include "crypto/secp.h"
#include "crypto/u256.h"

typedef unsigned __int128 u128;
static struct err e;

static struct u256 of(u128 v)
{
    return (struct u256){{(uint64_t)v, (uint64_t)(v >> 64), 0, 0}};
}

static u128 small(const struct u256 *a)
{
    CHECK(!a->w[2] && !a->w[3]);
    return (u128)a->w[1] << 64 | a->w[0];
}

static uint64_t seed = 42;
static uint64_t next(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    uint64_t v = seed ^ seed >> 33;
    return v >> (seed >> 58); /* all magnitudes */
}

TEST(u256_agrees_with_128_bits)
{
    for (int i = 0; i < 20000; i++) {
        u128 a = (u128)next() << 32 | next(), b = next(), c = next() | 1,
             d = (u128)next() << 30 | 1;
        struct u256 x = of(a), y = of(b), z = of(c), big = of(d), v;
        CHECK(u256_add(&x, &y, &v, &e) == 0 && small(&v) == a + b);
        CHECK((u256_sub(&x, &y, &v, &e) == 0) == (a >= b) && (a < b || small(&v) == a - b));
        CHECK(u256_cmp(&x, &y) == (a < b ? -1 : a > b));
        y = of((uint32_t)b);
        CHECK(u256_muldiv(&x, &y, &z, false, &v, &e) == 0 &&
              small(&v) == a * (uint32_t)b / (uint64_t)c);
        CHECK(u256_muldiv(&x, &y, &z, true, &v, &e) == 0 &&
              small(&v) == (a * (uint32_t)b + c - 1) / c);
        /* (x * big) / big is x however large the product */
        CHECK(u256_muldiv(&x, &big, &big, true, &v, &e) == 0 && u256_cmp(&v, &x) == 0);
    }
}

TEST(u256_texts_and_bytes_come_back)
{
    char text[U256_TEXT];
    uint8_t be[32];
    struct u256 v, w;
    for (int i = 0; i < 5000; i++) {
        v = (struct u256){{next(), next(), i % 3 ? next() : 0, i % 5 ? next() : 0}};
        u256_print(&v, text);
        CHECK(u256_parse(str_from(text), &w, &e) == 0 && u256_cmp(&v, &w) == 0);
        u256_store(&v, be);
        u256_load(be, &w);
        CHECK(u256_cmp(&v, &w) == 0);
    }
    v = (struct u256){{~0ul, ~0ul, ~0ul, ~0ul}};
    u256_print(&v, text);
    CHECK(
        strcmp(text,
               "115792089237316195423570985008687907853269984665640564039457584007913129639935") ==
        0);
    CHECK(u256_parse(
              STR_LIT(
                  "115792089237316195423570985008687907853269984665640564039457584007913129639936"),
              &v, &e) < 0);
    CHECK(u256_bits(&v) == 256);
    v = of((u128)1 << 64);
    CHECK(u256_bits(&v) == 65);
}

TEST(secp_signs_low_and_recovers)
{
    uint8_t key[32], digest[32], sig[65], a[20], b[20];
    for (int i = 0; i < 200; i++) {
        secp_key_new(key);
        digest_random(digest, 32);
        secp_key_address(key, a);
        secp_sign(key, digest, sig);
        struct str s = {(char *)sig, 65};
        CHECK(secp_recover(digest, s, b, &e) == 0 && memcmp(a, b, 20) == 0);
        CHECK(sig[32] < 0x80);
        digest[i % 32] ^= 1;
        CHECK(secp_recover(digest, s, b, &e) < 0 || memcmp(a, b, 20) != 0);
        sig[64] = (uint8_t)(sig[64] == 27 ? 28 : 27);
        digest[i % 32] ^= 1;
        CHECK(secp_recover(digest, s, b, &e) < 0 || memcmp(a, b, 20) != 0);
    }
    memset(key, 0, 32);
    CHECK(!secp_key_valid(key));
    memset(key, 0xff, 32);
    CHECK(!secp_key_valid(key));
}

static bool type_is(struct arena *a, const char *text)
{
    return abi_type(a, str_from(text), NULL, 0, &e) != NULL;
}

TEST(abi_types_do_not_multiply)
{
    /* eight structs of each 30 fields of the next one would be 30^8 types */
    static struct abi_field f[8][30];
    static struct abi_def defs[8];
    static char names[9][3] = {"A0", "A1", "A2", "A3", "A4", "A5", "A6", "A7", ""};
    struct arena *a = arena_new();
    for (int i = 0; i < 8; i++) {
        for (int k = 0; k < 30; k++)
            f[i][k] =
                (struct abi_field){STR_LIT("x"), i < 7 ? str_from(names[i + 1]) : STR_LIT("bool")};
        defs[i] = (struct abi_def){str_from(names[i]), f[i], 30};
    }
    CHECK(!abi_type(a, STR_LIT("A0"), defs, 8, &e));
    CHECK(abi_type(a, STR_LIT("A7"), defs, 8, &e));
    CHECK(type_is(a, "(uint256,(bytes32,address[])[2][])") &&
          !type_is(a, "(uint256,(bytes32,address[])[2]["));
    arena_free(a);
}

TEST(abi_offsets_cannot_share_a_tail)
{
    struct arena *a = arena_new();
    struct abi_type *t = abi_type(a, STR_LIT("(bytes,bytes)"), NULL, 0, &e);
    struct abi_value v = {0}, items[2] = {{.data = STR_LIT("one")}, {.data = STR_LIT("two")}};
    struct buf b = {0};
    v.items = items;
    v.n = 2;
    abi_encode(t, &v, &b);
    CHECK(b.n == 192 && abi_decode(a, t, (struct str){b.p, b.n}, &v, &e) == 0);
    b.p[63] = 64; /* the second points to the first one's bytes */
    CHECK(abi_decode(a, t, (struct str){b.p, 128}, &v, &e) < 0);
    memset(b.p + 64, 0xff, 32); /* and no length wraps around */
    CHECK(abi_decode(a, t, (struct str){b.p, b.n}, &v, &e) < 0);
    buf_fini(&b);
    arena_free(a);
}
