/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_crypto.h"

#include <stdio.h>
#include <string.h>
#include "base/arena.h"
#include "base/str.h"
#include "bind/bind_work.h"
#include "crypto/digest.h"
#include "crypto/ed25519.h"
#include "crypto/passwd.h"
#include "crypto/token.h"
#include "crypto/x509.h"
#include "lua/lx.h"

enum { DATA_MAX = 16 << 20, KEY_MAX = 4096, PURPOSE_MAX = 60 };

/* ppv.crypto.random(n: integer) -> string
 * n random bytes, at most 4096. Phases: any. Since 1.0 */
static int l_random(lua_State *L)
{
    char tmp[4096];
    int64_t n = lx_int(L, 1, 1, sizeof tmp);
    digest_random(tmp, (size_t)n);
    lua_pushlstring(L, tmp, (size_t)n);
    return 1;
}

/* ppv.crypto.random_token(n?: integer) -> string
 * n random bytes (default 32) as base64url. Phases: any. Since 1.0 */
static int l_random_token(lua_State *L)
{
    char tmp[256];
    int64_t n = lx_opt_int(L, 1, 8, sizeof tmp, 32);
    digest_random(tmp, (size_t)n);
    lua_settop(L, 0);
    lua_pushliteral(L, "b64u");
    return bind_encode_push(L, 1, tmp, (size_t)n);
}

/* ppv.crypto.sha256(s: string, enc?: string) -> string
 * enc: nothing = 32 raw bytes, "hex", "b64u" or "b64". Phases: any. Since 1.0 */
static int l_sha256(lua_State *L)
{
    uint8_t md[32];
    struct str s = lx_str(L, 1, 0, DATA_MAX);
    digest_sha256(s.p, s.n, md);
    return bind_encode_push(L, 2, md, sizeof md);
}

/* ppv.crypto.sha512(s: string, enc?: string) -> string
 * As sha256, 64 bytes. Phases: any. Since 1.0 */
static int l_sha512(lua_State *L)
{
    uint8_t md[64];
    struct str s = lx_str(L, 1, 0, DATA_MAX);
    digest_sha512(s.p, s.n, md);
    return bind_encode_push(L, 2, md, sizeof md);
}

/* ppv.crypto.keccak256(s: string, enc?: string) -> string
 * Ethereum's hash (not SHA3-256). Phases: any. Since 1.0 */
static int l_keccak256(lua_State *L)
{
    uint8_t md[32];
    struct str s = lx_str(L, 1, 0, DATA_MAX);
    digest_keccak256(s.p, s.n, md);
    return bind_encode_push(L, 2, md, sizeof md);
}

/* ppv.crypto.hmac_sha256(key: string, s: string, enc?: string) -> string
 * Phases: any. Since 1.0 */
static int l_hmac_sha256(lua_State *L)
{
    uint8_t md[32];
    struct str k = lx_str(L, 1, 0, KEY_MAX), s = lx_str(L, 2, 0, DATA_MAX);
    digest_hmac_sha256(k.p, k.n, s.p, s.n, md);
    return bind_encode_push(L, 3, md, sizeof md);
}

/* ppv.crypto.hmac_sha512(key: string, s: string, enc?: string) -> string
 * Phases: any. Since 1.0 */
static int l_hmac_sha512(lua_State *L)
{
    uint8_t md[64];
    struct str k = lx_str(L, 1, 0, KEY_MAX), s = lx_str(L, 2, 0, DATA_MAX);
    digest_hmac_sha512(k.p, k.n, s.p, s.n, md);
    return bind_encode_push(L, 3, md, sizeof md);
}

/* ppv.crypto.hmac_sha1(key: string, s: string, enc?: string) -> string
 * For protocols that ask for it (one-time codes). Phases: any. Since 1.0 */
static int l_hmac_sha1(lua_State *L)
{
    uint8_t md[20];
    struct str k = lx_str(L, 1, 0, KEY_MAX), s = lx_str(L, 2, 0, DATA_MAX);
    digest_hmac_sha1(k.p, k.n, s.p, s.n, md);
    return bind_encode_push(L, 3, md, sizeof md);
}

/* ppv.crypto.crc32(s: string) -> integer
 * CRC-32 as zlib has it, 0 to 4294967295. It protects against nothing intended; for protocols that ask for
 * it. Phases: any. Since 1.0 */
static int l_crc32(lua_State *L)
{
    struct str s = lx_str(L, 1, 0, DATA_MAX);
    lua_pushnumber(L, digest_crc32(s.p, s.n));
    return 1;
}

/* ppv.crypto.verify_certificate(claim: table) -> true | nil, err
 * Was message signed (RSA PKCS#1 v1.5, SHA-256) by the holder of a trusted certificate? claim: cert (PEM; the
 * signer's first, then those between it and a root), message, signature (raw bytes), name (".example.com" = issued
 * for a host beneath it, else for this host), at (seconds since 1970 when it must be in force), roots (PEM,
 * trusted besides the system's). Phases: any. Errors: auth.required input.invalid. Since 1.0 */
static int l_verify_certificate(lua_State *L)
{
    enum { PEM_MAX = 65536, NAME_MAX_BYTES = 253 };
    struct err e = {0};
    luaL_checktype(L, 1, LUA_TTABLE);
    struct x509_claim c = {.pem = lx_field_str(L, 1, "cert", PEM_MAX, true),
                           .roots = lx_field_str(L, 1, "roots", PEM_MAX, false),
                           .name = lx_field_str(L, 1, "name", NAME_MAX_BYTES, true).p,
                           .at = lx_field_int(L, 1, "at", 0, INT32_MAX * 64LL, -1),
                           .message = lx_field_str(L, 1, "message", DATA_MAX, true),
                           .signature = lx_field_str(L, 1, "signature", KEY_MAX, true)};
    if (!c.name[0] || c.at < 0)
        return luaL_error(L, "fields 'name' and 'at' are needed");
    if (x509_verify(&c, &e) < 0)
        return lx_fail(L, &e);
    lua_pushboolean(L, 1);
    return 1;
}

/* ppv.crypto.equal(a: string, b: string) -> boolean
 * Takes the same time wherever they differ. Phases: any. Since 1.0 */
static int l_equal(lua_State *L)
{
    struct str a = lx_str(L, 1, 0, DATA_MAX), b = lx_str(L, 2, 0, DATA_MAX);
    lua_pushboolean(L, a.n == b.n && digest_equal(a.p, b.p, a.n));
    return 1;
}

/* ppv.crypto.hkdf(secret: string, info: string, length: integer, salt?: string) -> string
 * HKDF-SHA256 (RFC 5869), raw bytes. Phases: any. Since 1.0 */
static int l_hkdf(lua_State *L)
{
    char out[1024];
    struct str secret = lx_str(L, 1, 1, KEY_MAX), info = lx_str(L, 2, 0, KEY_MAX);
    int64_t n = lx_int(L, 3, 1, sizeof out);
    struct str salt = lx_opt_str(L, 4, KEY_MAX, "");
    digest_hkdf_sha256(secret.p, secret.n, salt.p, salt.n, info.p, info.n, out, (size_t)n);
    lua_pushlstring(L, out, (size_t)n);
    return 1;
}

static const uint8_t *block(lua_State *L, int i)
{
    return (const uint8_t *)lx_str(L, i, 16, 16).p;
}

/* ppv.crypto.aes128_encrypt(key: string, iv: string, s: string) -> string
 * AES-128-CBC with PKCS#7 padding; key and iv are 16 bytes. Phases: any. Since 1.0 */
static int l_aes128_encrypt(lua_State *L)
{
    struct str s = lx_str(L, 3, 0, DATA_MAX);
    char *out = lua_newuserdata(L, s.n + 16);
    long n = digest_aes128_cbc_encrypt(block(L, 1), block(L, 2), s.p, s.n, out);
    lua_pushlstring(L, out, (size_t)n);
    return 1;
}

/* ppv.crypto.aes128_decrypt(key: string, iv: string, s: string) -> string | nil, err
 * Phases: any. Errors: request.bad. Since 1.0 */
static int l_aes128_decrypt(lua_State *L)
{
    struct str s = lx_str(L, 3, 0, DATA_MAX);
    char *out = lua_newuserdata(L, s.n + 16);
    long n = digest_aes128_cbc_decrypt(block(L, 1), block(L, 2), s.p, s.n, out);
    if (n < 0)
        return lx_failf(L, ERR_BAD_REQUEST, "not a ciphertext of this key");
    lua_pushlstring(L, out, (size_t)n);
    return 1;
}

/* ---- tokens ---- */

static struct buf scratch; /* kept: pushing may run out of memory and jump */

static int push_scratch(lua_State *L)
{
    lua_pushlstring(L, scratch.p ? scratch.p : "", scratch.n);
    if (scratch.n)
        digest_wipe(scratch.p, scratch.n);
    return 1;
}

static const char *purpose(lua_State *L, int i, const char *def)
{
    struct str p = lx_opt_str(L, i, PURPOSE_MAX, def);
    luaL_argcheck(L, !str_starts(p, "evm/"), i, "these keys are for the engine alone (ppv.evm)");
    return luaL_optstring(L, i, def);
}

/* ppv.crypto.sign(purpose: string, s: string) -> token: string
 * A token only this site can make, for this purpose only; s is readable in it. No expiry of its
 * own: put one in. Phases: any. Since 1.0 */
static int l_sign(lua_State *L)
{
    lx_str(L, 1, 1, PURPOSE_MAX);
    struct str s = lx_str(L, 2, 0, 65536);
    buf_clear(&scratch);
    token_sign(lua_tostring(L, 1), s, &scratch);
    return push_scratch(L);
}

/* ppv.crypto.verify(purpose: string, token: string) -> s: string | nil, err
 * What sign was given. Phases: any. Errors: auth.required. Since 1.0 */
static int l_verify(lua_State *L)
{
    struct err e = {0};
    lx_str(L, 1, 1, PURPOSE_MAX);
    struct str s = lx_str(L, 2, 0, 131072);
    buf_clear(&scratch);
    if (token_verify(lua_tostring(L, 1), s, &scratch, &e) < 0)
        return lx_fail(L, &e);
    return push_scratch(L);
}

/* ppv.crypto.seal(s: string, purpose?: string) -> sealed: string
 * Encrypts for storage (AES-256-GCM under the instance secret), e.g. plugin secrets. Phases: any.
 * Since 1.0 */
static int l_seal(lua_State *L)
{
    struct str s = lx_str(L, 1, 0, 1 << 20);
    const char *p = purpose(L, 2, "seal");
    buf_clear(&scratch);
    token_seal(p, s, &scratch);
    return push_scratch(L);
}

/* ppv.crypto.open(sealed: string, purpose?: string) -> s: string | nil, err
 * What seal was given. Phases: any. Errors: auth.required. Since 1.0 */
static int l_open(lua_State *L)
{
    struct err e = {0};
    struct str s = lx_str(L, 1, 0, 2 << 20);
    const char *p = purpose(L, 2, "seal");
    buf_clear(&scratch);
    if (token_open(p, s, &scratch, &e) < 0)
        return lx_fail(L, &e);
    return push_scratch(L);
}

/* ---- signatures that others can check ---- */

static void instance_seed(lua_State *L, uint8_t seed[32])
{
    char name[PURPOSE_MAX + 10];
    snprintf(name, sizeof name, "ed25519.%s", lx_str(L, 1, 1, PURPOSE_MAX).p);
    token_derive(name, seed);
}

/* ppv.crypto.public_key(purpose: string) -> key: string
 * The 32 bytes with which anybody checks what public_sign signed for this purpose. Stays the same when instance secrets are
 * added. Phases: any. Since 1.0 */
static int l_public_key(lua_State *L)
{
    uint8_t seed[32], key[32];
    instance_seed(L, seed);
    ed25519_public(seed, key);
    digest_wipe(seed, sizeof seed);
    lua_pushlstring(L, (char *)key, sizeof key);
    return 1;
}

/* ppv.crypto.public_sign(purpose: string, s: string) -> signature: string
 * Ed25519 (RFC 8032), 64 bytes; the same text has the same signature. Phases: any. Since 1.0 */
static int l_public_sign(lua_State *L)
{
    uint8_t seed[32], sig[64];
    struct str s = lx_str(L, 2, 0, DATA_MAX);
    instance_seed(L, seed);
    ed25519_sign(seed, s.p, s.n, sig);
    digest_wipe(seed, sizeof seed);
    lua_pushlstring(L, (char *)sig, sizeof sig);
    return 1;
}

/* ppv.crypto.public_verify(key: string, s: string, signature: string) -> boolean
 * Did the holder of the key (32 bytes) sign s? Ed25519, needs no secret. Phases: any. Since 1.0 */
static int l_public_verify(lua_State *L)
{
    struct str key = lx_str(L, 1, 32, 32), s = lx_str(L, 2, 0, DATA_MAX),
               sig = lx_str(L, 3, 64, 64);
    lua_pushboolean(L, ed25519_verify((const uint8_t *)key.p, s.p, s.n, (const uint8_t *)sig.p));
    return 1;
}

/* ---- passwords ---- */

struct pass_work {
    struct bind_work w;
    struct str plain;
    char *phc;
    char out[128];
    bool ok, stale;
};

static void hash_work(struct bind_work *w)
{
    struct pass_work *p = (struct pass_work *)w;
    passwd_hash(p->plain, p->out, &w->err);
}

static int hash_push(lua_State *L, struct bind_work *w)
{
    lua_pushstring(L, ((struct pass_work *)w)->out);
    return 1;
}

static void verify_work(struct bind_work *w)
{
    struct pass_work *p = (struct pass_work *)w;
    passwd_verify(p->plain, p->phc, &p->ok, &p->stale, &w->err);
}

static int verify_push(lua_State *L, struct bind_work *w)
{
    struct pass_work *p = (struct pass_work *)w;
    lua_pushboolean(L, p->ok);
    lua_pushboolean(L, p->stale);
    return 2;
}

static void pass_wipe(struct bind_work *w)
{
    struct pass_work *p = (struct pass_work *)w;
    digest_wipe((char *)p->plain.p, p->plain.n);
}

static struct pass_work *pass_new(struct task *t, struct str plain)
{
    struct pass_work *p = bind_work_new(t, sizeof *p);
    p->plain = (struct str){arena_strndup(p->w.arena, plain.p, plain.n), plain.n};
    p->w.fini = pass_wipe;
    return p;
}

/* ppv.crypto.hash_password(plain: string) -> string | nil, err
 * Argon2id with the site's cost, in PHC form; plain is 1 to 1024 bytes. Phases: request webhook
 * job tick. Yields. Errors: engine.busy. Since 1.0 */
static int l_hash_password(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    struct pass_work *p = pass_new(t, lx_str(L, 1, 1, 1024));
    p->w.work = hash_work;
    p->w.push = hash_push;
    return bind_work_run(L, &p->w);
}

/* ppv.crypto.verify_password(plain: string, phc?: string) -> ok: boolean, needs_rehash: boolean | nil, err
 * Without phc (unknown user) the same work is done against a dummy and ok is false. Phases:
 * request webhook job tick. Yields. Errors: engine.busy input.invalid. Since 1.0 */
static int l_verify_password(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    struct str plain = lx_str(L, 1, 0, 1024), phc = lx_opt_str(L, 2, 512, NULL);
    struct pass_work *p = pass_new(t, plain);
    p->phc = phc.n ? arena_strndup(p->w.arena, phc.p, phc.n) : NULL;
    p->w.work = verify_work;
    p->w.push = verify_push;
    return bind_work_run(L, &p->w);
}

int bind_crypto_open(lua_State *L)
{
    static const luaL_Reg reg[] = {{"random", l_random},
                                   {"random_token", l_random_token},
                                   {"sha256", l_sha256},
                                   {"sha512", l_sha512},
                                   {"keccak256", l_keccak256},
                                   {"hmac_sha256", l_hmac_sha256},
                                   {"hmac_sha512", l_hmac_sha512},
                                   {"hmac_sha1", l_hmac_sha1},
                                   {"crc32", l_crc32},
                                   {"verify_certificate", l_verify_certificate},
                                   {"equal", l_equal},
                                   {"hkdf", l_hkdf},
                                   {"aes128_encrypt", l_aes128_encrypt},
                                   {"aes128_decrypt", l_aes128_decrypt},
                                   {"sign", l_sign},
                                   {"verify", l_verify},
                                   {"seal", l_seal},
                                   {"open", l_open},
                                   {"public_key", l_public_key},
                                   {"public_sign", l_public_sign},
                                   {"public_verify", l_public_verify},
                                   {"hash_password", l_hash_password},
                                   {"verify_password", l_verify_password},
                                   {NULL, NULL}};
    lx_module(L, reg);
    bind_encode_add(L);
    return 1;
}
