/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_burst.h"

#include <string.h>
#include "base/arena.h"
#include "base/str.h"
#include "bind/bind.h"
#include "domain/burstq.h"
#include "lua/lx.h"
#include "lua/sched.h"

enum { PATH_BYTES = 200, TEXT_BYTES = 200, WAIT_MAX_MS = 20000 };

struct waiting {
    struct burstq_wait w;
    struct task *task;
};

static const char *field_path(lua_State *L, const char *name)
{
    struct str s = lx_field_str(L, 1, name, PATH_BYTES, true);
    if (memchr(s.p, 0, s.n))
        luaL_error(L, "field '%s' has a NUL byte", name);
    return s.p;
}

static void field_key(lua_State *L, const char *name, uint8_t out[16])
{
    struct str s = lx_field_str(L, 1, name, 16, true);
    if (s.n != 16)
        luaL_error(L, "field '%s' must be 16 bytes", name);
    memcpy(out, s.p, 16);
}

static struct burst_place field_place(lua_State *L)
{
    struct str s = lx_field_str(L, 1, "place", 10, true);
    uint16_t v[5];
    if (s.n != sizeof v)
        luaL_error(L, "field 'place' must be 10 bytes");
    for (int i = 0; i < 5; i++)
        v[i] = (uint16_t)((unsigned char)s.p[2 * i] << 8 | (unsigned char)s.p[2 * i + 1]);
    /* Both places are seen: the change comes in the middle half. */
    return (struct burst_place){v[0], v[1], v[2], v[3], (uint16_t)(16384 + v[4] / 2)};
}

static void read_spec(lua_State *L, struct burstq_spec *s)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    s->path = field_path(L, "path");
    s->init = field_path(L, "init");
    s->segment = field_path(L, "segment");
    s->owner = field_path(L, "owner");
    s->name = lx_field_str(L, 1, "name", TEXT_BYTES, true);
    s->tail = lx_field_str(L, 1, "tail", TEXT_BYTES, true);
    field_key(L, "key", s->key);
    field_key(L, "iv", s->iv);
    field_key(L, "own", s->own);
    s->place = field_place(L);
}

static int push_state(lua_State *L, enum burstq_state state)
{
    static const char *const names[] = {[BURSTQ_READY] = "ready",
                                        [BURSTQ_LATE] = "late",
                                        [BURSTQ_FULL] = "full",
                                        [BURSTQ_REFUSED] = "refused",
                                        [BURSTQ_FAILED] = "failed"};
    lua_pushstring(L, names[state]);
    return 1;
}

static void on_answer(struct burstq_wait *w)
{
    sched_wake(((struct waiting *)w)->task);
}

static int wait_push(lua_State *L, struct task *t, void *op)
{
    (void)t;
    return push_state(L, ((struct waiting *)op)->w.state);
}

static void wait_stop(void *op)
{
    burstq_leave(&((struct waiting *)op)->w);
}

/* ppv.burst.make(spec: table, wait_ms?: integer, drop?: boolean) -> state: string
 * A segment with a viewer's name burned in: is it there ("ready")? Else it is queued, and waited for
 * at most wait_ms (default 0): "ready", "late" (not yet), "full" (no room in the queue), "refused"
 * (cannot be made) or "failed" (try again). spec: path (below root "burst"), init and segment (below
 * root "media"), key, iv (of segment) and own (the result's key): 16 bytes each; place: 10 random
 * bytes that say where the text stands; name and tail: the text; owner: whose queue quota it counts
 * on. drop: when time is up and work on it has not begun, it leaves the queue. Phases: request job
 * tick. Yields. Since 1.0 */
static int l_make(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    struct burstq_spec s = {0};
    read_spec(L, &s);
    int64_t ms = lua_isnoneornil(L, 2) ? 0 : lx_int(L, 2, 0, WAIT_MAX_MS);
    bool drop = lua_toboolean(L, 3);
    struct bind_env *env = bind_env();
    if (!env->loop || !env->threads)
        return push_state(L, BURSTQ_FAILED);
    if (!ms)
        return push_state(L, burstq_ask(env->loop, env->threads, &s, NULL, 0, false));
    struct waiting *op = arena_alloc(t->arena, sizeof *op);
    op->task = t;
    op->w.fn = on_answer;
    enum burstq_state state = burstq_ask(env->loop, env->threads, &s, &op->w, ms * 1000, drop);
    if (state != BURSTQ_LATE)
        return push_state(L, state);
    return sched_await(L, t, wait_push, wait_stop, op);
}

/* ppv.burst.load() -> jobs: integer, waited: integer
 * Jobs queued or in work in this process, and how many of them somebody waits for. Phases: any.
 * Since 1.0 */
static int l_load(lua_State *L)
{
    int waited, n = burstq_load(&waited);
    lua_pushinteger(L, n);
    lua_pushinteger(L, waited);
    return 2;
}

/* ppv.burst.children() -> pids: integer[]
 * Process ids of this process's encoders; for tests. Phases: any. Since 1.0 */
static int l_children(lua_State *L)
{
    int pids[64], n = burstq_children(pids, 64);
    lua_createtable(L, n, 0);
    for (int i = 0; i < n; i++) {
        lua_pushinteger(L, pids[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

int bind_burst_open(lua_State *L)
{
    static const luaL_Reg reg[] = {
        {"make", l_make}, {"load", l_load}, {"children", l_children}, {NULL, NULL}};
    return lx_module(L, reg);
}
