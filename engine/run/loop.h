/* SPDX-License-Identifier: Apache-2.0
 * One epoll loop per worker: fds, timers, cross-thread posts, per-turn hooks.
 * The owning thread calls everything but loop_post. */
#ifndef RUN_LOOP_H
#define RUN_LOOP_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct loop;
/* Embed in your object. Level-triggered. The callback may close the fd after loop_del. */
struct watch {
    int fd;
    uint32_t events; /* current interest; 0 = not registered. Managed by loop_* */
    void (*fn)(struct watch *w, uint32_t events);
    void *arg;
};
/* Embed; zero-initialised = not armed. One-shot. */
struct timer {
    int64_t at;   /* clock_mono microseconds */
    int heap_pos; /* 0 = not armed */
    void (*fn)(struct timer *t);
    void *arg;
};
/* Runs once per turn just before epoll_wait (MHD_run, PQpipelineSync batching ...). Returns the longest time in
 * microseconds the loop may sleep because of it, or -1 for no opinion. Embed; lives until loop_free. */
struct loop_hook {
    int64_t (*fn)(struct loop_hook *h);
    void *arg;
    struct loop_hook *next;
};

struct loop *loop_new(void);
void loop_free(struct loop *l);
/* Sets interest; 0 removes. Registers the first time. w must stay put while registered. */
void loop_watch(struct loop *l, struct watch *w, uint32_t events);
void loop_timer_set(struct loop *l, struct timer *t, int64_t delay_us);
void loop_timer_clear(struct loop *l, struct timer *t);
void loop_hook_add(struct loop *l, struct loop_hook *h);
/* Any thread. fn(arg) runs on the loop's thread in a later turn, in order. */
void loop_post(struct loop *l, void (*fn)(void *arg), void *arg);
/* Until loop_stop. beat, if not NULL, gets clock_mono() every turn and at least every 250 ms (heartbeat). */
void loop_run(struct loop *l, volatile int64_t *beat);
void loop_stop(struct loop *l);
#endif
