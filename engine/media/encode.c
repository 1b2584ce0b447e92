// SPDX-License-Identifier: Apache-2.0
#include "media/encode.h"
#include <libavutil/opt.h>
#include <stdlib.h>
#include <string.h>
#include "media/fail.h"

enum { QUEUE_FRAMES = 6, TIMESCALE_MIN = 10000 };

static uint32_t ticks_per_frame(struct ladder_rate r)
{
    uint32_t k = (TIMESCALE_MIN + (uint32_t)r.num - 1) / (uint32_t)r.num;
    return (uint32_t)r.den * k;
}

static uint32_t timescale(struct ladder_rate r)
{
    uint32_t k = (TIMESCALE_MIN + (uint32_t)r.num - 1) / (uint32_t)r.num;
    return (uint32_t)r.num * k;
}

static int open_codec(struct encode *v, struct err *e)
{
    const AVCodec *x = avcodec_find_encoder_by_name("libx264");
    AVCodecContext *c = v->codec = x ? avcodec_alloc_context3(x) : NULL;
    const struct encode_plan *p = &v->plan;
    if (!c)
        return fail_av(e, AVERROR_ENCODER_NOT_FOUND, "encoder");
    c->width = v->rung.w;
    c->height = v->rung.h;
    c->pix_fmt = AV_PIX_FMT_YUV420P;
    c->time_base = (AVRational){p->rate.den, p->rate.num};
    c->framerate = (AVRational){p->rate.num, p->rate.den};
    c->sample_aspect_ratio = (AVRational){1, 1};
    c->gop_size = p->gop;
    c->keyint_min = p->gop;
    c->thread_count = p->threads;
    c->rc_max_rate = v->rung.maxrate;
    c->rc_buffer_size = (int)(2 * v->rung.maxrate);
    c->color_range = AVCOL_RANGE_MPEG;
    c->color_primaries = (enum AVColorPrimaries)p->color.primaries;
    c->color_trc = (enum AVColorTransferCharacteristic)p->color.transfer;
    c->colorspace = (enum AVColorSpace)p->color.matrix;
    c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_CLOSED_GOP;
    av_opt_set(c->priv_data, "preset", "veryfast", 0);
    av_opt_set(c->priv_data, "profile", "high", 0);
    av_opt_set(c->priv_data, "forced-idr", "1", 0);
    av_opt_set_double(c->priv_data, "crf", 23, 0);
    // stitchable: parameter sets must not depend on content, so that a segment encoded later still fits.
    av_opt_set(c->priv_data, "x264-params", "scenecut=0:open-gop=0:stitchable=1", 0);
    int rc = avcodec_open2(c, x, NULL);
    return rc < 0 ? fail_av(e, rc, "open encoder") : 0;
}

int encode_open(struct encode *v, const struct ladder_rung *rung, const struct encode_plan *plan,
                struct group *g, struct store *s, struct err *e)
{
    struct buf init = {0};
    v->rung = *rung;
    v->plan = *plan;
    v->group = g;
    v->store = s;
    queue_init(&v->in, QUEUE_FRAMES);
    group_add(g, &v->in);
    track_init(&v->track, rung->name, false, timescale(plan->rate));
    v->track.w = rung->w;
    v->track.h = rung->h;
    v->sample = calloc((size_t)plan->gop, sizeof *v->sample);
    v->packet = av_packet_alloc();
    must(v->sample && v->packet);
    if (pixels_init(&v->pixels, rung->w, rung->h, SWS_BICUBIC, plan->color, e) || open_codec(v, e))
        return -1;
    v->pixels.swap = plan->swap;
    v->pixels.flip_x = plan->flip_x;
    v->pixels.flip_y = plan->flip_y;
    v->delay = v->codec->has_b_frames > 0 ? v->codec->has_b_frames : 0;
    int rc =
        frag_init_video(&init, rung->w, rung->h, v->track.timescale,
                        (uint32_t)v->delay * ticks_per_frame(plan->rate), plan->color,
                        v->codec->extradata, (size_t)v->codec->extradata_size, v->track.codecs);
    rc = rc ? fail_av(e, AVERROR_EXTERNAL, "encoder headers")
            : store_put(s, v->track.init, init.p, init.n, e);
    buf_fini(&init);
    return rc;
}

static int flush_segment(struct encode *v, struct err *e)
{
    if (!v->count)
        return 0;
    int rc = track_add(&v->track, v->store, v->sample, v->count, v->data.p, v->data.n, e);
    v->count = 0;
    buf_clear(&v->data);
    return rc;
}

/* Decode order numbers the samples; each GOP is closed, so its samples are exactly its frames. */
static int collect(struct encode *v, const AVPacket *p, struct err *e)
{
    bool key = p->flags & AV_PKT_FLAG_KEY;
    if (v->decoded % v->plan.gop == 0 && flush_segment(v, e))
        return -1;
    int64_t start = v->decoded / v->plan.gop * v->plan.gop;
    if (key != (v->decoded == start) || p->pts < start || p->pts >= start + v->plan.gop ||
        p->pts + v->delay < v->decoded)
        return fail_set(e, "media.internal", "The encoder did not keep the segment grid.");
    size_t before = v->data.n;
    frag_put_annexb(&v->data, p->data, (size_t)p->size);
    uint32_t ticks = ticks_per_frame(v->plan.rate);
    v->sample[v->count++] =
        (struct frag_sample){(uint32_t)(v->data.n - before), ticks,
                             (int32_t)((p->pts - v->decoded + v->delay) * (int64_t)ticks)};
    v->decoded++;
    return 0;
}

static int drain(struct encode *v, struct err *e)
{
    for (;;) {
        int rc = avcodec_receive_packet(v->codec, v->packet);
        if (rc == AVERROR(EAGAIN) || rc == AVERROR_EOF)
            return 0;
        if (rc < 0)
            return fail_av(e, rc, "encode");
        rc = collect(v, v->packet, e);
        av_packet_unref(v->packet);
        if (rc)
            return -1;
    }
}

static int encode_one(struct encode *v, AVFrame *f, int times, struct err *e)
{
    for (; times > 0 && !group_failed(v->group); times--) {
        if (v->poster)
            poster_offer(v->poster, f, (double)v->sent * v->plan.rate.den / v->plan.rate.num);
        f->pts = v->sent;
        f->pict_type = v->sent % v->plan.gop ? AV_PICTURE_TYPE_NONE : AV_PICTURE_TYPE_I;
        v->sent++;
        int rc = avcodec_send_frame(v->codec, f);
        if (rc < 0)
            return fail_av(e, rc, "encode");
        if (drain(v, e))
            return -1;
    }
    return 0;
}

static int take(struct encode *v, struct encode_picture *pic, struct err *e)
{
    AVFrame *f = pixels_convert(&v->pixels, pic->frame, e);
    av_frame_free(&pic->frame);
    if (!f)
        return -1;
    // The source's interlacing, type and side data must not reach the encoders.
    f->interlaced_frame = 0;
    f->repeat_pict = 0;
    f->sample_aspect_ratio = (AVRational){1, 1};
    f->quality = 0;
    while (f->nb_side_data)
        av_frame_remove_side_data(f, f->side_data[0]->type);
    av_dict_free(&f->metadata);
    for (int i = 0; i < v->nchildren; i++) {
        AVFrame *copy = av_frame_clone(f);
        if (!copy || encode_feed(&v->child[i]->in, copy, pic->times)) {
            av_frame_free(&f);
            return group_failed(v->group) ? -1 : fail_av(e, AVERROR(ENOMEM), "encode");
        }
    }
    int rc = encode_one(v, f, pic->times, e);
    av_frame_free(&f);
    return rc;
}

static void *run(void *arg)
{
    struct encode *v = arg;
    struct err e = {0};
    void *item;
    int rc, got;
    while ((got = queue_get(&v->in, &item)) > 0) {
        struct encode_picture pic = *(struct encode_picture *)item;
        free(item);
        if (take(v, &pic, &e))
            goto fail;
    }
    for (int i = 0; i < v->nchildren; i++)
        queue_end(&v->child[i]->in);
    if (got < 0)
        return NULL;
    if ((rc = avcodec_send_frame(v->codec, NULL)) < 0) {
        fail_av(&e, rc, "encode");
        goto fail;
    }
    if (drain(v, &e) || flush_segment(v, &e))
        goto fail;
    return NULL;
fail:
    group_fail(v->group, &e);
    return NULL;
}

int encode_start(struct encode *v, struct err *e)
{
    if (group_thread(&v->thread, run, v, v->rung.name, e))
        return -1;
    v->started = true;
    return 0;
}

int encode_feed(struct queue *q, AVFrame *f, int times)
{
    struct encode_picture *pic = malloc(sizeof *pic);
    must(pic != NULL);
    *pic = (struct encode_picture){f, times};
    if (!queue_put(q, pic))
        return 0;
    av_frame_free(&f);
    free(pic);
    return -1;
}

void encode_join(struct encode *v)
{
    if (v->started)
        pthread_join(v->thread, NULL);
    v->started = false;
}

static void drop(void *item)
{
    struct encode_picture *pic = item;
    av_frame_free(&pic->frame);
    free(pic);
}

void encode_close(struct encode *v)
{
    queue_fini(&v->in, drop);
    avcodec_free_context(&v->codec);
    av_packet_free(&v->packet);
    pixels_fini(&v->pixels);
    track_fini(&v->track);
    free(v->sample);
    buf_fini(&v->data);
}
