/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_http.h"

#include <stdlib.h>
#include <string.h>
#include <lauxlib.h>
#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "bind/bind.h"
#include "bind/bind_play.h"
#include "blob/blob.h"
#include "http/server.h"
#include "lua/gen.h"
#include "lua/lx.h"
#include "run/board.h"

enum body_mode { BODY_NONE, BODY_MEMORY, BODY_STREAM };
struct route {
    enum body_mode body;
    int64_t max_body;
    bool pure; /* the answer depends on the path alone */
    bool key;  /* fast = "key": see bind_play_answer */
};

/* File answers of pure routes by path. Only of files that were there, so strangers cannot fill it. */
enum { PURE_BUCKETS = 256, PURE_MAX = 1024 };
struct pure {
    struct pure *next;
    const char *path, *root;
    int status, nheaders;
    struct http_header *headers;
    struct http_file file; /* dirfd is looked up each time */
};
struct bind_pure {
    struct arena *arena; /* the generation's table */
    int n;
    struct pure *b[PURE_BUCKETS];
};
/* What a generation's slot holds. */
struct table {
    struct arena *arena; /* the table lives in it */
    struct router *router;
    int n;
    struct route *routes; /* index = Lua index - 1 */
    struct bind_pure pure;
    int dispatch, not_found; /* references to the functions of boot.lua; they end with the state */
};

/* ---- building ---- */

static void table_free(void *p)
{
    struct table *t = p;
    router_free(t->router);
    struct arena *a = t->arena;
    arena_free(a);
}

static const char *field(lua_State *L, int idx, const char *name, struct arena *a)
{
    lua_getfield(L, idx, name);
    const char *s = lua_type(L, -1) == LUA_TSTRING ? arena_strdup(a, lua_tostring(L, -1)) : NULL;
    lua_pop(L, 1);
    return s;
}

static int read_route(lua_State *L, int idx, int i, struct table *t, struct router_entry *out,
                      struct err *e)
{
    lua_rawgeti(L, idx, i + 1);
    if (!lua_istable(L, -1))
        return ERR(e, ERR_CONFIG, "route %d is not a table", i + 1);
    int row = lua_gettop(L);
    *out = (struct router_entry){field(L, row, "method", t->arena), field(L, row, "path", t->arena),
                                 i};
    if (!out->method || !out->pattern)
        return ERR(e, ERR_CONFIG, "route %d has no method or path", i + 1);
    const char *body = field(L, row, "body", t->arena);
    lua_getfield(L, row, "max_body");
    t->routes[i].max_body = lua_isnumber(L, -1) ? (int64_t)lua_tonumber(L, -1) : 65536;
    lua_getfield(L, row, "pure");
    t->routes[i].pure = lua_toboolean(L, -1);
    lua_getfield(L, row, "fast");
    t->routes[i].key = lua_isstring(L, -1) && strcmp(lua_tostring(L, -1), "key") == 0;
    lua_settop(L, row - 1);
    if (!body || strcmp(body, "none") == 0)
        t->routes[i].body = BODY_NONE;
    else if (strcmp(body, "memory") == 0)
        t->routes[i].body = BODY_MEMORY;
    else if (strcmp(body, "stream") == 0)
        t->routes[i].body = BODY_STREAM;
    else
        return ERR(e, ERR_CONFIG, "%s %s: unknown body mode %s", out->method, out->pattern, body);
    return 0;
}

static int read_routes(lua_State *L, struct table *t, struct err *e)
{
    int idx = lua_gettop(L);
    t->n = lua_istable(L, idx) ? (int)lua_objlen(L, idx) : 0;
    t->routes = arena_alloc(t->arena, sizeof *t->routes * (size_t)(t->n + 1));
    struct router_entry *v = arena_alloc(t->arena, sizeof *v * (size_t)(t->n + 1));
    for (int i = 0; i < t->n; i++)
        if (read_route(L, idx, i, t, &v[i], e) < 0)
            return -1;
    return router_build(v, t->n, &t->router, e);
}

int bind_http_swap(void *arg, struct gen *g, struct err *e)
{
    (void)arg;
    lua_State *L = g->L;
    if (g->slot[GEN_SLOT_HTTP] || g->boot_ref == LUA_NOREF)
        return 0;
    int top = lua_gettop(L);
    struct arena *a = arena_new();
    struct table *t = arena_alloc(a, sizeof *t);
    t->arena = t->pure.arena = a;
    gen_push_boot(L, g);
    lua_getfield(L, -1, "routes");
    int rc = read_routes(L, t, e);
    lua_getfield(L, top + 1, "dispatch");
    t->dispatch = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_getfield(L, top + 1, "not_found");
    t->not_found = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_settop(L, top);
    if (rc < 0) {
        table_free(t);
        return -1;
    }
    g->slot[GEN_SLOT_HTTP] = t;
    g->slot_free[GEN_SLOT_HTTP] = table_free;
    return 0;
}

/* ---- a request ---- */

static void finish(struct bind_http *h)
{
    struct gen *g = h->g;
    h->task = NULL;
    http_release(h->r); /* h is gone with it */
    gen_unref(g);
}

static void on_task_done(struct task *t, bool ok, lua_State *co, int nresults)
{
    struct bind_http *h = t->user;
    if (h->locked) /* the client may come with its next request as soon as it has the answer */
        http_append_close(h->r);
    if (!ok && t->err.code != ERR_CANCELLED) {
        enum log_level lv = err_status(t->err.code) >= 500 ? LOG_ERROR : LOG_INFO;
        char shown[HTTP_LOG_PATH];
        log_event(lv, "http.failed", "sssss", "request_id", h->r->id, "method", h->r->method,
                  "path", http_log_path(h->r, shown), "code", err_name(t->err.code), "message",
                  t->err.msg);
        board_count("lua_errors_total", 1);
    }
    if (h->gone) {
        finish(h);
        return;
    }
    if (!ok &&
        t->err.code == ERR_CANCELLED) /* by us: drain or reload, so the client may try again */
        t->err.code = ERR_BUSY;
    if (h->streaming)
        http_stream_end(h->r);
    else if (ok)
        bind_reply_send(co, nresults, h);
    else
        http_respond_err(h->r, &t->err);
    finish(h);
}

static void spawn(struct bind_http *h)
{
    struct task *t = sched_new(h->g, PHASE_REQUEST, BIND_HTTP_TIMEOUT_US, on_task_done, h);
    const struct table *table = h->g->slot[GEN_SLOT_HTTP];
    lua_State *co = t->co;
    h->task = t;
    lua_checkstack(co, 4);
    if (h->match.status == 200) {
        lua_rawgeti(co, LUA_REGISTRYINDEX, table->dispatch);
        lua_pushinteger(co, h->match.id + 1);
        sched_start(t, 1);
        return;
    }
    lua_rawgeti(co, LUA_REGISTRYINDEX, table->not_found);
    lua_pushinteger(co, h->match.status);
    if (h->match.allow[0])
        lua_pushstring(co, h->match.allow);
    else
        lua_pushnil(co);
    sched_start(t, 2);
}

static void on_body(struct http_req *r, void *arg, const struct err *e)
{
    struct bind_http *h = arg;
    if (e) {
        http_respond_err(r, e);
        finish(h);
        return;
    }
    spawn(h);
}

/* ---- pure routes ---- */

static struct pure **pure_find(struct bind_pure *t, const char *path)
{
    uint32_t hash = 2166136261u;
    for (const char *p = path; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619u;
    struct pure **at = &t->b[hash % PURE_BUCKETS];
    while (*at && strcmp((*at)->path, path) != 0)
        at = &(*at)->next;
    return at;
}

void bind_http_remember(struct bind_http *h, int status, const struct http_header *v, int n,
                        const char *root, const struct http_file *f)
{
    struct bind_pure *t = h->pure;
    struct pure **at = pure_find(t, h->r->path);
    if (*at || t->n >= PURE_MAX)
        return;
    struct pure *p = arena_alloc(t->arena, sizeof *p);
    p->path = arena_strdup(t->arena, h->r->path);
    p->root = arena_strdup(t->arena, root);
    p->status = status;
    p->file = *f;
    p->file.rel = arena_strdup(t->arena, f->rel);
    p->file.ctype = f->ctype ? arena_strdup(t->arena, f->ctype) : NULL;
    p->nheaders = n;
    p->headers = arena_alloc(t->arena, sizeof *v * (size_t)n);
    for (int i = 0; i < n; i++)
        p->headers[i] = (struct http_header){arena_strdup(t->arena, v[i].name),
                                             arena_strdup(t->arena, v[i].value)};
    *at = p;
    t->n++;
}

/* Answers from memory of an earlier answer; false when there is none. */
static bool pure_answer(struct bind_pure *t, struct http_req *r)
{
    struct pure *p = *pure_find(t, r->path);
    if (!p)
        return false;
    struct http_file f = p->file;
    f.dirfd = blob_dirfd(p->root);
    if (f.dirfd < 0)
        return false;
    http_respond_file(r, p->status, p->headers, p->nheaders, &f);
    http_release(r);
    return true;
}

static int on_start(void *arg, struct http_req *r)
{
    (void)arg;
    struct gen *g = gen_current();
    struct table *t = g ? g->slot[GEN_SLOT_HTTP] : NULL;
    if (!t)
        return -1;
    struct router_match match;
    router_match(t->router, r->method, r->path, &match);
    struct route none = {BODY_NONE, 0, false, false};
    struct route *route = match.status == 200 ? &t->routes[match.id] : &none;
    if ((route->pure && pure_answer(&t->pure, r)) || (route->key && bind_play_answer(r, &match)))
        return 0;
    struct bind_http *h = arena_alloc(http_arena(r), sizeof *h);
    h->r = r;
    h->g = gen_ref(g);
    h->match = match;
    h->pure = route->pure ? &t->pure : NULL;
    r->user = h;
    h->max_body = route->max_body;
    h->in_memory = route->body == BODY_MEMORY;
    h->body_taken = route->body != BODY_STREAM;
    if (h->in_memory && r->has_body)
        http_body_memory(r, (size_t)route->max_body, on_body, h);
    else
        spawn(h);
    return 0;
}

static void on_gone(void *arg, struct http_req *r)
{
    (void)arg;
    struct bind_http *h = r->user;
    h->gone = true;
    if (!h->task)
        finish(h);
    else if (!h->appending)
        sched_cancel(h->task, ERR_CANCELLED, "the client is gone");
}

const struct http_handler *bind_http_handler(void)
{
    static const struct http_handler handler = {.start = on_start, .gone = on_gone};
    return &handler;
}

struct bind_http *bind_http_seen(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_ANY);
    if (t->done != on_task_done)
        luaL_error(L, "no HTTP request in this task");
    return t->user;
}

struct bind_http *bind_http_current(lua_State *L, struct task **t)
{
    *t = lx_task(L, PHASE_REQUEST | PHASE_WEBHOOK);
    return bind_http_seen(L);
}

void bind_http_clock(struct bind_http *h, bool on)
{
    struct task *t = h->task;
    struct loop *l = bind_env()->loop;
    loop_timer_clear(l, &t->timer);
    t->deadline = 0;
    if (on) {
        t->deadline = clock_mono() + BIND_HTTP_TIMEOUT_US;
        loop_timer_set(l, &t->timer, BIND_HTTP_TIMEOUT_US);
    }
}
