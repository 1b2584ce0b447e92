// SPDX-License-Identifier: Apache-2.0
#include "media/refs.h"
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/str.h"
#include "media/clip.h"
#include "media/fail.h"
#include "media/gray.h"

enum { SLOTS = 4, GOP_MAX = 720, FILE_MAX = 64 << 20 };

struct slot {
    int number, n, cap;
    int64_t used;
    uint8_t *luma;
};
struct refs_cache {
    struct slot slot[SLOTS];
    int64_t clock;
    struct buf init;
};

static int slurp(int dirfd, const char *name, struct buf *out, struct err *e)
{
    char part[65536];
    ssize_t n = -1;
    int fd = openat(dirfd, name, O_RDONLY);
    while (fd >= 0 && out->n < FILE_MAX && (n = read(fd, part, sizeof part)) > 0)
        buf_put(out, part, (size_t)n);
    if (fd >= 0)
        close(fd);
    return n ? fail_set(e, "media.internal", "A file of the title cannot be read.") : 0;
}

static int decrypt(const struct refs_segment *s, struct buf *b)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int n = 0, m = 0, rc = -1;
    uint8_t *out = malloc(b->n + 32);
    if (c && out && EVP_DecryptInit_ex(c, EVP_aes_128_cbc(), NULL, s->key, s->iv) == 1 &&
        EVP_DecryptUpdate(c, out, &n, (const uint8_t *)b->p, (int)b->n) == 1 &&
        EVP_DecryptFinal_ex(c, out + n, &m) == 1) {
        buf_clear(b);
        buf_put(b, (const char *)out, (size_t)(n + m));
        rc = 0;
    }
    free(out);
    EVP_CIPHER_CTX_free(c);
    return rc;
}

int refs_file(int dirfd, const struct refs_segment *s, struct buf *out, struct err *e)
{
    if (slurp(dirfd, s->name, out, e))
        return -1;
    return decrypt(s, out)
               ? fail_set(e, "media.internal", "A file of the title does not fit its key.")
               : 0;
}

struct filling {
    struct refs *r;
    struct slot *s;
};

static void add(void *arg, int number, const uint8_t *y, ptrdiff_t stride, int w, int h)
{
    struct filling *f = arg;
    if (!f->r->w) {
        f->r->w = w;
        f->r->h = h;
    }
    if (w != f->r->w || h != f->r->h || w > GRAY_SIDE || h > GRAY_SIDE || number >= GOP_MAX)
        return;
    size_t one = (size_t)w * (size_t)h;
    if (number >= f->s->cap) {
        f->s->cap = number + 32;
        f->s->luma = realloc(f->s->luma, one * (size_t)f->s->cap);
        must(f->s->luma != NULL);
    }
    for (int i = 0; i < h; i++)
        memcpy(f->s->luma + one * (size_t)number + (size_t)i * (size_t)w, y + i * stride,
               (size_t)w);
    f->s->n = number + 1;
}

static struct slot *load(struct refs *r, int number)
{
    struct refs_cache *c = r->cache;
    struct slot *old = &c->slot[0];
    c->clock++;
    for (int i = 0; i < SLOTS; i++) {
        if (c->slot[i].number == number) {
            c->slot[i].used = c->clock;
            return &c->slot[i];
        }
        if (c->slot[i].used < old->used)
            old = &c->slot[i];
    }
    struct buf all = {0}, part = {0};
    struct err e = {0};
    old->number = number;
    old->used = c->clock;
    old->n = 0;
    buf_put(&all, c->init.p, c->init.n);
    if (!refs_file(r->dirfd, &r->segment[number], &part, &e)) {
        buf_put(&all, part.p, part.n);
        clip_segment((const uint8_t *)all.p, all.n, add, &(struct filling){r, old}, &e);
    }
    buf_fini(&all);
    buf_fini(&part);
    return old;
}

int refs_open(struct refs *r, struct err *e)
{
    r->w = r->h = 0;
    r->cache = calloc(1, sizeof *r->cache);
    must(r->cache != NULL);
    for (int i = 0; i < SLOTS; i++)
        r->cache->slot[i].number = -1;
    if (r->count < 1 || r->gop < 1 || slurp(r->dirfd, r->init, &r->cache->init, e))
        return fail_set(e, "media.internal", "The title has no reference.");
    if (!load(r, 0)->n || r->w < 64 || r->h < 64)
        return fail_set(e, "media.internal", "The title's reference cannot be decoded.");
    return 0;
}

void refs_close(struct refs *r)
{
    if (!r->cache)
        return;
    for (int i = 0; i < SLOTS; i++)
        free(r->cache->slot[i].luma);
    buf_fini(&r->cache->init);
    free(r->cache);
    r->cache = NULL;
}

const uint8_t *refs_get(struct refs *r, int picture)
{
    if (picture < 0 || picture / r->gop >= r->count)
        return NULL;
    const struct slot *s = load(r, picture / r->gop);
    int k = picture % r->gop;
    return k < s->n ? s->luma + (size_t)k * (size_t)r->w * (size_t)r->h : NULL;
}
