/* SPDX-License-Identifier: Apache-2.0
 * Reading back what frag.h wrote, and nothing else: any other layout is refused. Every length is checked; the views point into
 * what was given. Pure; any thread. */
#ifndef MEDIA_UNFRAG_H
#define MEDIA_UNFRAG_H
#include <stdbool.h>
#include <stdint.h>
#include "base/str.h"
#include "media/frag.h"

enum { UNFRAG_SAMPLES = 6 * 120 }; /* in a segment */

struct unfrag {
    bool audio;
    int w, h;                  /* even; 0 for audio */
    uint32_t timescale, delay; /* delay: what the edit list takes away */
    struct str config;         /* the inside of avcC, or the AudioSpecificConfig */
    uint32_t seq, ticks; /* of a segment: its number from 1; the duration of its first sample */
    uint64_t decode_time;
    struct str data; /* mdat: at least the samples, one behind the other */
    int count;
    struct frag_sample sample[UNFRAG_SAMPLES];
};

/* 0, or -1: no init segment of ours. */
int unfrag_init(struct unfrag *u, struct str init);
/* After unfrag_init. A `free` box may follow. 0, or -1: no segment of ours. */
int unfrag_segment(struct unfrag *u, struct str segment);
#endif
