/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "http/core.h"

enum { PARK_MAX = 64 /* MHD asks all of them every time it runs */, PARK_US = 2000 };

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
    c->parked = false;
    if (c->park_prev)
        c->park_prev->park_next = c->park_next;
    else
        s->parked = c->park_next;
    if (c->park_next)
        c->park_next->park_prev = c->park_prev;
    else
        s->parked_last = c->park_prev;
    s->nparked--;
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
    c->parked = true;
    c->parked_at = s->now;
    c->park_prev = s->parked_last;
    c->park_next = NULL;
    if (s->parked_last)
        s->parked_last->park_next = c;
    else
        s->parked = c;
    s->parked_last = c;
    s->nparked++;
}

int64_t server_suspend_late(struct http_server *s)
{
    int64_t now = s->parked ? clock_mono() : 0;
    while (s->parked) {
        struct conn *c = s->parked;
        if (s->nmoving == 0 && now - c->parked_at < PARK_US)
            return c->parked_at + PARK_US - now;
        server_unpark(c);
        server_suspend(c);
    }
    return -1;
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
