/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/playkey.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "crypto/digest.h"
#include "domain/playtoken.h"
#include "run/cache.h"

enum { TITLES = 64 };

struct title {
    struct playkey_title info; /* secret is wiped */
    struct digest_key keys;
    uint8_t code[32];
    int64_t used;
};
static struct title *titles[TITLES];

/* ---- leases ---- */

struct lease_key {
    char text[5 + 16];
};

static struct str lease_key(struct lease_key *k, const uint8_t id[16])
{
    memcpy(k->text, "lease", 5);
    memcpy(k->text + 5, id, 16);
    return (struct str){k->text, sizeof k->text};
}

bool playkey_lease_set(const uint8_t id[16], const struct playkey_lease *l, struct str ask)
{
    struct lease_key k;
    char value[sizeof *l + PLAYKEY_ASK_MAX];
    if (ask.n > PLAYKEY_ASK_MAX)
        return false;
    memcpy(value, l, sizeof *l);
    if (ask.n)
        memcpy(value + sizeof *l, ask.p, ask.n);
    return cache_set(lease_key(&k, id), (struct str){value, sizeof *l + ask.n},
                     PLAYKEY_LEASE_S * 1000000);
}

/* The lease and its ask map in one buffer that is used again and again. */
static bool lease_read(const uint8_t id[16], struct playkey_lease *l, struct str *ask)
{
    static struct buf b;
    struct lease_key k;
    buf_clear(&b);
    if (!cache_get(lease_key(&k, id), &b) || b.n < sizeof *l)
        return false;
    memcpy(l, b.p, sizeof *l);
    *ask = (struct str){b.p + sizeof *l, b.n - sizeof *l};
    return true;
}

bool playkey_lease_get(const uint8_t id[16], struct playkey_lease *l)
{
    struct str ask;
    return lease_read(id, l, &ask);
}

void playkey_lease_drop(const uint8_t id[16])
{
    struct lease_key k;
    cache_del(lease_key(&k, id));
}

/* ---- titles ---- */

static struct title *title_find(const uint8_t video[16])
{
    for (int i = 0; i < TITLES; i++)
        if (titles[i] && memcmp(titles[i]->info.video, video, 16) == 0)
            return titles[i];
    return NULL;
}

static struct title *title_place(const uint8_t video[16])
{
    struct title *t = title_find(video);
    int at = 0;
    if (t)
        return t;
    for (int i = 0; i < TITLES && titles[at]; i++)
        if (!titles[i] || titles[i]->used < titles[at]->used)
            at = i;
    if (!titles[at]) {
        titles[at] = calloc(1, sizeof *t);
        must(titles[at]);
    }
    return titles[at];
}

int playkey_title_set(const struct playkey_title *info)
{
    uint8_t code[32];
    if (code_key(info->secret, code) < 0)
        return -1;
    struct title *t = title_place(info->video);
    t->info = *info;
    t->used = clock_mono();
    memcpy(t->code, code, sizeof code);
    digest_key_extract(&t->keys, info->secret, sizeof info->secret);
    digest_wipe(t->info.secret, sizeof t->info.secret);
    digest_wipe(code, sizeof code);
    return 0;
}

static const struct playkey_rendition *rendition_of(const struct title *t, const char *name)
{
    for (int i = 0; i < t->info.n; i++)
        if (strcmp(t->info.v[i].name, name) == 0)
            return &t->info.v[i];
    return NULL;
}

/* HKDF's second half, see digest_key_extract. */
static void derive(const struct title *t, const struct playkey_found *f, uint8_t key[16])
{
    char info[64];
    uint8_t md[32];
    int n = snprintf(info, sizeof info, "v1|%s|%c|%d", f->rendition, f->variant, f->seq);
    info[n] = 1;
    digest_key_mac(&t->keys, info, (size_t)n + 1, md);
    memcpy(key, md, 16);
}

/* ---- pace ---- */

struct bucket {
    int64_t at[2];    /* clock_mono */
    int64_t spent[2]; /* us of film taken and not yet refilled, at that moment */
};
struct want {
    const struct playkey_pace *p;
    int kind;
    int64_t us, wait_us;
};

static void pour(void *value, void *arg)
{
    struct bucket *b = value;
    struct want *w = arg;
    int64_t now = clock_mono(), speed = w->p->speed_pct ? w->p->speed_pct : 1;
    int64_t room = ((int64_t)w->p->ahead_ms + w->p->seek_ms) * 1000;
    int64_t back = b->at[w->kind] ? (now - b->at[w->kind]) / 100 * speed : 0;
    int64_t spent = b->spent[w->kind] > back ? b->spent[w->kind] - back : 0;
    int64_t over = spent + w->us - room;
    b->at[w->kind] = now;
    b->spent[w->kind] = spent;
    w->wait_us = 0;
    if (over > 0 && spent > 0) /* one segment is always had from a full bucket */
        w->wait_us = over * 100 / speed + 1;
    else
        b->spent[w->kind] += w->us;
}

int64_t playkey_pace(int64_t user_id, const uint8_t video[16], bool audio, int ms,
                     const struct playkey_pace *p)
{
    char key[4 + 8 + 16];
    struct want w = {p, audio, (int64_t)ms * 1000, 0};
    memcpy(key, "pace", 4);
    memcpy(key + 4, &user_id, 8);
    memcpy(key + 12, video, 16);
    cache_update((struct str){key, sizeof key}, sizeof(struct bucket), 4 * 3600000000LL, pour, &w);
    return w.wait_us ? w.wait_us / 1000 + 1 : 0;
}

/* ---- a request ---- */

int playkey_name(struct str file, char *name, int *n)
{
    size_t i = 2, len;
    if (file.n < 9 || memcmp(file.p, "k-", 2) != 0 || memcmp(file.p + file.n - 4, ".key", 4) != 0)
        return -1;
    while (i < file.n && ((file.p[i] >= 'a' && file.p[i] <= 'z') ||
                          (file.p[i] >= '0' && file.p[i] <= '9') || file.p[i] == '_'))
        i++;
    len = i - 2;
    size_t digits = file.n - 4 - i - 1;
    if (len == 0 || len >= PLAYKEY_NAME || i >= file.n || file.p[i] != '-' || digits < 1 ||
        digits > 6)
        return -1;
    memcpy(name, file.p + 2, len);
    name[len] = '\0';
    *n = 0;
    for (const char *p = file.p + i + 1; p < file.p + file.n - 4; p++) {
        if (*p < '0' || *p > '9')
            return -1;
        *n = *n * 10 + (*p - '0');
    }
    return 0;
}

static bool is_asked(struct str ask, int n)
{
    return (size_t)n / 8 < ask.n && ((unsigned char)ask.p[n / 8] >> n % 8 & 1);
}

bool playkey_find(struct str token, struct str file, struct playkey_found *out)
{
    struct playtoken t;
    struct playkey_lease l;
    struct str ask;
    int64_t now = clock_wall() / 1000000;
    if (playkey_name(file, out->rendition, &out->seq) < 0 || playtoken_read(token, &t) < 0 ||
        t.kind != PLAYTOKEN_SESSION || t.expires <= now || !lease_read(t.id, &l, &ask) || l.over ||
        l.expires <= now || is_asked(ask, out->seq))
        return false;
    struct title *title = title_find(l.video);
    if (!title || title->info.version != l.version)
        return false;
    const struct playkey_rendition *r = rendition_of(title, out->rendition);
    if (!r || out->seq >= r->segments)
        return false;
    title->used = clock_mono();
    if (playkey_pace(l.user_id, l.video, r->audio, title->info.segment_ms, &l.pace))
        return false;
    out->variant = 'a';
    if (r->two)
        code_word(title->code, l.user_id, title->info.code, out->seq, 1, &out->variant);
    out->user_id = l.user_id;
    memcpy(out->session, t.id, 16);
    memcpy(out->video, l.video, 16);
    derive(title, out, out->key);
    return true;
}
