/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/conf.h"
#include "crypto/digest.h"
#include "crypto/ed25519.h"
#include "crypto/passwd.h"
#include "crypto/token.h"

static struct err e;

static int is_hex(const void *p, size_t n, const char *want)
{
    struct buf b = {0};
    buf_put_hex(&b, p, n);
    int same = strcmp(b.p, want) == 0;
    buf_fini(&b);
    return same;
}

TEST(ed25519) /* RFC 8032, 7.1, TEST 1 */
{
    uint8_t seed[32], key[32], sig[64];
    static const char hex[] = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    CHECK(str_unhex((struct str){hex, 64}, seed, 32) == 32);
    ed25519_public(seed, key);
    CHECK(is_hex(key, 32, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"));
    ed25519_sign(seed, "", 0, sig);
    CHECK(is_hex(
        sig, 64,
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e3970"
        "1cf9b46bd25bf5f0595bbe24655141438e7a100b"));
    CHECK(ed25519_verify(key, "", 0, sig));
    CHECK(!ed25519_verify(key, "x", 1, sig));
    sig[9] ^= 1;
    CHECK(!ed25519_verify(key, "", 0, sig));
}

TEST(known_answers)
{
    uint8_t o[64];
    digest_sha256("abc", 3, o);
    CHECK(is_hex(o, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    digest_sha1("abc", 3, o);
    CHECK(is_hex(o, 20, "a9993e364706816aba3e25717850c26c9cd0d89d"));
    digest_keccak256("", 0, o);
    CHECK(is_hex(o, 32, "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"));
    digest_keccak256("abc", 3, o);
    CHECK(is_hex(o, 32, "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"));
    digest_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, o);
    CHECK(is_hex(o, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
    uint8_t ikm[22], salt[13], info[10], okm[42]; /* RFC 5869, test case 1 */
    memset(ikm, 0x0b, sizeof ikm);
    for (int i = 0; i < 13; i++)
        salt[i] = (uint8_t)i;
    for (int i = 0; i < 10; i++)
        info[i] = (uint8_t)(0xf0 + i);
    digest_hkdf_sha256(ikm, 22, salt, 13, info, 10, okm, 42);
    CHECK(is_hex(
        okm, 42,
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"));
    digest_hkdf_sha256(ikm, 22, NULL, 0, NULL, 0, okm, 42); /* test case 3 */
    CHECK(is_hex(
        okm, 42,
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"));
    struct digest *d = digest_new();
    digest_update(d, "a", 1);
    digest_update(d, "bc", 2);
    digest_final(d, o);
    digest_free(d);
    CHECK(is_hex(o, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
}

TEST(keccak_block_edges_differ)
{
    uint8_t in[300], a[32], b[32];
    memset(in, 'x', sizeof in);
    for (size_t n = 130; n < 280; n++) {
        digest_keccak256(in, n, a);
        digest_keccak256(in, n + 1, b);
        CHECK(!digest_equal(a, b, 32));
    }
}

TEST(aes_cbc_round_trips)
{
    uint8_t key[16], iv[16], in[100], box[116], out[116];
    digest_random(key, 16);
    digest_random(iv, 16);
    digest_random(in, 100);
    for (size_t n = 0; n <= 100; n++) {
        long k = digest_aes128_cbc_encrypt(key, iv, in, n, box);
        CHECK(k == (long)(n / 16 + 1) * 16);
        CHECK(digest_aes128_cbc_decrypt(key, iv, box, (size_t)k, out) == (long)n &&
              memcmp(in, out, n) == 0);
    }
    CHECK(digest_aes128_cbc_decrypt(key, iv, box, 15, out) == -1 &&
          digest_aes128_cbc_decrypt(key, iv, box, 0, out) == -1);
}

TEST(passwords)
{
    char *sets[] = {"argon2_memory_kib=1024", "argon2_time=1", NULL},
         *more[] = {"argon2_memory_kib=2048", NULL};
    char phc[128];
    bool ok, rehash;
    CHECK(conf_load(NULL, sets, &e) == 0);
    CHECK(passwd_hash(STR_LIT("correct horse"), phc, &e) == 0 &&
          strncmp(phc, "$argon2id$v=19$m=1024,t=1,p=1$", 30) == 0);
    CHECK(passwd_verify(STR_LIT("correct horse"), phc, &ok, &rehash, &e) == 0 && ok && !rehash);
    CHECK(passwd_verify(STR_LIT("wrong horse"), phc, &ok, &rehash, &e) == 0 && !ok && !rehash);
    CHECK(passwd_verify(STR_LIT(""), phc, &ok, &rehash, &e) == 0 && !ok);
    CHECK(passwd_verify(STR_LIT("x"), NULL, &ok, &rehash, &e) == 0 && !ok);
    CHECK(passwd_verify(STR_LIT("x"), "$2b$12$abc", &ok, &rehash, &e) == -1 &&
          e.code == ERR_INVALID);
    CHECK(passwd_verify(STR_LIT("x"), "$argon2id$v=19$m=4194304,t=9,p=1$c2FsdHNhbHQ$aGFzaA", &ok,
                        &rehash, &e) == -1);
    CHECK(passwd_hash(STR_LIT(""), phc, &e) == -1);
    CHECK(passwd_hash(STR_LIT("correct horse"), phc, &e) == 0 && conf_load(NULL, more, &e) == 0);
    CHECK(passwd_verify(STR_LIT("correct horse"), phc, &ok, &rehash, &e) == 0 && ok && rehash);
}

static char dir[] = "/tmp/ppv-token-XXXXXX", path[64];

static void start(void)
{
    if (!*path) {
        CHECK(mkdtemp(dir) != NULL);
        snprintf(path, sizeof path, "%s/secret", dir);
    }
    CHECK(token_init(path, &e) == 0);
}

static int verifies(const char *purpose, struct str token, const char *want)
{
    struct buf out = {0};
    int rc = token_verify(purpose, token, &out, &e);
    int ok = rc == 0 && str_eqz((struct str){out.p, out.n}, want);
    CHECK(rc == 0 || (e.code == ERR_UNAUTHENTICATED && out.n == 0));
    buf_fini(&out);
    return ok;
}

static int opens(const char *purpose, struct str sealed, const char *want)
{
    struct buf out = {0};
    int ok =
        token_open(purpose, sealed, &out, &e) == 0 && str_eqz((struct str){out.p, out.n}, want);
    buf_fini(&out);
    return ok;
}

TEST(secret_file_is_private)
{
    start();
    struct stat st;
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    CHECK(chmod(path, 0644) == 0 && token_init(path, &e) == -1 && e.code == ERR_CONFIG);
    CHECK(chmod(path, 0600) == 0 && token_init(path, &e) == 0);
}

TEST(no_changed_token_verifies)
{
    start();
    struct buf t = {0};
    token_sign("session", STR_LIT("user 7"), &t);
    CHECK(verifies("session", (struct str){t.p, t.n}, "user 7") &&
          !verifies("csrf", (struct str){t.p, t.n}, "user 7"));
    static const char alphabet[] = "ABab01-_.";
    for (size_t i = 0; i < t.n; i++) {
        char was = t.p[i];
        for (const char *c = alphabet; *c; c++) {
            t.p[i] = *c;
            CHECK(*c == was || !verifies("session", (struct str){t.p, t.n}, "user 7"));
        }
        t.p[i] = was;
        CHECK(!verifies("session", (struct str){t.p, i}, "user 7"));
    }
    CHECK(!verifies("session", STR_LIT(""), "") && !verifies("session", STR_LIT(".."), ""));
    buf_clear(&t);
    token_sign("session", STR_LIT(""), &t);
    CHECK(verifies("session", (struct str){t.p, t.n}, ""));
    buf_fini(&t);
}

TEST(sealed_secrets_open_only_whole_and_for_their_purpose)
{
    start();
    struct buf a = {0}, b = {0};
    token_seal("settings", STR_LIT("sk_test"), &a);
    token_seal("settings", STR_LIT("sk_test"), &b);
    CHECK(strcmp(a.p, b.p) != 0 && !strstr(a.p, "sk_test"));
    CHECK(opens("settings", (struct str){a.p, a.n}, "sk_test") &&
          !opens("totp", (struct str){a.p, a.n}, "sk_test"));
    for (size_t i = 0; i < a.n; i++) {
        char was = a.p[i];
        a.p[i] = was == 'A' ? 'B' : 'A';
        CHECK(!opens("settings", (struct str){a.p, a.n}, "sk_test"));
        a.p[i] = was;
    }
    CHECK(!opens("settings", STR_LIT(""), "") && !opens("settings", STR_LIT("k.AAAA"), ""));
    buf_fini(&a);
    buf_fini(&b);
}

TEST(old_tokens_survive_a_new_key)
{
    start();
    struct buf t = {0}, s = {0}, n = {0};
    uint8_t before[32], after[32];
    token_sign("session", STR_LIT("x"), &t);
    token_seal("settings", STR_LIT("y"), &s);
    token_derive("index", before);
    CHECK(token_rotate(path, &e) == 0 && token_init(path, &e) == 0);
    token_derive("index", after);
    token_sign("session", STR_LIT("x"), &n);
    CHECK(verifies("session", (struct str){t.p, t.n}, "x") &&
          opens("settings", (struct str){s.p, s.n}, "y"));
    CHECK(memcmp(before, after, 32) == 0 && strcmp(n.p, t.p) != 0);
    buf_fini(&t);
    buf_fini(&s);
    buf_fini(&n);
    unlink(path);
    rmdir(dir);
}
