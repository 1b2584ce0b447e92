/* SPDX-License-Identifier: Apache-2.0 */
#include "lua/compiled.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <lauxlib.h>
#include "base/str.h"
#include "lua/gen.h"

enum { BUCKETS = 512 };

/* The path is part of the code: it stands in messages. */
struct entry {
    struct entry *next;
    char *path;
    unsigned char hash[sizeof((struct bundle_file *)0)->hash];
    struct buf code;
    bool asked;
};
static struct {
    bool on;
    struct entry *b[BUCKETS];
} kept;

static struct entry **find(const char *path)
{
    uint32_t h = 2166136261u;
    for (const char *p = path; *p; p++)
        h = (h ^ (unsigned char)*p) * 16777619u;
    struct entry **at = &kept.b[h % BUCKETS];
    while (*at && strcmp((*at)->path, path) != 0)
        at = &(*at)->next;
    return at;
}

static void drop(struct entry **at)
{
    struct entry *e = *at;
    *at = e->next;
    buf_fini(&e->code);
    free(e->path);
    free(e);
}

static int take(lua_State *L, const void *p, size_t n, void *arg)
{
    (void)L;
    buf_put(arg, p, n);
    return 0;
}

static int parse(lua_State *L, const struct bundle_file *f)
{
    char chunk[520];
    snprintf(chunk, sizeof chunk, "@%s", f->path);
    return luaL_loadbufferx(L, f->data, f->size, chunk, "t");
}

int compiled_load(lua_State *L, const struct bundle_file *f)
{
    if (!kept.on)
        return parse(L, f);
    struct entry **at = find(f->path), *e = *at;
    if (e && memcmp(e->hash, f->hash, sizeof f->hash) == 0) {
        e->asked = true;
        return luaL_loadbufferx(L, e->code.p, e->code.n, f->path, "b");
    }
    int rc = parse(L, f);
    if (rc != 0)
        return rc;
    if (e)
        drop(at);
    e = calloc(1, sizeof *e);
    must(e);
    e->path = strdup(f->path);
    must(e->path);
    memcpy(e->hash, f->hash, sizeof f->hash);
    e->asked = true;
    at = find(f->path);
    *at = e;
    if (lua_dump(L, take, &e->code) != 0)
        drop(at);
    return 0;
}

void compiled_keep(void)
{
    kept.on = true;
}

void compiled_sweep(void)
{
    for (int i = 0; i < BUCKETS; i++) {
        for (struct entry **at = &kept.b[i]; *at;) {
            if ((*at)->asked) {
                (*at)->asked = false;
                at = &(*at)->next;
            } else {
                drop(at);
            }
        }
    }
}
