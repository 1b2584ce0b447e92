/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_media.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/arena.h"
#include "bind/bind_json.h"
#include "bind/bind_work.h"
#include "blob/blob.h"
#include "crypto/digest.h"
#include "lua/lx.h"
#include "media/score.h"
#include "media/trace.h"

enum { FP_MAX = 64 << 20, SEGMENTS_MAX = 32768, USERS_MAX = 2000000 };

/* ---- which title ---- */

struct match_work {
    struct bind_work w;
    const char *root, *path, *fp_path;
    uint8_t key[16], iv[16];
    double score;
};

static void match_work(struct bind_work *w)
{
    struct match_work *m = (struct match_work *)w;
    struct trace_clip clip;
    struct fp_title title;
    struct buf b = {0};
    struct fp_view best[FP_BEST];
    int fd;
    if (blob_open(m->root, m->path, O_RDONLY | O_CLOEXEC, 0, &fd, &w->err) < 0)
        return;
    int rc = trace_clip_read(&clip, fd, &w->err);
    close(fd);
    if (rc < 0)
        return;
    if (blob_read("media", m->fp_path, FP_MAX, &b, &w->err) == 0) {
        uint8_t *plain = arena_alloc(w->arena, b.n + 16);
        long n = digest_aes128_cbc_decrypt(m->key, m->iv, b.p, b.n, plain);
        if (n < 0) {
            ERR(&w->err, ERR_INTERNAL, "a fingerprint does not fit its key");
        } else {
            fp_title_init(&title, plain, (size_t)n, FP_COARSE);
            m->score = fp_match(&title, &clip.fp, best);
            fp_title_fini(&title);
        }
    }
    buf_fini(&b);
    trace_clip_fini(&clip);
}

static int match_push(lua_State *L, struct bind_work *w)
{
    lua_pushnumber(L, ((struct match_work *)w)->score);
    return 1;
}

/* ppv.media.match(root: string, signature: string, fingerprint: string, key: string, iv: string) -> number | nil, err
 * How well a clip (its clip.fp in root, from media.run "sign") fits a title: correlation of the best places, -1 to 1; below 0.55
 * it is another title, above it may be: media.run "trace" compares the pictures. fingerprint: path in root "media" of the coarse
 * fingerprint, with its key and iv (16 bytes each).
 * Phases: request webhook job tick. Yields. Errors: request.not_found io.failed. Since 1.0 */
static int l_match(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    struct str root = lx_str(L, 1, 1, 64), path = lx_str(L, 2, 1, 1024);
    struct str fp = lx_str(L, 3, 1, 1024), key = lx_str(L, 4, 16, 16), iv = lx_str(L, 5, 16, 16);
    struct match_work *m = bind_work_new(t, sizeof *m);
    m->root = arena_strdup(m->w.arena, root.p);
    m->path = arena_strdup(m->w.arena, path.p);
    m->fp_path = arena_strdup(m->w.arena, fp.p);
    memcpy(m->key, key.p, 16);
    memcpy(m->iv, iv.p, 16);
    m->w.work = match_work;
    m->w.push = match_push;
    return bind_work_run(L, &m->w);
}

/* ---- whose code word ---- */

struct score_work {
    struct bind_work w;
    struct score_job job;
    struct score_result out;
};

static void score_work(struct bind_work *w)
{
    struct score_work *s = (struct score_work *)w;
    score_run(&s->job, &s->out);
}

static void set_number(lua_State *L, const char *name, double v)
{
    lua_pushnumber(L, v);
    lua_setfield(L, -2, name);
}

static int score_push(lua_State *L, struct bind_work *w)
{
    const struct score_result *r = &((struct score_work *)w)->out;
    lua_createtable(L, 0, 4);
    set_number(L, "level", r->level);
    set_number(L, "averaged", r->averaged);
    set_number(L, "candidates", r->candidates);
    lua_createtable(L, r->n, 0);
    bind_json_mark_array(L);
    for (int i = 0; i < r->n; i++) {
        const struct score_suspect *s = &r->top[i];
        lua_createtable(L, 0, 7);
        set_number(L, "user", (double)s->user);
        set_number(L, "log10_bound", s->log10_bound);
        set_number(L, "score", s->score);
        set_number(L, "accounts", s->accounts);
        set_number(L, "agree", s->agree);
        set_number(L, "read", s->read);
        lua_newtable(L);
        bind_json_mark_array(L);
        for (int k = 0; k < SCORE_GROUP - 1 && s->with[k]; k++) {
            lua_pushnumber(L, (lua_Number)s->with[k]);
            lua_rawseti(L, -2, k + 1);
        }
        lua_setfield(L, -2, "with");
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "suspects");
    return 1;
}

static double item(lua_State *L, int i)
{
    lua_rawgeti(L, -1, i);
    double v = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return v;
}

static void read_segments(lua_State *L, struct score_work *s)
{
    lua_getfield(L, 1, "segments");
    s->job.n = (int)lua_objlen(L, -1);
    struct score_segment *seg = arena_alloc(s->w.arena, ((size_t)s->job.n + 1) * sizeof *seg);
    for (int i = 0; i < s->job.n; i++) {
        lua_rawgeti(L, -1, i + 1);
        if (lua_istable(L, -1))
            seg[i] = (struct score_segment){(int)item(L, 1), item(L, 3), item(L, 4)};
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    s->job.seg = seg;
}

static void read_users(lua_State *L, struct score_work *s)
{
    lua_getfield(L, 1, "users");
    lua_getfield(L, 1, "served");
    bool served = lua_istable(L, -1);
    s->job.users = (int)lua_objlen(L, -2);
    int64_t *id = arena_alloc(s->w.arena, ((size_t)s->job.users + 1) * sizeof *id);
    const uint8_t **bits = arena_alloc(s->w.arena, ((size_t)s->job.users + 1) * sizeof *bits);
    for (int i = 0; i < s->job.users; i++) {
        lua_rawgeti(L, -2, i + 1);
        id[i] = (int64_t)lua_tonumber(L, -1);
        lua_pop(L, 1);
        bits[i] = NULL;
        if (!served)
            continue;
        lua_rawgeti(L, -1, i + 1);
        size_t n = 0, want = ((size_t)s->job.n + 7) / 8;
        const char *p = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
        if (p && n >= want) {
            uint8_t *copy = arena_alloc(s->w.arena, want + 1);
            memcpy(copy, p, want);
            bits[i] = copy;
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 2);
    s->job.user = id;
    s->job.served = served ? bits : NULL;
}

/* ppv.media.score(spec: table) -> result: table | nil, err
 * Whose code word a leak carries. spec: k_code (32 bytes), code ("half" or "nuida"), segments (as media.run "trace" gives them),
 * users (ids), served (for each user a string whose bit i % 8 of byte i / 8 says that segments[i + 1] was served to them;
 * false = unknown, all count). result: level, averaged, candidates, suspects {user, log10_bound (of accusing an innocent,
 * all candidates together), score, accounts, with, agree, read}, surest first. Phases: request webhook job tick. Yields.
 * Errors: engine.busy. Since 1.0 */
static int l_score(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    luaL_checktype(L, 1, LUA_TTABLE);
    struct str k = lx_field_str(L, 1, "k_code", 32, true),
               code = lx_field_str(L, 1, "code", 8, true);
    lua_getfield(L, 1, "segments");
    lua_getfield(L, 1, "users");
    bool good = lua_istable(L, -2) && lua_istable(L, -1) && lua_objlen(L, -2) <= SEGMENTS_MAX &&
                lua_objlen(L, -1) <= USERS_MAX;
    lua_pop(L, 2);
    int kind = code_from_name(code.p);
    if (!good || k.n != 32 || kind < 0)
        return luaL_error(
            L, "k_code has 32 bytes, code is half or nuida, segments and users are arrays");
    struct score_work *s = bind_work_new(t, sizeof *s);
    memcpy(s->job.k_code, k.p, 32);
    s->job.kind = (enum code_kind)kind;
    read_segments(L, s);
    read_users(L, s);
    s->w.work = score_work;
    s->w.push = score_push;
    return bind_work_run(L, &s->w);
}

void bind_media_trace(lua_State *L)
{
    lua_pushcfunction(L, l_match);
    lua_setfield(L, -2, "match");
    lua_pushcfunction(L, l_score);
    lua_setfield(L, -2, "score");
}
