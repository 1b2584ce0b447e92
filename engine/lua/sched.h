/* SPDX-License-Identifier: Apache-2.0
 * Tasks: one Lua coroutine + arena + deadline, driven by the loop. Lua code reads straight; C functions await.
 * Loop thread only, except where said. One scheduler per process.
 *
 * A yielding C function:
 *     struct task *t = lx_task(L, PHASE_IO);
 *     struct my_op *op = arena_alloc(t->arena, sizeof *op);
 *     ... start; the completion callback fills op and calls sched_wake(op->task) ...
 *     return sched_await(L, t, my_push, my_cancel, op);         always the last statement
 * my_push(L, t, op) runs at resume, pushes the results and returns their number (use lx_fail for errors; it must not
 * raise). my_cancel(op) runs instead when the task is cancelled: afterwards nobody may touch op or wake the task. */
#ifndef LUA_SCHED_H
#define LUA_SCHED_H
#include <stdbool.h>
#include <stdint.h>
#include <lua.h>
#include "base/arena.h"
#include "base/err.h"
#include "run/loop.h"

struct gen;
enum phase {
    PHASE_LOAD = 1, /* declare only: no I/O, no yield */
    PHASE_REQUEST = 2,
    PHASE_WEBHOOK = 4,
    PHASE_TX = 8, /* inside a money rule: no I/O, no yield */
    PHASE_JOB = 16,
    PHASE_TICK = 32,
    PHASE_IO = PHASE_REQUEST | PHASE_WEBHOOK | PHASE_JOB | PHASE_TICK,
    PHASE_ANY = 63
};

struct task;
typedef int (*sched_push)(lua_State *L, struct task *t, void *op);
typedef void (*sched_stop)(void *op);
/* ok: the function's nresults results are the top of co. !ok: t->err is filled and the error value is the top of co
 * (nresults 1), or nothing when cancelled (nresults 0). The task is freed after the call; do not start Lua on co. */
typedef void (*sched_done)(struct task *t, bool ok, lua_State *co, int nresults);

struct task {
    struct arena *arena; /* freed with the task, after done */
    struct gen *gen;     /* pinned */
    lua_State *co;
    int phase;        /* bind code may narrow it for a while (PHASE_TX) and must restore it */
    int64_t deadline; /* clock_mono us, 0 = none; reaching it cancels with ERR_TIMEOUT */
    struct err err;
    void *user;
    const char
        *plugin; /* name of the plugin whose code is running or awaited, NULL = trusted code */
    /* private to sched.c */
    sched_done done;
    sched_push push;
    sched_stop stop;
    void *op;
    int state, ref, nargs;
    bool woken, cancelled, queued;
    struct timer timer;
    struct task *next, *prev, *qnext;
};

/* Starts the scheduler and its watchdog thread; blocks nothing. loop may be NULL (canary, conf checks: no tasks then).
 * Budgets in us of continuous CPU: plugin code, trusted code. Call again after fork. Add loop hooks after this call. */
void sched_init(struct loop *loop, int64_t plugin_us, int64_t trusted_us);
void sched_fini(void); /* cancels every task, stops the watchdog */

/* A new task in g (referenced). Push the function and its arguments on t->co, then sched_start(t, nargs).
 * timeout_us 0 = none. user may be set by the caller before start. */
struct task *sched_new(struct gen *g, int phase, int64_t timeout_us, sched_done done, void *user);
/* Runs until the first await; done may be called before this returns (t is gone then). Inside Lua it is queued. */
void sched_start(struct task *t, int nargs);

/* The running task; raises a Lua error when there is none. */
struct task *sched_current(lua_State *L);
struct task *sched_running(void); /* NULL outside Lua */
int sched_await(lua_State *L, struct task *t, sched_push push, sched_stop stop, void *op);
/* The awaited operation is complete; the task is resumed soon, never inside this call. Once per await. */
void sched_wake(struct task *t);
/* Ends a task: the pending op's stop runs, then done(ok=false). A task that is on the CPU ends at its next await. */
void sched_cancel(struct task *t, enum err_code code, const char *why);
/* Cancels all tasks of g, or all tasks when g is NULL. */
void sched_cancel_all(struct gen *g, enum err_code code, const char *why);
/* Cancels the tasks of generations replaced more than age_us ago, except jobs: those end in the state they began in. */
void sched_cancel_retired(int64_t age_us);
int sched_count(void); /* live tasks */
/* ppv.time.sleep and tests: awaits us microseconds. `return sched_sleep(L, t, us)`. */
int sched_sleep(lua_State *L, struct task *t, int64_t us);

/* Synchronous protected call in the load phase: function and nargs arguments on L's top, nresults left on success.
 * budget_us of CPU, then ERR_LIMIT. Yields are errors. */
int sched_call(struct gen *g, lua_State *L, int nargs, int nresults, int64_t budget_us,
               struct err *e);

/* The boundary of plugin code (used by sandbox.c): marks the running task as inside plugin; returns the previous mark. */
const char *sched_enter(const char *plugin);
void sched_leave(const char *previous);
/* True when the value at idx is the deadline sentinel. */
bool sched_is_deadline(lua_State *L, int idx);
void sched_strike(const char *plugin,
                  const char *what); /* sandbox.c: reports through sched_on_strike */
/* For corolib.c: the sentinels, and whether the running code is over its budget right now. */
void sched_push_deadline(lua_State *L);
void sched_push_await(lua_State *L);
bool sched_over_budget(void);
/* Called with the plugin's name whenever one exceeds a limit (board strikes). Set once by the worker. */
void sched_on_strike(void (*fn)(const char *plugin, const char *what));
/* Where the name of the running plugin (64 bytes) and the time Lua was resumed are published for the master (shared
 * memory), or NULL. */
void sched_publish(char *running, volatile int64_t *lua_since);
/* Replaces the task's deadline; 0 = none. */
void sched_set_timeout(struct task *t, int64_t timeout_us);
#endif
