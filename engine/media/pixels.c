// SPDX-License-Identifier: Apache-2.0
#include "media/pixels.h"
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <math.h>
#include <string.h>
#include "media/deinterlace.h"
#include "media/fail.h"

enum { ALIGN = 64 };

static bool is_601(enum AVColorSpace m)
{
    return m == AVCOL_SPC_BT470BG || m == AVCOL_SPC_SMPTE170M || m == AVCOL_SPC_FCC;
}

static int matrix_of(const AVFrame *f)
{
    if (f->colorspace != AVCOL_SPC_UNSPECIFIED && f->colorspace != AVCOL_SPC_RESERVED &&
        f->colorspace != AVCOL_SPC_RGB)
        return f->colorspace;
    int low = f->width < f->height ? f->width : f->height;
    return low >= 720 || f->colorspace == AVCOL_SPC_RGB ? AVCOL_SPC_BT709 : AVCOL_SPC_SMPTE170M;
}

struct frag_color pixels_color(const AVFrame *f)
{
    int m = matrix_of(f);
    if (!is_601(m))
        return (struct frag_color){AVCOL_PRI_BT709, AVCOL_TRC_BT709, AVCOL_SPC_BT709};
    bool pal = m == AVCOL_SPC_BT470BG || f->color_primaries == AVCOL_PRI_BT470BG;
    return (struct frag_color){pal ? AVCOL_PRI_BT470BG : AVCOL_PRI_SMPTE170M, AVCOL_TRC_SMPTE170M,
                               pal ? AVCOL_SPC_BT470BG : AVCOL_SPC_SMPTE170M};
}

int pixels_init(struct pixels *p, int w, int h, int flags, struct frag_color color, struct err *e)
{
    memset(p, 0, sizeof *p);
    p->w = w;
    p->h = h;
    p->flags = flags;
    p->color = color;
    int n = av_image_get_buffer_size(AV_PIX_FMT_YUV420P, w, h, ALIGN);
    // Scaler and encoder assembly read a little past the end of rows.
    if (n <= 0 || !(p->pool = av_buffer_pool_init((size_t)n + ALIGN, NULL)))
        return fail_av(e, AVERROR(ENOMEM), "picture buffers");
    p->turned = av_buffer_pool_init(
        (size_t)n + ALIGN * 64 + (size_t)h * ALIGN * 2 + (size_t)w * ALIGN * 2, NULL);
    return p->turned ? 0 : fail_av(e, AVERROR(ENOMEM), "picture buffers");
}

void pixels_fini(struct pixels *p)
{
    sws_freeContext(p->sws);
    av_buffer_pool_uninit(&p->pool);
    av_buffer_pool_uninit(&p->turned);
    deinterlace_fini(&p->fields);
    av_frame_free(&p->deep);
}

static AVFrame *new_frame(AVBufferPool *pool, int w, int h, struct frag_color color)
{
    AVFrame *f = av_frame_alloc();
    if (!f || !(f->buf[0] = av_buffer_pool_get(pool))) {
        av_frame_free(&f);
        return NULL;
    }
    f->width = w;
    f->height = h;
    f->format = AV_PIX_FMT_YUV420P;
    f->color_range = AVCOL_RANGE_MPEG;
    f->colorspace = (enum AVColorSpace)color.matrix;
    f->color_primaries = (enum AVColorPrimaries)color.primaries;
    f->color_trc = (enum AVColorTransferCharacteristic)color.transfer;
    av_image_fill_arrays(f->data, f->linesize, f->buf[0]->data, AV_PIX_FMT_YUV420P, w, h, ALIGN);
    return f;
}

static int plain_format(const AVFrame *f, int *full)
{
    *full = f->color_range == AVCOL_RANGE_JPEG;
    switch (f->format) {
    case AV_PIX_FMT_YUVJ420P: *full = 1; return AV_PIX_FMT_YUV420P;
    case AV_PIX_FMT_YUVJ422P: *full = 1; return AV_PIX_FMT_YUV422P;
    case AV_PIX_FMT_YUVJ444P: *full = 1; return AV_PIX_FMT_YUV444P;
    case AV_PIX_FMT_YUVJ440P: *full = 1; return AV_PIX_FMT_YUV440P;
    default: return f->format;
    }
}

static const int *coefficients(int matrix)
{
    int cs = matrix == AVCOL_SPC_BT709                                         ? SWS_CS_ITU709
             : matrix == AVCOL_SPC_BT2020_NCL || matrix == AVCOL_SPC_BT2020_CL ? SWS_CS_BT2020
             : matrix == AVCOL_SPC_SMPTE240M                                   ? SWS_CS_SMPTE240M
             : matrix == AVCOL_SPC_FCC                                         ? SWS_CS_FCC
                                                                               : SWS_CS_ITU601;
    return sws_getCoefficients(cs);
}

struct SwsContext *pixels_scaler(int w, int h, int format, bool full, int matrix, int to_w,
                                 int to_h, int to_format, bool to_full, int to_matrix, int flags)
{
    struct SwsContext *s = sws_alloc_context();
    if (!s)
        return NULL;
    av_opt_set_int(s, "srcw", w, 0);
    av_opt_set_int(s, "srch", h, 0);
    av_opt_set_int(s, "src_format", format, 0);
    av_opt_set_int(s, "dstw", to_w, 0);
    av_opt_set_int(s, "dsth", to_h, 0);
    av_opt_set_int(s, "dst_format", to_format, 0);
    av_opt_set_int(s, "sws_flags", flags, 0);
    // Ranges must be known before the set-up, or equal sizes get a plain copy.
    av_opt_set_int(s, "src_range", full, 0);
    av_opt_set_int(s, "dst_range", to_full, 0);
    if (sws_init_context(s, NULL, NULL) < 0) {
        sws_freeContext(s);
        return NULL;
    }
    sws_setColorspaceDetails(s, coefficients(matrix), full, coefficients(to_matrix), to_full, 0,
                             1 << 16, 1 << 16);
    return s;
}

/* Pictures may change size or format in the middle of a stream. */
static int prepare(struct pixels *p, const AVFrame *in, int format, int full, int w, int h,
                   struct err *e)
{
    int m = matrix_of(in);
    if (p->sws && p->from_w == in->width && p->from_h == in->height && p->from_format == format &&
        p->from_matrix == m && p->from_range == full && p->box_w == w && p->box_h == h)
        return 0;
    sws_freeContext(p->sws);
    // HDR keeps its own matrix and depth until the tone table, which is made for BT.2020.
    p->sws = p->tone ? pixels_scaler(in->width, in->height, format, full, AVCOL_SPC_BT2020_NCL, w,
                                     h, AV_PIX_FMT_YUV420P10, false, AVCOL_SPC_BT2020_NCL, p->flags)
                     : pixels_scaler(in->width, in->height, format, full, m, w, h,
                                     AV_PIX_FMT_YUV420P, false, p->color.matrix, p->flags);
    if (!p->sws)
        return fail_set(e, "media.unsupported_codec",
                        "The picture's pixel format cannot be converted.");
    p->from_w = in->width;
    p->from_h = in->height;
    p->from_format = format;
    p->from_matrix = m;
    p->from_range = full;
    p->box_w = w;
    p->box_h = h;
    return 0;
}

static void turn_plane(const struct pixels *p, uint8_t *dst, int dl, int w, int h,
                       const uint8_t *src, int sl)
{
    enum { TILE = 16 }; // both sides of a transposition stay in the cache
    for (int ty = 0; ty < h; ty += TILE) {
        for (int tx = 0; tx < w; tx += TILE) {
            for (int y = ty; y < ty + TILE && y < h; y++) {
                int sy = p->flip_y ? h - 1 - y : y;
                for (int x = tx; x < tx + TILE && x < w; x++) {
                    int sx = p->flip_x ? w - 1 - x : x;
                    dst[y * dl + x] = p->swap ? src[sx * sl + sy] : src[sy * sl + sx];
                }
            }
        }
    }
}

static AVFrame *turn(struct pixels *p, AVFrame *in, struct err *e)
{
    AVFrame *f = new_frame(p->turned, p->w, p->h, p->color);
    for (int i = 0; f && i < 3; i++)
        turn_plane(p, f->data[i], f->linesize[i], i ? p->w / 2 : p->w, i ? p->h / 2 : p->h,
                   in->data[i], in->linesize[i]);
    av_frame_free(&in);
    if (!f)
        fail_av(e, AVERROR(ENOMEM), "picture buffers");
    return f;
}

/* How much of w x h a picture of another shape than the first one's fills. False = all of it. */
static bool has_bars(struct pixels *p, const AVFrame *in, int *w, int *h)
{
    AVRational a = in->sample_aspect_ratio;
    double shape = (a.num > 0 && a.den > 0 ? av_q2d(a) : 1) * in->width / in->height;
    if (!(p->shape > 0))
        p->shape = shape;
    double k = shape / p->shape;
    if (fabs(k - 1) < 0.02)
        return false;
    if (k > 1)
        *h = (int)lround(*h / k / 2) * 2;
    else
        *w = (int)lround(*w * k / 2) * 2;
    *w = *w < 2 ? 2 : *w;
    *h = *h < 2 ? 2 : *h;
    return true;
}

static void paint_black(AVFrame *f)
{
    bool deep = f->format == AV_PIX_FMT_YUV420P10;
    for (int i = 0; i < 3; i++) {
        int rows = i ? f->height / 2 : f->height;
        for (int y = 0; y < rows; y++) {
            uint8_t *row = f->data[i] + (ptrdiff_t)y * f->linesize[i];
            int n = i ? f->width / 2 : f->width;
            if (!deep)
                memset(row, i ? 128 : 16, (size_t)n);
            for (int x = 0; deep && x < n; x++)
                ((uint16_t *)(void *)row)[x] = i ? 512 : 64;
        }
    }
}

/* Scales into the middle of to, which is w x h or larger by the bars. */
static int scale(struct pixels *p, const AVFrame *in, AVFrame *to, bool bars)
{
    uint8_t *at[4] = {to->data[0], to->data[1], to->data[2]};
    int left = (to->width - p->box_w) / 4 * 2, top = (to->height - p->box_h) / 4 * 2;
    int sample = to->format == AV_PIX_FMT_YUV420P10 ? 2 : 1;
    if (bars)
        paint_black(to);
    for (int i = 0; bars && i < 3; i++)
        at[i] += (ptrdiff_t)(i ? top / 2 : top) * to->linesize[i] +
                 (ptrdiff_t)(i ? left / 2 : left) * sample;
    return sws_scale(p->sws, (const uint8_t *const *)in->data, in->linesize, 0, in->height, at,
                     to->linesize);
}

static AVFrame *deep_frame(struct pixels *p, int w, int h)
{
    if (p->deep)
        return p->deep;
    AVFrame *f = av_frame_alloc();
    if (!f)
        return NULL;
    f->width = w;
    f->height = h;
    f->format = AV_PIX_FMT_YUV420P10;
    if (av_frame_get_buffer(f, 0) < 0)
        av_frame_free(&f);
    return p->deep = f;
}

AVFrame *pixels_convert(struct pixels *p, const AVFrame *source, struct err *e)
{
    const AVFrame *in = deinterlace(&p->fields, source);
    bool turned = p->swap || p->flip_x || p->flip_y;
    int full, format = plain_format(in, &full), w = p->swap ? p->h : p->w,
              h = p->swap ? p->w : p->h;
    int box_w = w, box_h = h;
    bool bars = has_bars(p, in, &box_w, &box_h);
    AVFrame *f;
    if (!p->tone && !bars && format == AV_PIX_FMT_YUV420P && !full && (in->width & ~1) == w &&
        (in->height & ~1) == h && in == source &&
        (matrix_of(in) == p->color.matrix || (is_601(matrix_of(in)) && is_601(p->color.matrix)))) {
        f = av_frame_clone(in);
        if (f) {
            f->width = w; // an odd last column or row is not worth a scaler
            f->height = h;
        }
    } else {
        if (prepare(p, in, format, full, box_w, box_h, e))
            return NULL;
        f = new_frame(turned ? p->turned : p->pool, w, h, p->color);
        AVFrame *to = f && p->tone ? deep_frame(p, w, h) : f;
        if (to && scale(p, in, to, bars) <= 0) {
            av_frame_free(&f);
            fail_av(e, AVERROR_EXTERNAL, "scale");
            return NULL;
        }
        if (to && p->tone)
            tone_apply(p->tone, to, f);
        if (!to)
            av_frame_free(&f);
    }
    if (!f) {
        fail_av(e, AVERROR(ENOMEM), "picture buffers");
        return NULL;
    }
    return turned ? turn(p, f, e) : f;
}
