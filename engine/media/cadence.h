/* SPDX-License-Identifier: Apache-2.0
 * Variable to constant frame rate: each picture is held until the next one's slot. Pure; any thread. */
#ifndef MEDIA_CADENCE_H
#define MEDIA_CADENCE_H
#include <stdint.h>
#include "media/ladder.h"

struct cadence {
    struct ladder_rate rate;
    double max_gap; /* seconds */
    int64_t next;   /* output frames due so far, the held picture not counted */
    double last;    /* time of the held picture */
    int held;
};

/* A picture at t seconds arrives. *times = how often the held one is shown before this one replaces it (0 = dropped, or none
 * was held). -1 when time jumps by more than max_gap in either direction. */
int cadence_push(struct cadence *c, double t, int *times);
/* The title ends at t: how often the held picture is shown; at least once when it is the only one of its slot. */
int cadence_end(struct cadence *c, double t);
double cadence_seconds(const struct cadence *c);
#endif
