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
#include <openssl/sha.h>
#include "base/clock.h"
#include "lua/gen.h"

#define FILE_MAX ((size_t)1 << 20)
#define TOTAL_MAX ((size_t)32 << 20)
#define DEPTH_MAX 8
#define MAGIC "PPVB2\n"

struct reader {
    struct bundle *b;
    size_t total;
    int cap;
};

static struct bundle_file *add_file(struct reader *r, const char *path, const char *data,
                                    size_t size)
{
    struct bundle *b = r->b;
    if (b->nfiles == r->cap) {
        r->cap = r->cap ? r->cap * 2 : 64;
        b->files = realloc(b->files, (size_t)r->cap * sizeof *b->files);
        must(b->files);
    }
    struct bundle_file *f = &b->files[b->nfiles++];
    *f = (struct bundle_file){.path = path, .data = data, .size = size};
    r->total += size;
    return f;
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
        return errno == ENOENT ? 0 : err_errno(e, path);
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
    char *name_copy = strdup(path);
    must(name_copy);
    SHA256((unsigned char *)data, n, add_file(r, name_copy, data, n)->hash);
    return 0;
}

static int read_dir(struct reader *r, int parent, const char *name, const char *path, int depth,
                    struct err *e);

/* DT_DIR, DT_REG or something else, also where the file system does not tell. */
static int type_of(DIR *d, const struct dirent *de)
{
    struct stat st;
    if (de->d_type != DT_UNKNOWN)
        return de->d_type;
    if (fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return DT_UNKNOWN;
    return S_ISDIR(st.st_mode) ? DT_DIR : S_ISREG(st.st_mode) ? DT_REG : DT_UNKNOWN;
}

static int read_entry(struct reader *r, DIR *d, const struct dirent *de, const char *path,
                      int depth, struct err *e)
{
    int type = type_of(d, de);
    if (type == DT_DIR)
        return read_dir(r, dirfd(d), de->d_name, path, depth + 1, e);
    if (type == DT_REG && is_wanted(de->d_name))
        return read_file(r, dirfd(d), de->d_name, path, e);
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
            rc = read_entry(r, d, de, sub, depth, e);
    }
    closedir(d);
    return rc;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct bundle_file *)a)->path, ((const struct bundle_file *)b)->path);
}

static int first_below(const struct bundle *b, const char *prefix)
{
    int lo = 0, hi = b->nfiles;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (strcmp(b->files[mid].path, prefix) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void hash_files(const struct bundle *b, const char *prefix, char out[65])
{
    unsigned char md[32];
    unsigned n = 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    must(ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL));
    for (int i = first_below(b, prefix); i < b->nfiles; i++) {
        const struct bundle_file *f = &b->files[i];
        if (strncmp(f->path, prefix, strlen(prefix)) != 0)
            break;
        EVP_DigestUpdate(ctx, f->path, strlen(f->path) + 1);
        EVP_DigestUpdate(ctx, f->hash, sizeof f->hash);
    }
    EVP_DigestFinal_ex(ctx, md, &n);
    EVP_MD_CTX_free(ctx);
    struct buf hex = {0};
    buf_put_hex(&hex, md, sizeof md);
    memcpy(out, hex.p, 65);
    buf_fini(&hex);
}

static struct bundle *bundle_blank(void)
{
    struct bundle *b = calloc(1, sizeof *b);
    must(b);
    b->refs = 1;
    b->fd = -1;
    b->disabled = strdup(",");
    must(b->disabled);
    return b;
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
    qsort(r.b->files, (size_t)r.b->nfiles, sizeof *r.b->files, by_path);
    hash_files(r.b, "", r.b->hash);
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
    for (int i = 0; i < b->nfiles && !b->map; i++) {
        free((char *)b->files[i].path);
        free((char *)b->files[i].data);
    }
    if (b->map)
        munmap(b->map, b->map_size);
    if (b->fd >= 0)
        close(b->fd);
    free(b->files);
    free(b->disabled);
    free(b);
}

const struct bundle_file *bundle_find(const struct bundle *b, const char *path)
{
    struct bundle_file key = {.path = path};
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

/* ---- memfd form: magic, then pieces: length, bytes, NUL ---- */

static void put_piece(FILE *f, const void *p, size_t n)
{
    uint64_t len = n;
    fwrite(&len, sizeof len, 1, f);
    fwrite(p, 1, n, f);
    fputc(0, f);
}

int bundle_to_fd(struct bundle *b, struct err *e)
{
    if (b->fd >= 0)
        return b->fd;
    int m = memfd_create("ppv-bundle", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (m < 0)
        return err_errno(e, "memfd_create");
    FILE *f = fdopen(dup(m), "wb");
    must(f);
    setvbuf(f, NULL, _IOFBF, 1 << 18);
    fwrite(MAGIC, 1, sizeof MAGIC - 1, f);
    put_piece(f, &b->id, sizeof b->id);
    put_piece(f, &b->read_at, sizeof b->read_at);
    put_piece(f, b->disabled, strlen(b->disabled));
    for (int i = 0; i < b->nfiles; i++) {
        const struct bundle_file *one = &b->files[i];
        put_piece(f, one->path, strlen(one->path));
        put_piece(f, one->hash, sizeof one->hash);
        put_piece(f, one->data, one->size);
    }
    if (fclose(f) != 0) {
        close(m);
        return err_errno(e, "writing the bundle");
    }
    fcntl(m, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW);
    return b->fd = m;
}

/* Points into the form, NUL-terminated; NULL = damaged. */
static const char *get_piece(const char **p, const char *end, size_t *n)
{
    uint64_t len;
    if ((size_t)(end - *p) < sizeof len)
        return NULL;
    memcpy(&len, *p, sizeof len);
    const char *s = *p + sizeof len;
    if (len >= (size_t)(end - s) || s[len] != 0)
        return NULL;
    *p = s + len + 1;
    *n = len;
    return s;
}

static bool get_bytes(const char **p, const char *end, void *out, size_t size)
{
    size_t n = 0;
    const char *s = get_piece(p, end, &n);
    if (!s || n != size)
        return false;
    memcpy(out, s, size);
    return true;
}

static bool parse_map(struct bundle *b)
{
    const char *p = b->map, *end = p + b->map_size;
    struct reader r = {.b = b};
    size_t n;
    if (b->map_size < sizeof MAGIC - 1 || memcmp(p, MAGIC, sizeof MAGIC - 1) != 0)
        return false;
    p += sizeof MAGIC - 1;
    if (!get_bytes(&p, end, &b->id, sizeof b->id) ||
        !get_bytes(&p, end, &b->read_at, sizeof b->read_at))
        return false;
    const char *disabled = get_piece(&p, end, &n);
    if (!disabled)
        return false;
    free(b->disabled);
    b->disabled = strdup(disabled);
    must(b->disabled);
    while (p < end) {
        unsigned char hash[SHA256_DIGEST_LENGTH];
        const char *path = get_piece(&p, end, &n);
        const char *data =
            path && get_bytes(&p, end, hash, sizeof hash) ? get_piece(&p, end, &n) : NULL;
        if (!data || (b->nfiles && strcmp(b->files[b->nfiles - 1].path, path) >= 0))
            return false; /* damaged, or not sorted */
        memcpy(add_file(&r, path, data, n)->hash, hash, sizeof hash);
    }
    return true;
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
    b->map = map; /* the files stay where they are, shared by all who have the bundle */
    b->map_size = (size_t)st.st_size;
    if (!parse_map(b)) {
        bundle_unref(b);
        return ERR(e, ERR_IO, "damaged bundle");
    }
    hash_files(b, "", b->hash);
    *out = b;
    return 0;
}
