/* SPDX-License-Identifier: Apache-2.0
 * Interlaced pictures to progressive ones of the same rate: the field that was shown first stays, the lines of the other one
 * are made for its moment. Where the picture stands still they come from the fields before and after; where it moves, along the
 * edges of the field itself. The way of yadif (M. Niedermayer), without its look ahead: one picture is never held back for the
 * next. A struct belongs to one thread; its pictures come in order. */
#ifndef MEDIA_DEINTERLACE_H
#define MEDIA_DEINTERLACE_H
#include <libavutil/frame.h>

struct deinterlace {
    AVFrame *out;    /* reused */
    AVFrame *before; /* the picture before, or NULL */
};
/* in itself when it is progressive, shows no comb, or is of a format that is not planar YCbCr; else a picture that is valid
 * until the next call. Out of memory: in. */
const AVFrame *deinterlace(struct deinterlace *d, const AVFrame *in);
void deinterlace_fini(struct deinterlace *d);
#endif
