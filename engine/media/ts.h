/* SPDX-License-Identifier: Apache-2.0
 * A stored segment as MPEG transport stream (ISO/IEC 13818-1), for clients that decrypt no fMP4. The same coded pictures and
 * sound in other packets: no decoder, no encoder. Pure; any thread. */
#ifndef MEDIA_TS_H
#define MEDIA_TS_H
#include "base/err.h"
#include "base/str.h"

enum {
    TS_BASE_S = 10
}; /* what presentation time 0 is called: there is room for decode times before it */

/* init, segment: as frag.h writes them (a `free` box may follow). out is appended to. Each segment begins with PAT and PMT;
 * timestamps are those of the segment and continuity counters go on from its predecessor's, so that segments can be put
 * behind each other. Variants of a segment, equally long as fMP4, are equally long here too.
 * Error: media.bad_segment (not a segment of ours); out is then as it was. */
int ts_segment(struct str init, struct str segment, struct buf *out, struct err *e);
#endif
