// SPDX-License-Identifier: Apache-2.0
#include "media/cadence.h"
#include <math.h>

static int64_t slot(const struct cadence *c, double t)
{
    return llround(t * c->rate.num / c->rate.den);
}

int cadence_push(struct cadence *c, double t, int *times)
{
    *times = 0;
    if (!c->held) {
        c->held = 1;
        c->last = t;
        return 0;
    }
    if (!(fabs(t - c->last) <= c->max_gap))
        return -1;
    if (t < c->last)
        t = c->last; // reordered or repeated stamp: shown at the earliest possible time
    int64_t n = slot(c, t) - c->next;
    *times = n > 0 ? (int)n : 0;
    c->next += *times;
    c->last = t;
    return 0;
}

int cadence_end(struct cadence *c, double t)
{
    if (!c->held)
        return 0;
    if (t > c->last + c->max_gap)
        t = c->last + c->max_gap;
    int64_t n = slot(c, t) - c->next;
    if (n < 1 && slot(c, c->last) >= c->next)
        n = 1;
    if (n < 0)
        n = 0;
    c->next += n;
    return (int)n;
}

double cadence_seconds(const struct cadence *c)
{
    return (double)c->next * c->rate.den / c->rate.num;
}
