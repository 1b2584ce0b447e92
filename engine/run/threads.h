/* SPDX-License-Identifier: Apache-2.0
 * Bounded thread pool for blocking work (Argon2id, fsync, file writes). Results return to the owner loop. */
#ifndef RUN_THREADS_H
#define RUN_THREADS_H
#include "base/err.h"
struct loop;
struct threads;
struct threads *threads_new(struct loop *l, int nthreads, int queue_max);
/* Waits for running work, drops queued work without calling done. */
void threads_free(struct threads *t);
/* work(arg) on a pool thread, then done(arg) on the loop. ERR_BUSY when the queue is full. */
int threads_run(struct threads *t, void (*work)(void *arg), void (*done)(void *arg), void *arg,
                struct err *e);
#endif
