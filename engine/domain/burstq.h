/* SPDX-License-Identifier: Apache-2.0
 * Visible bursts: segments with a viewer's name burned in (media/burst.h), made on demand in sandboxed children and kept
 * encrypted below the blob root "burst". Loop thread.
 *
 * A process has up to `burst_workers` children and a bounded queue of its own; how many encode at one time on the whole machine
 * is bounded by as many lock files in the root. Jobs that somebody waits for go first; others are dropped when they get old.
 * A job whose child dies is tried once more. Files are written whole; past `burst_cache` bytes the longest unused ones go. */
#ifndef DOMAIN_BURSTQ_H
#define DOMAIN_BURSTQ_H
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"
#include "media/burst.h"
#include "run/loop.h"

struct threads;
enum { BURSTQ_JOBS = 64, BURSTQ_PER_OWNER = 8 };
struct burstq_spec {
    const char *path;           /* below "burst": where the result is or will be */
    const char *init, *segment; /* below "media" */
    uint8_t key[16], iv[16],
        own[16]; /* of segment; own is the key of the result, its IV is the segment's */
    struct burst_place place;
    struct str name, tail; /* see label_text */
    const char *owner;     /* at most BURSTQ_PER_OWNER jobs ahead of need, and as many waited for */
};
enum burstq_state {
    BURSTQ_READY,
    BURSTQ_LATE, /* queued or in work */
    BURSTQ_FULL, /* the queue has no room for it */
    BURSTQ_REFUSED, /* it cannot be made: not spliceable, or its encoder died twice (remembered for 10 min) */
    BURSTQ_FAILED /* disk, process: another try may do it */
};
/* Embed; one wait at a time. */
struct burstq_wait {
    void (*fn)(struct burstq_wait *w); /* when state is no longer BURSTQ_LATE, or time is up */
    void *arg;
    enum burstq_state state;
    /* private */
    struct timer timer;
    struct burstq_job *job;
    struct burstq_wait *next;
    bool drop;
};
/* Is it there? Else it is queued. Spec strings are copied. w NULL: nobody waits. Else, when the answer is BURSTQ_LATE, w->fn is
 * called in a later turn, after us microseconds at most. drop: when that time is up before work on it began, nobody needs it. */
enum burstq_state burstq_ask(struct loop *l, struct threads *t, const struct burstq_spec *s,
                             struct burstq_wait *w, int64_t us, bool drop);
/* w is no longer interested. Fine when it does not wait. */
void burstq_leave(struct burstq_wait *w);
/* Jobs queued or in work in this process; waited: those that somebody waits for. */
int burstq_load(int *waited);
/* For tests: the children's process ids, at most max. */
int burstq_children(int *pids, int max);
#endif
