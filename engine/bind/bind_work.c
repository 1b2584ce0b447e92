/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_work.h"

#include "base/arena.h"
#include "bind/bind.h"
#include "lua/lx.h"
#include "run/threads.h"

static void work_free(struct bind_work *w)
{
    if (w->fini)
        w->fini(w);
    struct arena *a = w->arena; /* w lives in it */
    arena_free(a);
}

static void on_pool(void *p)
{
    struct bind_work *w = p;
    w->work(w);
}

static void on_done(void *p)
{
    struct bind_work *w = p;
    if (w->orphan) {
        work_free(w);
        return;
    }
    w->done = true;
    sched_wake(w->task);
}

static void on_task_end(void *p)
{
    struct bind_work *w = p;
    if (w->done)
        work_free(w);
    else
        w->orphan = true;
}

static void on_stop(void *p)
{
    (void)p; /* the task's end decides */
}

static int on_push(lua_State *L, struct task *t, void *p)
{
    struct bind_work *w = p;
    int n = w->err.code != ERR_NONE ? lx_fail(L, &w->err) : w->push(L, w);
    arena_undefer(t->arena, w->token);
    work_free(w);
    return n;
}

void *bind_work_new(struct task *t, size_t size)
{
    struct arena *a = arena_new();
    struct bind_work *w = arena_alloc(a, size);
    w->arena = a;
    w->task = t;
    return w;
}

int bind_work_run(lua_State *L, struct bind_work *w)
{
    struct err e = {0};
    struct threads *pool = bind_env()->threads;
    int rc = pool ? threads_run(pool, on_pool, on_done, w, &e)
                  : ERR(&e, ERR_BUSY, "no thread pool in this process");
    if (rc < 0) {
        work_free(w);
        return lx_fail(L, &e);
    }
    w->token = arena_defer(w->task->arena, on_task_end, w);
    return sched_await(L, w->task, on_push, on_stop, w);
}
