/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/evmkey.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/conf.h"
#include "crypto/digest.h"
#include "crypto/secp.h"
#include "crypto/token.h"
#include "run/cache.h"

enum { FILE_MAX = 512, MINUTE = 60 };

static int dir_path(char out[PATH_MAX], struct err *e)
{
    int n = snprintf(out, PATH_MAX, "%s/keys", conf_str("var_dir"));
    return n > 0 && n < PATH_MAX - 100 ? 0 : ERR(e, ERR_CONFIG, "var_dir is too long");
}

static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9') ||
              s.p[i] == '_'))
            return false;
    return s.n > 0 && s.n <= EVMKEY_NAME_MAX;
}

static int path_of(struct str name, char out[PATH_MAX], struct err *e)
{
    if (!is_name(name))
        return ERR(e, ERR_INVALID, "a key's name is of a-z, 0-9 and _");
    if (dir_path(out, e) < 0)
        return -1;
    size_t n = strlen(out);
    snprintf(out + n, PATH_MAX - n, "/%.*s", (int)name.n, name.p);
    return 0;
}

/* The file's text without white space around. Private ones only. */
static int slurp(const char *path, struct buf *out, struct err *e)
{
    char part[FILE_MAX];
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? ERR(e, ERR_NOT_FOUND, "%s does not exist", path)
                               : err_errno(e, path);
    ssize_t n = fstat(fd, &st) ? -1 : read(fd, part, sizeof part);
    int rc = n < 0 ? err_errno(e, path) : 0;
    if (rc == 0 && (!S_ISREG(st.st_mode) || st.st_mode & 077))
        rc = ERR(e, ERR_CONFIG, "%s must be a file that only its owner can read (chmod 600)", path);
    if (rc == 0) {
        struct str text = str_trim((struct str){part, (size_t)n});
        buf_put(out, text.p, text.n);
    }
    digest_wipe(part, sizeof part);
    close(fd);
    return rc;
}

static void wipe(struct buf *b)
{
    if (b->p)
        digest_wipe(b->p, b->n);
    buf_fini(b);
}

/* What is sealed under a name cannot be moved to another one. file: may have the address of a replaced key behind a dot. */
static void purpose_of(const char *file, char out[64])
{
    snprintf(out, 64, "evm/%.*s", (int)strcspn(file, "."), file);
}

static int open_key(const char *path, uint8_t key[32], struct err *e)
{
    struct buf sealed = {0}, plain = {0};
    char purpose[64];
    purpose_of(strrchr(path, '/') + 1, purpose);
    int rc = slurp(path, &sealed, e);
    if (rc == 0)
        rc = token_open(purpose, (struct str){sealed.p, sealed.n}, &plain, e);
    if (rc == 0 && (plain.n != 32 || !secp_key_valid((const uint8_t *)plain.p)))
        rc = ERR(e, ERR_INTERNAL, "%s holds no key", path);
    if (rc == 0)
        memcpy(key, plain.p, 32);
    wipe(&plain);
    buf_fini(&sealed);
    return rc;
}

/* Root's tools write for the user of the workers: whoever the directory belongs to. */
static int give(const char *dir, const char *path, struct err *e)
{
    struct stat st;
    if (geteuid() != 0)
        return 0;
    return stat(dir, &st) == 0 && chown(path, st.st_uid, st.st_gid) == 0 ? 0 : err_errno(e, path);
}

static int store(const char *path, const uint8_t key[32], bool fresh, struct err *e)
{
    struct buf sealed = {0};
    char dir[PATH_MAX], purpose[64];
    purpose_of(strrchr(path, '/') + 1, purpose);
    token_seal(purpose, (struct str){(const char *)key, 32}, &sealed);
    buf_puts(&sealed, "\n");
    int rc = dir_path(dir, e);
    if (rc == 0 && mkdir(dir, 0700) < 0 && errno != EEXIST)
        rc = err_errno(e, dir);
    if (rc == 0)
        rc = token_store(path, (struct str){sealed.p, sealed.n}, fresh, e);
    if (rc == 0)
        rc = give(dir, path, e);
    buf_fini(&sealed);
    return rc;
}

/* A replaced key still signs what is under way, and its account may hold something. */
static int put_aside(const char *path, struct err *e)
{
    uint8_t key[32], address[20];
    char text[SECP_ADDRESS_TEXT], aside[PATH_MAX + 64];
    if (open_key(path, key, e) < 0)
        return -1;
    secp_key_address(key, address);
    digest_wipe(key, sizeof key);
    secp_address_print(address, text);
    snprintf(aside, sizeof aside, "%s.%s", path, text);
    return rename(path, aside) == 0 ? 0 : err_errno(e, aside);
}

static int put(struct str name, const uint8_t key[32], bool replace, struct err *e)
{
    char path[PATH_MAX];
    if (path_of(name, path, e) < 0)
        return -1;
    if (access(path, F_OK) == 0) {
        if (!replace)
            return ERR(e, ERR_CONFLICT, "there is a key %.*s already", (int)name.n, name.p);
        if (put_aside(path, e) < 0)
            return -1;
    }
    return store(path, key, true, e);
}

int evmkey_new(struct str name, bool replace, struct err *e)
{
    uint8_t key[32];
    secp_key_new(key);
    int rc = put(name, key, replace, e);
    digest_wipe(key, sizeof key);
    return rc;
}

int evmkey_import(struct str name, const char *path, bool replace, struct err *e)
{
    uint8_t key[32];
    struct buf text = {0};
    int rc = slurp(path, &text, e);
    struct str hex = {text.p, text.n};
    if (rc == 0 && str_starts(hex, "0x"))
        hex = (struct str){hex.p + 2, hex.n - 2};
    if (rc == 0 && (hex.n != 64 || str_unhex(hex, key, 32) != 32 || !secp_key_valid(key)))
        rc = ERR(e, ERR_INVALID, "%s must hold a key as 64 hexadecimal digits", path);
    if (rc == 0)
        rc = put(name, key, replace, e);
    digest_wipe(key, sizeof key);
    wipe(&text);
    return rc;
}

int evmkey_address(struct str name, uint8_t address[20], struct err *e)
{
    uint8_t key[32];
    char path[PATH_MAX];
    if (path_of(name, path, e) < 0 || open_key(path, key, e) < 0)
        return -1;
    secp_key_address(key, address);
    digest_wipe(key, sizeof key);
    return 0;
}

/* Whoever gets into a worker could sign cheap invoices for all films at once; a person at the desk notices the refusals. */
static int within_rate(struct err *e)
{
    char key[64];
    int64_t minute = clock_wall() / 1000000 / MINUTE, most = conf_int("invoice_rate");
    snprintf(key, sizeof key, "evm:" EVMKEY_INVOICES ":%lld", (long long)minute);
    if (cache_incr(str_from(key), 1, (int64_t)2 * MINUTE * 1000000) <= most)
        return 0;
    return ERR(e, ERR_RATE, "more than invoice_rate = %lld invoices in a minute", (long long)most);
}

int evmkey_sign(struct str name, const uint8_t digest[32], uint8_t sig[65], struct err *e)
{
    uint8_t key[32];
    char path[PATH_MAX];
    if (path_of(name, path, e) < 0 || open_key(path, key, e) < 0)
        return -1;
    int rc = str_eqz(name, EVMKEY_INVOICES) ? within_rate(e) : 0;
    if (rc == 0)
        secp_sign(key, digest, sig);
    digest_wipe(key, sizeof key);
    return rc;
}

static int each(int (*fn)(void *arg, const char *path, const char *file), void *arg, struct err *e)
{
    char dir[PATH_MAX], path[PATH_MAX + 300];
    if (dir_path(dir, e) < 0)
        return -1;
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT ? 0 : err_errno(e, dir);
    int rc = 0;
    for (struct dirent *f; rc == 0 && (f = readdir(d));) {
        size_t n = strcspn(f->d_name, "."), all = strlen(f->d_name);
        bool old = all == n + SECP_ADDRESS_TEXT && strncmp(f->d_name + n, ".0x", 3) == 0;
        snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
        if (is_name((struct str){f->d_name, n}) && (all == n || old))
            rc = fn(arg, path, f->d_name);
    }
    closedir(d);
    return rc;
}

struct listing {
    void (*fn)(void *arg, const char *name, const char *kid);
    void *arg;
};

static int list_one(void *arg, const char *path, const char *file)
{
    struct listing *l = arg;
    struct buf text = {0};
    char kid[16] = "?";
    if (slurp(path, &text, NULL) == 0)
        snprintf(kid, sizeof kid, "%.*s", (int)strcspn(text.p, "."), text.p);
    l->fn(l->arg, file, kid);
    buf_fini(&text);
    return 0;
}

int evmkey_list(void (*fn)(void *arg, const char *name, const char *kid), void *arg, struct err *e)
{
    struct listing l = {fn, arg};
    return each(list_one, &l, e);
}

struct resealing {
    int done, unreadable;
    struct err *e;
};

static int reseal_one(void *arg, const char *path, const char *file)
{
    struct resealing *r = arg;
    uint8_t key[32];
    (void)file;
    if (open_key(path, key, NULL) < 0) {
        r->unreadable++;
        return 0;
    }
    int rc = store(path, key, false, r->e);
    digest_wipe(key, sizeof key);
    r->done += rc == 0;
    return rc;
}

int evmkey_reseal(int *done, int *unreadable, struct err *e)
{
    struct resealing r = {.e = e};
    int rc = each(reseal_one, &r, e);
    *done = r.done;
    *unreadable = r.unreadable;
    return rc;
}
