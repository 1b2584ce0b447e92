/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_plugin.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/str.h"
#include "bind/bind.h"
#include "bind/bind_json.h"
#include "bind/bind_work.h"
#include "lua/gen.h"
#include "lua/lx.h"
#include "lua/vm.h"

struct control_work {
    struct bind_work w;
    const char *cmd, *arg;
    struct buf reply;
};

static void control_work(struct bind_work *w)
{
    struct control_work *c = (struct control_work *)w;
    bind_env()->control(c->cmd, c->arg, &c->reply, &w->err);
}

static int control_push(lua_State *L, struct bind_work *w)
{
    struct control_work *c = (struct control_work *)w;
    struct err e = {0};
    if (bind_json_decode(L, (struct str){c->reply.p ? c->reply.p : "", c->reply.n}, &e) < 0)
        return lx_fail(L, &e);
    return 1;
}

static void control_fini(struct bind_work *w)
{
    buf_fini(&((struct control_work *)w)->reply);
}

static int control(lua_State *L, const char *cmd, struct str arg)
{
    struct task *t = lx_task(L, PHASE_IO);
    if (!bind_env()->control)
        return lx_failf(L, ERR_UNSUPPORTED, "no supervising process");
    struct control_work *c = bind_work_new(t, sizeof *c);
    c->cmd = cmd;
    c->arg = arena_strndup(c->w.arena, arg.p ? arg.p : "", arg.n);
    c->w.work = control_work;
    c->w.push = control_push;
    c->w.fini = control_fini;
    return bind_work_run(L, &c->w);
}

static struct gen *gen_here(lua_State *L)
{
    struct task *t = sched_running();
    return t ? t->gen : vm_of(L)->gen;
}

/* ppv.plugin.list() -> table
 * The plugins of this generation as boot.lua described them: {{name, kind, version, title, state,
 * errors, settings}, ...}. Shared: read it only. Phases: request webhook job tick. Since 1.0 */
static int l_list(lua_State *L)
{
    lx_task(L, PHASE_IO);
    struct gen *g = gen_here(L);
    gen_push_boot(L, g);
    if (lua_istable(L, -1))
        lua_getfield(L, -1, "plugins");
    if (!lua_istable(L, -1)) {
        lua_newtable(L);
        bind_json_mark_array(L);
    }
    return 1;
}

/* ppv.plugin.reload() -> table | nil, err
 * Reads scripts/ and plugins/ again in every process; the master's answer, e.g. {ok, id, hash,
 * problems}. The running request finishes on its old generation. Phases: request webhook job tick.
 * Yields. Errors: engine.busy net.failed request.unsupported. Since 1.0 */
static int l_reload(lua_State *L)
{
    return control(L, "reload", (struct str){NULL, 0});
}

/* ppv.plugin.rollback(id?: string) -> table | nil, err
 * Goes back to the bundle before this one, or to the one named. Phases: request webhook job tick.
 * Yields. Errors: as reload. Since 1.0 */
static int l_rollback(lua_State *L)
{
    return control(L, "rollback", lx_opt_str(L, 1, 64, ""));
}

/* ppv.plugin.status() -> table | nil, err
 * The master's view: workers, bundles kept, disabled plugins. Phases: request webhook job tick.
 * Yields. Errors: as reload. Since 1.0 */
static int l_status(lua_State *L)
{
    return control(L, "status", (struct str){NULL, 0});
}

static void push_problems(lua_State *L, const struct gen *g)
{
    struct buf b = {0};
    struct err e = {0};
    problems_json(&g->problems, &b);
    if (bind_json_decode(L, (struct str){b.p, b.n}, &e) < 0)
        lua_newtable(L);
    buf_fini(&b);
}

/* ppv.plugin.state() -> {id, hash, read_at, disabled, problems, states, tasks, worker}
 * The generation the caller runs in: number and SHA-256 of its bundle, when it was read (seconds),
 * names of plugins switched off (",a,b,"), problems {plugin, file, line, text}, Lua states not yet
 * closed and live tasks of this process. Phases: request webhook job tick. Since 1.0 */
static int l_state(lua_State *L)
{
    lx_task(L, PHASE_IO);
    struct gen *g = gen_here(L);
    lua_createtable(L, 0, 8);
    lua_pushnumber(L, (lua_Number)g->id);
    lua_setfield(L, -2, "id");
    if (g->bundle) {
        lua_pushstring(L, g->bundle->hash);
        lua_setfield(L, -2, "hash");
        lua_pushnumber(L, (lua_Number)g->bundle->read_at / 1e6);
        lua_setfield(L, -2, "read_at");
        lua_pushstring(L, g->bundle->disabled);
        lua_setfield(L, -2, "disabled");
    }
    push_problems(L, g);
    lua_setfield(L, -2, "problems");
    lua_pushinteger(L, gen_alive());
    lua_setfield(L, -2, "states");
    lua_pushinteger(L, sched_count());
    lua_setfield(L, -2, "tasks");
    lua_pushinteger(L, bind_env()->worker);
    lua_setfield(L, -2, "worker");
    return 1;
}

/* ppv.plugin.crash_at(point: string) -> nothing
 * For tests of what a crash leaves behind: when the directory named by the environment's
 * PPV_CRASH_DIR has a file of this name, the file is removed and the process killed.
 * Phases: any. Since 1.0 */
static int l_crash_at(lua_State *L)
{
    const char *point = luaL_checkstring(L, 1), *dir = getenv("PPV_CRASH_DIR");
    char path[512];
    if (!dir || snprintf(path, sizeof path, "%s/%s", dir, point) >= (int)sizeof path)
        return 0;
    if (unlink(path) == 0)
        kill(getpid(), SIGKILL);
    return 0;
}

int bind_plugin_open(lua_State *L)
{
    static const luaL_Reg reg[] = {
        {"list", l_list},     {"reload", l_reload}, {"rollback", l_rollback},
        {"status", l_status}, {"state", l_state},   {"crash_at", l_crash_at},
        {NULL, NULL}};
    return lx_module(L, reg);
}
