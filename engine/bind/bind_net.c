/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_net.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/str.h"
#include "bind/bind.h"
#include "bind/bind_json.h"
#include "blob/blob.h"
#include "lua/lx.h"
#include "net/fetch.h"
#include "net/mail.h"

enum { HEADERS_MAX = 64, BODY_MAX = 32 << 20, URL_MAX = 8192 };

struct fetch_op {
    struct fetch_req r;
    struct arena *arena; /* its own, freed with the answer or with the task */
    struct task *task;
    void *token;
    struct buf body;
    struct fetch_file upload, download;
    bool has_upload, has_download;
    const char *headers[HEADERS_MAX + 1];
    int nheaders;
};

static void fetch_op_free(void *p)
{
    struct fetch_op *op = p;
    fetch_req_fini(&op->r);
    buf_fini(&op->body);
    if (op->has_upload)
        close(op->upload.fd);
    if (op->has_download)
        close(op->download.fd);
    struct arena *a = op->arena;
    arena_free(a);
}

static void fetch_stop(void *p)
{
    fetch_cancel(bind_env()->fetch, &((struct fetch_op *)p)->r);
}

static void fetch_done(struct fetch_req *r)
{
    sched_wake(((struct fetch_op *)r->arg)->task);
}

/* "name: value\n" lines to a table; repeated names are joined. */
static void push_headers(lua_State *L, struct str head)
{
    lua_newtable(L);
    while (head.n) {
        const char *nl = memchr(head.p, '\n', head.n);
        size_t len = nl ? (size_t)(nl - head.p) : head.n;
        const char *colon = memchr(head.p, ':', len);
        if (colon) {
            struct str v = str_trim((struct str){colon + 1, (size_t)(head.p + len - colon - 1)});
            lua_pushlstring(L, head.p, (size_t)(colon - head.p));
            lua_pushvalue(L, -1);
            lua_rawget(L, -3);
            bool again = lua_type(L, -1) == LUA_TSTRING;
            if (again)
                lua_pushliteral(L, ", ");
            else
                lua_pop(L, 1);
            lua_pushlstring(L, v.p, v.n);
            if (again)
                lua_concat(L, 3);
            lua_rawset(L, -3);
        }
        size_t skip = len + (nl != NULL);
        head.p += skip;
        head.n -= skip;
    }
}

static int fetch_push(lua_State *L, struct task *t, void *p)
{
    struct fetch_op *op = p;
    int n = 1;
    if (op->r.err.code != ERR_NONE) {
        n = lx_fail(L, &op->r.err);
    } else {
        lua_createtable(L, 0, 3);
        lua_pushinteger(L, op->r.status);
        lua_setfield(L, -2, "status");
        push_headers(L, (struct str){op->r.head_out.p, op->r.head_out.n});
        lua_setfield(L, -2, "headers");
        lua_pushlstring(L, op->r.body_out.p ? op->r.body_out.p : "", op->r.body_out.n);
        lua_setfield(L, -2, "body");
    }
    arena_undefer(t->arena, op->token);
    fetch_op_free(op);
    return n;
}

/* ---- the request table ---- */

static void add_header(lua_State *L, struct fetch_op *op, const char *name, const char *value)
{
    if (op->nheaders >= HEADERS_MAX)
        luaL_error(L, "more than %d headers", HEADERS_MAX);
    op->headers[op->nheaders++] = arena_printf(op->arena, "%s: %s", name, value);
}

static bool has_header(const struct fetch_op *op, const char *name)
{
    for (int i = 0; i < op->nheaders; i++)
        if (str_caseeqz((struct str){op->headers[i], strcspn(op->headers[i], ":")}, name))
            return true;
    return false;
}

static void read_headers(lua_State *L, struct fetch_op *op)
{
    lua_getfield(L, 1, "headers");
    if (!lua_isnil(L, -1)) {
        luaL_checktype(L, -1, LUA_TTABLE);
        int idx = lua_gettop(L);
        lua_pushnil(L);
        while (lua_next(L, idx)) {
            if (lua_type(L, -2) != LUA_TSTRING || !lua_isstring(L, -1))
                luaL_error(L, "headers are {name = value}");
            add_header(L, op, lua_tostring(L, -2), lua_tostring(L, -1));
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

static void put_form(struct buf *b, const char *p, size_t n)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                     strchr("-._~", c);
        if (plain && c) {
            buf_put(b, &p[i], 1);
        } else {
            char esc[3] = {'%', hex[c >> 4], hex[c & 15]};
            buf_put(b, esc, 3);
        }
    }
}

static void put_form_value(lua_State *L, struct buf *b)
{
    size_t n;
    if (lua_isboolean(L, -1)) {
        buf_puts(b, lua_toboolean(L, -1) ? "true" : "false");
        return;
    }
    if (!lua_isstring(L, -1))
        luaL_error(L, "form values are strings, numbers or booleans");
    const char *p = lua_tolstring(L, -1, &n);
    put_form(b, p, n);
}

static void read_form(lua_State *L, struct fetch_op *op)
{
    int idx = lua_gettop(L);
    luaL_checktype(L, idx, LUA_TTABLE);
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        size_t n;
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "form is {name = value}");
        const char *p = lua_tolstring(L, -2, &n);
        if (op->body.n)
            buf_put(&op->body, "&", 1);
        put_form(&op->body, p, n);
        buf_put(&op->body, "=", 1);
        put_form_value(L, &op->body);
        lua_pop(L, 1);
    }
    if (!has_header(op, "content-type"))
        add_header(L, op, "Content-Type", "application/x-www-form-urlencoded");
}

static void read_body(lua_State *L, struct fetch_op *op)
{
    struct err e = {0};
    lua_getfield(L, 1, "json");
    if (!lua_isnil(L, -1)) {
        if (bind_json_encode(L, lua_gettop(L), false, &op->body, &e) < 0)
            luaL_error(L, "%s", e.msg);
        if (!has_header(op, "content-type"))
            add_header(L, op, "Content-Type", "application/json");
    }
    lua_pop(L, 1);
    lua_getfield(L, 1, "form");
    if (!lua_isnil(L, -1))
        read_form(L, op);
    lua_pop(L, 1);
    struct str body = lx_field_str(L, 1, "body", BODY_MAX, false);
    if (body.n)
        buf_put(&op->body, body.p, body.n);
    op->r.body = (struct str){op->body.p, op->body.n};
}

/* {root, path} of a field; false: there is no such field. */
static bool file_field(lua_State *L, const char *field, struct str *root, struct str *path)
{
    lua_getfield(L, 1, field);
    bool given = lua_istable(L, -1);
    if (given) {
        int t = lua_gettop(L);
        *root = lx_field_str(L, t, "root", 16, true);
        *path = lx_field_str(L, t, "path", 1024, true);
    } else if (!lua_isnil(L, -1)) {
        luaL_error(L, "field '%s': {root, path} expected", field);
    }
    lua_pop(L, 1); /* the strings stay reachable from the table */
    return given;
}

/* Opens the file that is sent and the one that is made for the answer. The disk is waited for; that is short. */
static int open_files(lua_State *L, struct fetch_op *op, struct err *e)
{
    struct str root, path;
    struct stat st;
    if (file_field(L, "upload", &root, &path)) {
        if (blob_open(root.p, path.p, O_RDONLY | O_CLOEXEC, 0, &op->upload.fd, e))
            return -1;
        op->has_upload = true;
        if (fstat(op->upload.fd, &st))
            return err_errno(e, "fstat");
        op->upload.size = st.st_size;
        op->r.upload = &op->upload;
    }
    if (file_field(L, "download", &root, &path)) {
        if (blob_open(root.p, path.p, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640,
                      &op->download.fd, e))
            return -1;
        op->has_download = true;
        op->r.download = &op->download;
    }
    return 0;
}

static void read_user(lua_State *L, struct fetch_op *op)
{
    struct str user = lx_field_str(L, 1, "user", 1024, false),
               pass = lx_field_str(L, 1, "password", 1024, false);
    if (!user.p)
        return;
    char *plain = arena_printf(op->arena, "%.*s:%.*s", (int)user.n, user.p, (int)pass.n,
                               pass.p ? pass.p : "");
    struct buf b = {0};
    buf_puts(&b, "Basic ");
    buf_put_base64(&b, plain, strlen(plain));
    char *value = arena_strdup(op->arena, b.p);
    buf_fini(&b);
    add_header(L, op, "Authorization", value);
}

static int64_t read_timeout(lua_State *L)
{
    lua_getfield(L, 1, "timeout");
    lua_Number s = luaL_optnumber(L, -1, 0);
    lua_pop(L, 1);
    if (!(s >= 0 && s <= 600))
        luaL_error(L, "field 'timeout': 0 to 600 seconds");
    return (int64_t)(s * 1e6);
}

static int request(lua_State *L, const char *method)
{
    struct task *t = lx_task(L, PHASE_IO);
    if (lua_type(L, 1) == LUA_TSTRING) {
        lua_newtable(L);
        lua_pushvalue(L, 1);
        lua_setfield(L, -2, "url");
        lua_replace(L, 1);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (!bind_env()->fetch)
        return lx_failf(L, ERR_BUSY, "no HTTP client in this process");
    struct arena *a = arena_new();
    struct fetch_op *op = arena_alloc(a, sizeof *op);
    op->arena = a;
    op->task = t;
    op->token =
        arena_defer(t->arena, fetch_op_free, op); /* from here a raised error cannot leak it */
    struct str url = lx_field_str(L, 1, "url", URL_MAX, true),
               verb = lx_field_str(L, 1, "method", 16, false);
    op->r.url = arena_strndup(a, url.p, url.n);
    op->r.method = verb.p ? arena_strndup(a, verb.p, verb.n) : method;
    read_headers(L, op);
    read_user(L, op);
    read_body(L, op);
    op->r.headers = op->headers;
    op->r.timeout_us = read_timeout(L);
    op->r.max_body = (size_t)lx_field_int(L, 1, "max_body", 0, BODY_MAX, 0);
    op->r.allow_private = lx_field_bool(L, 1, "allow_private", false);
    op->r.done = fetch_done;
    op->r.arg = op;
    struct err e = {0};
    if (open_files(L, op, &e) < 0 || fetch_start(bind_env()->fetch, &op->r, &e) < 0)
        return lx_fail(L, &e);
    return sched_await(L, t, fetch_push, fetch_stop, op);
}

/* ppv.fetch.request(req: table) -> {status, headers, body} | nil, err
 * One HTTP request. req: url, method (GET, or POST with a body), headers {name = value}, and one
 * of body (string), form {name = value}, json (any); user and password (Basic), timeout (seconds,
 * 15), max_body (bytes, 1 MiB), allow_private. upload = {root, path} sends a file instead of a
 * body (PUT), download = {root, path} writes a 2xx answer to a file instead of body; neither is
 * read into memory, and plugins have neither. Any status is a result; redirects are not followed;
 * private addresses are refused. Answer headers have lower-case names. Plugins reach only the
 * hosts in their caps. Phases: request webhook job tick. Yields. Errors: net.failed net.refused
 * engine.timeout request.too_large input.invalid engine.busy. Since 1.0 */
static int l_request(lua_State *L)
{
    return request(L, NULL);
}

/* ppv.fetch.get(req: table|string) -> {status, headers, body} | nil, err
 * request with method GET; a string is the url. Phases: request webhook job tick. Yields. Errors:
 * as request. Since 1.0 */
static int l_get(lua_State *L)
{
    return request(L, "GET");
}

/* ppv.fetch.post(req: table) -> {status, headers, body} | nil, err
 * request with method POST. Phases: request webhook job tick. Yields. Errors: as request. Since
 * 1.0 */
static int l_post(lua_State *L)
{
    return request(L, "POST");
}

int bind_net_fetch(lua_State *L)
{
    static const luaL_Reg reg[] = {
        {"request", l_request}, {"get", l_get}, {"post", l_post}, {NULL, NULL}};
    return lx_module(L, reg);
}

/* ---- mail ---- */

struct mail_wait {
    struct task *task;
    struct mail_op *op;
    struct err err;
};

static void mail_done(void *arg, const struct err *e)
{
    struct mail_wait *w = arg;
    w->op = NULL;
    if (e)
        w->err = *e;
    sched_wake(w->task);
}

static void mail_stop(void *p)
{
    struct mail_wait *w = p;
    if (w->op)
        mail_cancel(w->op);
}

static int mail_push(lua_State *L, struct task *t, void *p)
{
    (void)t;
    struct mail_wait *w = p;
    if (w->err.code != ERR_NONE)
        return lx_fail(L, &w->err);
    lua_pushboolean(L, 1);
    return 1;
}

/* The strings of the table are NUL-terminated; one with a NUL inside would be cut, so it is
 * refused. */
static const char *mail_field(lua_State *L, const char *name, size_t max, bool need)
{
    struct str s = lx_field_str(L, 1, name, max, need);
    if (s.p && memchr(s.p, 0, s.n))
        luaL_error(L, "field '%s' has a NUL byte", name);
    return s.p;
}

/* Reads msg.server into s; its strings live as long as msg, which stays on the stack. */
static bool mail_server(lua_State *L, struct mail_server *s)
{
    lua_getfield(L, 1, "server");
    if (!lua_istable(L, -1)) {
        lua_pop(L, 1);
        return false;
    }
    lua_getfield(L, -1, "url");
    lua_getfield(L, -2, "user");
    lua_getfield(L, -3, "password");
    lua_getfield(L, -4, "tls");
    *s = (struct mail_server){luaL_checkstring(L, -4), lua_tostring(L, -3), lua_tostring(L, -2),
                              lua_toboolean(L, -1)};
    return true;
}

/* ppv.mail.send(msg: table) -> true | nil, err
 * msg: to, subject, text and/or html, from (conf mail_from), server = {url, user, password, tls}
 * (conf smtp_*). true = the server took it (or the outbox directory did).
 * Phases: request webhook job tick. Yields. Errors: net.failed
 * engine.timeout input.invalid (refused for good) engine.busy. Since 1.0 */
static int l_send(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    luaL_checktype(L, 1, LUA_TTABLE);
    struct mail_msg m = {.from = mail_field(L, "from", 500, false)};
    m.to = mail_field(L, "to", 500, true);
    m.subject = mail_field(L, "subject", 1000, true);
    m.text = mail_field(L, "text", 1 << 20, false);
    m.html = mail_field(L, "html", 1 << 20, false);
    struct mail_server server;
    if (mail_server(L, &server))
        m.server = &server;
    if (!bind_env()->fetch)
        return lx_failf(L, ERR_BUSY, "no mailer in this process");
    struct mail_wait *w = arena_alloc(t->arena, sizeof *w);
    w->task = t;
    struct err e = {0};
    if (mail_send(bind_env()->fetch, &m, mail_done, w, &w->op, &e) < 0)
        return lx_fail(L, &e);
    return sched_await(L, t, mail_push, mail_stop, w);
}

int bind_net_mail(lua_State *L)
{
    static const luaL_Reg reg[] = {{"send", l_send}, {NULL, NULL}};
    return lx_module(L, reg);
}
