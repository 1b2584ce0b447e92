/* SPDX-License-Identifier: Apache-2.0
 * Lua results to answers. Runs after the coroutine has ended, outside any protected call: raw
 * access only. */
#include "bind/bind_http.h"

#include <string.h>
#include <lauxlib.h>
#include "base/arena.h"
#include "base/log.h"
#include "base/str.h"
#include "bind/bind_json.h"
#include "blob/blob.h"
#include "http/msg.h"
#include "lua/lx.h"

enum { HEADERS_FEW = 8, HEADERS_MAX = 64 };

struct list {
    struct http_header *v;
    int n, cap;
    struct arena *a;
};

static void add(lua_State *L, struct list *l, const char *name, int idx)
{
    int type = lua_type(L, idx);
    if (l->n >= HEADERS_MAX || (type != LUA_TSTRING && type != LUA_TNUMBER))
        return;
    if (l->n == l->cap) {
        struct http_header *old = l->v;
        l->cap = l->cap ? HEADERS_MAX : HEADERS_FEW;
        l->v = arena_alloc(l->a, sizeof *l->v * (size_t)l->cap);
        for (int i = 0; i < l->n; i++)
            l->v[i] = old[i];
    }
    const char *p = lua_tostring(L, idx);
    /* a number became a string that nothing holds */
    l->v[l->n++] = (struct http_header){name, type == LUA_TSTRING ? p : arena_strdup(l->a, p)};
}

int bind_reply_headers(lua_State *L, int idx, struct bind_http *h, struct http_header **out)
{
    struct list l = {.a = http_arena(h->r)};
    *out = NULL;
    if (!lua_istable(L, idx))
        return 0;
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        int value = lua_gettop(L);
        if (lua_type(L, value - 1) == LUA_TSTRING) {
            const char *name = lua_tostring(L, value - 1);
            int n = lua_istable(L, value) ? (int)lua_objlen(L, value) : 0;
            for (int i = 1; i <= n; i++) {
                lua_rawgeti(L, value, i);
                add(L, &l, name, value + 1);
                lua_settop(L, value);
            }
            if (n == 0)
                add(L, &l, name, value);
        }
        lua_settop(L, value - 1);
    }
    *out = l.v;
    return l.n;
}

static const char *raw_str(lua_State *L, int idx, const char *name)
{
    lua_pushstring(L, name);
    lua_rawget(L, idx);
    const char *s = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    lua_pop(L, 1); /* the table still holds it */
    return s;
}

static bool raw_bool(lua_State *L, int idx, const char *name)
{
    lua_pushstring(L, name);
    lua_rawget(L, idx);
    bool v = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return v;
}

static void bad_answer(struct bind_http *h, const char *why)
{
    struct err e = {0};
    char shown[HTTP_LOG_PATH];
    log_event(LOG_ERROR, "http.bad_answer", "sss", "request_id", h->r->id, "path",
              http_log_path(h->r, shown), "why", why);
    ERR(&e, ERR_INTERNAL, "%s", why);
    http_respond_err(h->r, &e);
}

static bool is_success(int status)
{
    return status == 200 || status == 206 || status == 304;
}

static void send_table(lua_State *L, int idx, int status, struct http_header *v, int n,
                       struct bind_http *h)
{
    const char *rel = raw_str(L, idx, "file"), *root = raw_str(L, idx, "root");
    if (!rel) {
        bad_answer(h, raw_bool(L, idx, "streamed") ? "streamed without ppv.http.stream_open"
                                                   : "the body is no answer");
        return;
    }
    struct http_file f = {.dirfd = blob_dirfd(root ? root : "static"), .rel = rel};
    f.shared = raw_bool(L, idx, "shared") || !root || strcmp(root, "static") == 0;
    f.ctype = raw_str(L, idx, "type");
    if (f.dirfd < 0)
        bad_answer(h, "unknown file root");
    else if (is_success(http_respond_file(h->r, status, v, n, &f)) && h->pure)
        bind_http_remember(h, status, v, n, root ? root : "static", &f);
    if (raw_bool(L, idx, "once") && root)
        blob_remove(root, rel, &(struct err){0}); /* it is open as long as it is sent */
}

/* ---- bodies that never become a string of Lua: most are unlike any other, and looking for their like costs more than
 * writing them ---- */

struct bind_body {
    struct bind_body *next;
    size_t n;
    char text[];
};

/* ppv.http.json(value: any) -> body
 * The value as ppv.json.encode writes it, for the answer of this request alone: a handler returns it in the place of a body.
 * Functions, NaN, infinity and nesting beyond 64 raise. Phases: request webhook. Since 1.0 */
int bind_reply_json(lua_State *L)
{
    static struct buf out; /* kept between calls: an error cannot leak it */
    struct task *t;
    struct bind_http *h = bind_http_current(L, &t);
    struct err e = {0};
    luaL_checkany(L, 1);
    buf_clear(&out);
    if (bind_json_encode(L, 1, false, &out, &e) < 0)
        return luaL_error(L, "%s", e.msg);
    struct bind_body *b = arena_alloc(http_arena(h->r), sizeof *b + out.n);
    b->n = out.n;
    memcpy(b->text, out.p, out.n);
    b->next = h->bodies;
    h->bodies = b;
    if (out.cap > 1 << 20)
        buf_fini(&out);
    lua_pushlightuserdata(L, b);
    return 1;
}

static const struct bind_body *find_body(lua_State *L, int idx, const struct bind_http *h)
{
    const struct bind_body *b = h->bodies;
    while (b && b != lua_touserdata(L, idx))
        b = b->next;
    return b;
}

void bind_reply_send(lua_State *L, int nresults, struct bind_http *h)
{
    int base = lua_gettop(L) - nresults + 1;
    lua_checkstack(L, 16);
    if (nresults < 1 || lua_type(L, base) != LUA_TNUMBER) {
        bad_answer(h, "the handler gave no status");
        return;
    }
    int status = (int)lua_tonumber(L, base);
    if (status < 200 || status > 599) {
        bad_answer(h, "status out of range");
        return;
    }
    lua_settop(L, base + 2);
    struct http_header *v;
    int n = bind_reply_headers(L, base + 1, h, &v);
    int type = lua_type(L, base + 2);
    size_t len = 0;
    const struct bind_body *made = type == LUA_TLIGHTUSERDATA ? find_body(L, base + 2, h) : NULL;
    if (made) {
        http_respond(h->r, status, v, n, made->text, made->n);
    } else if (type == LUA_TTABLE) {
        send_table(L, base + 2, status, v, n, h);
    } else if (type == LUA_TNIL || type == LUA_TSTRING) {
        const char *p = type == LUA_TSTRING ? lua_tolstring(L, base + 2, &len) : "";
        http_respond(h->r, status, v, n, p, len);
    } else {
        bad_answer(h, "the body must be a string or a table");
    }
}
