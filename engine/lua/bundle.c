/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/evp.h>
#include "base/clock.h"
#include "lua/gen.h"

#define FILE_MAX ((size_t)1 << 20)
#define TOTAL_MAX ((size_t)32 << 20)
#define DEPTH_MAX 8
#define MAGIC "PPVB1\n"

struct reader {
    struct bundle *b;
    size_t total;
    int cap;
};

static void add_file(struct reader *r, const char *path, char *data, size_t size)
{
    struct bundle *b = r->b;
    if (b->nfiles == r->cap) {
        r->cap = r->cap ? r->cap * 2 : 64;
        b->files = realloc(b->files, (size_t)r->cap * sizeof *b->files);
        must(b->files);
    }
    struct bundle_file *f = &b->files[b->nfiles++];
    f->path = strdup(path);
    must(f->path);
    f->data = data;
    f->size = size;
    r->total += size;
}

static bool is_wanted(const char *name)
{
    static const char *const ext[] = {".lua", ".sql", ".json", ".html", ".txt", ".md", NULL};
    size_t n = strlen(name);
    if (name[0] == '.')
        return false;
    for (int i = 0; ext[i]; i++) {
        size_t k = strlen(ext[i]);
        if (n > k && strcmp(name + n - k, ext[i]) == 0)
            return true;
    }
    return false;
}

static int read_file(struct reader *r, int dir, const char *name, const char *path, struct err *e)
{
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0)
        return err_errno(e, path);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return ERR(e, ERR_IO, "%s is not a regular file", path);
    }
    if ((size_t)st.st_size > FILE_MAX || r->total + (size_t)st.st_size > TOTAL_MAX) {
        close(fd);
        return ERR(e, ERR_TOO_LARGE, "%s is too large for a bundle", path);
    }
    size_t cap = (size_t)st.st_size, n = 0;
    char *data = malloc(cap + 1);
    must(data);
    while (n < cap) {
        ssize_t k = read(fd, data + n, cap - n);
        if (k <= 0)
            break;
        n += (size_t)k;
    }
    close(fd);
    data[n] = 0;
    add_file(r, path, data, n);
    return 0;
}

static int read_dir(struct reader *r, int parent, const char *name, const char *path, int depth,
                    struct err *e);

static int read_entry(struct reader *r, DIR *d, const char *name, const char *path, int depth,
                      struct err *e)
{
    struct stat st;
    if (fstatat(dirfd(d), name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : err_errno(e, path);
    if (S_ISDIR(st.st_mode))
        return read_dir(r, dirfd(d), name, path, depth + 1, e);
    if (S_ISREG(st.st_mode) && is_wanted(name))
        return read_file(r, dirfd(d), name, path, e);
    return 0;
}

static int read_dir(struct reader *r, int parent, const char *name, const char *path, int depth,
                    struct err *e)
{
    if (depth > DEPTH_MAX)
        return ERR(e, ERR_IO, "%s: directories too deep", path);
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d)
        return err_errno(e, path);
    int rc = 0;
    for (struct dirent *de; rc == 0 && (de = readdir(d));) {
        char sub[512];
        if (de->d_name[0] == '.')
            continue;
        if (snprintf(sub, sizeof sub, "%s/%s", path, de->d_name) >= (int)sizeof sub)
            rc = ERR(e, ERR_IO, "%s: path too long", path);
        else
            rc = read_entry(r, d, de->d_name, sub, depth, e);
    }
    closedir(d);
    return rc;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct bundle_file *)a)->path, ((const struct bundle_file *)b)->path);
}

static void hash_files(const struct bundle *b, const char *prefix, char out[65])
{
    unsigned char md[32];
    unsigned n = 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    must(ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL));
    for (int i = 0; i < b->nfiles; i++) {
        const struct bundle_file *f = &b->files[i];
        if (strncmp(f->path, prefix, strlen(prefix)) != 0)
            continue;
        uint64_t size = f->size;
        EVP_DigestUpdate(ctx, f->path, strlen(f->path) + 1);
        EVP_DigestUpdate(ctx, &size, sizeof size);
        EVP_DigestUpdate(ctx, f->data, f->size);
    }
    EVP_DigestFinal_ex(ctx, md, &n);
    EVP_MD_CTX_free(ctx);
    for (int i = 0; i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", md[i]);
}

static struct bundle *bundle_blank(void)
{
    struct bundle *b = calloc(1, sizeof *b);
    must(b);
    b->refs = 1;
    b->disabled = strdup(",");
    must(b->disabled);
    return b;
}

static void seal(struct bundle *b)
{
    qsort(b->files, (size_t)b->nfiles, sizeof *b->files, by_path);
    hash_files(b, "", b->hash);
}

int bundle_read(const char *root, struct bundle **out, struct err *e)
{
    struct reader r = {.b = bundle_blank()};
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 ? err_errno(e, root) : read_dir(&r, fd, "scripts", "scripts", 0, e);
    if (rc == 0 && faccessat(fd, "plugins", F_OK, 0) == 0)
        rc = read_dir(&r, fd, "plugins", "plugins", 0, e);
    if (fd >= 0)
        close(fd);
    if (rc < 0) {
        bundle_unref(r.b);
        return -1;
    }
    seal(r.b);
    r.b->read_at = clock_wall();
    *out = r.b;
    return 0;
}

struct bundle *bundle_ref(struct bundle *b)
{
    b->refs++;
    return b;
}

void bundle_unref(struct bundle *b)
{
    if (!b || --b->refs > 0)
        return;
    for (int i = 0; i < b->nfiles; i++) {
        free(b->files[i].path);
        free(b->files[i].data);
    }
    free(b->files);
    free(b->disabled);
    free(b);
}

const struct bundle_file *bundle_find(const struct bundle *b, const char *path)
{
    struct bundle_file key = {.path = (char *)path};
    if (b->nfiles == 0)
        return NULL;
    return bsearch(&key, b->files, (size_t)b->nfiles, sizeof *b->files, by_path);
}

void bundle_plugin_hash(const struct bundle *b, const char *plugin, char out[65])
{
    char prefix[160];
    snprintf(prefix, sizeof prefix, "plugins/%s/", plugin);
    hash_files(b, prefix, out);
}

bool bundle_is_disabled(const struct bundle *b, const char *plugin)
{
    char key[96];
    snprintf(key, sizeof key, ",%s,", plugin);
    return strstr(b->disabled, key) != NULL;
}

void bundle_set_disabled(struct bundle *b, const char *list)
{
    char *s = NULL;
    must(asprintf(&s, ",%s,", list) >= 0);
    free(b->disabled);
    b->disabled = s;
}

/* ---- memfd form: magic, then length-prefixed pieces ---- */

static void put_piece(FILE *f, const void *p, size_t n)
{
    uint64_t len = n;
    fwrite(&len, sizeof len, 1, f);
    fwrite(p, 1, n, f);
}

int bundle_to_fd(const struct bundle *b, int *fd, struct err *e)
{
    int m = memfd_create("ppv-bundle", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (m < 0)
        return err_errno(e, "memfd_create");
    FILE *f = fdopen(dup(m), "wb");
    must(f);
    fwrite(MAGIC, 1, sizeof MAGIC - 1, f);
    put_piece(f, &b->id, sizeof b->id);
    put_piece(f, &b->read_at, sizeof b->read_at);
    put_piece(f, b->disabled, strlen(b->disabled));
    for (int i = 0; i < b->nfiles; i++) {
        put_piece(f, b->files[i].path, strlen(b->files[i].path));
        put_piece(f, b->files[i].data, b->files[i].size);
    }
    if (fclose(f) != 0) {
        close(m);
        return err_errno(e, "writing the bundle");
    }
    fcntl(m, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW);
    *fd = m;
    return 0;
}

/* NULL at the end or on damage (then *bad). The copy is NUL-terminated. */
static char *get_piece(const char **p, const char *end, size_t *n, bool *bad)
{
    uint64_t len;
    if (*p == end)
        return NULL;
    if ((size_t)(end - *p) < sizeof len) {
        *bad = true;
        return NULL;
    }
    memcpy(&len, *p, sizeof len);
    *p += sizeof len;
    if (len > (size_t)(end - *p)) {
        *bad = true;
        return NULL;
    }
    char *s = malloc(len + 1);
    must(s);
    memcpy(s, *p, len);
    s[len] = 0;
    *p += len;
    *n = len;
    return s;
}

static bool get_int64(const char **p, const char *end, int64_t *v, bool *bad)
{
    size_t n = 0;
    char *s = get_piece(p, end, &n, bad);
    bool ok = s && n == sizeof *v;
    if (ok)
        memcpy(v, s, sizeof *v);
    free(s);
    return ok;
}

static int parse_map(const char *p, size_t size, struct bundle *b, struct err *e)
{
    const char *end = p + size;
    bool bad = false;
    size_t n = 0;
    struct reader r = {.b = b};
    if (size < sizeof MAGIC - 1 || memcmp(p, MAGIC, sizeof MAGIC - 1) != 0)
        return ERR(e, ERR_IO, "not a bundle");
    p += sizeof MAGIC - 1;
    if (!get_int64(&p, end, &b->id, &bad) || !get_int64(&p, end, &b->read_at, &bad))
        return ERR(e, ERR_IO, "damaged bundle");
    char *disabled = get_piece(&p, end, &n, &bad);
    if (disabled) {
        free(b->disabled);
        b->disabled = disabled;
    }
    while (!bad && p < end) {
        size_t plen = 0, dlen = 0;
        char *path = get_piece(&p, end, &plen, &bad);
        char *data = path ? get_piece(&p, end, &dlen, &bad) : NULL;
        if (data)
            add_file(&r, path, data, dlen);
        else
            bad = true;
        free(path);
    }
    return bad ? ERR(e, ERR_IO, "damaged bundle") : 0;
}

int bundle_from_fd(int fd, struct bundle **out, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_errno(e, "bundle");
    void *map =
        st.st_size > 0 ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    if (map == MAP_FAILED)
        return ERR(e, ERR_IO, "cannot map the bundle");
    struct bundle *b = bundle_blank();
    int rc = parse_map(map, (size_t)st.st_size, b, e);
    munmap(map, (size_t)st.st_size);
    if (rc < 0) {
        bundle_unref(b);
        return -1;
    }
    seal(b);
    *out = b;
    return 0;
}
