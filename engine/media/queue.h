/* SPDX-License-Identifier: Apache-2.0
 * Bounded pointer queue between two threads of the media child. Any thread. */
#ifndef MEDIA_QUEUE_H
#define MEDIA_QUEUE_H
#include <pthread.h>
#include <stdbool.h>

#define QUEUE_MAX 1024
struct queue {
    void *item[QUEUE_MAX];
    int head, n, cap;
    bool ended, aborted;
    pthread_mutex_t lock;
    pthread_cond_t change;
};

void queue_init(struct queue *q, int cap);
/* Frees what is left through drop. */
void queue_fini(struct queue *q, void (*drop)(void *item));
/* Waits for room. 0, or -1 when aborted (the caller keeps the item). */
int queue_put(struct queue *q, void *item);
/* Like queue_put, but -1 at once when full. */
int queue_try(struct queue *q, void *item);
/* Waits for an item. 1 with *item, 0 at the end, -1 when aborted. */
int queue_get(struct queue *q, void **item);
void queue_end(struct queue *q);
void queue_abort(struct queue *q);
#endif
