// SPDX-License-Identifier: Apache-2.0
#include "media/poster.h"
#include <libavcodec/avcodec.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "media/fail.h"
#include "media/pixels.h"

enum { QUALITY = 4, GOOD_CONTRAST = 18 };

void poster_init(struct poster *p, double seconds)
{
    static const double part[POSTER_COUNT] = {0.1, 0.3, 0.5, 0.7};
    memset(p, 0, sizeof *p);
    for (int i = 0; i < POSTER_COUNT; i++)
        p->at[i] = (seconds > 0 ? seconds : 30) * part[i];
    p->next = p->at[0];
}

void poster_fini(struct poster *p)
{
    for (int i = 0; i < POSTER_COUNT; i++)
        av_frame_free(&p->pick[i]);
    av_frame_free(&p->first);
}

/* Standard deviation of luma on a coarse grid: black and faded pictures are near 0. */
static double contrast(const AVFrame *f)
{
    double sum = 0, sq = 0;
    int n = 0;
    for (int y = 0; y < f->height; y += 8) {
        for (int x = 0; x < f->width; x += 8, n++) {
            double v = f->data[0][y * f->linesize[0] + x];
            sum += v;
            sq += v * v;
        }
    }
    return n ? sqrt(fmax(0, sq / n - sum / n * (sum / n))) : 0;
}

void poster_offer(struct poster *p, const AVFrame *f, double t)
{
    if (!p->first)
        p->first = av_frame_clone(f);
    for (int i = 1; i < POSTER_COUNT; i++)
        if (!p->pick[i] && t >= p->at[i])
            p->pick[i] = av_frame_clone(f);
    // Title cards and fades: look on, twice a second, up to three times the moment wanted.
    if (t < p->next || t > 3 * p->at[0] + 1 || p->score >= GOOD_CONTRAST)
        return;
    p->next = t + 0.5;
    double c = contrast(f);
    if (!p->pick[0] || c > p->score) {
        av_frame_free(&p->pick[0]);
        p->pick[0] = av_frame_clone(f);
        p->score = c;
    }
}

static AVFrame *full_range(const AVFrame *in)
{
    AVFrame *f = av_frame_alloc();
    // JPEG is BT.601, full range, whatever the film is.
    struct SwsContext *s =
        pixels_scaler(in->width, in->height, AV_PIX_FMT_YUV420P, false, in->colorspace, in->width,
                      in->height, AV_PIX_FMT_YUV420P, true, AVCOL_SPC_SMPTE170M, SWS_BILINEAR);
    if (!f || !s)
        goto fail;
    f->width = in->width;
    f->height = in->height;
    f->format = AV_PIX_FMT_YUVJ420P;
    f->color_range = AVCOL_RANGE_JPEG;
    if (av_frame_get_buffer(f, 0) < 0 ||
        sws_scale(s, (const uint8_t *const *)in->data, in->linesize, 0, in->height, f->data,
                  f->linesize) <= 0)
        goto fail;
    sws_freeContext(s);
    return f;
fail:
    sws_freeContext(s);
    av_frame_free(&f);
    return NULL;
}

int poster_jpeg(const AVFrame *in, struct store *s, const char *name, struct err *e)
{
    AVFrame *f = full_range(in);
    AVPacket *pkt = av_packet_alloc();
    const AVCodec *codec = avcodec_find_encoder(AV_CODEC_ID_MJPEG);
    AVCodecContext *c = codec ? avcodec_alloc_context3(codec) : NULL;
    int rc = AVERROR(ENOMEM);
    if (!f || !pkt || !c)
        goto out;
    c->width = f->width;
    c->height = f->height;
    c->pix_fmt = AV_PIX_FMT_YUVJ420P;
    c->color_range = AVCOL_RANGE_JPEG;
    c->time_base = (AVRational){1, 25};
    c->flags |=
        AV_CODEC_FLAG_QSCALE | AV_CODEC_FLAG_BITEXACT; // no comment with the library's version
    c->global_quality = f->quality = FF_QP2LAMBDA * QUALITY;
    c->thread_count = 1;
    if ((rc = avcodec_open2(c, codec, NULL)) < 0 || (rc = avcodec_send_frame(c, f)) < 0 ||
        (rc = avcodec_receive_packet(c, pkt)) < 0)
        goto out;
    rc = store_put(s, name, NULL, pkt->data, (size_t)pkt->size, e) ? 1 : 0;
out:
    av_frame_free(&f);
    av_packet_free(&pkt);
    avcodec_free_context(&c);
    if (rc < 0)
        fail_av(e, rc, "poster");
    return rc ? -1 : 0;
}

int poster_write(struct poster *p, struct store *s, struct err *e)
{
    const AVFrame *main_pick = p->pick[0] ? p->pick[0] : p->first;
    if (main_pick && poster_jpeg(main_pick, s, "poster.jpg", e))
        return -1;
    for (int i = 1; i < POSTER_COUNT; i++) {
        char name[24];
        if (!p->pick[i])
            continue;
        snprintf(name, sizeof name, "poster_%d.jpg", ++p->written);
        if (poster_jpeg(p->pick[i], s, name, e))
            return -1;
    }
    return 0;
}
