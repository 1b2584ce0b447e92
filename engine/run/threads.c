/* SPDX-License-Identifier: Apache-2.0 */
#include "run/threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "run/loop.h"

struct work {
    struct work *next;
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
};

struct threads {
    struct loop *loop;
    pthread_mutex_t lock;
    pthread_cond_t ready;
    struct work *queue, **queue_end;
    int queued, queue_max, count;
    bool stopping;
    pthread_t ids[];
};

static void finish(void *arg)
{
    struct work *w = arg;
    w->done(w->arg);
    free(w);
}

static void *thread_main(void *arg)
{
    struct threads *t = arg;
    pthread_mutex_lock(&t->lock);
    for (;;) {
        while (!t->queue && !t->stopping)
            pthread_cond_wait(&t->ready, &t->lock);
        if (t->stopping)
            break;
        struct work *w = t->queue;
        t->queue = w->next;
        if (!t->queue)
            t->queue_end = &t->queue;
        t->queued--;
        pthread_mutex_unlock(&t->lock);
        w->work(w->arg);
        loop_post(t->loop, finish, w);
        pthread_mutex_lock(&t->lock);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

struct threads *threads_new(struct loop *l, int nthreads, int queue_max)
{
    if (nthreads < 1)
        nthreads = 1;
    struct threads *t = calloc(1, sizeof *t + sizeof(pthread_t) * (size_t)nthreads);
    must(t);
    t->loop = l;
    t->queue_max = queue_max;
    t->queue_end = &t->queue;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->ready, NULL);
    /* Signals belong to the loop's thread (signalfd, watchdog): the pool is born with all of them blocked. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; t->count < nthreads; t->count++)
        must(pthread_create(&t->ids[t->count], NULL, thread_main, t) == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return t;
}

void threads_free(struct threads *t)
{
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->stopping = true;
    pthread_cond_broadcast(&t->ready);
    pthread_mutex_unlock(&t->lock);
    for (int i = 0; i < t->count; i++)
        pthread_join(t->ids[i], NULL);
    for (struct work *w = t->queue, *next; w; w = next) {
        next = w->next;
        free(w);
    }
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->ready);
    free(t);
}

int threads_run(struct threads *t, void (*work)(void *arg), void (*done)(void *arg), void *arg,
                struct err *e)
{
    struct work *w = malloc(sizeof *w);
    must(w);
    *w = (struct work){.work = work, .done = done, .arg = arg};
    pthread_mutex_lock(&t->lock);
    bool full = t->queued >= t->queue_max;
    if (!full) {
        *t->queue_end = w;
        t->queue_end = &w->next;
        t->queued++;
        pthread_cond_signal(&t->ready);
    }
    pthread_mutex_unlock(&t->lock);
    if (!full)
        return 0;
    free(w);
    return ERR(e, ERR_BUSY, "thread pool queue is full");
}
