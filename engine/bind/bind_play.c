/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_play.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/io.h"
#include "base/log.h"
#include "bind/bind.h"
#include "bind/bind_work.h"
#include "blob/blob.h"
#include "crypto/digest.h"
#include "db/db.h"
#include "domain/keylog.h"
#include "domain/playkey.h"
#include "domain/playtoken.h"
#include "http/msg.h"
#include "http/router.h"
#include "lua/lx.h"
#include "media/ts.h"
#include "run/board.h"

enum {
    SECRET = 32,
    SEGMENT_MAX = 64 << 20,
    INIT_MAX = 1 << 16,
    TS_NAME = 2 * 16 + 6,
    MAX_MS = 43200000
};

/* ---- requests the engine answers alone ---- */

static void log_key(const struct playkey_found *f, const char *ip)
{
    struct keylog_row row = {.user_id = f->user_id, .variant = f->variant, .seq = f->seq};
    memcpy(row.session, f->session, 16);
    memcpy(row.video, f->video, 16);
    snprintf(row.rendition, sizeof row.rendition, "%s", f->rendition);
    snprintf(row.ip, sizeof row.ip, "%s", ip);
    keylog_add(&row);
    board_count("hls_keys_total", 1);
}

bool bind_play_answer(struct http_req *r, const struct router_match *m)
{
    /* Sixteen bytes are no page: what the default headers guard against cannot happen to them. */
    static const struct http_header headers[] = {
        {"Content-Type", "application/octet-stream"},
        {"Cache-Control", "private, no-store"},
        {"Access-Control-Allow-Origin", "*"},
        {"Cross-Origin-Resource-Policy", "cross-origin"},
        {"Content-Security-Policy", ""},
        {"X-Frame-Options", ""},
        {"Referrer-Policy", ""},
        {"Cross-Origin-Opener-Policy", ""},
        {"Permissions-Policy", ""},
    };
    struct playkey_found f;
    if (m->nparams != 2 || !playkey_find(m->params[0].value, m->params[1].value, &f))
        return false;
    log_key(&f, r->ip);
    http_respond(r, 200, headers, sizeof headers / sizeof *headers, f.key, sizeof f.key);
    digest_wipe(&f, sizeof f);
    http_release(r);
    return true;
}

/* ---- ids ---- */

static void check_uuid(lua_State *L, int i, uint8_t out[16])
{
    struct str s = lx_str(L, i, 36, 36);
    char hex[32];
    size_t n = 0;
    for (size_t k = 0; k < s.n && n < sizeof hex; k++)
        if (s.p[k] != '-')
            hex[n++] = s.p[k];
    if (n != 32 || str_unhex((struct str){hex, 32}, out, 16) != 16)
        luaL_argerror(L, i, "a uuid is expected");
}

static void push_uuid(lua_State *L, const uint8_t id[16])
{
    char t[37];
    snprintf(t, sizeof t, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7], id[8], id[9], id[10], id[11],
             id[12], id[13], id[14], id[15]);
    lua_pushstring(L, t);
}

static void field_uuid(lua_State *L, int i, const char *name, uint8_t out[16])
{
    lua_getfield(L, i, name);
    check_uuid(L, lua_gettop(L), out);
    lua_pop(L, 1);
}

/* ---- tokens ---- */

/* ppv.playback.token(kind: string, id: string, expires: integer) -> string
 * The :session part of /hls/:session/:file. kind "session": id is a playback session; "preview": a
 * video. expires: seconds since 1970. Phases: any. Since 1.0 */
static int l_token(lua_State *L)
{
    static const char *const kinds[] = {"session", "preview", NULL};
    struct playtoken t = {.kind = PLAYTOKEN_SESSION + luaL_checkoption(L, 1, NULL, kinds)};
    char out[PLAYTOKEN_LEN + 1];
    check_uuid(L, 2, t.id);
    t.expires = lx_int(L, 3, 0, UINT32_MAX);
    playtoken_make(&t, out);
    lua_pushlstring(L, out, PLAYTOKEN_LEN);
    return 1;
}

/* ppv.playback.open(token: string) -> kind: string, id: string, expires: integer | nil
 * nil for anything this site did not make. Its end is the caller's to compare. Phases: any. Since 1.0 */
static int l_open(lua_State *L)
{
    struct playtoken t;
    if (playtoken_read(lx_str(L, 1, 0, 4096), &t) < 0) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushstring(L, t.kind == PLAYTOKEN_SESSION ? "session" : "preview");
    push_uuid(L, t.id);
    lua_pushnumber(L, (lua_Number)t.expires);
    return 3;
}

/* ---- leases ---- */

static void read_pace(lua_State *L, int i, struct playkey_pace *p)
{
    p->ahead_ms = (uint32_t)lx_field_int(L, i, "ahead_ms", 0, MAX_MS, 0);
    p->seek_ms = (uint32_t)lx_field_int(L, i, "seek_ms", 0, MAX_MS, 0);
    p->speed_pct = (uint32_t)lx_field_int(L, i, "speed_pct", 1, 100000, 100);
}

/* ppv.playback.lease(id: string, lease: table, ask?: string) -> fits: boolean
 * For the next ten seconds the session's keys are answered without Lua. lease: video_id, user_id,
 * login_id, version, expires, access, over, ahead_ms, seek_ms, speed_pct. ask: a bit for each segment
 * whose key Lua answers itself (byte n / 8, value 2 ^ (n % 8)). Phases: any. Since 1.0 */
static int l_lease(lua_State *L)
{
    uint8_t id[16];
    struct playkey_lease l = {0};
    check_uuid(L, 1, id);
    luaL_checktype(L, 2, LUA_TTABLE);
    field_uuid(L, 2, "video_id", l.video);
    l.user_id = lx_field_int(L, 2, "user_id", 0, INT64_MAX >> 11, 0);
    l.login_id = lx_field_int(L, 2, "login_id", 0, INT64_MAX >> 11, 0);
    l.version = lx_field_int(L, 2, "version", 0, INT64_MAX >> 11, 0);
    l.expires = lx_field_int(L, 2, "expires", 0, INT64_MAX >> 11, 0);
    l.over = lx_field_bool(L, 2, "over", false);
    struct str access = lx_field_str(L, 2, "access", sizeof l.access - 1, false);
    if (access.n)
        memcpy(l.access, access.p, access.n);
    read_pace(L, 2, &l.pace);
    lua_pushboolean(L, playkey_lease_set(id, &l, lx_opt_str(L, 3, PLAYKEY_ASK_MAX, NULL)));
    return 1;
}

/* ppv.playback.lease_of(id: string) -> table | nil
 * The lease of a session: video_id, user_id, login_id, version, expires, access, over, ahead_ms,
 * seek_ms, speed_pct. Phases: any. Since 1.0 */
static int l_lease_of(lua_State *L)
{
    uint8_t id[16];
    struct playkey_lease l;
    check_uuid(L, 1, id);
    if (!playkey_lease_get(id, &l)) {
        lua_pushnil(L);
        return 1;
    }
    const struct {
        const char *name;
        lua_Number n;
    } numbers[] = {{"user_id", (lua_Number)l.user_id}, {"login_id", (lua_Number)l.login_id},
                   {"version", (lua_Number)l.version}, {"expires", (lua_Number)l.expires},
                   {"ahead_ms", l.pace.ahead_ms},      {"seek_ms", l.pace.seek_ms},
                   {"speed_pct", l.pace.speed_pct}};
    lua_createtable(L, 0, 10);
    push_uuid(L, l.video);
    lua_setfield(L, -2, "video_id");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        lua_pushnumber(L, numbers[i].n);
        lua_setfield(L, -2, numbers[i].name);
    }
    lua_pushstring(L, l.access);
    lua_setfield(L, -2, "access");
    lua_pushboolean(L, l.over);
    lua_setfield(L, -2, "over");
    return 1;
}

/* ppv.playback.drop(id: string) -> nothing
 * The session's next request asks the database again. Phases: any. Since 1.0 */
static int l_drop(lua_State *L)
{
    uint8_t id[16];
    check_uuid(L, 1, id);
    playkey_lease_drop(id);
    return 0;
}

/* ---- titles ---- */

static void read_rendition(lua_State *L, int i, struct playkey_rendition *r)
{
    struct str name = lx_field_str(L, i, "name", PLAYKEY_NAME - 1, true);
    memcpy(r->name, name.p, name.n);
    r->segments = (int)lx_field_int(L, i, "segments", 1, 1000000, 1);
    r->two = lx_field_bool(L, i, "two", false);
    r->audio = lx_field_bool(L, i, "audio", false);
}

/* ppv.playback.title(id: string, title: table) -> nothing
 * Tells this process what it needs to derive the keys of a title: version, secret (32 raw bytes),
 * code ("half" or "nuida"), segment_ms, renditions = list of {name, segments, two, audio}.
 * Phases: any. Since 1.0 */
static int l_title(lua_State *L)
{
    struct playkey_title t = {0};
    check_uuid(L, 1, t.video);
    luaL_checktype(L, 2, LUA_TTABLE);
    struct str secret = lx_field_str(L, 2, "secret", SECRET, true);
    luaL_argcheck(L, secret.n == SECRET, 2, "secret: 32 bytes");
    memcpy(t.secret, secret.p, SECRET);
    t.version = lx_field_int(L, 2, "version", 0, INT64_MAX >> 11, 0);
    t.segment_ms = (int)lx_field_int(L, 2, "segment_ms", 1, 60000, 2000);
    struct str code = lx_field_str(L, 2, "code", 8, false);
    t.code = str_eqz(code, "nuida") ? CODE_NUIDA : CODE_HALF;
    lua_getfield(L, 2, "renditions");
    int list = lua_gettop(L);
    luaL_checktype(L, list, LUA_TTABLE);
    for (int i = 1; i <= (int)lua_objlen(L, list) && t.n < PLAYKEY_RENDITIONS; i++) {
        lua_rawgeti(L, list, i);
        luaL_checktype(L, list + 1, LUA_TTABLE);
        read_rendition(L, list + 1, &t.v[t.n++]);
        lua_settop(L, list);
    }
    int rc = playkey_title_set(&t);
    digest_wipe(&t, sizeof t);
    return rc == 0 ? 0 : luaL_error(L, "the crypto library failed");
}

/* ppv.playback.word(secret: string, user_id: integer, code: string, from: integer, n: integer) -> string
 * The variants ("a" or "b") of n segments from `from` on that the user gets of the title with this
 * secret. code: "half" or "nuida". Phases: any. Since 1.0 */
static int l_word(lua_State *L)
{
    static const char *const codes[] = {"half", "nuida", NULL};
    uint8_t key[32];
    struct str secret = lx_str(L, 1, SECRET, SECRET);
    int64_t user = lx_int(L, 2, 0, INT64_MAX >> 11);
    int code = luaL_checkoption(L, 3, NULL, codes);
    int from = (int)lx_int(L, 4, 0, 1000000), n = (int)lx_int(L, 5, 0, 1000000);
    if (code_key((const uint8_t *)secret.p, key) < 0)
        return luaL_error(L, "the crypto library failed");
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (int done = 0; done < n;) {
        int part = n - done < LUAL_BUFFERSIZE ? n - done : LUAL_BUFFERSIZE;
        code_word(key, user, code ? CODE_NUIDA : CODE_HALF, from + done, part, luaL_prepbuffer(&b));
        luaL_addsize(&b, (size_t)part);
        done += part;
    }
    luaL_pushresult(&b);
    digest_wipe(key, sizeof key);
    return 1;
}

/* ---- pace and log ---- */

/* ppv.playback.pace(user_id: integer, video: string, audio: boolean, ms: integer, pace: table) -> wait: number
 * Charges ms of film to the account's allowance for the title. 0, or seconds to wait before asking
 * again. pace: ahead_ms, seek_ms, speed_pct. Phases: any. Since 1.0 */
static int l_pace(lua_State *L)
{
    uint8_t video[16];
    struct playkey_pace p;
    int64_t user = lx_int(L, 1, 0, INT64_MAX >> 11);
    check_uuid(L, 2, video);
    luaL_checktype(L, 5, LUA_TTABLE);
    read_pace(L, 5, &p);
    int64_t ms = playkey_pace(user, video, lua_toboolean(L, 3), (int)lx_int(L, 4, 1, 60000), &p);
    lua_pushnumber(L, (lua_Number)ms / 1000);
    return 1;
}

/* ppv.playback.log(row: table) -> nothing
 * One answered key: session, video_id, user_id, rendition, variant, seq, ip. Reaches the table
 * key_log within a quarter of a second. Phases: any. Since 1.0 */
static int l_log(lua_State *L)
{
    struct playkey_found f = {0};
    char ip[46] = "";
    luaL_checktype(L, 1, LUA_TTABLE);
    field_uuid(L, 1, "session", f.session);
    field_uuid(L, 1, "video_id", f.video);
    f.user_id = lx_field_int(L, 1, "user_id", 0, INT64_MAX >> 11, 0);
    struct str name = lx_field_str(L, 1, "rendition", PLAYKEY_NAME - 1, true);
    memcpy(f.rendition, name.p, name.n);
    f.variant = *lx_field_str(L, 1, "variant", 1, true).p;
    f.seq = (int)lx_field_int(L, 1, "seq", 0, 1000000, 0);
    struct str from = lx_field_str(L, 1, "ip", sizeof ip - 1, false);
    if (from.n)
        memcpy(ip, from.p, from.n);
    log_key(&f, ip);
    return 0;
}

/* ---- keyless copies ---- */

struct opening {
    struct bind_work w; /* first */
    char *from, *to;
    uint8_t key[16], iv[16];
};

static void open_work(struct bind_work *w)
{
    struct opening *o = (struct opening *)w;
    struct buf in = {0};
    if (blob_read("media", o->from, SEGMENT_MAX, &in, &w->err) == 0) {
        char *plain = malloc(in.n ? in.n : 1);
        must(plain);
        long n = digest_aes128_cbc_decrypt(o->key, o->iv, in.p, in.n, plain);
        if (n < 0)
            ERR(&w->err, ERR_INTERNAL, "%s is not sealed with this key", o->from);
        else
            blob_write("media", o->to, plain, (size_t)n, &w->err);
        free(plain);
    }
    buf_fini(&in);
    digest_wipe(o->key, sizeof o->key);
}

static int open_push(lua_State *L, struct bind_work *w)
{
    (void)w;
    lua_pushboolean(L, 1);
    return 1;
}

/* ppv.playback.unseal(from: string, to: string, key: string, iv: string) -> true | nil, err
 * Writes a segment's clear copy beside it, for a free preview. Paths are below the root "media"; key
 * and iv are 16 raw bytes. Phases: request job tick. Yields. Errors: request.not_found io.failed
 * io.disk_full engine.busy. Since 1.0 */
static int l_unseal(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    struct str from = lx_str(L, 1, 1, 200), to = lx_str(L, 2, 1, 200), key = lx_str(L, 3, 16, 16),
               iv = lx_str(L, 4, 16, 16);
    struct opening *o = bind_work_new(t, sizeof *o);
    o->from = arena_strndup(o->w.arena, from.p, from.n);
    o->to = arena_strndup(o->w.arena, to.p, to.n);
    memcpy(o->key, key.p, 16);
    memcpy(o->iv, iv.p, 16);
    o->w.work = open_work;
    o->w.push = open_push;
    return bind_work_run(L, &o->w);
}

/* ---- transport streams ---- */

struct remux {
    struct bind_work w; /* first */
    char *root, *segment, *init;
    /* Below "tmp"; as what purge.lua takes for a leftover when nobody removed it. */
    char name[TS_NAME];
    uint8_t key[16], iv[16];
    bool clear;
};

/* No sync: it is sent at once and gone. */
static int write_tmp(const char *name, const char *p, size_t n, struct err *e)
{
    int fd;
    if (blob_open("tmp", name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640, &fd, e) < 0)
        return -1;
    int rc = io_write_all(fd, p, n);
    if (rc)
        err_errno(e, "write");
    close(fd);
    if (rc)
        blob_remove("tmp", name, &(struct err){0});
    return rc;
}

static int write_sealed(const struct remux *x, const struct buf *b, struct err *e)
{
    char *sealed = malloc(b->n + 16);
    must(sealed);
    long n = digest_aes128_cbc_encrypt(x->key, x->iv, b->p, b->n, sealed);
    must(n > 0);
    int rc = write_tmp(x->name, sealed, (size_t)n, e);
    free(sealed);
    return rc;
}

static void repack(const struct remux *x, struct str init, struct str sealed, struct err *e)
{
    struct buf out = {0};
    char *plain = malloc(sealed.n ? sealed.n : 1);
    must(plain);
    long n = digest_aes128_cbc_decrypt(x->key, x->iv, sealed.p, sealed.n, plain);
    if (n < 0)
        ERR(e, ERR_INTERNAL, "%s is not sealed with this key", x->segment);
    else if (ts_segment(init, (struct str){plain, (size_t)n}, &out, e) == 0)
        (void)(x->clear ? write_tmp(x->name, out.p, out.n, e) : write_sealed(x, &out, e));
    free(plain);
    buf_fini(&out);
}

static void remux_work(struct bind_work *w)
{
    struct remux *x = (struct remux *)w;
    struct buf init = {0}, in = {0};
    if (blob_read("media", x->init, INIT_MAX, &init, &w->err) == 0 &&
        blob_read(x->root, x->segment, SEGMENT_MAX, &in, &w->err) == 0)
        repack(x, (struct str){init.p, init.n}, (struct str){in.p, in.n}, &w->err);
    buf_fini(&init);
    buf_fini(&in);
    digest_wipe(x->key, sizeof x->key);
}

static int remux_push(lua_State *L, struct bind_work *w)
{
    lua_pushstring(L, ((struct remux *)w)->name);
    return 1;
}

/* ppv.playback.ts(spec: table) -> path: string | nil, err
 * A stored segment as MPEG transport stream, sealed again with the same key and IV: a new file below the root "tmp", the
 * caller's to send once or remove. spec: segment (below the root "media", or root = "burst"), init (below "media"), key and
 * iv (16 raw bytes), clear (true: not sealed). Phases: request job tick. Yields. Errors: request.not_found io.failed
 * io.disk_full media.unsupported engine.busy. Since 1.0 */
static int l_ts(lua_State *L)
{
    static const char *const roots[] = {"media", "burst", NULL};
    struct task *t = lx_task(L, PHASE_IO);
    luaL_checktype(L, 1, LUA_TTABLE);
    struct str segment = lx_field_str(L, 1, "segment", 200, true),
               init = lx_field_str(L, 1, "init", 200, true),
               key = lx_field_str(L, 1, "key", 16, true), iv = lx_field_str(L, 1, "iv", 16, true);
    bool clear = lx_field_bool(L, 1, "clear", false);
    lua_getfield(L, 1, "root");
    int root = luaL_checkoption(L, -1, "media", roots);
    luaL_argcheck(L, key.n == 16 && iv.n == 16, 1, "key and iv: 16 bytes each");
    struct remux *x = bind_work_new(t, sizeof *x);
    x->root = arena_strdup(x->w.arena, roots[root]);
    x->segment = arena_strndup(x->w.arena, segment.p, segment.n);
    x->init = arena_strndup(x->w.arena, init.p, init.n);
    x->clear = clear;
    memcpy(x->key, key.p, 16);
    memcpy(x->iv, iv.p, 16);
    x->w.work = remux_work;
    x->w.push = remux_push;
    uint8_t id[16];
    struct buf hex = {0};
    digest_random(id, sizeof id);
    buf_put_hex(&hex, id, sizeof id);
    snprintf(x->name, sizeof x->name, "%s.part", hex.p);
    buf_fini(&hex);
    return bind_work_run(L, &x->w);
}

int bind_play_open(lua_State *L)
{
    static const luaL_Reg reg[] = {{"token", l_token},       {"open", l_open}, {"lease", l_lease},
                                   {"lease_of", l_lease_of}, {"drop", l_drop}, {"title", l_title},
                                   {"word", l_word},         {"pace", l_pace}, {"log", l_log},
                                   {"unseal", l_unseal},     {"ts", l_ts},     {NULL, NULL}};
    return lx_module(L, reg);
}

/* ---- what other processes decide ---- */

static void on_notify(void *arg, const char *payload)
{
    uint8_t id[16];
    (void)arg;
    if (payload && strlen(payload) == 32 && str_unhex(str_from(payload), id, 16) == 16)
        playkey_lease_drop(id);
}

int bind_play_start(bool listen, struct err *e)
{
    static struct db_listen *ear;
    keylog_init(bind_env()->loop, bind_env()->db);
    if (!listen || !bind_env()->db)
        return 0;
    return db_listen(bind_env()->db, "playback", on_notify, NULL, &ear, e);
}
