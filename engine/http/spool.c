/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "http/spool.h"
#include "run/loop.h"
#include "run/threads.h"

enum {
    FILES_MAX = 256,
    WRITEBACK = 8 << 20,
    ROOM_EVERY = 64 << 20,
    RETRY_US = 20000,
    LARGE = 64 << 20
};

struct file {
    char path[40];
    char sha256[65];
    int fd;
    bool made;
    int64_t size, room_at, written_back;
    EVP_MD_CTX *md;
};
/* One step for the pool, in order. */
struct step {
    int file;
    bool end;
    size_t off, n;
};
struct spool {
    struct loop *loop;
    struct threads *threads;
    int dirfd;
    int64_t reserve;
    int nfiles, cap;
    struct file *files;
    struct buf data;
    struct step *steps;
    int nsteps, steps_cap;
    bool running, dropped, keep;
    struct err err;
    struct timer retry;
    void (*done)(void *arg, const struct err *e);
    void *arg;
};

struct spool *spool_new(struct loop *l, struct threads *t, const struct http_upload_spec *spec)
{
    struct spool *s = calloc(1, sizeof *s);
    must(s);
    s->loop = l;
    s->threads = t;
    s->reserve = spec->reserve;
    s->dirfd = fcntl(spec->dirfd, F_DUPFD_CLOEXEC, 0);
    return s;
}

int spool_has_room(int dirfd, int64_t need, int64_t reserve, struct err *e)
{
    struct statvfs v;
    if (fstatvfs(dirfd, &v) < 0)
        return err_errno(e, "statvfs of the upload directory");
    int64_t avail = (int64_t)v.f_bavail * (int64_t)v.f_frsize;
    if (avail - need < reserve)
        return ERR(e, ERR_DISK_FULL, "upload of %lld bytes would leave less than %lld bytes free",
                   (long long)need, (long long)reserve);
    return 0;
}

static void make_name(char out[40])
{
    unsigned char r[16];
    ssize_t n;
    do
        n = getrandom(r, sizeof r, 0);
    while (n < 0 && errno == EINTR);
    must(n == (ssize_t)sizeof r);
    for (int i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", r[i]);
    memcpy(out + 32, ".part", 6);
}

int spool_begin(struct spool *s)
{
    must(s->nfiles < FILES_MAX);
    if (s->nfiles == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 2;
        s->files = realloc(s->files, sizeof *s->files * (size_t)s->cap);
        must(s->files);
    }
    struct file *f = &s->files[s->nfiles];
    memset(f, 0, sizeof *f);
    f->fd = -1;
    make_name(f->path);
    return s->nfiles++;
}

static void add_step(struct spool *s, bool end, size_t n)
{
    struct step *last = s->nsteps ? &s->steps[s->nsteps - 1] : NULL;
    int file = s->nfiles - 1;
    if (last && last->file == file && !last->end) {
        last->n += n;
        last->end = end;
        return;
    }
    if (s->nsteps == s->steps_cap) {
        s->steps_cap = s->steps_cap ? s->steps_cap * 2 : 4;
        s->steps = realloc(s->steps, sizeof *s->steps * (size_t)s->steps_cap);
        must(s->steps);
    }
    s->steps[s->nsteps++] = (struct step){file, end, s->data.n - n, n};
}

void spool_put(struct spool *s, const char *p, size_t n)
{
    buf_put(&s->data, p, n);
    s->files[s->nfiles - 1].size += (int64_t)n;
    add_step(s, false, n);
}

void spool_end(struct spool *s)
{
    add_step(s, true, 0);
}

bool spool_is_due(const struct spool *s, bool all)
{
    return s->data.n >= SPOOL_FLUSH || s->nsteps > 64 || (all && s->nsteps > 0);
}

/* ---- on the pool's threads ---- */

static int open_file(struct spool *s, struct file *f)
{
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    f->fd = openat(s->dirfd, f->path, flags, 0600);
    if (f->fd < 0)
        return err_errno(&s->err, "creating an upload file");
    f->made = true;
    f->md = EVP_MD_CTX_new();
    must(f->md && EVP_DigestInit_ex(f->md, EVP_sha256(), NULL) == 1);
    return 0;
}

static int write_all(struct spool *s, struct file *f, const char *p, size_t n)
{
    while (n) {
        ssize_t k = write(f->fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return err_errno(&s->err, "writing an upload file");
        p += k;
        n -= (size_t)k;
        f->written_back += k;
        f->room_at += k;
    }
    return 0;
}

/* Starts write-back early, so that the fsync at the end of a large file is short. */
static int keep_pace(struct spool *s, struct file *f)
{
    if (f->written_back >= WRITEBACK) {
        f->written_back = 0;
        sync_file_range(f->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    }
    if (f->room_at < ROOM_EVERY)
        return 0;
    f->room_at = 0;
    return spool_has_room(s->dirfd, 0, s->reserve, &s->err);
}

static int close_file(struct spool *s, struct file *f)
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    must(EVP_DigestFinal_ex(f->md, md, &n) == 1 && n == 32);
    for (unsigned i = 0; i < n; i++)
        snprintf(f->sha256 + 2 * i, 3, "%02x", md[i]);
    EVP_MD_CTX_free(f->md);
    f->md = NULL;
    int rc = fsync(f->fd) < 0 ? err_errno(&s->err, "fsync of an upload file") : 0;
    close(f->fd);
    f->fd = -1;
    return rc;
}

static int run_step(struct spool *s, const struct step *st)
{
    struct file *f = &s->files[st->file];
    if (!f->made && open_file(s, f) < 0)
        return -1;
    if (st->n) {
        must(EVP_DigestUpdate(f->md, s->data.p + st->off, st->n) == 1);
        if (write_all(s, f, s->data.p + st->off, st->n) < 0 || keep_pace(s, f) < 0)
            return -1;
    }
    return st->end ? close_file(s, f) : 0;
}

static void run_steps(void *arg)
{
    struct spool *s = arg;
    for (int i = 0; i < s->nsteps; i++)
        if (run_step(s, &s->steps[i]) < 0)
            return;
}

static void remove_files(void *arg)
{
    struct spool *s = arg;
    for (int i = 0; i < s->nfiles; i++) {
        struct file *f = &s->files[i];
        if (f->fd >= 0)
            close(f->fd);
        f->fd = -1;
        if (f->made && !s->keep)
            unlinkat(s->dirfd, f->path, 0);
    }
}

/* ---- on the loop ---- */

static void destroy(void *arg)
{
    struct spool *s = arg;
    for (int i = 0; i < s->nfiles; i++)
        EVP_MD_CTX_free(s->files[i].md);
    if (s->dirfd >= 0)
        close(s->dirfd);
    buf_fini(&s->data);
    free(s->files);
    free(s->steps);
    free(s);
}

/* Quick while the file is open; the blocks are freed by the close. */
static void unlink_open(struct spool *s)
{
    for (int i = 0; i < s->nfiles && !s->keep; i++)
        unlinkat(s->dirfd, s->files[i].path, 0);
}

static void dispose(struct spool *s)
{
    bool large = false;
    for (int i = 0; i < s->nfiles; i++)
        large = large || (s->files[i].size > LARGE &&
                          (s->files[i].fd >= 0 || (s->files[i].made && !s->keep)));
    if (large && threads_run(s->threads, remove_files, destroy, s, NULL) == 0)
        return; /* freeing a large file takes its time */
    remove_files(s);
    destroy(s);
}

static void flushed(void *arg)
{
    struct spool *s = arg;
    s->running = false;
    s->nsteps = 0;
    buf_clear(&s->data);
    if (s->dropped)
        dispose(s);
    else
        s->done(s->arg, s->err.code != ERR_NONE ? &s->err : NULL);
}

static void start_flush(struct timer *t)
{
    struct spool *s = t->arg;
    if (threads_run(s->threads, run_steps, flushed, s, NULL) == 0)
        s->running = true;
    else /* a full queue is the sender's back-pressure, not an error */
        loop_timer_set(s->loop, t, RETRY_US);
}

void spool_flush(struct spool *s, void (*done)(void *arg, const struct err *e), void *arg)
{
    s->done = done;
    s->arg = arg;
    s->retry.fn = start_flush;
    s->retry.arg = s;
    start_flush(&s->retry);
}

const char *spool_path(const struct spool *s, int i)
{
    return s->files[i].path;
}

const char *spool_sha256(const struct spool *s, int i)
{
    return s->files[i].sha256;
}

int64_t spool_size(const struct spool *s, int i)
{
    return s->files[i].size;
}

void spool_free(struct spool *s, bool keep)
{
    if (!s)
        return;
    loop_timer_clear(s->loop, &s->retry);
    s->keep = keep;
    s->dropped = true;
    if (s->running)
        unlink_open(s); /* what the pool makes after this goes when it is done */
    else
        dispose(s);
}
