// SPDX-License-Identifier: Apache-2.0
#include "media/burst.h"
#include <libavcodec/avcodec.h>
#include <libavutil/opt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "media/fail.h"
#include "media/frag.h"
#include "media/unfrag.h"

/* ---- the parameter sets ---- */

/* The encoder's headers (Annex B) are the SPS and PPS of that avcC box. */
static bool same_headers(struct str avcc, const uint8_t *headers, size_t n)
{
    struct frag_color any = {2, 2, 2};
    struct buf init = {0};
    char codecs[24];
    struct unfrag s = {0};
    // The writer of init segments makes an avcC of these headers too: then it is bytes against bytes.
    bool same = frag_init_video(&init, 16, 16, 1, 0, any, headers, n, codecs) == 0 &&
                unfrag_init(&s, (struct str){init.p, init.n}) == 0 && s.config.n == avcc.n &&
                !memcmp(s.config.p, avcc.p, avcc.n);
    buf_fini(&init);
    return same;
}

/* ---- decode, blend, encode ---- */

struct work {
    struct unfrag s;
    const struct label_font *font;
    const uint32_t *text;
    int text_n;
    struct burst_place place;
    struct label label;
    AVCodecContext *decoder, *encoder;
    AVFrame *frame;
    AVPacket *packet, *coded;
    int shown, sent, done; /* frames decoded, fed to and out of the encoder */
    struct frag_sample out[UNFRAG_SAMPLES];
    struct buf data;
};

static int open_decoder(struct work *w, struct err *e)
{
    const AVCodec *x = avcodec_find_decoder(AV_CODEC_ID_H264);
    AVCodecContext *c = w->decoder = x ? avcodec_alloc_context3(x) : NULL;
    if (!c)
        return fail_av(e, AVERROR_DECODER_NOT_FOUND, "decoder");
    c->thread_count = 1;
    c->extradata = av_mallocz(w->s.config.n + AV_INPUT_BUFFER_PADDING_SIZE);
    if (!c->extradata)
        return fail_av(e, AVERROR(ENOMEM), "decoder");
    memcpy(c->extradata, w->s.config.p, w->s.config.n);
    c->extradata_size = (int)w->s.config.n;
    int rc = avcodec_open2(c, x, NULL);
    return rc < 0 ? fail_av(e, rc, "open decoder") : 0;
}

/* Everything that shows in SPS and PPS is as at ingest (encode.c), the rest as fast as it goes. */
static int open_encoder(struct work *w, const AVFrame *f, struct err *e)
{
    const AVCodec *x = avcodec_find_encoder_by_name("libx264");
    AVCodecContext *c = w->encoder = x ? avcodec_alloc_context3(x) : NULL;
    if (!c)
        return fail_av(e, AVERROR_ENCODER_NOT_FOUND, "encoder");
    c->width = w->s.w;
    c->height = w->s.h;
    c->pix_fmt = AV_PIX_FMT_YUV420P;
    c->time_base = (AVRational){(int)w->s.ticks, (int)w->s.timescale};
    av_reduce(&c->time_base.num, &c->time_base.den, w->s.ticks, w->s.timescale, INT_MAX);
    c->framerate = av_inv_q(c->time_base);
    c->sample_aspect_ratio = (AVRational){1, 1};
    c->gop_size = c->keyint_min = w->s.count;
    c->thread_count = 1;
    c->level = (uint8_t)w->s.config.p[3];
    c->color_range = AVCOL_RANGE_MPEG;
    c->color_primaries = f->color_primaries;
    c->color_trc = f->color_trc;
    c->colorspace = f->colorspace;
    c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_CLOSED_GOP;
    av_opt_set(c->priv_data, "preset", "ultrafast", 0);
    av_opt_set(c->priv_data, "profile", "high", 0);
    av_opt_set(c->priv_data, "forced-idr", "1", 0);
    av_opt_set_double(c->priv_data, "crf", 23, 0);
    // A short look-ahead with macroblock trees costs a fifth of the time and saves two fifths of the bytes.
    av_opt_set(
        c->priv_data, "x264-params",
        "scenecut=0:open-gop=0:stitchable=1:cabac=1:ref=1:8x8dct=1:weightp=1:weightb=1:"
        "bframes=3:b-pyramid=normal:b-adapt=1:no-deblock=0:me=hex:subme=1:aq-mode=1:mbtree=1:"
        "rc-lookahead=10:partitions=i8x8,i4x4,p8x8",
        0);
    int rc = avcodec_open2(c, x, NULL);
    if (rc < 0)
        return fail_av(e, rc, "open encoder");
    if (!same_headers(w->s.config, c->extradata, (size_t)c->extradata_size))
        return fail_set(e, "media.burst_splice",
                        "The segment was made by another encoder: nothing can be spliced in.");
    return 0;
}

static int collect(struct work *w, struct err *e)
{
    const AVPacket *p = w->coded;
    int64_t delay = w->s.delay / w->s.ticks, shift = p->pts - w->done + delay;
    if (w->done >= w->s.count || p->pts < 0 || p->pts >= w->s.count || shift < 0 ||
        (bool)(p->flags & AV_PKT_FLAG_KEY) != (w->done == 0))
        return fail_set(e, "media.burst_splice", "The encoder did not keep the order of frames.");
    size_t before = w->data.n;
    frag_put_annexb(&w->data, p->data, (size_t)p->size);
    w->out[w->done++] = (struct frag_sample){(uint32_t)(w->data.n - before), w->s.ticks,
                                             (int32_t)(shift * w->s.ticks)};
    return 0;
}

/* f NULL: the end. */
static int encode(struct work *w, AVFrame *f, struct err *e)
{
    int rc = avcodec_send_frame(w->encoder, f);
    while (rc >= 0 && (rc = avcodec_receive_packet(w->encoder, w->coded)) >= 0) {
        int bad = collect(w, e);
        av_packet_unref(w->coded);
        if (bad)
            return -1;
    }
    return rc == AVERROR(EAGAIN) || rc == AVERROR_EOF ? 0 : fail_av(e, rc, "encode");
}

static int mark(struct work *w, AVFrame *f)
{
    const struct burst_place *p = &w->place;
    int rc = av_frame_make_writable(f);
    if (rc < 0)
        return rc;
    bool first = w->sent < (w->s.count * p->turn >> 16);
    int x = first ? p->x1 : p->x2, y = first ? p->y1 : p->y2;
    int room_x = f->width - w->label.w, room_y = f->height - w->label.h;
    label_blend(&w->label, f, room_x > 0 ? (int)((int64_t)room_x * x >> 16) : 0,
                room_y > 0 ? (int)((int64_t)room_y * y >> 16) : 0);
    return 0;
}

static int take(struct work *w, AVFrame *f, struct err *e)
{
    if (f->width != w->s.w || f->height != w->s.h || f->format != AV_PIX_FMT_YUV420P ||
        w->sent >= w->s.count || f->decode_error_flags)
        return fail_set(e, "media.burst_input", "The segment does not decode.");
    if (!w->encoder) {
        int low = f->width < f->height ? f->width : f->height;
        if (open_encoder(w, f, e) ||
            label_make(&w->label, w->font, w->text, w->text_n, low / 18, f->width * 9 / 10, e))
            return -1;
    }
    int rc = mark(w, f);
    if (rc < 0)
        return fail_av(e, rc, "mark");
    while (f->nb_side_data)
        av_frame_remove_side_data(f, f->side_data[0]->type);
    f->pts = w->sent;
    f->pict_type = w->sent++ ? AV_PICTURE_TYPE_NONE : AV_PICTURE_TYPE_I;
    return encode(w, f, e);
}

/* p NULL: the end. */
static int decode(struct work *w, AVPacket *p, struct err *e)
{
    int rc = avcodec_send_packet(w->decoder, p);
    while (rc >= 0 && (rc = avcodec_receive_frame(w->decoder, w->frame)) >= 0) {
        int bad = take(w, w->frame, e);
        av_frame_unref(w->frame);
        if (bad)
            return -1;
    }
    return rc == AVERROR(EAGAIN) || rc == AVERROR_EOF
               ? 0
               : fail_set(e, "media.burst_input", "The segment does not decode.");
}

static int run(struct work *w, struct err *e)
{
    size_t at = 0;
    for (int i = 0; i < w->s.count; i++) {
        size_t n = w->s.sample[i].size;
        int rc = av_new_packet(w->packet, (int)n);
        if (rc < 0)
            return fail_av(e, rc, "decode");
        memcpy(w->packet->data, w->s.data.p + at, n);
        at += n;
        w->packet->pts = w->packet->dts = i;
        rc = decode(w, w->packet, e);
        av_packet_unref(w->packet);
        if (rc)
            return -1;
    }
    if (decode(w, NULL, e))
        return -1;
    if (w->sent != w->s.count)
        return fail_set(e, "media.burst_input", "The segment does not decode.");
    if (encode(w, NULL, e))
        return -1;
    return w->done == w->s.count ? 0 : fail_av(e, AVERROR_EXTERNAL, "encode");
}

/* Pictures whose frames all last equally long, their delay a number of frames. */
static int read_source(struct unfrag *s, struct str init, struct str segment)
{
    if (unfrag_init(s, init) || s->audio || unfrag_segment(s, segment) || s->delay % s->ticks)
        return -1;
    for (int i = 0; i < s->count; i++)
        if (s->sample[i].duration != s->ticks)
            return -1;
    return 0;
}

int burst_encode(struct str init, struct str segment, const struct label_font *font,
                 const uint32_t *text, int n, struct burst_place place, struct buf *out,
                 struct err *e)
{
    struct work *w = calloc(1, sizeof *w);
    must(w != NULL);
    *w = (struct work){.font = font, .text = text, .text_n = n, .place = place};
    int rc = read_source(&w->s, init, segment)
                 ? fail_set(e, "media.burst_input", "This is not a segment of ours.")
                 : 0;
    w->frame = av_frame_alloc();
    w->packet = av_packet_alloc();
    w->coded = av_packet_alloc();
    must(w->frame && w->packet && w->coded);
    if (!rc)
        rc = open_decoder(w, e) || run(w, e) ? -1 : 0;
    if (!rc)
        frag_segment(out, w->s.seq, w->s.decode_time, false, w->out, w->done, w->data.p, w->data.n);
    avcodec_free_context(&w->decoder);
    avcodec_free_context(&w->encoder);
    av_frame_free(&w->frame);
    av_packet_free(&w->packet);
    av_packet_free(&w->coded);
    label_fini(&w->label);
    buf_fini(&w->data);
    free(w);
    return rc;
}
