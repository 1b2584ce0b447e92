// SPDX-License-Identifier: Apache-2.0
#include "media/group.h"
#include <errno.h>
#include <string.h>
#include "media/fail.h"
#include "media/queue.h"

void group_init(struct group *g)
{
    memset(g, 0, sizeof *g);
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->change, NULL);
}

void group_fini(struct group *g)
{
    pthread_mutex_destroy(&g->lock);
    pthread_cond_destroy(&g->change);
}

void group_add(struct group *g, struct queue *q)
{
    must(g->nqueues < GROUP_QUEUES);
    g->queue[g->nqueues++] = q;
}

void group_fail(struct group *g, const struct err *e)
{
    pthread_mutex_lock(&g->lock);
    bool first = !group_failed(g);
    if (first) {
        g->err = *e;
        atomic_store(&g->failed, true);
    }
    pthread_cond_broadcast(&g->change);
    pthread_mutex_unlock(&g->lock);
    for (int i = 0; first && i < g->nqueues; i++)
        queue_abort(g->queue[i]);
}

int group_thread(pthread_t *t, void *(*fn)(void *), void *arg, const char *name, struct err *e)
{
    int rc = pthread_create(t, NULL, fn, arg);
    if (rc)
        return fail_set(e, "media.internal", "The server has no room for another thread (%s).",
                        strerror(rc));
    pthread_setname_np(*t, name);
    return 0;
}
