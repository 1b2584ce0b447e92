/* SPDX-License-Identifier: Apache-2.0 */
#include "lua/sched.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <lauxlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "lua/gen.h"
#include "lua/lx.h"
#include "lua/vm.h"
#include "lua/watchdog.h"

enum { T_NEW, T_READY, T_RUNNING, T_WAITING, T_DEAD };

static char deadline_key, await_key;
static struct {
    struct loop *loop;
    struct loop_hook hook;
    bool hooked;
    struct timer kick;
    struct task *running, *tasks, *head, *tail;
    int count;
    char *publish;
    volatile int64_t *since;
    void (*strike)(const char *plugin, const char *what);
} s;

static void resume(struct task *t, int nargs);

void sched_push_deadline(lua_State *L)
{
    lua_pushlightuserdata(L, &deadline_key);
}

void sched_push_await(lua_State *L)
{
    lua_pushlightuserdata(L, &await_key);
}

bool sched_is_deadline(lua_State *L, int idx)
{
    return lua_islightuserdata(L, idx) && lua_touserdata(L, idx) == &deadline_key;
}

bool sched_over_budget(void)
{
    return watchdog_fired();
}

struct task *sched_running(void)
{
    return s.running;
}

int sched_count(void)
{
    return s.count;
}

void sched_publish(char *running, volatile int64_t *lua_since)
{
    s.publish = running;
    s.since = lua_since;
}

void sched_on_strike(void (*fn)(const char *plugin, const char *what))
{
    s.strike = fn;
}

/* ---- ready queue ---- */

static void enqueue(struct task *t)
{
    if (t->queued)
        return;
    t->queued = true;
    t->qnext = NULL;
    if (s.tail)
        s.tail->qnext = t;
    else
        s.head = t;
    s.tail = t;
    /* a hook that ran before us in this turn may have queued the task: the loop must not go to sleep */
    if (s.loop && !s.kick.heap_pos)
        loop_timer_set(s.loop, &s.kick, 0);
}

static void unqueue(struct task *t)
{
    if (!t->queued)
        return;
    struct task **p = &s.head, *last = NULL;
    while (*p && *p != t) {
        last = *p;
        p = &(*p)->qnext;
    }
    *p = t->qnext;
    if (s.tail == t)
        s.tail = last;
    t->queued = false;
}

static int push_results(struct task *t)
{
    sched_push push = t->push;
    void *op = t->op;
    t->push = NULL;
    t->stop = NULL;
    t->op = NULL;
    t->woken = false;
    lua_settop(t->co, 0);
    return push ? push(t->co, t, op) : 0;
}

static void drain(void)
{
    /* only what is queued now: a task that wakes itself at once must not keep the loop from its fds */
    struct task *last = s.tail;
    while (s.head) {
        struct task *t = s.head;
        bool end = t == last;
        unqueue(t);
        resume(t, t->state == T_READY ? t->nargs : push_results(t));
        if (end)
            break;
    }
}

static int64_t on_hook(struct loop_hook *h)
{
    (void)h;
    drain();
    return s.head ? 0 : -1;
}

static void on_kick(struct timer *t)
{
    (void)t;
    drain();
}

/* ---- life of a task ---- */

static void co_acquire(struct vm *v, struct task *t)
{
    if (v->npool > 0) {
        v->npool--;
        t->co = v->pool[v->npool];
        t->ref = v->pool_ref[v->npool];
        return;
    }
    t->co = lua_newthread(v->L);
    t->ref = luaL_ref(v->L, LUA_REGISTRYINDEX);
}

static void co_release(struct vm *v, struct task *t, bool reusable)
{
    if (reusable && v->npool < (int)(sizeof v->pool / sizeof *v->pool)) {
        lua_settop(t->co, 0);
        v->pool[v->npool] = t->co;
        v->pool_ref[v->npool++] = t->ref;
        return;
    }
    luaL_unref(v->L, LUA_REGISTRYINDEX, t->ref);
}

static void on_deadline(struct timer *timer)
{
    sched_cancel(timer->arg, ERR_TIMEOUT, "time limit reached");
}

struct task *sched_new(struct gen *g, int phase, int64_t timeout_us, sched_done done, void *user)
{
    struct arena *a = arena_new();
    struct task *t = arena_alloc(a, sizeof *t);
    t->arena = a;
    t->gen = gen_ref(g);
    t->phase = phase;
    t->done = done;
    t->user = user;
    t->state = T_NEW;
    co_acquire(g->vm, t);
    t->timer.fn = on_deadline;
    t->timer.arg = t;
    if (timeout_us > 0 && s.loop) {
        loop_timer_set(s.loop, &t->timer, timeout_us);
        t->deadline = t->timer.at;
    } else if (timeout_us > 0) {
        t->deadline = clock_mono() + timeout_us;
    }
    t->next = s.tasks;
    if (s.tasks)
        s.tasks->prev = t;
    s.tasks = t;
    s.count++;
    return t;
}

void sched_set_timeout(struct task *t, int64_t timeout_us)
{
    t->deadline = timeout_us > 0 ? clock_mono() + timeout_us : 0;
    if (!s.loop)
        return;
    if (t->timer.heap_pos)
        loop_timer_clear(s.loop, &t->timer);
    if (timeout_us > 0)
        loop_timer_set(s.loop, &t->timer, timeout_us);
}

static void finish(struct task *t, bool ok, int nresults, bool reusable)
{
    t->state = T_DEAD;
    unqueue(t);
    if (s.loop && t->timer.heap_pos)
        loop_timer_clear(s.loop, &t->timer);
    if (t->done)
        t->done(t, ok, t->co, nresults);
    struct gen *g = t->gen;
    co_release(g->vm, t, reusable);
    if (t->prev)
        t->prev->next = t->next;
    else
        s.tasks = t->next;
    if (t->next)
        t->next->prev = t->prev;
    s.count--;
    struct arena *a = t->arena; /* the task itself lives in it */
    arena_free(a);
    gen_unref(g);
}

static void publish(const char *plugin)
{
    if (!s.publish || (!plugin && !s.publish[0]))
        return;
    snprintf(s.publish, 64, "%s", plugin ? plugin : "");
}

static void fail_from_top(struct task *t, int rc)
{
    if (sched_is_deadline(t->co, -1)) {
        ERR(&t->err, ERR_LIMIT, "CPU limit of Lua code reached");
    } else if (rc == LUA_ERRMEM) {
        ERR(&t->err, ERR_LIMIT, "memory limit of the Lua state reached");
    } else {
        lx_to_err(t->co, -1, &t->err);
        if (lua_isstring(t->co, -1) && t->err.code == ERR_INTERNAL) {
            luaL_traceback(t->gen->vm->L, t->co, lua_tostring(t->co, -1), 0);
            const char *tb = lua_tostring(t->gen->vm->L, -1);
            log_event(LOG_ERROR, "lua.error", "ss", "error", t->err.msg, "traceback", tb);
            lua_pop(t->gen->vm->L, 1);
        }
    }
}

static int run_lua(struct task *t, int nargs)
{
    struct vm *v = t->gen->vm;
    struct task *outer = s.running;
    must(!outer);
    s.running = t;
    t->state = T_RUNNING;
    publish(t->plugin);
    if (s.since)
        *s.since = clock_mono();
    watchdog_begin(v->L, 0);
    if (t->plugin)
        watchdog_plugin(v->L, true);
    v->enforce = true;
    int rc = lua_resume(t->co, nargs);
    v->enforce = false;
    watchdog_end(v->L);
    publish(NULL);
    if (s.since)
        *s.since = 0;
    s.running = NULL;
    if (v->oom)
        t->gen->recycle = true;
    if (v->relaxed)
        vm_recover(v);
    return rc;
}

static void resume(struct task *t, int nargs)
{
    for (;;) {
        int rc = run_lua(t, nargs);
        if (rc == 0) {
            finish(t, true, lua_gettop(t->co), true);
            return;
        }
        if (rc != LUA_YIELD) {
            fail_from_top(t, rc);
            finish(t, false, 1, false);
            return;
        }
        t->state = T_WAITING;
        if (!t->push) {
            ERR(&t->err, ERR_INTERNAL, "attempt to yield from outside a coroutine");
            finish(t, false, 0, false);
            return;
        }
        if (t->cancelled) {
            if (!t->woken && t->stop)
                t->stop(t->op);
            finish(t, false, 0, false);
            return;
        }
        if (!t->woken)
            return;
        unqueue(t);
        nargs = push_results(t);
    }
}

void sched_start(struct task *t, int nargs)
{
    must(t->state == T_NEW);
    t->nargs = nargs;
    t->state = T_READY;
    if (s.running)
        enqueue(t);
    else
        resume(t, nargs);
}

struct task *sched_current(lua_State *L)
{
    if (!s.running || vm_of(L) != s.running->gen->vm)
        luaL_error(L, "this function needs a running task");
    return s.running;
}

int sched_await(lua_State *L, struct task *t, sched_push push, sched_stop stop, void *op)
{
    must(t == s.running && !t->push);
    if (!lua_isyieldable(L)) {
        if (!t->woken && stop)
            stop(op);
        t->woken = false;
        return luaL_error(
            L, "cannot wait here (inside a sort, gsub, metamethod of C or require callback)");
    }
    t->push = push;
    t->stop = stop;
    t->op = op;
    lua_settop(L, 0);
    sched_push_await(L);
    return lua_yield(L, 1);
}

void sched_wake(struct task *t)
{
    must(!t->woken);
    t->woken = true;
    if (t->state == T_WAITING)
        enqueue(t);
}

void sched_cancel(struct task *t, enum err_code code, const char *why)
{
    if (t->state == T_DEAD || t->cancelled)
        return;
    t->cancelled = true;
    ERR(&t->err, code, "%s", why);
    if (t->state == T_RUNNING)
        return;
    if (t->state == T_WAITING && !t->woken && t->stop)
        t->stop(t->op);
    finish(t, false, 0, false);
}

void sched_cancel_all(struct gen *g, enum err_code code, const char *why)
{
    for (struct task *t = s.tasks; t;) {
        struct task *next = t->next;
        if (!g || t->gen == g)
            sched_cancel(t, code, why);
        t = next;
    }
}

void sched_cancel_retired(int64_t age_us)
{
    int64_t before = clock_mono() - age_us;
    for (struct task *t = s.tasks; t;) {
        struct task *next = t->next;
        if (t->gen->retired_at && t->gen->retired_at < before && t->phase != PHASE_JOB)
            sched_cancel(t, ERR_CANCELLED,
                         "the plugins were reloaded and the time to finish is over");
        t = next;
    }
}

/* ---- synchronous calls ---- */

static int call_result(struct gen *g, lua_State *L, struct task *t, int rc, int nresults,
                       struct err *e)
{
    if (rc == 0) {
        lua_settop(t->co, nresults);
        lua_xmove(t->co, L, nresults);
        return 0;
    }
    if (rc == LUA_YIELD)
        return ERR(e, ERR_INTERNAL, "attempt to yield in the load phase");
    if (g->vm->oom)
        g->recycle = true;
    if (sched_is_deadline(t->co, -1))
        return ERR(e, ERR_LIMIT, "CPU limit reached");
    lx_to_err(t->co, -1, e);
    return -1;
}

int sched_call(struct gen *g, lua_State *L, int nargs, int nresults, int64_t budget_us,
               struct err *e)
{
    struct arena *a = arena_new();
    struct task *outer = s.running;
    struct task t = {.gen = g, .phase = PHASE_LOAD, .arena = a, .state = T_RUNNING};
    t.co = lua_newthread(L);
    int ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_xmove(L, t.co, nargs + 1);
    must(!outer);
    s.running = &t;
    watchdog_begin(g->vm->L, budget_us);
    g->vm->enforce = true;
    int rc = lua_resume(t.co, nargs);
    g->vm->enforce = false;
    watchdog_end(g->vm->L);
    s.running = NULL;
    rc = call_result(g, L, &t, rc, nresults, e);
    luaL_unref(L, LUA_REGISTRYINDEX, ref);
    arena_free(a);
    return rc;
}

/* ---- plugin boundary ---- */

const char *sched_enter(const char *plugin)
{
    struct task *t = s.running;
    if (!t)
        return NULL;
    const char *prev = t->plugin;
    t->plugin = plugin;
    publish(plugin);
    if (!prev)
        watchdog_plugin(t->gen->vm->L, true);
    return prev;
}

void sched_leave(const char *previous)
{
    struct task *t = s.running;
    if (!t)
        return;
    t->plugin = previous;
    publish(previous);
    if (!previous)
        watchdog_plugin(t->gen->vm->L, false);
}

void sched_strike(const char *plugin, const char *what)
{
    log_event(LOG_WARN, "plugin.limit", "ss", "plugin", plugin, "what", what);
    if (s.strike)
        s.strike(plugin, what);
}

/* ---- sleep ---- */

struct sleep_op {
    struct timer timer;
    struct task *task;
};

static void sleep_done(struct timer *timer)
{
    struct sleep_op *op = timer->arg;
    sched_wake(op->task);
}

static void sleep_stop(void *arg)
{
    struct sleep_op *op = arg;
    loop_timer_clear(s.loop, &op->timer);
}

static int sleep_push(lua_State *L, struct task *t, void *op)
{
    (void)t;
    (void)op;
    lua_pushboolean(L, 1);
    return 1;
}

int sched_sleep(lua_State *L, struct task *t, int64_t us)
{
    struct sleep_op *op = arena_alloc(t->arena, sizeof *op);
    op->task = t;
    op->timer.fn = sleep_done;
    op->timer.arg = op;
    loop_timer_set(s.loop, &op->timer, us);
    return sched_await(L, t, sleep_push, sleep_stop, op);
}

void sched_init(struct loop *loop, int64_t plugin_us, int64_t trusted_us)
{
    memset(&s, 0, sizeof s);
    s.loop = loop;
    s.hook.fn = on_hook;
    s.kick.fn = on_kick;
    if (loop)
        loop_hook_add(loop, &s.hook);
    watchdog_start(plugin_us, trusted_us);
}

void sched_fini(void)
{
    sched_cancel_all(NULL, ERR_CANCELLED, "the engine stops");
    watchdog_stop();
    s.loop = NULL;
}
