// SPDX-License-Identifier: Apache-2.0
#include "media/store.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/io.h"
#include "base/str.h"
#include "media/fail.h"
#include "media/group.h"
#include "media/journal.h"
#include "media/key.h"
#include "media/queue.h"

enum { BATCH = 24, BATCH_S = 1 };

struct item {
    char name[48];  /* empty = sync everything before this */
    char note[192]; /* for the journal, empty = none */
    char sum[65];
    int fd; /* open until it is published */
    struct buf data;
};

struct store {
    int dirfd;
    uint8_t secret[32];
    struct queue queue;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t idle;
    int pending;
    bool failed;
    struct err err;
    struct item *batch[BATCH]; /* the writer's: written, to be synced */
    int nbatch;
    time_t since;    /* of the batch's first file */
    struct buf sums; /* under lock */
    int journal;     /* -1 = none */
};

static int encrypt(const uint8_t key[16], const uint8_t iv[16], const void *p, size_t n,
                   struct buf *out)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int a = 0, b = 0, rc = -1;
    if (n > INT32_MAX - 32 || !(out->p = malloc(n + 32)))
        goto out;
    out->cap = n + 32;
    if (c && EVP_EncryptInit_ex(c, EVP_aes_128_cbc(), NULL, key, iv) == 1 &&
        EVP_EncryptUpdate(c, (uint8_t *)out->p, &a, p, (int)n) == 1 &&
        EVP_EncryptFinal_ex(c, (uint8_t *)out->p + a, &b) == 1) {
        out->n = (size_t)(a + b);
        rc = 0;
    }
out:
    EVP_CIPHER_CTX_free(c);
    return rc;
}

int store_warm(struct err *e)
{
    uint8_t key[32] = {0}, iv[16], mac[32];
    struct buf b = {0};
    int rc = RAND_bytes(iv, sizeof iv) == 1 && !key_derive(key, "warm", key, sizeof key) &&
                     !encrypt(key, iv, "x", 1, &b)
                 ? 0
                 : -1;
    buf_fini(&b);
    key_mac(key, "warm", mac);
    return rc ? fail_set(e, "media.internal", "The server's crypto library does not work.") : 0;
}

static void hex(char *out, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", p[i]);
}

void store_keep(struct store *s, const char *name, const char *sum)
{
    pthread_mutex_lock(&s->lock);
    buf_printf(&s->sums, "%.64s  %s\n", sum, name);
    pthread_mutex_unlock(&s->lock);
}

static int add_sum(struct store *s, const char *name, const void *p, size_t n, char text[65],
                   struct err *e)
{
    uint8_t sum[32];
    if (EVP_Digest(p, n, sum, NULL, EVP_sha256(), NULL) != 1)
        return fail_set(e, "media.internal", "The server's crypto library does not work.");
    hex(text, sum, sizeof sum);
    store_keep(s, name, text);
    return 0;
}

/* Written, not yet synced: the file keeps its temporary name. */
static int write_item(struct store *s, struct item *it, struct err *e)
{
    char tmp[64];
    snprintf(tmp, sizeof tmp, "%s.tmp", it->name);
    it->fd = openat(s->dirfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (it->fd < 0)
        return err_errno(e, "create media file");
    if (add_sum(s, it->name, it->data.p, it->data.n, it->sum, e))
        return -1;
    if (io_write_all(it->fd, it->data.p, it->data.n))
        return err_errno(e, "write media file");
    buf_fini(&it->data);
    return 0;
}

// A failed fsync is final: the kernel may have dropped the pages, so a second one would lie.
static int publish(struct store *s, struct item *it, struct err *e)
{
    char tmp[64];
    snprintf(tmp, sizeof tmp, "%s.tmp", it->name);
    int bad = fsync(it->fd), fd = it->fd;
    it->fd = -1;
    if (close(fd) || bad || renameat(s->dirfd, tmp, s->dirfd, it->name))
        return err_errno(e, "sync media file");
    return 0;
}

static void item_free(void *p)
{
    struct item *it = p;
    if (it->fd >= 0)
        close(it->fd);
    buf_fini(&it->data);
    free(it);
}

static void done(struct store *s, int n, const struct err *e)
{
    pthread_mutex_lock(&s->lock);
    if (e && !s->failed) {
        s->failed = true;
        s->err = *e;
    }
    s->pending -= n;
    pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->lock);
}

/* Syncing several files together costs the file system one journal commit instead of one each. */
static void flush_batch(struct store *s)
{
    struct err e = {0};
    struct buf lines = {0};
    int rc = s->failed ? -1 : 0, n = s->nbatch;
    for (int i = 0; i < n; i++) {
        if (!rc)
            rc = publish(s, s->batch[i], &e);
        if (!rc && s->batch[i]->note[0])
            buf_printf(&lines, "%s %s\n", s->batch[i]->note, s->batch[i]->sum);
        item_free(s->batch[i]);
    }
    s->nbatch = 0;
    if (s->journal >= 0 && lines.n && io_write_all(s->journal, lines.p, lines.n) && !rc)
        rc = err_errno(&e, "write the journal");
    buf_fini(&lines);
    done(s, n, rc && !s->failed ? &e : NULL);
}

static void *writer(void *arg)
{
    struct store *s = arg;
    void *p;
    while (queue_get(&s->queue, &p) > 0) {
        struct item *it = p;
        struct err e = {0};
        if (!it->name[0]) { // store_sync's mark
            flush_batch(s);
            item_free(it);
            done(s, 1, NULL);
        } else if (s->failed || write_item(s, it, &e)) {
            item_free(it);
            done(s, 1, s->failed ? NULL : &e);
        } else {
            time_t now = time(NULL);
            if (!s->nbatch)
                s->since = now;
            s->batch[s->nbatch++] = it;
            // Slow encodes too get their segments out soon: somebody may be watching them already.
            if (s->nbatch == BATCH || now - s->since >= BATCH_S)
                flush_batch(s);
        }
    }
    flush_batch(s);
    return NULL;
}

struct store *store_new(int dirfd, const uint8_t secret[32], struct err *e)
{
    struct store *s = calloc(1, sizeof *s);
    must(s != NULL);
    s->dirfd = dirfd;
    s->journal = -1;
    memcpy(s->secret, secret, sizeof s->secret);
    queue_init(&s->queue, 32);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->idle, NULL);
    if (group_thread(&s->thread, writer, s, "store", e)) {
        free(s);
        return NULL;
    }
    return s;
}

void store_free(struct store *s)
{
    if (!s)
        return;
    queue_end(&s->queue);
    pthread_join(s->thread, NULL);
    queue_fini(&s->queue, item_free);
    buf_fini(&s->sums);
    OPENSSL_cleanse(s->secret, sizeof s->secret);
    free(s);
}

void store_journal(struct store *s, int fd)
{
    s->journal = fd;
}

/* Takes data over, also on failure. */
static int enqueue(struct store *s, const char *name, const char *note, struct buf *data,
                   struct err *e)
{
    struct item *it = calloc(1, sizeof *it);
    must(it != NULL);
    snprintf(it->name, sizeof it->name, "%s", name);
    snprintf(it->note, sizeof it->note, "%s", note ? note : "");
    it->fd = -1;
    it->data = *data;
    pthread_mutex_lock(&s->lock);
    bool failed = s->failed;
    if (failed && e)
        *e = s->err;
    else
        s->pending++;
    pthread_mutex_unlock(&s->lock);
    if (!failed && !queue_put(&s->queue, it))
        return 0;
    item_free(it);
    return -1;
}

int store_put(struct store *s, const char *name, const char *note, const void *p, size_t n,
              struct err *e)
{
    struct buf b = {0};
    buf_put(&b, p, n);
    return enqueue(s, name, note, &b, e);
}

int store_random_name(char out[40], const char *suffix, struct err *e)
{
    uint8_t rnd[16];
    if (RAND_bytes(rnd, sizeof rnd) != 1)
        return fail_set(e, "media.internal", "The server's crypto library does not work.");
    hex(out, rnd, sizeof rnd);
    snprintf(out + 32, 8, ".%s", suffix);
    return 0;
}

int store_seal(struct store *s, const char *rendition, const char *variant, int number,
               uint64_t ticks, const void *p, size_t n, struct store_segment *out, struct err *e)
{
    uint8_t rnd[32], key[16];
    char info[64], note[192] = "";
    struct buf b = {0};
    key_info(info, rendition, variant, number);
    if (RAND_bytes(rnd, sizeof rnd) != 1 || key_derive(s->secret, info, key, sizeof key) ||
        encrypt(key, rnd + 16, p, n, &b)) {
        buf_fini(&b);
        return fail_set(e, "media.internal", "The video could not be encrypted.");
    }
    OPENSSL_cleanse(key, sizeof key);
    hex(out->name, rnd, 16);
    snprintf(out->name + 32, sizeof out->name - 32, ".m4s");
    hex(out->iv, rnd + 16, 16);
    out->size = (int64_t)b.n;
    if (ticks)
        snprintf(note, sizeof note, "seg %s %s %d %s %s %lld %llu", rendition, variant, number,
                 out->name, out->iv, (long long)out->size, (unsigned long long)ticks);
    return enqueue(s, out->name, note, &b, e);
}

int store_sync(struct store *s, struct err *e)
{
    struct buf nothing = {0};
    if (enqueue(s, "", NULL, &nothing, e))
        return -1;
    pthread_mutex_lock(&s->lock);
    while (s->pending && !s->failed)
        pthread_cond_wait(&s->idle, &s->lock);
    bool failed = s->failed;
    if (failed && e)
        *e = s->err;
    pthread_mutex_unlock(&s->lock);
    if (failed)
        return -1;
    if (fsync(s->dirfd))
        return err_errno(e, "sync media directory");
    return 0;
}

int store_finish(struct store *s, const char *name, const void *p, size_t n, struct err *e)
{
    char text[65];
    if (store_sync(s, e) || add_sum(s, name, p, n, text, e))
        return -1;
    struct buf sums = s->sums; // the writer is idle; what follows is not listed
    s->sums = (struct buf){0};
    int rc = store_put(s, "SHA256SUMS", NULL, sums.p, sums.n, e);
    buf_fini(&sums);
    if (rc || store_sync(s, e) || store_put(s, name, NULL, p, n, e) || store_sync(s, e))
        return -1;
    if (s->journal >= 0)
        unlinkat(s->dirfd, JOURNAL_NAME, 0);
    return 0;
}
