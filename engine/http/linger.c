/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/err.h"
#include "http/linger.h"
#include "run/loop.h"

enum { LINGER_US = 5000000, BYTES_MAX = 64 << 20, COUNT_MAX = 256 };

struct leaver {
    struct leaver *prev, *next;
    struct linger_set *set;
    struct watch watch;
    struct timer timer;
    long left;
};
struct linger_set {
    struct loop *loop;
    struct leaver *first;
    int n;
};

struct linger_set *linger_new(struct loop *l)
{
    struct linger_set *s = calloc(1, sizeof *s);
    must(s);
    s->loop = l;
    return s;
}

static void end(struct leaver *x)
{
    struct linger_set *s = x->set;
    loop_timer_clear(s->loop, &x->timer);
    loop_watch(s->loop, &x->watch, 0);
    close(x->watch.fd);
    if (x->prev)
        x->prev->next = x->next;
    else
        s->first = x->next;
    if (x->next)
        x->next->prev = x->prev;
    s->n--;
    free(x);
}

static void on_readable(struct watch *w, uint32_t events)
{
    struct leaver *x = w->arg;
    char drop[16384];
    (void)events;
    for (int i = 0; i < 16; i++) {
        ssize_t n = recv(w->fd, drop, sizeof drop, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        x->left -= n;
        if (n <= 0 || x->left <= 0) {
            end(x);
            return;
        }
    }
}

static void on_timer(struct timer *t)
{
    end(t->arg);
}

void linger_add(struct linger_set *s, int fd)
{
    if (s->n >= COUNT_MAX)
        return;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return;
    struct leaver *x = calloc(1, sizeof *x);
    must(x);
    shutdown(copy, SHUT_WR);
    x->set = s;
    x->left = BYTES_MAX;
    x->watch = (struct watch){.fd = copy, .fn = on_readable, .arg = x};
    x->timer.fn = on_timer;
    x->timer.arg = x;
    x->next = s->first;
    if (s->first)
        s->first->prev = x;
    s->first = x;
    s->n++;
    loop_watch(s->loop, &x->watch, EPOLLIN);
    loop_timer_set(s->loop, &x->timer, LINGER_US);
}

void linger_free(struct linger_set *s)
{
    if (!s)
        return;
    while (s->first)
        end(s->first);
    free(s);
}
