/* SPDX-License-Identifier: Apache-2.0 */
#include "run/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"

enum { MAX_EVENTS = 256, BEAT_US = 250000 };

struct post {
    struct post *next;
    void (*fn)(void *arg);
    void *arg;
};

struct loop {
    int epfd;
    bool running;
    struct watch wake;
    struct epoll_event events[MAX_EVENTS]; /* being dispatched: [at, count) */
    int at, count;
    struct timer **heap; /* 1-based */
    int nheap, heap_cap;
    struct loop_hook *hooks;
    pthread_mutex_t lock; /* posts */
    struct post *posts, **posts_end;
};

static void on_wake(struct watch *w, uint32_t events)
{
    (void)events;
    uint64_t n;
    while (read(w->fd, &n, sizeof n) < 0 && errno == EINTR)
        ;
}

struct loop *loop_new(void)
{
    struct loop *l = calloc(1, sizeof *l);
    must(l);
    l->epfd = epoll_create1(EPOLL_CLOEXEC);
    must(l->epfd >= 0);
    pthread_mutex_init(&l->lock, NULL);
    l->posts_end = &l->posts;
    l->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    must(l->wake.fd >= 0);
    l->wake.fn = on_wake;
    loop_watch(l, &l->wake, EPOLLIN);
    return l;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    for (struct post *p = l->posts, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    close(l->wake.fd);
    close(l->epfd);
    pthread_mutex_destroy(&l->lock);
    free(l->heap);
    free(l);
}

void loop_watch(struct loop *l, struct watch *w, uint32_t events)
{
    if (events == w->events)
        return;
    uint32_t before = w->events;
    w->events = events;
    if (events == 0) {
        epoll_ctl(l->epfd, EPOLL_CTL_DEL, w->fd,
                  NULL); /* fails harmlessly when the fd is closed already */
        /* Its event may wait in the batch being dispatched, and w may be freed before its turn. */
        for (int i = l->at; i < l->count; i++)
            if (l->events[i].data.ptr == w)
                l->events[i].data.ptr = NULL;
        return;
    }
    struct epoll_event ev = {.events = events, .data.ptr = w};
    int first = before ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
        second = before ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    /* Libraries close and reopen sockets under the same number: fall back to the other operation. */
    if (epoll_ctl(l->epfd, first, w->fd, &ev) == 0)
        return;
    bool other = errno == (before ? ENOENT : EEXIST);
    must(other && epoll_ctl(l->epfd, second, w->fd, &ev) == 0);
}

static void heap_put(struct loop *l, int i, struct timer *t)
{
    l->heap[i] = t;
    t->heap_pos = i;
}

static void heap_up(struct loop *l, int i, struct timer *t)
{
    for (; i > 1 && l->heap[i / 2]->at > t->at; i /= 2)
        heap_put(l, i, l->heap[i / 2]);
    heap_put(l, i, t);
}

static void heap_down(struct loop *l, int i, struct timer *t)
{
    for (int child; (child = i * 2) <= l->nheap; i = child) {
        if (child < l->nheap && l->heap[child + 1]->at < l->heap[child]->at)
            child++;
        if (l->heap[child]->at >= t->at)
            break;
        heap_put(l, i, l->heap[child]);
    }
    heap_put(l, i, t);
}

void loop_timer_clear(struct loop *l, struct timer *t)
{
    int i = t->heap_pos;
    if (i == 0)
        return;
    t->heap_pos = 0;
    struct timer *last = l->heap[l->nheap--];
    if (last == t)
        return;
    if (i > 1 && l->heap[i / 2]->at > last->at)
        heap_up(l, i, last);
    else
        heap_down(l, i, last);
}

void loop_timer_set(struct loop *l, struct timer *t, int64_t delay_us)
{
    loop_timer_clear(l, t);
    if (l->nheap + 1 >= l->heap_cap) {
        int cap = l->heap_cap ? l->heap_cap * 2 : 64;
        struct timer **heap = realloc(l->heap, sizeof(*heap) * (size_t)cap);
        must(heap);
        l->heap = heap;
        l->heap_cap = cap;
    }
    int64_t now = clock_mono();
    if (delay_us < 0)
        delay_us = 0;
    if (__builtin_add_overflow(now, delay_us, &t->at))
        t->at = INT64_MAX;
    heap_up(l, ++l->nheap, t);
}

void loop_hook_add(struct loop *l, struct loop_hook *h)
{
    struct loop_hook **end = &l->hooks;
    while (*end)
        end = &(*end)->next;
    h->next = NULL;
    *end = h;
}

void loop_post(struct loop *l, void (*fn)(void *arg), void *arg)
{
    struct post *p = malloc(sizeof *p);
    must(p);
    *p = (struct post){.fn = fn, .arg = arg};
    pthread_mutex_lock(&l->lock);
    bool first = l->posts == NULL;
    *l->posts_end = p;
    l->posts_end = &p->next;
    if (first) {
        uint64_t one = 1;
        while (write(l->wake.fd, &one, sizeof one) < 0 && errno == EINTR)
            ;
    }
    pthread_mutex_unlock(&l->lock);
}

static void run_posts(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    struct post *p = l->posts;
    l->posts = NULL;
    l->posts_end = &l->posts;
    pthread_mutex_unlock(&l->lock);
    while (p) {
        struct post *next = p->next;
        p->fn(p->arg);
        free(p);
        p = next;
    }
}

static void run_timers(struct loop *l)
{
    int64_t now = clock_mono();
    /* At most as many as there are now: a timer that sets itself to 0 must not keep the loop from its fds. */
    for (int left = l->nheap; left > 0 && l->nheap > 0 && l->heap[1]->at <= now; left--) {
        struct timer *t = l->heap[1];
        loop_timer_clear(l, t);
        t->fn(t);
    }
}

/* Milliseconds for epoll_wait, rounded up so that a timer is due when it returns. */
static int run_hooks_and_plan(struct loop *l, bool beating)
{
    int64_t sleep = beating ? BEAT_US : INT64_MAX;
    for (struct loop_hook *h = l->hooks; h; h = h->next) {
        int64_t most = h->fn(h);
        if (most >= 0 && most < sleep)
            sleep = most;
    }
    if (l->nheap > 0) {
        int64_t left = l->heap[1]->at - clock_mono();
        if (left < sleep)
            sleep = left > 0 ? left : 0;
    }
    if (sleep == INT64_MAX)
        return -1;
    return sleep > 3600000000LL ? 3600000 : (int)((sleep + 999) / 1000);
}

static void dispatch(struct loop *l)
{
    for (l->at = 0; l->at < l->count;) {
        struct epoll_event *ev = &l->events[l->at++];
        struct watch *w = ev->data.ptr;
        if (w)
            w->fn(w, ev->events);
    }
    l->at = l->count = 0;
}

void loop_run(struct loop *l, volatile int64_t *beat)
{
    l->running = true;
    while (l->running) {
        if (beat)
            *beat = clock_mono();
        run_timers(l);
        run_posts(l);
        if (!l->running)
            break;
        int timeout = run_hooks_and_plan(l, beat != NULL);
        if (!l->running)
            break;
        int n = epoll_wait(l->epfd, l->events, MAX_EVENTS, timeout);
        must(n >= 0 || errno == EINTR);
        l->count = n > 0 ? n : 0;
        if (beat)
            *beat = clock_mono();
        dispatch(l);
    }
}

void loop_stop(struct loop *l)
{
    l->running = false;
}
