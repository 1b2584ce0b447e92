/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "http/core.h"

enum { PARK_US = 2000 };

static bool is_moving(enum conn_phase p)
{
    return p == CONN_BODY || p == CONN_SEND;
}

void server_phase(struct conn *c, enum conn_phase p)
{
    c->s->nmoving += is_moving(p) - is_moving(c->phase);
    c->phase = p;
}

void server_unpark(struct conn *c)
{
    struct http_server *s = c->s;
    if (!c->parked)
        return;
    struct conn *last = s->parked[--s->nparked];
    s->parked[c->parked - 1] = last;
    last->parked = c->parked;
    c->parked = 0;
}

void server_suspend(struct conn *c)
{
    if (c->suspended)
        return;
    server_unpark(c);
    c->suspended = true;
    MHD_suspend_connection(c->mc);
}

/* MHD pays four system calls for a pause. A request that waits in the state where MHD asks for its
 * answer whenever it runs need not be suspended: most are answered within a turn or two of the loop.
 * Those that are not, and those beyond the first few, are suspended after all. So are all when bodies move: with somebody parked
 * MHD cannot tell whether it has more to do, and the loop sleeps. */
void server_park(struct conn *c)
{
    struct http_server *s = c->s;
    if (c->parked || c->suspended)
        return;
    if (s->nparked >= PARK_MAX || s->nmoving > 0) {
        server_suspend(c);
        return;
    }
    c->parked_at = s->now;
    s->parked[s->nparked++] = c;
    c->parked = s->nparked;
}

int64_t server_suspend_late(struct http_server *s)
{
    int64_t now = s->nparked ? clock_mono() : 0, next = -1;
    for (int i = s->nparked - 1; i >= 0; i--) {
        int64_t left = s->nmoving ? 0 : s->parked[i]->parked_at + PARK_US - now;
        if (left <= 0)
            server_suspend(s->parked[i]); /* the last one takes its place, and was looked at */
        else if (next < 0 || left < next)
            next = left;
    }
    return next;
}

void server_wake(struct conn *c)
{
    c->s->need_run = true;
    server_unpark(c);
    if (!c->suspended)
        return;
    c->suspended = false;
    c->mark_at = 0;
    MHD_resume_connection(c->mc);
}
