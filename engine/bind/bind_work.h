/* SPDX-License-Identifier: Apache-2.0
 * A pool job a task waits for. The job cannot be called back, so its memory is an arena of its own
 * that outlives a cancelled task; whoever comes last, the pool or the task, frees it. Loop thread,
 * except work. */
#ifndef BIND_BIND_WORK_H
#define BIND_BIND_WORK_H
#include <stdbool.h>
#include <stddef.h>
#include <lua.h>
#include "base/err.h"

struct arena;
struct task;
/* First member of the caller's struct. */
struct bind_work {
    struct arena *arena;                            /* copies of the arguments live here */
    struct err err;                                 /* work reports here; code ERR_NONE = fine */
    void (*work)(struct bind_work *w);              /* pool thread; touches only w's memory */
    int (*push)(lua_State *L, struct bind_work *w); /* loop; only without err */
    void (*fini)(struct bind_work *w);              /* loop, before the memory goes; may be NULL */
    /* private */
    struct task *task;
    void *token;
    bool done, orphan;
};
/* Check every argument before: nothing between new and run may raise. */
void *bind_work_new(struct task *t, size_t size);
/* `return bind_work_run(L, w)`: awaits, or nil, engine.busy when the pool is full. Takes w. */
int bind_work_run(lua_State *L, struct bind_work *w);
#endif
