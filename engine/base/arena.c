/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

enum { ARENA_CHUNK = 4096, SPARE_MAX = 256 };

struct chunk {
    struct chunk *next;
    size_t cap, used;
    size_t pad; /* keeps data 16-byte aligned */
    unsigned char data[];
};

struct cleanup {
    struct cleanup *next;
    arena_fn fn;
    void *arg;
};

struct arena {
    struct chunk *head;
    struct cleanup *cleanups;
    size_t used;
};

/* Chunks of the usual size are kept for the next request: blocks this large cost malloc a search and a merge each time.
 * Not under a sanitizer, which wants to see every use after free. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__clang__)
enum { SPARE_LIMIT = 0 };
#else
enum { SPARE_LIMIT = SPARE_MAX };
#endif
static _Thread_local struct {
    struct chunk *list;
    int n;
} spare;

static void chunk_free(struct chunk *c)
{
    if (c->cap != ARENA_CHUNK || spare.n >= SPARE_LIMIT) {
        free(c);
        return;
    }
    c->next = spare.list;
    spare.list = c;
    spare.n++;
}

static struct chunk *chunk_new(size_t cap)
{
    struct chunk *c = cap == ARENA_CHUNK ? spare.list : NULL;
    if (c) {
        spare.list = c->next;
        spare.n--;
    } else {
        c = malloc(sizeof *c + cap);
        must(c);
    }
    c->next = NULL;
    c->cap = cap;
    c->used = 0;
    return c;
}

struct arena *arena_new(void)
{
    struct chunk *c = chunk_new(ARENA_CHUNK);
    struct arena *a = (struct arena *)(void *)c->data; /* in its own first chunk */
    *a = (struct arena){.head = c};
    c->used = (sizeof *a + 15) & ~(size_t)15;
    return a;
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    while (a->cleanups) {
        struct cleanup *c = a->cleanups;
        a->cleanups = c->next; /* first: fn may defer or undefer */
        if (c->fn)
            c->fn(c->arg);
    }
    for (struct chunk *c = a->head, *next; c; c = next) {
        next = c->next;
        chunk_free(c);
    }
}

void *arena_alloc(struct arena *a, size_t n)
{
    must(n <= SIZE_MAX / 2);
    size_t need = (n + 15) & ~(size_t)15;
    if (need == 0)
        need = 16;
    struct chunk *c = a->head;
    if (c->cap - c->used < need) {
        if (need > ARENA_CHUNK / 4) {
            /* A big block of its own goes behind the head, whose rest stays usable. */
            struct chunk *big = chunk_new(need);
            big->next = c->next;
            c->next = big;
            c = big;
        } else {
            c = chunk_new(need > ARENA_CHUNK ? need : ARENA_CHUNK);
            c->next = a->head;
            a->head = c;
        }
    }
    void *p = c->data + c->used;
    c->used += need;
    a->used += need;
    memset(p, 0, need);
    return p;
}

char *arena_strndup(struct arena *a, const char *p, size_t n)
{
    char *s = arena_alloc(a, n + 1);
    if (n)
        memcpy(s, p, n);
    return s;
}

char *arena_strdup(struct arena *a, const char *s)
{
    return arena_strndup(a, s, strlen(s));
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    must(n >= 0);
    char *s = arena_alloc(a, (size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(s, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return s;
}

void *arena_defer(struct arena *a, arena_fn fn, void *arg)
{
    struct cleanup *c = arena_alloc(a, sizeof *c);
    c->fn = fn;
    c->arg = arg;
    c->next = a->cleanups;
    a->cleanups = c;
    return c;
}

void arena_undefer(struct arena *a, void *token)
{
    /* Unlinked, not only disarmed: a long-lived arena would walk dead entries. The memory stays until the end. */
    for (struct cleanup **p = &a->cleanups; *p; p = &(*p)->next) {
        if (*p == token) {
            *p = (*p)->next;
            return;
        }
    }
}

size_t arena_used(const struct arena *a)
{
    return a->used;
}
