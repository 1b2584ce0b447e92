/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "http/files.h"

enum { SMALL_MAX = 65536, CACHE_BYTES = 16 << 20, FDS_MAX = 64, BUCKETS = 512 };
enum { RECHECK_US = 1000000, FD_IDLE_US = 2000000 };

/* A file as it was opened, and how validators name it. */
struct version {
    struct stat st;
    char etag[48], date[32];
};
struct files_entry {
    struct files_entry *next;
    int refs;
    char *key;
    char *data; /* NULL: too large, fd instead */
    int fd;     /* belongs to full; -1: none */
    struct version v;
    int64_t checked;
    struct MHD_Response *full, *not_modified;
};
struct files {
    struct files_entry *b[BUCKETS];
    size_t bytes;
    int fds;
};

/* ---- opening ---- */

int files_open(int dirfd, const char *rel, struct stat *st)
{
    struct open_how how = {
        .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    int fd = -1;
    do
        fd = (int)syscall(SYS_openat2, dirfd, rel, &how, sizeof how);
    while (fd < 0 && (errno == EINTR || errno == EAGAIN));
    if (fd < 0)
        return -1;
    if (fstat(fd, st) < 0 || !S_ISREG(st->st_mode)) {
        close(fd);
        errno = ENOENT;
        return -1;
    }
    return fd;
}

const char *files_ctype(const char *rel)
{
    static const char *const types[][2] = {
        {"html", "text/html; charset=utf-8"},
        {"css", "text/css; charset=utf-8"},
        {"js", "text/javascript; charset=utf-8"},
        {"mjs", "text/javascript; charset=utf-8"},
        {"json", "application/json"},
        {"map", "application/json"},
        {"webmanifest", "application/manifest+json"},
        {"txt", "text/plain; charset=utf-8"},
        {"md", "text/plain; charset=utf-8"},
        {"csv", "text/csv; charset=utf-8"},
        {"xml", "application/xml"},
        {"svg", "image/svg+xml"},
        {"png", "image/png"},
        {"jpg", "image/jpeg"},
        {"jpeg", "image/jpeg"},
        {"webp", "image/webp"},
        {"avif", "image/avif"},
        {"gif", "image/gif"},
        {"ico", "image/x-icon"},
        {"woff2", "font/woff2"},
        {"woff", "font/woff"},
        {"wasm", "application/wasm"},
        {"pdf", "application/pdf"},
        {"m3u8", "application/vnd.apple.mpegurl"},
        {"mpd", "application/dash+xml"},
        {"ts", "video/mp2t"},
        {"m4s", "video/iso.segment"},
        {"mp4", "video/mp4"},
        {"m4v", "video/mp4"},
        {"webm", "video/webm"},
        {"m4a", "audio/mp4"},
        {"mp3", "audio/mpeg"},
        {"vtt", "text/vtt; charset=utf-8"},
    };
    const char *dot = strrchr(rel, '.'), *slash = strrchr(rel, '/');
    if (dot && (!slash || dot > slash))
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
            if (strcasecmp(dot + 1, types[i][0]) == 0)
                return types[i][1];
    return "application/octet-stream";
}

/* ---- validators and ranges ---- */

void files_etag(const struct stat *st, char out[48])
{
    uint64_t ns = (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
    snprintf(out, 48, "\"%llx-%llx\"", (unsigned long long)ns, (unsigned long long)st->st_size);
}

bool files_etag_matches(const char *list, const char *etag, bool weak)
{
    size_t n = strlen(etag);
    for (const char *p = list; *p;) {
        p += strspn(p, " \t,");
        if (*p == '*')
            return true;
        bool is_weak = p[0] == 'W' && p[1] == '/';
        if (is_weak)
            p += 2;
        if (*p != '"')
            return false;
        const char *end = strchr(p + 1, '"');
        if (!end)
            return false;
        if ((size_t)(end + 1 - p) == n && memcmp(p, etag, n) == 0 && (weak || !is_weak))
            return true;
        p = end + 1;
    }
    return false;
}

void files_date_format(int64_t t, char out[32])
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t tt = (time_t)t;
    struct tm tm;
    gmtime_r(&tt, &tm);
    snprintf(out, 32, "%s, %02u %s %04u %02u:%02u:%02u GMT", days[tm.tm_wday % 7],
             (unsigned)tm.tm_mday % 100, months[tm.tm_mon % 12],
             (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
             (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
}

int64_t files_date_parse(const char *s)
{
    struct tm tm = {0};
    const char *end = strptime(s, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    return end && *end == '\0' ? (int64_t)timegm(&tm) : -1;
}

static bool read_number(const char **p, int64_t *out)
{
    size_t n = strspn(*p, "0123456789");
    if (n == 0 || n > 18 || str_to_int64((struct str){*p, n}, out) < 0)
        return false;
    *p += n;
    return true;
}

enum files_range files_range_parse(const char *value, int64_t size, int64_t *off, int64_t *len)
{
    int64_t a = 0, b = 0;
    if (!value || strncasecmp(value, "bytes=", 6) != 0)
        return FILES_RANGE_NONE;
    const char *p = value + 6;
    if (*p == '-') {
        p++;
        if (!read_number(&p, &b) || *p)
            return FILES_RANGE_NONE;
        if (b == 0 || size == 0)
            return FILES_RANGE_UNSATISFIABLE;
        *len = b < size ? b : size;
        *off = size - *len;
        return FILES_RANGE_OK;
    }
    if (!read_number(&p, &a) || *p++ != '-')
        return FILES_RANGE_NONE;
    b = size - 1;
    if (*p && !read_number(&p, &b))
        return FILES_RANGE_NONE;
    if (*p || (b < a && b != size - 1))
        return FILES_RANGE_NONE;
    if (a >= size)
        return FILES_RANGE_UNSATISFIABLE;
    *off = a;
    *len = (b < size - 1 ? b : size - 1) - a + 1;
    return FILES_RANGE_OK;
}

static void name_version(struct version *v)
{
    files_etag(&v->st, v->etag);
    files_date_format(v->st.st_mtim.tv_sec, v->date);
}

static bool is_not_modified(const struct http_req *r, const struct version *v)
{
    const char *value = http_header_get(r, "if-none-match");
    if (value)
        return files_etag_matches(value, v->etag, true);
    value = http_header_get(r, "if-modified-since");
    int64_t t = value ? files_date_parse(value) : -1;
    return t >= 0 && (int64_t)v->st.st_mtim.tv_sec <= t;
}

static enum files_range wanted_range(const struct http_req *r, const struct version *v,
                                     int64_t *off, int64_t *len)
{
    const char *value = http_header_get(r, "range"), *cond = http_header_get(r, "if-range");
    if (!value || strcmp(r->method, "GET") != 0)
        return FILES_RANGE_NONE;
    if (cond && *cond == '"' && strcmp(cond, v->etag) != 0)
        return FILES_RANGE_NONE;
    if (cond && *cond != '"' && files_date_parse(cond) != (int64_t)v->st.st_mtim.tv_sec)
        return FILES_RANGE_NONE;
    return files_range_parse(value, v->st.st_size, off, len);
}

/* ---- answers ---- */

static struct MHD_Response *from_memory(const char *p, size_t n)
{
    union {
        const char *c;
        void *v;
    } u = {.c = p};
    struct MHD_Response *m = MHD_create_response_from_buffer(n, u.v, MHD_RESPMEM_MUST_COPY);
    must(m);
    return m;
}

static bool is_given(const struct files_answer *a, const char *name)
{
    for (int i = 0; i < a->nheaders; i++)
        if (strcasecmp(a->headers[i].name, name) == 0)
            return true;
    return false;
}

/* Adds the caller's headers and what a file carries. */
static void finish(const struct files_answer *a, struct MHD_Response *m, const struct version *v,
                   bool ready, bool body)
{
    if (a->file->shared && !is_given(a, "cache-control"))
        MHD_add_response_header(m, "Cache-Control", "public, no-cache");
    a->decorate(a->arg, m, a->headers, a->nheaders, ready);
    if (a->status == 200) {
        MHD_add_response_header(m, "ETag", v->etag);
        MHD_add_response_header(m, "Last-Modified", v->date);
        MHD_add_response_header(m, "Accept-Ranges", "bytes");
    }
    if (body && !is_given(a, "content-type"))
        MHD_add_response_header(m, "Content-Type",
                                a->file->ctype ? a->file->ctype : files_ctype(a->file->rel));
}

static int give(struct MHD_Response *m, int status, int64_t n, struct files_reply *out)
{
    out->m = m;
    out->bytes = n;
    return status;
}

/* From an open file (fd, taken) or from memory (data). */
static int build(const struct files_answer *a, const struct version *v, int fd, const char *data,
                 struct files_reply *out)
{
    int64_t off = 0, len = v->st.st_size;
    int status = a->status;
    char range[96] = "";
    struct MHD_Response *m;
    enum files_range want = status == 200 ? wanted_range(a->req, v, &off, &len) : FILES_RANGE_NONE;
    if (want == FILES_RANGE_UNSATISFIABLE) {
        if (fd >= 0)
            close(fd);
        m = from_memory("", 0);
        snprintf(range, sizeof range, "bytes */%lld", (long long)v->st.st_size);
        MHD_add_response_header(m, "Content-Range", range);
        finish(a, m, v, false, false);
        return give(m, 416, 0, out);
    }
    if (want == FILES_RANGE_OK) {
        status = 206;
        snprintf(range, sizeof range, "bytes %lld-%lld/%lld", (long long)off,
                 (long long)(off + len - 1), (long long)v->st.st_size);
    }
    if (data) {
        m = from_memory(data + off, (size_t)len);
    } else if (len == 0) {
        close(fd);
        m = from_memory("", 0);
    } else {
        m = MHD_create_response_from_fd_at_offset64((uint64_t)len, fd, (uint64_t)off);
        must(m);
        out->by_sendfile = true;
    }
    if (range[0])
        MHD_add_response_header(m, "Content-Range", range);
    finish(a, m, v, false, true);
    return give(m, status, len, out);
}

static int not_modified(const struct files_answer *a, const struct version *v,
                        struct files_reply *out)
{
    struct MHD_Response *m = from_memory("", 0);
    finish(a, m, v, false, false);
    return give(m, 304, 0, out);
}

/* ---- ready answers: small files in memory, larger ones open ---- */

struct files *files_new(void)
{
    struct files *f = calloc(1, sizeof *f);
    must(f);
    return f;
}

static void entry_unref(struct files_entry *e)
{
    if (--e->refs > 0)
        return;
    MHD_destroy_response(e->full);
    MHD_destroy_response(e->not_modified);
    free(e->data);
    free(e->key);
    free(e);
}

static size_t weight(const struct files_entry *e)
{
    return (e->data ? (size_t)e->v.st.st_size : 0) + 4096;
}

static void entry_drop(struct files *f, struct files_entry *e)
{
    f->bytes -= weight(e);
    f->fds -= e->fd >= 0;
    entry_unref(e);
}

void files_release(struct files_reply *r)
{
    if (r->kept)
        entry_unref(r->kept);
    else if (r->m)
        MHD_destroy_response(r->m);
    r->m = NULL;
    r->kept = NULL;
}

static void forget_all(struct files *f)
{
    for (int i = 0; i < BUCKETS; i++) {
        while (f->b[i]) {
            struct files_entry *e = f->b[i];
            f->b[i] = e->next;
            entry_drop(f, e);
        }
    }
}

void files_free(struct files *f)
{
    if (!f)
        return;
    forget_all(f);
    free(f);
}

/* The answer depends on these bytes only; a cookie or a private answer is never kept. */
static bool cache_key(const struct files_answer *a, struct buf *key)
{
    if (!a->file->shared || a->fresh || a->status != 200)
        return false;
    buf_printf(key, "%d ", a->file->dirfd);
    buf_puts(key, a->file->rel);
    buf_puts(key, "\n");
    buf_puts(key, a->file->ctype ? a->file->ctype : "");
    buf_puts(key, "\n");
    for (int i = 0; i < a->nheaders; i++) {
        const struct http_header *h = &a->headers[i];
        if (strcasecmp(h->name, "set-cookie") == 0 || strcasestr(h->value, "no-store") ||
            strcasestr(h->value, "private"))
            return false;
        buf_puts(key, h->name);
        buf_puts(key, ":");
        buf_puts(key, h->value);
        buf_puts(key, "\n");
    }
    return true;
}

static struct files_entry **find(struct files *f, const char *key)
{
    uint32_t h = 2166136261u;
    for (const char *p = key; *p; p++)
        h = (h ^ (unsigned char)*p) * 16777619u;
    struct files_entry **at = &f->b[h % BUCKETS];
    while (*at && strcmp((*at)->key, key) != 0)
        at = &(*at)->next;
    return at;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_ino == b->st_ino &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static char *read_small(int fd, size_t size)
{
    char *p = malloc(size + 1);
    size_t n = 0;
    must(p);
    while (n < size) {
        ssize_t k = pread(fd, p + n, size - n, (off_t)n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0) {
            free(p);
            return NULL;
        }
        n += (size_t)k;
    }
    return p;
}

/* Takes fd, or not: then it serves this answer only. */
static bool remember(struct files *f, struct files_entry **at, const struct files_answer *a,
                     const char *key, const struct version *v, int fd)
{
    bool small = v->st.st_size <= SMALL_MAX;
    char *data = small ? read_small(fd, (size_t)v->st.st_size) : NULL;
    if (small && !data)
        return false;
    struct files_entry *e = calloc(1, sizeof *e);
    must(e);
    e->key = strdup(key);
    must(e->key);
    e->refs = 1;
    e->data = data;
    e->fd = small ? -1 : fd;
    e->v = *v;
    e->full = small ? from_memory(data, (size_t)v->st.st_size)
                    : MHD_create_response_from_fd_at_offset64((uint64_t)v->st.st_size, fd, 0);
    must(e->full);
    finish(a, e->full, v, true, true);
    e->not_modified = from_memory("", 0);
    finish(a, e->not_modified, v, true, false);
    if (f->bytes + weight(e) > CACHE_BYTES || (!small && f->fds >= FDS_MAX)) {
        forget_all(f);
        at = find(f, key);
    }
    f->bytes += weight(e);
    f->fds += !small;
    *at = e;
    if (small)
        close(fd);
    return true;
}

void files_sweep(struct files *f)
{
    int64_t before = clock_mono() - FD_IDLE_US;
    for (int i = 0; i < BUCKETS && f->fds > 0; i++) {
        for (struct files_entry **at = &f->b[i]; *at;) {
            struct files_entry *e = *at;
            if (e->fd < 0 || e->checked > before) {
                at = &e->next;
                continue;
            }
            *at = e->next;
            entry_drop(f, e);
        }
    }
}

static int serve_entry(const struct files_answer *a, struct files_entry *e, struct files_reply *out)
{
    bool same = is_not_modified(a->req, &e->v);
    if (!same && http_header_get(a->req, "range")) {
        int fd = e->data ? -1 : fcntl(e->fd, F_DUPFD_CLOEXEC, 3);
        return e->data || fd >= 0 ? build(a, &e->v, fd, e->data, out) : 503;
    }
    out->kept = e;
    out->by_sendfile = !same && !e->data;
    e->refs++;
    return same ? give(e->not_modified, 304, 0, out) : give(e->full, 200, e->v.st.st_size, out);
}

static int open_version(const struct files_answer *a, struct version *v)
{
    int fd = files_open(a->file->dirfd, a->file->rel, &v->st);
    if (fd >= 0)
        name_version(v);
    return fd;
}

/* Looks the key up, checks the file at most once a second. Returns the descriptor to serve from,
 * or -1 with *hit or nothing. */
static int open_cached(struct files *f, const struct files_answer *a, const char *key,
                       struct version *v, struct files_entry **hit)
{
    struct files_entry **at = find(f, key);
    int64_t now = clock_mono();
    if (*at && now - (*at)->checked < RECHECK_US) {
        *hit = *at;
        return -1;
    }
    int fd = open_version(a, v);
    if (*at && (fd < 0 || !is_same(&v->st, &(*at)->v.st))) {
        struct files_entry *old = *at;
        *at = old->next;
        entry_drop(f, old);
        at = find(f, key);
    }
    if (fd < 0)
        return -1;
    if (*at)
        close(fd);
    else if (!remember(f, at, a, key, v, fd))
        return fd;
    at = find(f, key);
    (*at)->checked = now;
    *hit = *at;
    return -1;
}

int files_answer(struct files *f, const struct files_answer *a, struct files_reply *out)
{
    struct buf key = {0};
    struct files_entry *hit = NULL;
    struct version v;
    int fd = cache_key(a, &key) ? open_cached(f, a, key.p, &v, &hit) : open_version(a, &v);
    buf_fini(&key);
    memset(out, 0, sizeof *out);
    if (hit)
        return serve_entry(a, hit, out);
    if (fd < 0)
        return errno == EMFILE || errno == ENFILE ? 503 : 404;
    if (a->status == 200 && is_not_modified(a->req, &v)) {
        close(fd);
        return not_modified(a, &v, out);
    }
    return build(a, &v, fd, NULL, out);
}
