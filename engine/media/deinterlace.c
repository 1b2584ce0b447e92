// SPDX-License-Identifier: Apache-2.0
#include "media/deinterlace.h"
#include <libavutil/pixdesc.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// A line that lies this far outside both its neighbours is a comb's tooth; so many of a million are no accident.
enum { COMB = 10, COMBED_PPM = 2000, SAMPLE_LINES = 6 };

struct plane {
    const uint8_t *now, *before; /* before NULL = there is no picture before */
    uint8_t *out;
    ptrdiff_t now_line, before_line, out_line;
    int w, h, bytes; /* of a sample */
};

__attribute__((always_inline)) static inline int get(const uint8_t *p, int x, int bytes)
{
    return bytes == 1 ? p[x] : ((const uint16_t *)(const void *)p)[x];
}

static inline int larger(int a, int b)
{
    return a > b ? a : b;
}

static inline int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* Between the lines above and below, along the direction in which they agree best. */
__attribute__((always_inline)) static inline int along_edge(const uint8_t *up, const uint8_t *down,
                                                            int x, int w, int bytes)
{
    int best = (get(up, x, bytes) + get(down, x, bytes)) >> 1, least = 1 << 30;
    if (x < 3 || x >= w - 3)
        return best;
    static const int order[] = {0, -1, 1, -2, 2};
    for (int k = 0; k < 5; k++) {
        int s = order[k], miss = abs(s);
        for (int i = -1; i <= 1; i++)
            miss += abs(get(up, x + i + s, bytes) - get(down, x + i - s, bytes));
        if (miss >= least) {
            if (k == 1 || k == 2)
                continue;
            break;
        }
        least = miss;
        best = (get(up, x + s, bytes) + get(down, x - s, bytes)) >> 1;
    }
    return best;
}

/* One line of the field that was shown second. y has a line above and one below. */
__attribute__((always_inline)) static inline void fill_line(const struct plane *p, int y, int bytes)
{
    const uint8_t *mid = p->now + y * p->now_line, *up = mid - p->now_line,
                  *down = mid + p->now_line;
    const uint8_t *mid0 = p->before ? p->before + y * p->before_line : NULL;
    uint8_t *out = p->out + y * p->out_line;
    for (int x = 0; x < p->w; x++) {
        int v = along_edge(up, down, x, p->w, bytes);
        if (mid0) {
            int earlier = get(mid0, x, bytes), later = get(mid, x, bytes);
            int a = get(mid0 - p->before_line, x, bytes) - get(up, x, bytes);
            int b = get(mid0 + p->before_line, x, bytes) - get(down, x, bytes);
            // How much the picture changes here is how far from standing still the result may be.
            int moved = larger(abs(earlier - later) >> 1, (abs(a) + abs(b)) >> 1);
            int still = (earlier + later) >> 1;
            v = smaller(larger(v, still - moved), still + moved);
        }
        if (bytes == 1)
            out[x] = (uint8_t)v;
        else
            ((uint16_t *)(void *)out)[x] = (uint16_t)v;
    }
}

static void fill_plane(const struct plane *p, int kept)
{
    size_t row = (size_t)p->w * (size_t)p->bytes;
    for (int y = 0; y < p->h; y++) {
        bool keep = (y & 1) == kept;
        // Nothing lies beyond the edge: the neighbour stands in.
        int from = keep ? y : y == 0 ? 1 : y == p->h - 1 ? y - 1 : -1;
        if (from >= 0 && from < p->h)
            memcpy(p->out + y * p->out_line, p->now + from * p->now_line, row);
        else if (p->bytes == 1)
            fill_line(p, y, 1);
        else
            fill_line(p, y, 2);
    }
}

/* Progressive pictures are often sent as if they were interlaced: without a comb nothing is gained by losing lines. */
static bool is_combed(const AVFrame *f, int bytes, int depth)
{
    int64_t teeth = 0, seen = 0;
    int comb = COMB << (depth - 8);
    for (int y = 2; y < f->height - 2; y += SAMPLE_LINES) {
        const uint8_t *l = f->data[0] + y * f->linesize[0];
        const uint8_t *up = l - f->linesize[0], *down = l + f->linesize[0];
        for (int x = 0; x < f->width; x++, seen++) {
            int v = get(l, x, bytes), a = get(up, x, bytes), b = get(down, x, bytes);
            teeth += v > larger(a, b) + comb || v < smaller(a, b) - comb;
        }
    }
    return teeth * 1000000 > seen * COMBED_PPM;
}

static bool is_like(const AVFrame *a, const AVFrame *b)
{
    return a && a->width == b->width && a->height == b->height && a->format == b->format;
}

static bool make_room(struct deinterlace *d, const AVFrame *in)
{
    if (is_like(d->out, in))
        return true;
    av_frame_free(&d->out);
    AVFrame *f = d->out = av_frame_alloc();
    if (!f)
        return false;
    f->width = in->width;
    f->height = in->height;
    f->format = in->format;
    if (av_frame_get_buffer(f, 0) < 0)
        av_frame_free(&d->out);
    return d->out != NULL;
}

const AVFrame *deinterlace(struct deinterlace *d, const AVFrame *in)
{
    const AVPixFmtDescriptor *px = av_pix_fmt_desc_get(in->format);
    const uint64_t odd = AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_HWACCEL | AV_PIX_FMT_FLAG_BE;
    if (!in->interlaced_frame || !px || !(px->flags & AV_PIX_FMT_FLAG_PLANAR) || px->flags & odd ||
        px->nb_components < 3 || in->height < 6) {
        av_frame_free(&d->before);
        return in;
    }
    AVFrame *before = d->before;
    int depth = px->comp[0].depth, bytes = depth > 8 ? 2 : 1;
    d->before = av_frame_clone(in);
    bool work = is_combed(in, bytes, depth) && make_room(d, in);
    for (int i = 0; work && i < 3; i++) {
        struct plane p = {.now = in->data[i],
                          .now_line = in->linesize[i],
                          .before = is_like(before, in) ? before->data[i] : NULL,
                          .before_line = before ? before->linesize[i] : 0,
                          .out = d->out->data[i],
                          .out_line = d->out->linesize[i],
                          .w = i ? AV_CEIL_RSHIFT(in->width, px->log2_chroma_w) : in->width,
                          .h = i ? AV_CEIL_RSHIFT(in->height, px->log2_chroma_h) : in->height,
                          .bytes = bytes};
        fill_plane(&p, in->top_field_first ? 0 : 1);
    }
    av_frame_free(&before);
    if (!work)
        return in;
    av_frame_copy_props(d->out, in);
    return d->out;
}

void deinterlace_fini(struct deinterlace *d)
{
    av_frame_free(&d->out);
    av_frame_free(&d->before);
}
