/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_http.h"

#include <string.h>
#include "base/arena.h"
#include "blob/blob.h"
#include "http/msg.h"
#include "lua/lx.h"

/* ---- uploads ---- */

struct receive {
    struct bind_http *h;
    struct task *task;
    struct err err;
};

static void on_received(struct http_req *r, void *arg, const struct err *e)
{
    (void)r;
    struct receive *op = arg;
    if (e)
        op->err = *e;
    bind_http_clock(op->h, true);
    sched_wake(op->task);
}

static void receive_stop(void *p)
{
    struct receive *op = p;
    if (!op->h->gone)
        http_body_cancel(op->h->r);
}

static void push_file(lua_State *L, const struct http_upload *f)
{
    lua_createtable(L, 0, 6);
    lua_pushstring(L, f->field);
    lua_setfield(L, -2, "field");
    lua_pushstring(L, f->filename);
    lua_setfield(L, -2, "filename");
    lua_pushstring(L, f->ctype);
    lua_setfield(L, -2, "type");
    lua_pushstring(L, f->path);
    lua_setfield(L, -2, "path");
    lua_pushnumber(L, (lua_Number)f->size);
    lua_setfield(L, -2, "size");
    lua_pushstring(L, f->sha256);
    lua_setfield(L, -2, "sha256");
}

static int receive_push(lua_State *L, struct task *t, void *p)
{
    (void)t;
    struct receive *op = p;
    const struct http_form *form = op->h->r->form;
    if (op->err.code != ERR_NONE)
        return lx_fail(L, &op->err);
    lua_createtable(L, 0, 2);
    lua_createtable(L, 0, form ? form->nfields : 0);
    for (int i = 0; form && i < form->nfields; i++) {
        lua_pushlstring(L, form->fields[i].value.p, form->fields[i].value.n);
        lua_setfield(L, -2, form->fields[i].name);
    }
    lua_setfield(L, -2, "fields");
    lua_createtable(L, form ? form->nfiles : 0, 0);
    for (int i = 0; form && i < form->nfiles; i++) {
        push_file(L, &form->files[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "files");
    return 1;
}

/* ppv.http.receive(req: table, spec: table) -> {fields, files} | nil, err
 * Takes the body of a route with body = "stream" onto the disk. spec: dir (blob root, "upload"),
 * max_file, max_total, reserve (bytes), max_files (1), max_fields (64), raw (true: the whole body
 * is one file). fields {name = value}, files {{field, filename, type, path, size, sha256}}: path
 * lies beneath the root and is yours to rename or remove. The request's deadline is off meanwhile.
 * Phases: request. Yields. Errors: request.bad request.too_large request.unsupported io.failed
 * io.disk_full. Since 1.0 */
static int l_receive(lua_State *L)
{
    struct task *t;
    struct bind_http *h = bind_http_current(L, &t);
    luaL_checktype(L, 2, LUA_TTABLE);
    const int64_t big = INT64_C(1) << 50;
    struct str dir = lx_field_str(L, 2, "dir", 40, false);
    struct http_upload_spec s = {.dirfd = blob_dirfd(dir.p ? dir.p : "upload")};
    s.max_file = lx_field_int(L, 2, "max_file", 0, big, h->max_body);
    s.max_total = lx_field_int(L, 2, "max_total", 0, big, s.max_file + (1 << 20));
    s.reserve = lx_field_int(L, 2, "reserve", 0, big, 0);
    s.max_files = (int)lx_field_int(L, 2, "max_files", 0, 100, 0);
    s.max_fields = (int)lx_field_int(L, 2, "max_fields", 0, 1000, 0);
    bool raw = lx_field_bool(L, 2, "raw", false);
    if (s.dirfd < 0)
        return luaL_argerror(L, 2, "unknown blob root in dir");
    if (h->body_taken)
        return luaL_error(L, "the body was taken already (the route needs body = \"stream\")");
    h->body_taken = true;
    struct receive *op = arena_alloc(t->arena, sizeof *op);
    op->h = h;
    op->task = t;
    bind_http_clock(h, false);
    if (raw)
        http_body_raw_file(h->r, &s, on_received, op);
    else
        http_body_multipart(h->r, &s, on_received, op);
    return sched_await(L, t, receive_push, receive_stop, op);
}

/* ---- appending ---- */

/* ppv.http.append_open(req: table, dir: string, name: string) -> true | nil, err
 * Opens a file in a blob root for ppv.http.append and locks it, for all workers, until the
 * request has its answer. Phases: request. Errors: request.conflict (another request has it)
 * request.not_found io.failed. Since 1.0 */
static int l_append_open(lua_State *L)
{
    struct task *t;
    struct bind_http *h = bind_http_current(L, &t);
    struct err e = {0};
    int dirfd = blob_dirfd(luaL_checkstring(L, 2));
    struct str name = lx_str(L, 3, 1, 200);
    if (dirfd < 0)
        return luaL_argerror(L, 2, "unknown blob root");
    luaL_argcheck(L, strlen(name.p) == name.n && !strchr(name.p, '/'), 3, "not a file name");
    if (h->locked)
        return luaL_error(L, "this request has opened a file already");
    if (http_append_open(h->r, dirfd, name.p, &e) < 0)
        return lx_fail(L, &e);
    h->locked = true;
    lua_pushboolean(L, 1);
    return 1;
}

struct append_op {
    struct bind_http *h;
    struct task *task;
    struct http_appended x;
    struct err err;
};

static void push_appended(lua_State *L, const struct http_appended *x)
{
    lua_createtable(L, 0, 6);
    lua_pushnumber(L, (lua_Number)x->offset);
    lua_setfield(L, -2, "offset");
    lua_pushstring(L, x->state);
    lua_setfield(L, -2, "state");
    lua_pushboolean(L, x->ended);
    lua_setfield(L, -2, "ended");
    lua_pushboolean(L, x->cut);
    lua_setfield(L, -2, "cut");
    lua_pushboolean(L, x->mismatch);
    lua_setfield(L, -2, "mismatch");
    if (x->ended) {
        lua_pushstring(L, x->sha256);
        lua_setfield(L, -2, "sha256");
    }
}

static void on_step(struct http_req *r, void *arg, const struct http_appended *x,
                    const struct err *e)
{
    (void)r;
    struct append_op *op = arg;
    op->x = *x;
    if (e)
        op->err = *e;
    bind_http_clock(op->h, true);
    sched_wake(op->task);
}

static void append_stop(void *p)
{
    http_append_close(((struct append_op *)p)->h->r);
}

static int append_push(lua_State *L, struct task *t, void *p)
{
    (void)t;
    struct append_op *op = p;
    if (op->err.code != ERR_NONE)
        return lx_fail(L, &op->err);
    push_appended(L, &op->x);
    return 1;
}

static void append_spec(lua_State *L, struct http_append_spec *s)
{
    const int64_t big = INT64_C(1) << 50;
    struct str state = lx_field_str(L, 2, "state", HTTP_APPEND_STATE, false);
    struct str digest = lx_field_str(L, 2, "digest", 20, false);
    *s = (struct http_append_spec){.state = state.p, .digest = digest.p};
    s->offset = lx_field_int(L, 2, "offset", 0, big, 0);
    s->max = lx_field_int(L, 2, "max", 0, big, 0);
    s->reserve = lx_field_int(L, 2, "reserve", 0, big, 0);
    s->want = lx_field_str(L, 2, "want", 64, false);
}

/* ppv.http.append(req: table, spec?: table) -> {offset, state, ended, cut, mismatch, sha256} | nil, err
 * Takes the body of a route with body = "stream" onto the file of append_open. spec, in the first
 * call: offset (what lies behind is cut off), max (bytes of the body), reserve, state (of the hash
 * of the bytes before offset, from an earlier answer), digest ("sha1", "sha256") and want (raw
 * bytes): then the body counts only as a whole and when it matches. Answers each second or 32 MiB
 * with the offset up to which the file is on the disk for certain; call again, without spec, until
 * ended (all came; with sha256 of the file in hex) or cut (the client left; the task lives on to
 * note the offset). Phases: request. Yields. Errors:
 * request.too_large request.not_found input.invalid io.failed io.disk_full. Since 1.0 */
static int l_append(lua_State *L)
{
    struct task *t;
    struct bind_http *h = bind_http_current(L, &t);
    struct http_appended over;
    if (!h->locked)
        return luaL_error(L, "append without append_open");
    struct append_op *op = arena_alloc(t->arena, sizeof *op);
    op->h = h;
    op->task = t;
    if (h->appending) {
        if (!http_append_more(h->r, on_step, op, &over)) {
            push_appended(L, &over);
            return 1;
        }
        bind_http_clock(h, false);
        return sched_await(L, t, append_push, append_stop, op);
    }
    struct http_append_spec s;
    luaL_checktype(L, 2, LUA_TTABLE);
    append_spec(L, &s);
    if (h->body_taken)
        return luaL_error(L, "the body was taken already (the route needs body = \"stream\")");
    h->body_taken = h->appending = true;
    bind_http_clock(h, false);
    http_append(h->r, &s, on_step, op);
    return sched_await(L, t, append_push, append_stop, op);
}

/* ---- streams ---- */

/* ppv.http.stream_open(req: table, status: integer, headers?: table) -> true
 * Starts an answer of unknown length (content-type "text/event-stream": a comment goes out every
 * 15 s of silence). The request's deadline is off from here; the task ends when the client goes.
 * The handler's result is then ignored: return 200, {}, {streamed = true}. Phases: request. Since
 * 1.0 */
static int l_stream_open(lua_State *L)
{
    struct task *t;
    struct bind_http *h = bind_http_current(L, &t);
    int status = (int)lx_int(L, 2, 200, 599);
    if (!lua_isnoneornil(L, 3))
        luaL_checktype(L, 3, LUA_TTABLE);
    lua_settop(L, 3);
    if (h->streaming)
        return luaL_error(L, "the stream is open already");
    struct http_header *v;
    int n = bind_reply_headers(L, 3, h, &v);
    h->streaming = true;
    bind_http_clock(h, false);
    http_stream_open(h->r, status, v, n);
    lua_pushboolean(L, 1);
    return 1;
}

struct chunk {
    struct arena *arena; /* its own: a stream may live for days */
    struct bind_http *h;
    struct task *task;
    void *token;
    const char *p;
    size_t n;
};

static void chunk_free(void *p)
{
    struct chunk *c = p;
    struct arena *a = c->arena;
    arena_free(a);
}

static void on_writable(struct http_req *r, void *arg)
{
    (void)r;
    struct chunk *c = arg;
    sched_wake(c->task);
}

static void write_stop(void *p)
{
    struct chunk *c = p;
    if (!c->h->gone)
        http_stream_writable(c->h->r, NULL, NULL);
}

static int push_gone(lua_State *L)
{
    lua_pushnil(L);
    lua_pushliteral(L, "gone");
    return 2;
}

static int write_push(lua_State *L, struct task *t, void *p)
{
    struct chunk *c = p;
    enum http_stream_result rc = http_stream_write(c->h->r, c->p, c->n);
    arena_undefer(t->arena, c->token);
    chunk_free(c);
    if (rc != HTTP_STREAM_OK)
        return push_gone(L);
    lua_pushboolean(L, 1);
    return 1;
}

/* ppv.http.stream_write(req: table, s: string) -> true | nil, "gone"
 * Sends at most 64 KiB; waits while the client is slower than the writer. Phases: request. Yields.
 * Since 1.0 */
static int l_stream_write(lua_State *L)
{
    struct task *t;
    struct bind_http *h = bind_http_current(L, &t);
    struct str s = lx_str(L, 2, 0, 65536);
    if (!h->streaming)
        return luaL_error(L, "no stream is open");
    switch (http_stream_write(h->r, s.p, s.n)) {
    case HTTP_STREAM_OK: lua_pushboolean(L, 1); return 1;
    case HTTP_STREAM_GONE: return push_gone(L);
    default: break;
    }
    struct arena *a = arena_new();
    struct chunk *c = arena_alloc(a, sizeof *c);
    *c = (struct chunk){.arena = a, .h = h, .task = t, .p = arena_strndup(a, s.p, s.n), .n = s.n};
    c->token = arena_defer(t->arena, chunk_free, c);
    http_stream_writable(h->r, on_writable, c);
    return sched_await(L, t, write_push, write_stop, c);
}

/* ppv.http.stream_end(req: table) -> nothing
 * Ends the stream; returning from the handler does too. Phases: request. Since 1.0 */
static int l_stream_end(lua_State *L)
{
    struct task *t;
    struct bind_http *h = bind_http_current(L, &t);
    if (h->streaming)
        http_stream_end(h->r);
    return 0;
}

int bind_http_open(lua_State *L)
{
    static const luaL_Reg reg[] = {{"request", bind_request_part}, {"header", bind_request_header},
                                   {"json", bind_reply_json},      {"receive", l_receive},
                                   {"append_open", l_append_open}, {"append", l_append},
                                   {"stream_open", l_stream_open}, {"stream_write", l_stream_write},
                                   {"stream_end", l_stream_end},   {NULL, NULL}};
    return lx_module(L, reg);
}
