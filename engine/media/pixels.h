/* SPDX-License-Identifier: Apache-2.0
 * Decoded picture -> 8-bit limited-range yuv420p of a rendition's size: deinterlace, scale, convert, rotate. The first one
 * decides the shape; later ones of another shape get black bars. A struct belongs to one thread; frames are shared by
 * reference and never written after they were returned. */
#ifndef MEDIA_PIXELS_H
#define MEDIA_PIXELS_H
#include <libavutil/buffer.h>
#include <libavutil/frame.h>
#include <libswscale/swscale.h>
#include <stdbool.h>
#include "base/err.h"
#include "media/deinterlace.h"
#include "media/frag.h"
#include "media/tone.h"

struct pixels {
    int w, h; /* result */
    bool swap, flip_x, flip_y;
    int flags;               /* SWS_BILINEAR ... */
    struct frag_color color; /* of the result */
    const struct tone *tone; /* the source is HDR; borrowed; NULL = it is not */
    AVFrame *deep;           /* 10-bit picture before the tone curve, reused */
    struct SwsContext *sws;
    double shape;     /* width to height of the first picture as shown, by its own account */
    int box_w, box_h; /* what the scaler makes: the result, or what the bars leave of it */
    int from_w, from_h, from_format, from_matrix, from_range;
    AVBufferPool *pool, *turned;
    struct deinterlace fields;
};

/* Colour that a source is delivered in: its own SDR one, or what players assume for its height. */
struct frag_color pixels_color(const AVFrame *f);
/* A scaler with range and matrix conversion; matrices are AVColorSpace. NULL when the formats cannot be converted. */
struct SwsContext *pixels_scaler(int w, int h, int format, bool full, int matrix, int to_w,
                                 int to_h, int to_format, bool to_full, int to_matrix, int flags);
int pixels_init(struct pixels *p, int w, int h, int flags, struct frag_color color, struct err *e);
void pixels_fini(struct pixels *p);
/* New reference; in stays the caller's. NULL with *e at failure. */
AVFrame *pixels_convert(struct pixels *p, const AVFrame *in, struct err *e);
#endif
