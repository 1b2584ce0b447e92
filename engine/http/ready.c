/* SPDX-License-Identifier: Apache-2.0 */
#include <microhttpd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/err.h"
#include "http/ready.h"

/* A few places for each hash: what is not asked for any more is pushed out. */
enum { SETS = 32, WAYS = 8, KEY_MAX = 256 };

struct ready_set {
    struct ready *idle[SETS][WAYS];
    unsigned turn, cleared;
};

struct ready_set *ready_set_new(void)
{
    struct ready_set *s = calloc(1, sizeof *s);
    must(s);
    return s;
}

void ready_drop(struct ready *r)
{
    if (!r)
        return;
    MHD_destroy_response(r->m);
    free(r);
}

void ready_set_clear(struct ready_set *s)
{
    for (int i = 0; i < SETS; i++) {
        for (int k = 0; k < WAYS; k++) {
            ready_drop(s->idle[i][k]);
            s->idle[i][k] = NULL;
        }
    }
    s->cleared++;
}

void ready_set_free(struct ready_set *s)
{
    if (s)
        ready_set_clear(s);
    free(s);
}

/* "name\0value\0..."; 0 when these headers are not worth keeping. */
static size_t key_of(const struct http_header *h, int nh, char key[KEY_MAX])
{
    size_t at = 0;
    for (int i = 0; i < nh; i++) {
        size_t name = strlen(h[i].name) + 1, value = strlen(h[i].value) + 1;
        if (name + value > KEY_MAX - at || strcasecmp(h[i].name, "set-cookie") == 0)
            return 0;
        memcpy(key + at, h[i].name, name);
        memcpy(key + at + name, h[i].value, value);
        at += name + value;
    }
    return at;
}

static struct ready **places(struct ready_set *s, const char *key, size_t nkey, size_t nbody)
{
    uint32_t hash = 2166136261u ^ (uint32_t)nbody;
    for (size_t i = 0; i < nkey; i++)
        hash = (hash ^ (unsigned char)key[i]) * 16777619u;
    return s->idle[(hash ^ hash >> 16) % SETS];
}

static struct ready *make(const char *key, size_t nkey, size_t n)
{
    struct ready *r = malloc(sizeof *r + nkey + n + 1);
    must(r);
    *r = (struct ready){.made = true, .nkey = nkey, .nbody = n, .key = (char *)(r + 1)};
    r->body = r->key + nkey;
    memcpy(r->key, key, nkey);
    r->m = MHD_create_response_from_buffer(n, r->body, MHD_RESPMEM_PERSISTENT);
    must(r->m);
    return r;
}

struct ready *ready_take(struct ready_set *s, const struct http_header *h, int nh, const void *body,
                         size_t n)
{
    char key[KEY_MAX];
    size_t nkey = n <= READY_BODY_MAX ? key_of(h, nh, key) : 0;
    if (!nkey)
        return NULL;
    struct ready **v = places(s, key, nkey, n), *r = NULL;
    for (int k = 0; k < WAYS && !r; k++) {
        if (!v[k] || v[k]->nbody != n || v[k]->nkey != nkey || memcmp(v[k]->key, key, nkey) != 0)
            continue;
        r = v[k];
        r->made = false;
        v[k] = NULL;
    }
    if (!r) {
        r = make(key, nkey, n);
        r->turn = s->cleared;
    }
    if (n)
        memcpy(r->body, body, n);
    return r;
}

void ready_give(struct ready_set *s, struct ready *r)
{
    if (r->turn != s->cleared) {
        ready_drop(r);
        return;
    }
    struct ready **v = places(s, r->key, r->nkey, r->nbody), **at = &v[s->turn++ % WAYS];
    for (int k = 0; k < WAYS; k++)
        if (!v[k])
            at = &v[k];
    ready_drop(*at);
    *at = r;
}
