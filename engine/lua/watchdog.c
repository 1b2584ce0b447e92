/* SPDX-License-Identifier: Apache-2.0 */
#include "lua/watchdog.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <lauxlib.h>
#include "base/err.h"
#include "lua/sched.h"

#define LOOK_US 5000 /* CPU time of the loop thread between two looks */
#define LEAST_US 200
enum over { OVER_NONE, OVER_PLUGIN, OVER_TRUSTED };

static struct {
    pthread_t thread, loop_thread;
    clockid_t loop_clock;
    bool started, have_clock;
    int64_t plugin_us, trusted_us;
    volatile int quit;
    /* written by the loop thread, read by the watchdog and the handler */
    lua_State *volatile L;
    volatile uint64_t run, entry; /* counts of resumes and of plugin entries */
    volatile int inside;
    volatile int64_t budget_us;
    char where[200]; /* loop thread only */
    /* written by the watchdog, read by the handler and the hook */
    volatile int over;
    volatile uint64_t over_run, over_entry;
} w;

bool watchdog_fired(void)
{
    int over = w.over;
    if (over == OVER_PLUGIN)
        return w.inside && w.over_entry == w.entry;
    return over == OVER_TRUSTED && w.over_run == w.run;
}

const char *watchdog_where(void)
{
    return w.where;
}

/* The innermost plugin function on the stack: the instruction itself may be inside our own wrappers. */
static void note_where(lua_State *L)
{
    lua_Debug ar;
    for (int i = 0; i < 30 && !w.where[0] && lua_getstack(L, i, &ar); i++)
        if (lua_getinfo(L, "Sl", &ar) && strncmp(ar.source, "@plugins/", 9) == 0)
            snprintf(w.where, sizeof w.where, "%s:%d: ", ar.source + 1, ar.currentline);
}

/* Stays armed after raising: a loop that catches the error is hit again at its next instruction. */
static void hook(lua_State *L, lua_Debug *ar)
{
    if (!watchdog_fired()) {
        lua_sethook(L, NULL, 0, 0);
        return;
    }
    /* the boundary wrapper must be able to finish: it is what turns the sentinel into an ordinary error */
    if (lua_getinfo(L, "S", ar) && strcmp(ar->source, "=boundary") == 0)
        return;
    note_where(L);
    sched_push_deadline(L);
    lua_error(L);
}

static void on_signal(int sig)
{
    (void)sig;
    lua_State *L = w.L;
    if (L && watchdog_fired())
        lua_sethook(L, hook, LUA_MASKCOUNT, 1);
}

static int64_t loop_cpu(void)
{
    struct timespec ts;
    if (!w.have_clock || clock_gettime(w.loop_clock, &ts) != 0)
        clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

struct seen {
    uint64_t id;
    int64_t cpu;
};

/* The CPU time at which a resume, or an entry, is over budget; it began after the look before the one that saw it first. */
static int64_t limit_of(struct seen *s, bool active, uint64_t id, int64_t cpu, int64_t budget)
{
    if (!active)
        s->id = 0;
    if (!active || s->id == id)
        return active ? s->cpu + budget : INT64_MAX;
    s->id = id;
    s->cpu = cpu;
    return cpu + budget;
}

/* Until the loop thread has used that much more CPU time: a worker that does nothing is not looked at. The kernel tells with its
 * next tick, so the end of a budget, and a machine whose clocks of threads cannot be waited for, goes by the clock. */
static void wait_cpu(int64_t now, int64_t us, bool exact)
{
    struct timespec at = {(now + us) / 1000000, (now + us) % 1000000 * 1000};
    struct timespec rest = {us / 1000000, us % 1000000 * 1000};
    if (exact || !w.have_clock || clock_nanosleep(w.loop_clock, TIMER_ABSTIME, &at, NULL) != 0)
        nanosleep(&rest, NULL);
}

static void *watch(void *arg)
{
    (void)arg;
    struct seen run = {0, 0}, plugin = {0, 0};
    while (!w.quit) {
        int64_t cpu = loop_cpu(), budget = w.budget_us ? w.budget_us : w.trusted_us;
        bool active = w.L != NULL;
        uint64_t r = w.run, e = w.entry;
        int64_t run_end = limit_of(&run, active, r, cpu, budget);
        int64_t plugin_end = limit_of(&plugin, active && w.inside, e, cpu, w.plugin_us);
        int64_t left = (run_end < plugin_end ? run_end : plugin_end) - cpu;
        if (left > 0) {
            bool last = left < LOOK_US;
            wait_cpu(cpu, !last ? LOOK_US : left > LEAST_US ? left : LEAST_US, last);
            continue;
        }
        w.over_run = r;
        w.over_entry = e;
        __sync_synchronize();
        w.over = run_end <= cpu ? OVER_TRUSTED : OVER_PLUGIN;
        pthread_kill(w.loop_thread, SIGUSR2);
        wait_cpu(cpu, LOOK_US, false);
    }
    return NULL;
}

void watchdog_start(int64_t plugin_us, int64_t trusted_us)
{
    memset(&w, 0, sizeof w);
    w.plugin_us = plugin_us;
    w.trusted_us = trusted_us;
    w.loop_thread = pthread_self();
    w.have_clock = pthread_getcpuclockid(w.loop_thread, &w.loop_clock) == 0;
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&sa.sa_mask);
    must(sigaction(SIGUSR2, &sa, NULL) == 0);
    sigset_t all, old, one;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* the new thread inherits a full mask */
    must(pthread_create(&w.thread, NULL, watch, NULL) == 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    sigemptyset(&one);
    sigaddset(&one, SIGUSR2);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    w.started = true;
}

void watchdog_stop(void)
{
    if (!w.started)
        return;
    w.quit = 1;
    pthread_cancel(
        w.thread); /* it waits for CPU time, and this thread uses none while it waits for it */
    pthread_join(w.thread, NULL);
    w.started = false;
}

void watchdog_begin(lua_State *L, int64_t budget_us)
{
    w.budget_us = budget_us;
    w.run++;
    __sync_synchronize();
    w.L = L;
}

static void clear(lua_State *L)
{
    w.over = OVER_NONE;
    if (lua_gethook(L))
        lua_sethook(L, NULL, 0, 0);
}

void watchdog_end(lua_State *L)
{
    w.L = NULL;
    w.inside = 0;
    __sync_synchronize();
    clear(L);
}

void watchdog_plugin(lua_State *L, bool inside)
{
    if (inside) {
        w.entry++;
        w.where[0] = 0;
        w.inside = 1;
        return;
    }
    w.inside = 0;
    if (w.over == OVER_PLUGIN)
        clear(L);
}
