/* SPDX-License-Identifier: Apache-2.0
 * Runners claim and run one job at a time; scripts/lib/jobloop.lua holds the protocol with the jobs table. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <lauxlib.h>
#include "app/worker.h"
#include "base/clock.h"
#include "base/conf.h"
#include "base/log.h"
#include "bind/bind.h"
#include "db/db.h"
#include "lua/gen.h"
#include "lua/lx.h"
#include "lua/sched.h"
#include "lua/vm.h"
#include "run/board.h"
#include "run/loop.h"

enum {
    OTHER_RUNNERS = 3,
    MEDIA_RUNNERS_MAX = 8,
    RUNNERS = OTHER_RUNNERS + MEDIA_RUNNERS_MAX,
    TICKS_MAX = 64
};
#define POLL_US 2000000
#define RETRY_US 1000000
#define HEARTBEAT_US 15000000

struct runner {
    int slot;
    const char *lane; /* "media" takes kinds media.* only, the others all but those */
    struct task *task;
    struct timer timer;
    bool abandoning;
};
struct tick {
    char name[48];
    int64_t every_us;
    bool busy;
    struct timer timer;
};
static struct {
    struct worker *w;
    struct runner runners[RUNNERS]; /* the first OTHER_RUNNERS take everything but media jobs */
    int nrunners;
    struct tick ticks[TICKS_MAX];
    int nticks;
    struct timer beat;
    bool beating, draining;
} j;

/* ---- calls into scripts/lib/jobloop.lua ---- */

static void push_loop_fn(struct task *t, const char *name)
{
    lua_getfield(t->co, LUA_REGISTRYINDEX, "ppv.jobloop");
    lua_getfield(t->co, -1, name);
    lua_remove(t->co, -2);
}

/* Loads the module once per generation, in the load phase. */
static int prepare(struct gen *g, struct err *e)
{
    lua_State *L = g->L;
    lua_getfield(L, LUA_REGISTRYINDEX, "ppv.jobloop");
    bool have = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (have)
        return 0;
    lua_getglobal(L, "require");
    lua_pushliteral(L, "lib.jobloop");
    if (sched_call(g, L, 1, 1, 0, e) < 0)
        return -1;
    lua_getfield(L, -1, "start");
    gen_push_boot(L, g);
    if (sched_call(g, L, 1, 0, 0, e) < 0)
        return -1;
    lua_setfield(L, LUA_REGISTRYINDEX, "ppv.jobloop");
    return 0;
}

static void abandon_done(struct task *t, bool ok, lua_State *co, int n)
{
    (void)co;
    (void)n;
    struct runner *r = t->user;
    r->abandoning = false;
    if (!ok)
        log_err(LOG_WARN, "jobs.abandon", &t->err);
    if (!j.draining)
        loop_timer_set(j.w->loop, &r->timer, RETRY_US);
}

/* The runner's task ended without telling the table: give the job back (drain) or count a failure. */
static void abandon(struct runner *r, struct gen *g, const char *why)
{
    r->abandoning = true;
    struct task *t = sched_new(g, PHASE_JOB, 10000000, abandon_done, r);
    push_loop_fn(t, "abandon");
    lua_pushinteger(t->co, r->slot);
    lua_pushstring(t->co, why);
    lua_pushboolean(t->co, j.draining);
    sched_start(t, 3);
}

static void runner_done(struct task *t, bool ok, lua_State *co, int n)
{
    struct runner *r = t->user;
    r->task = NULL;
    if (!ok) {
        log_err(LOG_WARN, "jobs.runner", &t->err);
        abandon(r, t->gen, t->err.msg);
        return;
    }
    if (j.draining)
        return;
    double wait = n > 0 && lua_isnumber(co, -1) ? lua_tonumber(co, -1) : 0;
    int64_t us = (int64_t)(wait * 1e6);
    loop_timer_set(j.w->loop, &r->timer, us < 0 ? POLL_US : us);
}

static void runner_run(struct timer *timer)
{
    struct runner *r = timer->arg;
    struct gen *g = gen_current();
    struct err e = {0};
    if (j.draining || r->task || r->abandoning)
        return;
    if (!g || !db_is_up(j.w->db) || prepare(g, &e) < 0) {
        if (e.code)
            log_err(LOG_ERROR, "jobs.prepare", &e);
        loop_timer_set(j.w->loop, &r->timer, RETRY_US);
        return;
    }
    r->task = sched_new(g, PHASE_JOB, 0, runner_done, r);
    push_loop_fn(r->task, "run_one");
    lua_pushinteger(r->task->co, r->slot);
    lua_pushstring(r->task->co, r->lane);
    sched_start(r->task, 2);
}

static void on_notify(void *arg, const char *payload)
{
    (void)arg;
    (void)payload;
    for (int i = 0; i < j.nrunners; i++)
        if (!j.runners[i].task && !j.runners[i].abandoning && !j.draining)
            loop_timer_set(j.w->loop, &j.runners[i].timer, 0);
}

/* ---- leases ---- */

static void beat_done(struct task *t, bool ok, lua_State *co, int n)
{
    (void)co;
    (void)n;
    j.beating = false;
    if (!ok)
        log_err(LOG_WARN, "jobs.heartbeat", &t->err);
}

static void on_beat(struct timer *timer)
{
    loop_timer_set(j.w->loop, timer, HEARTBEAT_US);
    if (j.beating)
        return;
    /* every runner may belong to another generation: each keeps its own list of running jobs */
    struct gen *seen[RUNNERS] = {NULL};
    for (int i = 0; i < j.nrunners; i++) {
        struct task *r = j.runners[i].task;
        bool again = !r;
        for (int k = 0; k < i && !again; k++)
            again = seen[k] == r->gen;
        if (again)
            continue;
        seen[i] = r->gen;
        struct task *t = sched_new(r->gen, PHASE_JOB, 10000000, beat_done, NULL);
        push_loop_fn(t, "heartbeat");
        sched_start(t, 0);
    }
}

/* ---- ticks ---- */

static void tick_done(struct task *t, bool ok, lua_State *co, int n)
{
    (void)co;
    (void)n;
    struct tick *k = t->user;
    k->busy = false;
    if (!ok) {
        log_event(LOG_ERROR, "tick.failed", "ss", "tick", k->name, "error", t->err.msg);
        board_count("tick_errors_total", 1);
    }
}

/* Pushes BOOT.ticks[i].run for the tick's name in g, or nothing. */
static bool push_tick(lua_State *L, struct gen *g, const char *name)
{
    gen_push_boot(L, g);
    lua_getfield(L, -1, "ticks");
    size_t n = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, (int)i);
        lua_getfield(L, -1, "name");
        bool hit = lua_isstring(L, -1) && strcmp(lua_tostring(L, -1), name) == 0;
        lua_pop(L, 1);
        if (hit) {
            lua_getfield(L, -1, "run");
            lua_replace(L, -4);
            lua_pop(L, 2);
            return true;
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 2);
    return false;
}

static void on_tick(struct timer *timer)
{
    struct tick *k = timer->arg;
    struct gen *g = gen_current();
    loop_timer_set(j.w->loop, timer, k->every_us);
    if (j.draining || k->busy || !g || !db_is_up(j.w->db))
        return;
    struct task *t = sched_new(g, PHASE_TICK, 300000000, tick_done, k);
    if (!push_tick(t->co, g, k->name)) {
        lua_pushnil(t->co);
        sched_cancel(t, ERR_NOT_FOUND, "the tick is gone");
        return;
    }
    k->busy = true;
    sched_start(t, 0);
}

static void read_ticks(struct gen *g)
{
    lua_State *L = g->L;
    gen_push_boot(L, g);
    lua_getfield(L, -1, "ticks");
    size_t n = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
    for (size_t i = 1; i <= n && j.nticks < TICKS_MAX; i++) {
        struct tick *k = &j.ticks[j.nticks];
        lua_rawgeti(L, -1, (int)i);
        lua_getfield(L, -1, "name");
        lua_getfield(L, -2, "every");
        if (lua_isstring(L, -2) && lua_tonumber(L, -1) > 0) {
            snprintf(k->name, sizeof k->name, "%s", lua_tostring(L, -2));
            k->every_us = (int64_t)(lua_tonumber(L, -1) * 1e6);
            k->timer.fn = on_tick;
            k->timer.arg = k;
            /* spread, so that a start does not run all of them at once */
            loop_timer_set(j.w->loop, &k->timer, 1000000 + j.nticks * 200000);
            j.nticks++;
        }
        lua_pop(L, 3);
    }
    lua_pop(L, 2);
}

/* ---- ppv.jobs ---- */

/* ppv.jobs.set_timeout(seconds): deadline of the running task from now; 0 = none. Phases: job tick. */
static int l_set_timeout(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_JOB | PHASE_TICK);
    sched_set_timeout(t, (int64_t)(luaL_checknumber(L, 1) * 1e6));
    return 0;
}

/* ppv.jobs.cancel(slot): the runner's lease is lost: its task ends and writes nothing. Phases: job. */
static int l_cancel(lua_State *L)
{
    lx_task(L, PHASE_JOB);
    int64_t slot = lx_int(L, 1, 0, j.nrunners - 1);
    if (j.runners[slot].task)
        sched_cancel(j.runners[slot].task, ERR_CANCELLED, "the job was cancelled or taken over");
    return 0;
}

/* ppv.jobs.stopping() -> bool. Any phase. */
static int l_stopping(lua_State *L)
{
    lua_pushboolean(L, j.draining);
    return 1;
}

/* ppv.jobs.owner() -> string naming this process for leases. Any phase. */
static int l_owner(lua_State *L)
{
    char host[64] = "host";
    gethostname(host, sizeof host - 1);
    lua_pushfstring(L, "%s:%d", host, (int)getpid());
    return 1;
}

static int jobs_open(lua_State *L)
{
    static const luaL_Reg fns[] = {{"set_timeout", l_set_timeout},
                                   {"cancel", l_cancel},
                                   {"stopping", l_stopping},
                                   {"owner", l_owner},
                                   {NULL, NULL}};
    return lx_module(L, fns);
}

void jobworker_open(lua_State *L)
{
    bind_open_all(L);
    vm_module(L, "ppv.jobs", jobs_open);
}

/* ---- life ---- */

int jobworker_start(struct worker *w, struct err *e)
{
    struct db_listen *h;
    memset(&j, 0, sizeof j);
    j.w = w;
    int64_t media = conf_int("encode_jobs");
    j.nrunners = OTHER_RUNNERS + (int)(media > MEDIA_RUNNERS_MAX ? MEDIA_RUNNERS_MAX : media);
    if (db_listen(w->db, "jobs", on_notify, NULL, &h, e) < 0)
        return -1;
    for (int i = 0; i < j.nrunners; i++) {
        struct runner *r = &j.runners[i];
        r->slot = i;
        r->lane = i < OTHER_RUNNERS ? "other" : "media";
        r->timer.fn = runner_run;
        r->timer.arg = r;
        loop_timer_set(w->loop, &r->timer, 200000);
    }
    j.beat.fn = on_beat;
    loop_timer_set(w->loop, &j.beat, HEARTBEAT_US);
    if (w->index == 0)
        read_ticks(gen_current());
    return 0;
}

void jobworker_drain(void)
{
    j.draining = true;
    /* encodes take longer than any drain: they go back to the queue at once, uncounted */
    for (int i = OTHER_RUNNERS; i < j.nrunners; i++)
        if (j.runners[i].task)
            sched_cancel(j.runners[i].task, ERR_CANCELLED, "the worker stops");
}

bool jobworker_idle(void)
{
    for (int i = 0; i < j.nrunners; i++)
        if (j.runners[i].task || j.runners[i].abandoning)
            return false;
    return true;
}

void jobworker_abort(void)
{
    for (int i = 0; i < j.nrunners; i++)
        if (j.runners[i].task)
            sched_cancel(j.runners[i].task, ERR_CANCELLED, "the worker stops");
}
