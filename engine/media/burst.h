/* SPDX-License-Identifier: Apache-2.0
 * The visible mark, burned into one segment just in time: decode, blend, encode, and out comes a segment that fits between
 * its neighbours: same init segment, decode time, frames, parameter sets. Pure but for libav; one thread per struct. */
#ifndef MEDIA_BURST_H
#define MEDIA_BURST_H
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"
#include "media/label.h"

/* Where and when, in 65536ths: the text stands at (x1, y1) of the room that the picture leaves, and from the moment turn on
 * at (x2, y2). Relative, so that all renditions agree. */
struct burst_place {
    uint16_t x1, y1, x2, y2, turn;
};

/* init, segment: as frag.h writes them (a `free` box may follow). text: from label_text. out is appended to.
 * Errors: media.burst_splice (the encoder's parameter sets are not those of init: the result would not fit),
 * media.burst_input (not a segment of ours, or it does not decode), media.internal. */
int burst_encode(struct str init, struct str segment, const struct label_font *font,
                 const uint32_t *text, int n, struct burst_place place, struct buf *out,
                 struct err *e);
#endif
