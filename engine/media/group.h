/* SPDX-License-Identifier: Apache-2.0
 * Threads that fail together: the first error wins and aborts every queue, so that nobody waits for the dead. Any thread. */
#ifndef MEDIA_GROUP_H
#define MEDIA_GROUP_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "base/err.h"

struct queue;
#define GROUP_QUEUES 24
struct group {
    pthread_mutex_t lock;
    pthread_cond_t change; /* broadcast at failure; members may wait on it under lock */
    atomic_bool failed;
    struct err err;
    struct queue *queue[GROUP_QUEUES];
    int nqueues;
};

void group_init(struct group *g);
void group_fini(struct group *g);
/* Before the threads start. */
void group_add(struct group *g, struct queue *q);
void group_fail(struct group *g, const struct err *e);
static inline bool group_failed(struct group *g)
{
    return atomic_load_explicit(&g->failed, memory_order_relaxed);
}
/* Starts a thread with a name for debuggers. */
int group_thread(pthread_t *t, void *(*fn)(void *), void *arg, const char *name, struct err *e);
#endif
