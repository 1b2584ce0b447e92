/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/token.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/digest.h"

enum { MAX_KEYS = 8, KID = 8, KEY = 32, NONCE = 12, TAG = 16, SEAL_MAX = 1 << 20 };

struct key {
    char kid[KID + 1];
    uint8_t bytes[KEY];
};

static struct key keys[MAX_KEYS]; /* newest first */
static int nkeys;

/* ---- the secret file ---- */

static int parse_line(struct str line, struct key *k)
{
    const char *space = line.n ? memchr(line.p, ' ', line.n) : NULL;
    size_t n = space ? (size_t)(space - line.p) : 0;
    if (n < 1 || n > KID || memchr(line.p, '.', n))
        return -1;
    memcpy(k->kid, line.p, n);
    k->kid[n] = 0;
    struct str hex = str_trim((struct str){space, line.n - n});
    return str_unhex(hex, k->bytes, KEY) == KEY ? 0 : -1;
}

static int parse(const char *path, struct str text, struct err *e)
{
    nkeys = 0;
    for (int number = 1; text.n; number++) {
        const char *nl = memchr(text.p, '\n', text.n);
        size_t n = nl ? (size_t)(nl - text.p) : text.n;
        struct str line = str_trim((struct str){text.p, n});
        if (line.n && line.p[0] != '#') {
            if (nkeys == MAX_KEYS)
                return ERR(e, ERR_CONFIG, "%s:%d: more than %d keys", path, number, MAX_KEYS);
            if (parse_line(line, &keys[nkeys++]))
                return ERR(e, ERR_CONFIG, "%s:%d: expected `kid hex` with 64 digits", path, number);
        }
        text.p += n + (nl != NULL);
        text.n -= n + (nl != NULL);
    }
    return nkeys ? 0 : ERR(e, ERR_CONFIG, "%s: holds no key", path);
}

static int slurp(const char *path, struct buf *out, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? ERR(e, ERR_NOT_FOUND, "%s does not exist", path)
                               : err_errno(e, path);
    struct stat st;
    int rc = fstat(fd, &st) ? err_errno(e, path) : 0;
    if (rc == 0 && (!S_ISREG(st.st_mode) || st.st_mode & 077))
        rc = ERR(e, ERR_CONFIG, "%s must be a file that only its owner can read (chmod 600)", path);
    char part[1024];
    ssize_t n = 0;
    while (rc == 0 && out->n < 65536 && (n = read(fd, part, sizeof part)) > 0)
        buf_put(out, part, (size_t)n);
    if (rc == 0 && n < 0)
        rc = err_errno(e, path);
    digest_wipe(part, sizeof part);
    close(fd);
    return rc;
}

static void put_new_key(struct buf *b)
{
    uint8_t kid[3], key[KEY];
    digest_random(kid, sizeof kid);
    digest_random(key, sizeof key);
    buf_puts(b, "k");
    buf_put_hex(b, kid, sizeof kid);
    buf_puts(b, " ");
    buf_put_hex(b, key, sizeof key);
    buf_puts(b, "\n");
    digest_wipe(key, sizeof key);
}

static void wipe(struct buf *b)
{
    if (b->p)
        digest_wipe(b->p, b->n);
    buf_fini(b);
}

int token_store(const char *path, struct str text, bool fresh, struct err *e)
{
    char tmp[512], dir[512];
    snprintf(tmp, sizeof tmp, "%.480s.%d.new", path, (int)getpid());
    snprintf(dir, sizeof dir, "%.510s", path);
    char *slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = 0;
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, tmp);
    int rc = write(fd, text.p, text.n) == (ssize_t)text.n && fsync(fd) == 0 ? 0 : err_errno(e, tmp);
    close(fd);
    if (rc == 0 && (fresh ? link(tmp, path) : rename(tmp, path)))
        rc = err_errno(e, path);
    if (rc || fresh)
        unlink(tmp);
    int dfd = rc ? -1 : open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dfd >= 0) {
        fsync(dfd);
        close(dfd);
    }
    return rc;
}

int token_init(const char *path, struct err *e)
{
    struct buf b = {0};
    struct err why = {0};
    int rc = slurp(path, &b, &why);
    if (rc && why.code == ERR_NOT_FOUND) {
        buf_puts(&b, "# Keys of this instance, newest first. Back this file up and tell nobody.\n");
        put_new_key(&b);
        rc = token_store(path, (struct str){b.p, b.n}, true, &why);
    }
    if (rc) {
        if (e)
            *e = why;
    } else {
        rc = parse(path, (struct str){b.p, b.n}, e);
    }
    wipe(&b);
    return rc;
}

int token_rotate(const char *path, struct err *e)
{
    struct buf old = {0}, b = {0};
    int rc = slurp(path, &old, e);
    if (rc == 0 && (rc = parse(path, (struct str){old.p, old.n}, e)) == 0 && nkeys == MAX_KEYS)
        rc = ERR(e, ERR_CONFLICT, "%s already holds %d keys; remove one that is not the last line",
                 path, MAX_KEYS);
    if (rc == 0) {
        put_new_key(&b);
        buf_put(&b, old.p, old.n);
        rc = token_store(path, (struct str){b.p, b.n}, false, e);
    }
    wipe(&old);
    wipe(&b);
    return rc;
}

const char *token_kid(void)
{
    must(nkeys > 0);
    return keys[0].kid;
}

/* ---- keys for purposes ---- */

static void subkey(const struct key *k, const char *use, const char *purpose, uint8_t out[32])
{
    char info[256];
    int n = snprintf(info, sizeof info, "ppv/%s/%s", use, purpose);
    must(n > 0 && (size_t)n < sizeof info);
    digest_hkdf_sha256(k->bytes, KEY, NULL, 0, info, (size_t)n, out, 32);
}

void token_derive(const char *purpose, uint8_t out[32])
{
    must(nkeys > 0);
    subkey(&keys[nkeys - 1], "derive", purpose, out);
}

_Static_assert((int)MAX_KEYS == (int)TOKEN_KEYS, "token_keys gives all");

int token_keys(const char *purpose, struct digest_key out[TOKEN_KEYS])
{
    uint8_t key[32];
    for (int i = 0; i < nkeys; i++) {
        subkey(&keys[i], "sign", purpose, key);
        digest_key_init(&out[i], key, sizeof key);
    }
    digest_wipe(key, sizeof key);
    return nkeys;
}

/* Splits off the kid; rest is what follows the dot. */
static const struct key *key_of(struct str text, struct str *rest)
{
    const char *dot = text.n ? memchr(text.p, '.', text.n) : NULL;
    if (!dot)
        return NULL;
    struct str kid = {text.p, (size_t)(dot - text.p)};
    *rest = (struct str){dot + 1, text.n - kid.n - 1};
    for (int i = 0; i < nkeys; i++)
        if (str_eqz(kid, keys[i].kid))
            return &keys[i];
    return NULL;
}

/* ---- signed ---- */

static void mac_of(const struct key *k, const char *purpose, struct str signed_part,
                   uint8_t out[32])
{
    uint8_t key[32];
    subkey(k, "sign", purpose, key);
    digest_hmac_sha256(key, sizeof key, signed_part.p, signed_part.n, out);
    digest_wipe(key, sizeof key);
}

void token_sign(const char *purpose, struct str data, struct buf *out)
{
    must(nkeys > 0);
    size_t start = out->n;
    uint8_t mac[32];
    buf_puts(out, keys[0].kid);
    buf_puts(out, ".");
    buf_put_base64url(out, data.p, data.n);
    mac_of(&keys[0], purpose, (struct str){out->p + start, out->n - start}, mac);
    buf_puts(out, ".");
    buf_put_base64url(out, mac, sizeof mac);
}

int token_verify(const char *purpose, struct str token, struct buf *out, struct err *e)
{
    struct str rest;
    const struct key *k = key_of(token, &rest);
    const char *dot = k && rest.n ? memchr(rest.p, '.', rest.n) : NULL;
    if (!dot)
        return ERR(e, ERR_UNAUTHENTICATED, "not a token of this instance");
    struct str payload = {rest.p, (size_t)(dot - rest.p)};
    uint8_t want[32], got[32];
    mac_of(k, purpose, (struct str){token.p, (size_t)(dot - token.p)}, want);
    struct str mac = {dot + 1, rest.n - payload.n - 1};
    if (mac.n != 43 || str_unbase64(mac, got, sizeof got) != 32 || !digest_equal(want, got, 32))
        return ERR(e, ERR_UNAUTHENTICATED, "wrong signature");
    char *data = malloc(payload.n + 1);
    must(data);
    long n = str_unbase64(payload, data, payload.n);
    if (n >= 0)
        buf_put(out, data, (size_t)n);
    free(data);
    return n >= 0 ? 0 : ERR(e, ERR_UNAUTHENTICATED, "malformed payload");
}

/* ---- sealed ---- */

void token_seal(const char *purpose, struct str plain, struct buf *out)
{
    must(nkeys > 0 && plain.n <= SEAL_MAX);
    uint8_t key[32], *box = malloc(NONCE + plain.n + TAG);
    must(box);
    int a = 0, b = 0;
    subkey(&keys[0], "seal", purpose, key);
    digest_random(box, NONCE);
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    must(c && EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, box) == 1);
    must(EVP_EncryptUpdate(c, box + NONCE, &a, (const uint8_t *)(plain.n ? plain.p : ""),
                           (int)plain.n) == 1);
    must(EVP_EncryptFinal_ex(c, box + NONCE + a, &b) == 1 && (size_t)a == plain.n);
    must(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG, box + NONCE + plain.n) == 1);
    EVP_CIPHER_CTX_free(c);
    digest_wipe(key, sizeof key);
    buf_puts(out, keys[0].kid);
    buf_puts(out, ".");
    buf_put_base64url(out, box, NONCE + plain.n + TAG);
    free(box);
}

static bool open_box(const struct key *k, const char *purpose, uint8_t *box, size_t n,
                     uint8_t *plain)
{
    uint8_t key[32];
    int a = 0, b = 0;
    subkey(k, "seal", purpose, key);
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    must(c && EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, box) == 1);
    digest_wipe(key, sizeof key);
    bool ok = EVP_DecryptUpdate(c, plain, &a, box + NONCE, (int)(n - NONCE - TAG)) == 1 &&
              EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG, box + n - TAG) == 1 &&
              EVP_DecryptFinal_ex(c, plain + a, &b) == 1;
    EVP_CIPHER_CTX_free(c);
    return ok;
}

int token_open(const char *purpose, struct str sealed, struct buf *out, struct err *e)
{
    struct str text;
    const struct key *k = key_of(sealed, &text);
    if (!k || text.n > 2 * SEAL_MAX)
        return ERR(e, ERR_UNAUTHENTICATED, "not sealed by this instance");
    uint8_t *box = malloc(text.n + 1), *plain = malloc(text.n + 1);
    must(box && plain);
    long n = str_unbase64(text, box, text.n);
    bool ok = n >= NONCE + TAG && open_box(k, purpose, box, (size_t)n, plain);
    if (ok)
        buf_put(out, plain, (size_t)n - NONCE - TAG);
    digest_wipe(plain, text.n + 1);
    free(plain);
    free(box);
    return ok ? 0 : ERR(e, ERR_UNAUTHENTICATED, "cannot be opened");
}
