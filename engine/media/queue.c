// SPDX-License-Identifier: Apache-2.0
#include "media/queue.h"
#include <string.h>
#include "base/err.h"

void queue_init(struct queue *q, int cap)
{
    must(cap > 0 && cap <= QUEUE_MAX);
    memset(q, 0, sizeof *q);
    q->cap = cap;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->change, NULL);
}

void queue_fini(struct queue *q, void (*drop)(void *item))
{
    for (; q->n; q->n--) {
        drop(q->item[q->head]);
        q->head = (q->head + 1) % QUEUE_MAX;
    }
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->change);
}

static int put(struct queue *q, void *item, bool wait)
{
    int rc = -1;
    pthread_mutex_lock(&q->lock);
    while (wait && q->n >= q->cap && !q->aborted)
        pthread_cond_wait(&q->change, &q->lock);
    if (!q->aborted && !q->ended && q->n < q->cap) {
        q->item[(q->head + q->n++) % QUEUE_MAX] = item;
        pthread_cond_broadcast(&q->change);
        rc = 0;
    }
    pthread_mutex_unlock(&q->lock);
    return rc;
}

int queue_put(struct queue *q, void *item)
{
    return put(q, item, true);
}

int queue_try(struct queue *q, void *item)
{
    return put(q, item, false);
}

int queue_get(struct queue *q, void **item)
{
    int rc = 0;
    pthread_mutex_lock(&q->lock);
    while (!q->n && !q->ended && !q->aborted)
        pthread_cond_wait(&q->change, &q->lock);
    if (q->aborted) {
        rc = -1;
    } else if (q->n) {
        *item = q->item[q->head];
        q->head = (q->head + 1) % QUEUE_MAX;
        q->n--;
        pthread_cond_broadcast(&q->change);
        rc = 1;
    }
    pthread_mutex_unlock(&q->lock);
    return rc;
}

static void mark(struct queue *q, bool *flag)
{
    pthread_mutex_lock(&q->lock);
    *flag = true;
    pthread_cond_broadcast(&q->change);
    pthread_mutex_unlock(&q->lock);
}

void queue_end(struct queue *q)
{
    mark(q, &q->ended);
}

void queue_abort(struct queue *q)
{
    mark(q, &q->aborted);
}
