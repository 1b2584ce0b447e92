/* SPDX-License-Identifier: Apache-2.0 */
#include "app/tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <lauxlib.h>
#include "app/worker.h"
#include "base/log.h"
#include "db/db.h"
#include "lua/gen.h"
#include "lua/sched.h"
#include "lua/vm.h"
#include "run/loop.h"

static const char SPEC_MAIN[] =
    "package.path = './?.lua;./?/init.lua;' .. package.path\n"
    "os.exit = function(code)\n"
    "  if code == nil or code == true then code = 0 elseif code == false then code = 1 end\n"
    "  TOOL_STATUS = code\n"
    "  error({ code = 'engine.cancelled', message = 'exit' }, 0)\n"
    "end\n"
    "require 'busted.runner'({ standalone = false })\n"
    "TOOL_STATUS = TOOL_STATUS or 0\n";

static struct {
    const struct tool *t;
    struct worker w;
    struct timer begin;
    int status, tries;
} x;

static void task_done(struct task *t, bool ok, lua_State *co, int n)
{
    lua_State *L = t->gen->L;
    lua_getglobal(L, "TOOL_STATUS");
    bool asked = lua_isnumber(L, -1);
    x.status = asked ? (int)lua_tointeger(L, -1) : ok ? 0 : 1;
    lua_pop(L, 1);
    if (ok && !asked && n > 0 && lua_isnumber(co, 1))
        x.status = (int)lua_tointeger(co, 1);
    if (!ok && !asked) {
        fprintf(stderr, "ppv: %s\n", t->err.msg);
        x.status = 1;
    }
    fflush(stdout);
    loop_stop(x.w.loop);
}

static void set_arg(lua_State *L)
{
    const struct tool *t = x.t;
    lua_newtable(L);
    lua_pushstring(L, t->spec ? "ppv spec" : t->file);
    lua_rawseti(L, -2, 0);
    for (int i = 0; i < t->argc; i++) {
        lua_pushstring(L, t->argv[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setglobal(L, "arg");
}

static void set_spec_globals(lua_State *L, struct gen *g)
{
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d", x.w.port);
    lua_pushinteger(L, x.w.port);
    lua_setglobal(L, "SPEC_PORT");
    lua_pushstring(L, url);
    lua_setglobal(L, "SPEC_URL");
    gen_push_boot(L, g);
    lua_setglobal(L, "SPEC_BOOT");
}

/* Pushes the main function or its error message. */
static int push_main(lua_State *L, struct gen *g)
{
    const struct tool *t = x.t;
    if (t->spec)
        return luaL_loadbufferx(L, SPEC_MAIN, sizeof SPEC_MAIN - 1, "=spec", "t");
    const struct bundle_file *f = bundle_find(g->bundle, t->file);
    if (f) {
        char chunk[256];
        snprintf(chunk, sizeof chunk, "@%s", t->file);
        return luaL_loadbufferx(L, f->data, f->size, chunk, "t");
    }
    return luaL_loadfilex(L, t->file, "t");
}

static void begin(struct timer *timer)
{
    struct gen *g = gen_current();
    if (x.w.db && !db_is_up(x.w.db) && x.tries++ < 500) {
        loop_timer_set(x.w.loop, timer, 10000);
        return;
    }
    set_arg(g->L);
    if (x.t->spec)
        set_spec_globals(g->L, g);
    struct task *task = sched_new(g, PHASE_JOB, 0, task_done, NULL);
    if (push_main(task->co, g) != 0) {
        fprintf(stderr, "ppv: %s\n", lua_tostring(task->co, -1));
        lua_settop(task->co, 0);
        x.status = 1;
        loop_stop(x.w.loop);
        return;
    }
    for (int i = 0; i < x.t->argc; i++)
        lua_pushstring(task->co, x.t->argv[i]);
    sched_start(task, x.t->argc);
}

int tool_run(const struct tool *t)
{
    struct err e = {0};
    memset(&x, 0, sizeof x);
    x.t = t;
    x.w = (struct worker){.kind = t->spec ? WORKER_SPEC : WORKER_TOOL,
                          .patient = t->file && bundle_find(t->bundle, t->file),
                          .root = t->root,
                          .conninfo = t->conninfo,
                          .ctl_fd = -1,
                          .bundle = bundle_ref(t->bundle)};
    if (worker_start(&x.w, t->full || t->spec, &e) < 0) {
        fprintf(stderr, "ppv: %s\n", e.msg);
        return 1;
    }
    x.begin.fn = begin;
    loop_timer_set(x.w.loop, &x.begin, 0);
    loop_run(x.w.loop, NULL);
    worker_stop(&x.w);
    return x.status;
}

int tool_run_forked(const char *root, const char *conninfo, struct bundle *b, const char *file,
                    struct err *e)
{
    if (!bundle_find(b, file))
        return ERR(e, ERR_NOT_FOUND, "%s is missing", file);
    pid_t pid = fork();
    if (pid < 0)
        return err_errno(e, "fork");
    if (pid == 0) {
        struct tool t = {.root = root, .conninfo = conninfo, .bundle = b, .file = file};
        log_role("tool");
        _exit(tool_run(&t));
    }
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_errno(e, "waitpid");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return ERR(e, ERR_INTERNAL, "%s failed", file);
    return 0;
}
