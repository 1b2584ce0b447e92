// SPDX-License-Identifier: Apache-2.0
#include "media/encode.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "media/fail.h"

enum { QUEUE_FRAMES = 6, ALIGN = 64 };

static int open_coders(struct encode *v, struct err *e)
{
    const struct encode_plan *p = &v->plan;
    struct coder_spec spec = {.w = v->rung.w,
                              .h = v->rung.h,
                              .rate = p->rate,
                              .gop = p->gop,
                              .color = p->color,
                              .maxrate = v->rung.maxrate,
                              .preset = p->preset,
                              .encoder = p->encoder,
                              .crf = p->crf,
                              .threads = p->threads};
    for (int i = 0; i < v->track.variants; i++)
        if (coder_open(&v->coder[i], &spec, e)) {
            if (!spec.encoder)
                return -1;
            // More sessions than the device has, a size that it does not know.
            fprintf(stderr, "media: %s does not open for %s, software instead\n", spec.encoder,
                    v->rung.name);
            coder_close(&v->coder[i]);
            spec.encoder = NULL;
            if (coder_open(&v->coder[i], &spec, e))
                return -1;
        }
    return 0;
}

static int open_mark(struct encode *v, struct err *e)
{
    v->segment = -1;
    v->stride = (v->rung.w + ALIGN - 1) / ALIGN * ALIGN;
    v->luma = av_buffer_pool_init((size_t)v->stride * (size_t)v->rung.h + ALIGN, NULL);
    v->pen = mark_pen_new(v->rung.w, v->rung.h);
    motion_init(&v->motion, v->rung.w, v->rung.h);
    return v->luma ? 0 : fail_av(e, AVERROR(ENOMEM), "picture buffers");
}

int encode_open(struct encode *v, const struct ladder_rung *rung, const struct encode_plan *plan,
                struct group *g, struct store *s, struct journal *j, struct err *e)
{
    struct buf init = {0};
    v->rung = *rung;
    v->plan = *plan;
    v->group = g;
    v->store = s;
    queue_init(&v->in, QUEUE_FRAMES);
    group_add(g, &v->in);
    track_init(&v->track, rung->name, false, coder_timescale(plan->rate));
    v->track.w = rung->w;
    v->track.h = rung->h;
    v->track.variants = plan->strength > 0 ? 2 : 1;
    if (pixels_init(&v->pixels, rung->w, rung->h, SWS_BICUBIC, plan->color, e) ||
        open_coders(v, e) || (plan->strength > 0 && open_mark(v, e)))
        return -1;
    v->pixels.tone = plan->tone;
    v->pixels.swap = plan->swap;
    v->pixels.flip_x = plan->flip_x;
    v->pixels.flip_y = plan->flip_y;
    const struct coder *c = &v->coder[0];
    int rc = frag_init_video(
        &init, rung->w, rung->h, v->track.timescale, (uint32_t)c->delay * coder_ticks(plan->rate),
        plan->color, c->codec->extradata, (size_t)c->codec->extradata_size, v->track.codecs);
    uint64_t ticks = (uint64_t)plan->gop * coder_ticks(plan->rate);
    if (rc)
        fail_av(e, AVERROR_EXTERNAL, "encoder headers");
    else if (!journal_take(j, &v->track, init.p, init.n, ticks, true, s))
        rc = track_put_init(&v->track, s, init.p, init.n, e);
    v->skip = (int64_t)v->track.count * plan->gop;
    buf_fini(&init);
    return rc;
}

/* The picture with a luma plane of its own, to be drawn. */
static AVFrame *twin(struct encode *v, const AVFrame *f)
{
    AVFrame *m = av_frame_clone(f);
    AVBufferRef *own = av_buffer_pool_get(v->luma);
    int last = 0;
    while (m && last < AV_NUM_DATA_POINTERS && m->buf[last])
        last++;
    if (!m || !own || last == AV_NUM_DATA_POINTERS) {
        av_frame_free(&m);
        av_buffer_unref(&own);
        return NULL;
    }
    m->buf[last] = own;
    m->data[0] = own->data;
    m->linesize[0] = v->stride;
    return m;
}

/* Of the picture that is sent next. */
static float level(const struct encode *v)
{
    return mark_fade((int)(v->sent % v->plan.gop), v->plan.gop);
}

static int draw(struct encode *v, const AVFrame *f, AVFrame *pair[2], struct err *e)
{
    for (int i = 0; i < 2; i++) {
        av_frame_free(&pair[i]);
        if (!(pair[i] = twin(v, f)))
            return fail_av(e, AVERROR(ENOMEM), "picture buffers");
    }
    v->segment = v->sent / v->plan.gop;
    v->level = level(v);
    mark_grid(v->plan.k_pattern, (int)v->segment, v->rung.w, v->rung.h, &v->grid);
    mark_draw(v->pen, &v->grid, v->plan.strength * v->level, f->data[0], f->linesize[0],
              pair[0]->data[0], pair[0]->linesize[0], pair[1]->data[0], pair[1]->linesize[0]);
    return 0;
}

/* Of the picture that is sent next. */
static struct coder_quantiser quantiser(const struct encode *v)
{
    const struct motion *m = &v->motion;
    bool still = m->recent < MOTION_STILL;
    int all = mark_quantiser((int)(v->sent % v->plan.gop), v->plan.gop, still);
    int chosen = all < MARK_WRITTEN ? all : MARK_WRITTEN;
    return (struct coder_quantiser){all, chosen, m->cols, m->rows, MOTION_CELL, m->fresh};
}

static int encode_one(struct encode *v, AVFrame *f, int times, struct err *e)
{
    AVFrame *pair[2] = {0};
    int rc = 0;
    for (; !rc && times > 0 && !group_failed(v->group); times--) {
        if (v->poster)
            poster_offer(v->poster, f, (double)v->sent * v->plan.rate.den / v->plan.rate.num);
        if (v->sprite && v->sent % v->plan.gop == 0)
            sprite_offer(v->sprite, f);
        if (v->fp)
            fp_maker_add(v->fp, v->plan.rate.num, v->plan.rate.den, f->data[0], f->linesize[0],
                         f->width, f->height);
        if (v->pen)
            motion_add(&v->motion, f->data[0], f->linesize[0]);
        if (v->sent < v->skip) {
            v->sent++;
            continue;
        }
        if (v->pen && (!pair[0] || v->sent / v->plan.gop != v->segment || level(v) != v->level))
            rc = draw(v, f, pair, e);
        struct coder_quantiser q = quantiser(v);
        for (int i = 0; !rc && i < v->track.variants; i++)
            rc = v->pen ? coder_send(&v->coder[i], pair[i], &q, &v->track, i, v->store, e)
                        : coder_send(&v->coder[i], f, NULL, &v->track, i, v->store, e);
        v->sent++;
    }
    av_frame_free(&pair[0]);
    av_frame_free(&pair[1]);
    return rc;
}

static int end(struct encode *v, struct err *e)
{
    for (int i = 0; i < v->track.variants; i++)
        if (coder_send(&v->coder[i], NULL, NULL, &v->track, i, v->store, e))
            return -1;
    return track_complete(&v->track)
               ? 0
               : fail_set(e, "media.internal", "The variants differ in length.");
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
    int got;
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
    if (end(v, &e))
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
    coder_close(&v->coder[0]);
    coder_close(&v->coder[1]);
    mark_pen_free(v->pen);
    motion_fini(&v->motion);
    av_buffer_pool_uninit(&v->luma);
    pixels_fini(&v->pixels);
    track_fini(&v->track);
}
