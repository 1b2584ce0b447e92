// SPDX-License-Identifier: Apache-2.0
#include "media/coder.h"
#include <libavutil/opt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "media/fail.h"

enum {
    TIMESCALE_MIN = 10000,
    QUANTISERS = 51 /* the unit of libavcodec's regions */
};

// Everything that shows in the parameter sets is said here, so that presets cannot change it.
static const char settings[] = "scenecut=0:open-gop=0:stitchable=1:cabac=1:ref=1:bframes=3:"
                               "b-pyramid=normal:8x8dct=1:weightp=1:weightb=1";

uint32_t coder_ticks(struct ladder_rate r)
{
    uint32_t k = (TIMESCALE_MIN + (uint32_t)r.num - 1) / (uint32_t)r.num;
    return (uint32_t)r.den * k;
}

uint32_t coder_timescale(struct ladder_rate r)
{
    uint32_t k = (TIMESCALE_MIN + (uint32_t)r.num - 1) / (uint32_t)r.num;
    return (uint32_t)r.num * k;
}

static void set_x264(AVCodecContext *c, const struct coder_spec *s)
{
    av_opt_set(c->priv_data, "preset", s->preset, 0);
    av_opt_set_double(c->priv_data, "crf", s->crf, 0);
    av_opt_set(c->priv_data, "x264-params", settings, 0);
}

/* Options that an encoder does not know are passed over. */
static void set_hardware(AVCodecContext *c, const struct coder_spec *s)
{
    c->max_b_frames = 0;
    c->bit_rate = s->maxrate * 7 / 10;
    av_opt_set(c->priv_data, "rc", "vbr", 0);
    av_opt_set_double(c->priv_data, "cq", s->crf, 0);
    av_opt_set(c->priv_data, "no-scenecut", "1", 0);
}

static int open_codec(struct coder *v, struct err *e)
{
    const AVCodec *x = avcodec_find_encoder_by_name(v->spec.encoder ? v->spec.encoder : "libx264");
    AVCodecContext *c = v->codec = x ? avcodec_alloc_context3(x) : NULL;
    const struct coder_spec *s = &v->spec;
    if (!c)
        return fail_av(e, AVERROR_ENCODER_NOT_FOUND, "encoder");
    c->width = s->w;
    c->height = s->h;
    c->pix_fmt = AV_PIX_FMT_YUV420P;
    c->time_base = (AVRational){s->rate.den, s->rate.num};
    c->framerate = (AVRational){s->rate.num, s->rate.den};
    c->sample_aspect_ratio = (AVRational){1, 1};
    c->gop_size = s->gop;
    c->keyint_min = s->gop;
    c->thread_count = s->threads;
    c->rc_max_rate = s->maxrate;
    c->rc_buffer_size = (int)(2 * s->maxrate);
    if (s->level)
        c->level = s->level;
    c->color_range = AVCOL_RANGE_MPEG;
    c->color_primaries = (enum AVColorPrimaries)s->color.primaries;
    c->color_trc = (enum AVColorTransferCharacteristic)s->color.transfer;
    c->colorspace = (enum AVColorSpace)s->color.matrix;
    c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_CLOSED_GOP;
    av_opt_set(c->priv_data, "profile", "high", 0);
    av_opt_set(c->priv_data, "forced-idr", "1", 0);
    if (s->encoder)
        set_hardware(c, s);
    else
        set_x264(c, s);
    int rc = avcodec_open2(c, x, NULL);
    return rc < 0 ? fail_av(e, rc, "open encoder") : 0;
}

int coder_open(struct coder *c, const struct coder_spec *spec, struct err *e)
{
    memset(c, 0, sizeof *c);
    c->spec = *spec;
    c->sample = calloc((size_t)spec->gop, sizeof *c->sample);
    c->packet = av_packet_alloc();
    must(c->sample && c->packet);
    if (open_codec(c, e))
        return -1;
    c->delay = c->codec->has_b_frames > 0 ? c->codec->has_b_frames : 0;
    return 0;
}

void coder_close(struct coder *c)
{
    avcodec_free_context(&c->codec);
    av_packet_free(&c->packet);
    free(c->sample);
    buf_fini(&c->data);
    memset(c, 0, sizeof *c);
}

struct sink {
    struct track *track;
    int variant;
    struct store *store;
};

static int flush_segment(struct coder *c, const struct sink *to, struct err *e)
{
    if (!c->count)
        return 0;
    int rc =
        track_add(to->track, to->store, to->variant, c->sample, c->count, c->data.p, c->data.n, e);
    c->count = 0;
    buf_clear(&c->data);
    return rc;
}

/* Decode order numbers the samples; each GOP is closed, so its samples are exactly its frames. */
static int collect(struct coder *c, const struct sink *to, struct err *e)
{
    const AVPacket *p = c->packet;
    int gop = c->spec.gop;
    bool key = p->flags & AV_PKT_FLAG_KEY;
    if (c->decoded % gop == 0 && flush_segment(c, to, e))
        return -1;
    int64_t start = c->decoded / gop * gop;
    if (key != (c->decoded == start) || p->pts < start || p->pts >= start + gop ||
        p->pts + c->delay < c->decoded)
        return fail_set(e, "media.internal", "The encoder did not keep the segment grid.");
    size_t before = c->data.n;
    frag_put_annexb(&c->data, p->data, (size_t)p->size);
    uint32_t ticks = coder_ticks(c->spec.rate);
    c->sample[c->count++] =
        (struct frag_sample){(uint32_t)(c->data.n - before), ticks,
                             (int32_t)((p->pts - c->decoded + c->delay) * (int64_t)ticks)};
    c->decoded++;
    return 0;
}

/* Chosen cells that follow each other in a row are one region. out: room for one per cell. Returns how many. */
static int regions(const struct coder_quantiser *q, AVRegionOfInterest *out)
{
    int n = 0, s = q->size;
    for (int y = 0; y < q->rows; y++)
        for (int x = 0, from = 0; x <= q->cols; x++) {
            if (x < q->cols && q->cell[y * q->cols + x])
                continue;
            if (from < x)
                out[n++] = (AVRegionOfInterest){sizeof *out, y * s, (y + 1) * s,
                                                from * s,    x * s, {q->chosen, QUANTISERS}};
            from = x + 1;
        }
    return n;
}

static int set_quantiser(AVFrame *f, const struct coder_quantiser *q)
{
    av_frame_remove_side_data(f, AV_FRAME_DATA_REGIONS_OF_INTEREST);
    if (!q || (!q->all && !q->chosen))
        return 0;
    AVRegionOfInterest *r = calloc((size_t)(q->cols * q->rows + 1), sizeof *r);
    must(r != NULL);
    int n = q->all == q->chosen ? 0 : regions(q, r);
    // Of regions that overlap the first counts.
    r[n++] = (AVRegionOfInterest){sizeof *r, 0, f->height, 0, f->width, {q->all, QUANTISERS}};
    AVFrameSideData *d =
        av_frame_new_side_data(f, AV_FRAME_DATA_REGIONS_OF_INTEREST, (size_t)n * sizeof *r);
    if (d)
        memcpy(d->data, r, (size_t)n * sizeof *r);
    free(r);
    return d ? 0 : AVERROR(ENOMEM);
}

int coder_send(struct coder *c, AVFrame *f, const struct coder_quantiser *q, struct track *t,
               int variant, struct store *s, struct err *e)
{
    struct sink to = {t, variant, s};
    int rc = 0;
    if (f) {
        rc = set_quantiser(f, q);
        f->pts = c->sent;
        f->pict_type = c->sent % c->spec.gop ? AV_PICTURE_TYPE_NONE : AV_PICTURE_TYPE_I;
        c->sent++;
    }
    rc = rc < 0 ? rc : avcodec_send_frame(c->codec, f);
    while (rc >= 0 && (rc = avcodec_receive_packet(c->codec, c->packet)) >= 0) {
        int bad = collect(c, &to, e);
        av_packet_unref(c->packet);
        if (bad)
            return -1;
    }
    if (rc != AVERROR(EAGAIN) && rc != AVERROR_EOF)
        return fail_av(e, rc, "encode");
    return f ? 0 : flush_segment(c, &to, e);
}

/* Two closed groups of grey pictures: nothing is kept of them but whether the second began with a key frame in its place. */
static bool keeps_grid(struct coder *c)
{
    AVFrame *f = av_frame_alloc();
    int keys = 0, misplaced = 0, rc = 0;
    must(f != NULL);
    f->width = c->spec.w;
    f->height = c->spec.h;
    f->format = AV_PIX_FMT_YUV420P;
    rc = av_frame_get_buffer(f, 0);
    for (int i = 0; rc >= 0 && i < 3; i++)
        memset(f->data[i], 128, (size_t)f->linesize[i] * (size_t)(i ? f->height / 2 : f->height));
    for (int i = 0; rc >= 0 && i <= 2 * c->spec.gop; i++) {
        f->pts = i;
        f->pict_type = i % c->spec.gop ? AV_PICTURE_TYPE_NONE : AV_PICTURE_TYPE_I;
        rc = avcodec_send_frame(c->codec, i < 2 * c->spec.gop ? f : NULL);
        while (rc >= 0 && (rc = avcodec_receive_packet(c->codec, c->packet)) >= 0) {
            bool key = c->packet->flags & AV_PKT_FLAG_KEY;
            keys += key;
            misplaced += key != (c->packet->pts % c->spec.gop == 0);
            av_packet_unref(c->packet);
        }
        if (rc == AVERROR(EAGAIN) || rc == AVERROR_EOF)
            rc = 0;
    }
    av_frame_free(&f);
    return rc >= 0 && keys == 2 && !misplaced;
}

static bool works(const char *name)
{
    struct coder_spec spec = {.w = 320,
                              .h = 240,
                              .rate = {25, 1},
                              .gop = 50,
                              .color = {1, 1, 1},
                              .maxrate = 1000000,
                              .crf = 23,
                              .threads = 1,
                              .encoder = name};
    struct coder a, b;
    struct err e = {0};
    bool ok = false;
    if (!coder_open(&a, &spec, &e) && a.codec->extradata_size > 0) {
        int rc = coder_open(&b, &spec, &e);
        ok = !rc && a.codec->extradata_size == b.codec->extradata_size &&
             !memcmp(a.codec->extradata, b.codec->extradata, (size_t)a.codec->extradata_size) &&
             keeps_grid(&a);
        coder_close(&b);
    }
    coder_close(&a);
    return ok;
}

const char *coder_hardware(const char *want, char why[160])
{
    // Those that take pictures from plain memory.
    static const char *const names[] = {"h264_nvenc", "h264_v4l2m2m"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if ((!strcmp(want, "auto") || !strcmp(want, names[i])) && works(names[i]))
            return names[i];
    snprintf(why, 160, "no hardware encoder (%.40s) works on this machine", want);
    return NULL;
}
