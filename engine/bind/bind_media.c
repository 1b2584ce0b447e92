/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_media.h"

#include <stdio.h>
#include <string.h>
#include "base/arena.h"
#include "base/str.h"
#include "bind/bind.h"
#include "bind/bind_json.h"
#include "domain/mediaq.h"
#include "lua/lx.h"

static const char META[] = "ppv.media.job";

/* Lives in the task's arena; the userdata only points here, and not any longer than that. */
struct job {
    struct mediaq *m;
    struct task *task;
    bool waiting;
    struct job **handle;
};

static void on_ready(void *arg)
{
    struct job *j = arg;
    if (j->waiting) {
        j->waiting = false;
        sched_wake(j->task);
    }
}

static void job_end(void *p)
{
    struct job *j = p;
    if (j->handle)
        *j->handle = NULL;
    mediaq_free(j->m);
    j->m = NULL;
}

static int job_gc(lua_State *L)
{
    struct job *j = *(struct job **)lua_touserdata(L, 1);
    if (j)
        j->handle = NULL; /* the task's end does the rest */
    return 0;
}

static const char *opt_field(lua_State *L, const char *name, const char *def)
{
    struct str s = lx_field_str(L, 2, name, 512, false);
    if (s.p && memchr(s.p, 0, s.n))
        luaL_error(L, "field '%s' has a NUL byte", name);
    return s.p ? s.p : def;
}

static void read_spec(lua_State *L, struct mediaq_spec *s)
{
    lx_str(L, 1, 1, 20);
    luaL_checktype(L, 2, LUA_TTABLE);
    s->kind = lua_tostring(L, 1);
    s->id = opt_field(L, "id", NULL);
    s->in_path = opt_field(L, "input", NULL);
    if (!s->id || !s->in_path)
        luaL_error(L, "fields 'id' and 'input' are needed");
    s->in_root = opt_field(L, "input_root", "upload");
    s->out_path = opt_field(L, "output", s->id);
    s->out_root = opt_field(L, "output_root", "media");
    s->title_secret = opt_field(L, "title_secret", NULL);
    s->ext = opt_field(L, "ext", NULL);
    s->sign_path = opt_field(L, "signature", NULL);
    s->job = lx_field_str(L, 2, "job", 8 << 20, false).p;
    s->segment_s = (int)lx_field_int(L, 2, "segment_s", 1, 6, 0);
    s->threads = (int)lx_field_int(L, 2, "threads", 0, 16, 0);
    s->max_height = (int)lx_field_int(L, 2, "max_height", 144, 1080, 0);
    s->max_duration_s = lx_field_int(L, 2, "max_duration_s", 1, 43200, 0);
    lua_getfield(L, 2, "duration");
    s->duration_s = luaL_optnumber(L, -1, 0);
    lua_getfield(L, 2, "strength");
    s->strength = luaL_optnumber(L, -1, -1);
    lua_pop(L, 2);
}

/* ppv.media.start(kind: string, spec: table) -> job | nil, err
 * Starts the sandboxed child. kind "probe": what is in a file; "ingest": renditions, keys, poster;
 * "still": poster.jpg of a picture; "sign": clip.fp of a clip; "trace": marks of a clip (output = the title's
 * directory, signature = clip.fp in output_root's sibling root "tmp", job = lines of media/child.h).
 * spec: id (the video), input (path in root "upload"), output (path in root "media", default id),
 * title_secret (64 hex, ingest), duration (from probe, seconds: sets the CPU limit), ext,
 * segment_s, threads, max_height, max_duration_s, strength (of the invisible mark, 0 .. 1.2),
 * input_root, output_root. The output appears under its name only after success. The child dies
 * with the task. Phases: job tick request.
 * Errors: input.invalid request.not_found io.failed io.disk_full. Since 1.0 */
static int l_start(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    struct mediaq_spec s = {0};
    struct err e = {0};
    lua_settop(L, 2);
    read_spec(L, &s);
    if (!bind_env()->loop || !bind_env()->threads)
        return lx_failf(L, ERR_BUSY, "no loop in this process");
    struct job **handle = lua_newuserdata(L, sizeof *handle);
    *handle = NULL;
    luaL_getmetatable(L, META);
    lua_setmetatable(L, -2);
    struct job *j = arena_alloc(t->arena, sizeof *j);
    if (mediaq_start(bind_env()->loop, bind_env()->threads, &s, on_ready, j, &j->m, &e) < 0)
        return lx_fail(L, &e);
    j->task = t;
    j->handle = handle;
    *handle = j;
    arena_defer(t->arena, job_end, j);
    return 1;
}

/* {"error":{"code","message"}} of the child with retry and __tostring like every other err. */
static void dress_error(lua_State *L)
{
    struct err e = {.code = ERR_CONFLICT}; /* lets detail be the code */
    lua_getfield(L, -1, "error");
    if (lua_istable(L, -1)) {
        lua_getfield(L, -1, "code");
        lua_getfield(L, -2, "message");
        snprintf(e.detail, sizeof e.detail, "%s",
                 lua_tostring(L, -2) ? lua_tostring(L, -2) : "media.internal");
        snprintf(e.msg, sizeof e.msg, "%s", lua_tostring(L, -1) ? lua_tostring(L, -1) : "");
        lua_pop(L, 2);
    }
    lua_pop(L, 1);
    e.retry = strcmp(e.detail, "media.internal") == 0 || strcmp(e.detail, "media.disk_full") == 0;
    lx_push_err(L, &e);
    lua_setfield(L, -2, "error");
}

static int next_push(lua_State *L, struct task *t, void *p)
{
    (void)t;
    struct job *j = p;
    struct str json;
    struct err e = {0};
    enum mediaq_event ev = j->m ? mediaq_next(j->m, &json) : MEDIAQ_OVER;
    if (ev == MEDIAQ_OVER || ev == MEDIAQ_NONE) {
        lua_pushnil(L);
        return 1;
    }
    if (bind_json_decode(L, json, &e) < 0 || !lua_istable(L, -1))
        return lx_failf(L, ERR_INTERNAL, "the media child wrote no JSON");
    if (ev == MEDIAQ_ERROR)
        dress_error(L);
    return 1;
}

static void next_stop(void *p)
{
    ((struct job *)p)->waiting = false;
}

static struct job *check_job(lua_State *L, struct task *t)
{
    struct job *j = *(struct job **)luaL_checkudata(L, 1, META);
    if (j && j->task != t)
        luaL_error(L, "a media job belongs to the task that started it");
    return j;
}

/* job:next() -> {progress, eta_s, stage} | {result} | {error} | nil
 * Waits for the next event; nil after the result or the error. Progress events in between may be
 * skipped. Phases: job tick request. Yields. Since 1.0 */
static int l_next(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    struct job *j = check_job(L, t);
    struct str json;
    struct err e = {0};
    enum mediaq_event ev = j ? mediaq_next(j->m, &json) : MEDIAQ_OVER;
    if (ev == MEDIAQ_NONE) {
        j->waiting = true;
        return sched_await(L, t, next_push, next_stop, j);
    }
    if (ev == MEDIAQ_OVER) {
        lua_pushnil(L);
        return 1;
    }
    if (bind_json_decode(L, json, &e) < 0 || !lua_istable(L, -1))
        return lx_failf(L, ERR_INTERNAL, "the media child wrote no JSON");
    if (ev == MEDIAQ_ERROR)
        dress_error(L);
    return 1;
}

/* job:cancel() -> nothing
 * Stops the child; next() then gives {error = {code = "media.cancelled"}}. Phases: job tick
 * request. Since 1.0 */
static int l_job_cancel(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    struct job *j = check_job(L, t);
    if (j)
        mediaq_cancel(j->m);
    return 0;
}

/* ppv.media.cancel(id: string) -> found: boolean
 * Stops the running job of that id in this process. Phases: any. Since 1.0 */
static int l_cancel(lua_State *L)
{
    lx_str(L, 1, 1, 64);
    lua_pushboolean(L, mediaq_cancel_id(lua_tostring(L, 1)));
    return 1;
}

static const char RUN[] = "local start = ...\n"
                          "return function(kind, spec, on_progress)\n"
                          "  local job, err = start(kind, spec)\n"
                          "  if not job then return nil, err end\n"
                          "  while true do\n"
                          "    local ev, e = job:next()\n"
                          "    if not ev then return nil, e or { code = 'media.internal', message "
                          "= 'the job gave no result', retry = true } end\n"
                          "    if ev.error then return nil, ev.error end\n"
                          "    if ev.result then return ev.result end\n"
                          "    if on_progress and on_progress(ev) == false then job:cancel() end\n"
                          "  end\n"
                          "end\n";

/* ppv.media.run(kind: string, spec: table, on_progress?: function(event)) -> result: table | nil, err
 * start and next in one: on_progress gets {progress, eta_s, stage}, may yield, and cancels the job
 * by returning false. Phases: job tick request. Yields. Errors: media.* input.invalid
 * request.not_found io.failed. Since 1.0 */
int bind_media_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{"next", l_next}, {"cancel", l_job_cancel}, {NULL, NULL}};
    static const luaL_Reg reg[] = {{"start", l_start}, {"cancel", l_cancel}, {NULL, NULL}};
    if (luaL_newmetatable(L, META)) {
        lx_module(L, methods);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, job_gc);
        lua_setfield(L, -2, "__gc");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 1);
    lx_module(L, reg);
    bind_media_trace(L);
    if (luaL_loadbufferx(L, RUN, sizeof RUN - 1, "=ppv.media.run", "t") != 0)
        return lua_error(L);
    lua_pushcfunction(L, l_start);
    lua_call(L, 1, 1);
    lua_setfield(L, -2, "run");
    return 1;
}
