/* SPDX-License-Identifier: Apache-2.0 */
#define OPENSSL_SUPPRESS_DEPRECATED /* only SHA256_CTX can be put down and taken up again */
#include "http/append.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/str.h"
#include "http/spool.h"
#include "run/loop.h"
#include "run/threads.h"

enum { WRITEBACK = 8 << 20, RETRY_US = 20000 };
_Static_assert(sizeof(SHA256_CTX) * 2 < HTTP_APPEND_STATE, "the hash's state fits");

struct append {
    struct loop *loop;
    struct threads *threads;
    int dirfd, fd;
    int64_t start, offset, synced, max, reserve, written_back;
    int64_t step_at; /* of the last step */
    SHA256_CTX sha;
    char state[HTTP_APPEND_STATE]; /* of the synced bytes */
    EVP_MD_CTX *md;
    unsigned char want[EVP_MAX_MD_SIZE];
    struct buf data;
    bool running, dropped, step;
    struct err err;
    struct timer retry;
    void (*done)(void *arg, bool step, const struct err *e);
    void *arg;
};

/* ---- the hash's state as text ---- */

static void put_state(const SHA256_CTX *c, char out[HTTP_APPEND_STATE])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char raw[sizeof *c];
    memcpy(raw, c, sizeof raw);
    for (size_t i = 0; i < sizeof raw; i++) {
        out[2 * i] = hex[raw[i] >> 4];
        out[2 * i + 1] = hex[raw[i] & 15];
    }
    out[2 * sizeof raw] = '\0';
}

static void put_sha256(SHA256_CTX c, char out[65])
{
    unsigned char md[SHA256_DIGEST_LENGTH];
    SHA256_Final(md, &c);
    for (size_t i = 0; i < sizeof md; i++)
        snprintf(out + 2 * i, 3, "%02x", md[i]);
}

static int take_state(const char *text, SHA256_CTX *c, struct err *e)
{
    long n = 0;
    SHA256_Init(c);
    if (!text || !*text)
        return 0;
    unsigned char *raw = OPENSSL_hexstr2buf(text, &n);
    bool good = raw && n == (long)sizeof *c;
    if (good)
        memcpy(c, raw, sizeof *c);
    OPENSSL_free(raw);
    if (!good || c->num >= SHA256_CBLOCK || c->md_len != SHA256_DIGEST_LENGTH)
        return ERR(e, ERR_INVALID, "not the state of a hash");
    return 0;
}

/* ---- opening ---- */

int append_open(struct loop *l, struct threads *t, int dirfd, const char *name, struct append **out,
                struct err *e)
{
    int fd = openat(dirfd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return ERR(e, ERR_NOT_FOUND, "the file of the upload is gone");
    if (fd < 0)
        return err_errno(e, "opening an upload file");
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int rc = errno == EWOULDBLOCK ? ERR(e, ERR_CONFLICT, "another request writes to this file")
                                      : err_errno(e, "locking an upload file");
        close(fd);
        return rc;
    }
    struct append *a = calloc(1, sizeof *a);
    must(a);
    a->loop = l;
    a->threads = t;
    a->fd = fd;
    a->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
    *out = a;
    return 0;
}

static int take_digest(struct append *a, const struct http_append_spec *s, struct err *e)
{
    if (!s->digest)
        return 0;
    const EVP_MD *m = EVP_get_digestbyname(s->digest);
    if (!m || (size_t)EVP_MD_size(m) != s->want.n)
        return ERR(e, ERR_INVALID, "not a digest of this kind");
    memcpy(a->want, s->want.p, s->want.n);
    a->md = EVP_MD_CTX_new();
    must(a->md && EVP_DigestInit_ex(a->md, m, NULL) == 1);
    return 0;
}

int append_begin(struct append *a, const struct http_append_spec *s, struct err *e)
{
    struct stat st;
    if (take_state(s->state, &a->sha, e) < 0 || take_digest(a, s, e) < 0 ||
        spool_has_room(a->dirfd, 0, s->reserve, e) < 0)
        return -1;
    if (fstat(a->fd, &st) < 0)
        return err_errno(e, "looking at an upload file");
    if (st.st_size < s->offset)
        return ERR(e, ERR_NOT_FOUND, "the file of the upload lost its end");
    if ((st.st_size > s->offset && ftruncate(a->fd, s->offset) < 0) ||
        lseek(a->fd, s->offset, SEEK_SET) < 0)
        return err_errno(e, "cutting an upload file");
    a->start = a->offset = a->synced = s->offset;
    a->max = s->max;
    a->reserve = s->reserve;
    a->step_at = clock_mono();
    put_state(&a->sha, a->state);
    return 0;
}

int append_put(struct append *a, const char *p, size_t n, struct err *e)
{
    if (a->offset - a->start + (int64_t)(a->data.n + n) > a->max)
        return ERR(e, ERR_TOO_LARGE, "more than the %lld bytes that were to come",
                   (long long)a->max);
    buf_put(&a->data, p, n);
    return 0;
}

static bool is_step(const struct append *a)
{
    int64_t fresh = a->offset + (int64_t)a->data.n - a->synced;
    return fresh >= APPEND_STEP || (fresh > 0 && clock_mono() - a->step_at >= APPEND_STEP_US);
}

bool append_is_due(const struct append *a, bool all)
{
    if (all)
        return a->data.n > 0 || a->synced < a->offset;
    return a->data.n >= APPEND_FLUSH || is_step(a);
}

/* ---- on the pool's threads ---- */

static int write_all(struct append *a)
{
    const char *p = a->data.p;
    for (size_t n = a->data.n; n;) {
        ssize_t k = write(a->fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return err_errno(&a->err, "writing an upload file");
        p += k;
        n -= (size_t)k;
    }
    SHA256_Update(&a->sha, a->data.p, a->data.n);
    if (a->md)
        must(EVP_DigestUpdate(a->md, a->data.p, a->data.n) == 1);
    a->offset += (int64_t)a->data.n;
    a->written_back += (int64_t)a->data.n;
    return 0;
}

static void work(void *arg)
{
    struct append *a = arg;
    if (a->data.n && write_all(a) < 0)
        return;
    if (!a->step) {
        if (a->written_back >= WRITEBACK) { /* early, so that the sync of the step is short */
            a->written_back = 0;
            sync_file_range(a->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
        }
        return;
    }
    if (fdatasync(a->fd) < 0) {
        err_errno(&a->err, "syncing an upload file");
        return;
    }
    a->synced = a->offset;
    put_state(&a->sha, a->state);
    spool_has_room(a->dirfd, 0, a->reserve, &a->err);
}

/* ---- on the loop ---- */

static void destroy(struct append *a)
{
    close(a->fd); /* the lock goes with it */
    if (a->dirfd >= 0)
        close(a->dirfd);
    EVP_MD_CTX_free(a->md);
    buf_fini(&a->data);
    free(a);
}

static void flushed(void *arg)
{
    struct append *a = arg;
    a->running = false;
    buf_clear(&a->data);
    if (a->step)
        a->step_at = clock_mono();
    if (a->dropped)
        destroy(a);
    else
        a->done(a->arg, a->step, a->err.code != ERR_NONE ? &a->err : NULL);
}

static void start_flush(struct timer *t)
{
    struct append *a = t->arg;
    if (threads_run(a->threads, work, flushed, a, NULL) == 0)
        a->running = true;
    else /* a full queue is the sender's back-pressure, not an error */
        loop_timer_set(a->loop, t, RETRY_US);
}

void append_flush(struct append *a, bool all,
                  void (*done)(void *arg, bool step, const struct err *e), void *arg)
{
    a->step = all || is_step(a);
    a->done = done;
    a->arg = arg;
    a->retry.fn = start_flush;
    a->retry.arg = a;
    start_flush(&a->retry);
}

void append_tell(struct append *a, bool ended, bool cut, struct http_appended *out)
{
    *out = (struct http_appended){.offset = a->synced, .ended = ended, .cut = cut};
    memcpy(out->state, a->state, sizeof out->state);
    if (ended)
        put_sha256(a->sha, out->sha256);
    if (!a->md)
        return;
    out->offset = a->start; /* nothing counts before all of it was judged */
    if (!ended)
        return;
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    must(EVP_DigestFinal_ex(a->md, md, &n) == 1);
    out->mismatch = CRYPTO_memcmp(md, a->want, n) != 0;
    if (!out->mismatch)
        out->offset = a->synced;
    else
        (void)!ftruncate(a->fd, a->start); /* else the next request cuts it */
}

void append_free(struct append *a)
{
    if (!a)
        return;
    loop_timer_clear(a->loop, &a->retry);
    a->dropped = true;
    if (!a->running)
        destroy(a);
}
