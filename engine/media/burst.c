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

enum { FRAMES_MAX = 6 * 120 };

/* ---- reading what frag.c wrote ---- */

struct source {
    int w, h;
    uint32_t timescale, delay, seq, ticks; /* ticks of one frame */
    uint64_t decode_time;
    struct str avcc, data;
    int frames;
    struct frag_sample sample[FRAMES_MAX];
};

static uint32_t be32(const char *p)
{
    const uint8_t *u = (const uint8_t *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

/* The inside of the first box of that type, empty when there is none. */
static struct str find(struct str in, const char *type)
{
    size_t at = 0;
    while (at + 8 <= in.n) {
        size_t size = be32(in.p + at);
        if (size < 8 || size > in.n - at)
            break;
        if (!memcmp(in.p + at + 4, type, 4))
            return (struct str){in.p + at + 8, size - 8};
        at += size;
    }
    return (struct str){"", 0};
}

static struct str skip(struct str s, size_t n)
{
    return s.n < n ? (struct str){"", 0} : (struct str){s.p + n, s.n - n};
}

static int read_init(struct source *s, struct str init)
{
    struct str trak = find(find(init, "moov"), "trak"), mdia = find(trak, "mdia");
    struct str mdhd = find(mdia, "mdhd"), elst = find(find(trak, "edts"), "elst");
    struct str stsd = find(find(find(mdia, "minf"), "stbl"), "stsd");
    struct str avc1 = find(skip(stsd, 8), "avc1");
    s->avcc = find(skip(avc1, 78), "avcC");
    if (mdhd.n < 24 || s->avcc.n < 7)
        return -1;
    s->w = (int)(be32(avc1.p + 24) >> 16);
    s->h = (int)(be32(avc1.p + 24) & 0xffff);
    s->timescale = be32(mdhd.p + 12);
    s->delay = elst.n >= 20 ? be32(elst.p + 12) : 0;
    return s->timescale && s->w > 0 && s->h > 0 && !((s->w | s->h) & 1) ? 0 : -1;
}

/* Only the layout that frag_segment has for pictures. */
static int read_trun(struct source *s, struct str trun)
{
    enum { FLAGS = 0x1 | 0x4 | 0x200 | 0x800 };
    if (trun.n < 16 || (be32(trun.p) & 0xffffff) != FLAGS)
        return -1;
    uint32_t n = be32(trun.p + 4);
    if (n < 1 || n > FRAMES_MAX || trun.n < 16 + 8 * (size_t)n)
        return -1;
    size_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        const char *p = trun.p + 16 + 8 * (size_t)i;
        s->sample[i] = (struct frag_sample){be32(p), s->ticks, (int32_t)be32(p + 4)};
        total += s->sample[i].size;
    }
    s->frames = (int)n;
    return total <= s->data.n ? 0 : -1;
}

static int read_segment(struct source *s, struct str segment)
{
    struct str moof = find(segment, "moof"), traf = find(moof, "traf");
    struct str mfhd = find(moof, "mfhd"), tfhd = find(traf, "tfhd"), tfdt = find(traf, "tfdt");
    s->data = find(segment, "mdat");
    if (mfhd.n < 8 || tfhd.n < 16 || (be32(tfhd.p) & 0xffffff) != (0x020000 | 0x8 | 0x20) ||
        tfdt.n < 12 || tfdt.p[0] != 1)
        return -1;
    s->seq = be32(mfhd.p + 4);
    s->ticks = be32(tfhd.p + 8);
    s->decode_time = (uint64_t)be32(tfdt.p + 4) << 32 | be32(tfdt.p + 8);
    return s->ticks && s->delay % s->ticks == 0 ? read_trun(s, find(traf, "trun")) : -1;
}

/* ---- the parameter sets ---- */

/* The encoder's headers (Annex B) are the SPS and PPS of that avcC box. */
static bool same_headers(struct str avcc, const uint8_t *headers, size_t n)
{
    struct frag_color any = {2, 2, 2};
    struct buf init = {0};
    char codecs[24];
    struct source s = {0};
    // The writer of init segments makes an avcC of these headers too: then it is bytes against bytes.
    bool same = frag_init_video(&init, 16, 16, 1, 0, any, headers, n, codecs) == 0 &&
                read_init(&s, (struct str){init.p, init.n}) == 0 && s.avcc.n == avcc.n &&
                !memcmp(s.avcc.p, avcc.p, avcc.n);
    buf_fini(&init);
    return same;
}

/* ---- decode, blend, encode ---- */

struct work {
    struct source s;
    const struct label_font *font;
    const uint32_t *text;
    int text_n;
    struct burst_place place;
    struct label label;
    AVCodecContext *decoder, *encoder;
    AVFrame *frame;
    AVPacket *packet, *coded;
    int shown, sent, done; /* frames decoded, fed to and out of the encoder */
    struct frag_sample out[FRAMES_MAX];
    struct buf data;
};

static int open_decoder(struct work *w, struct err *e)
{
    const AVCodec *x = avcodec_find_decoder(AV_CODEC_ID_H264);
    AVCodecContext *c = w->decoder = x ? avcodec_alloc_context3(x) : NULL;
    if (!c)
        return fail_av(e, AVERROR_DECODER_NOT_FOUND, "decoder");
    c->thread_count = 1;
    c->extradata = av_mallocz(w->s.avcc.n + AV_INPUT_BUFFER_PADDING_SIZE);
    if (!c->extradata)
        return fail_av(e, AVERROR(ENOMEM), "decoder");
    memcpy(c->extradata, w->s.avcc.p, w->s.avcc.n);
    c->extradata_size = (int)w->s.avcc.n;
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
    c->gop_size = c->keyint_min = w->s.frames;
    c->thread_count = 1;
    c->level = (uint8_t)w->s.avcc.p[3];
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
    if (!same_headers(w->s.avcc, c->extradata, (size_t)c->extradata_size))
        return fail_set(e, "media.burst_splice",
                        "The segment was made by another encoder: nothing can be spliced in.");
    return 0;
}

static int collect(struct work *w, struct err *e)
{
    const AVPacket *p = w->coded;
    int64_t delay = w->s.delay / w->s.ticks, shift = p->pts - w->done + delay;
    if (w->done >= w->s.frames || p->pts < 0 || p->pts >= w->s.frames || shift < 0 ||
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
    bool first = w->sent < (w->s.frames * p->turn >> 16);
    int x = first ? p->x1 : p->x2, y = first ? p->y1 : p->y2;
    int room_x = f->width - w->label.w, room_y = f->height - w->label.h;
    label_blend(&w->label, f, room_x > 0 ? (int)((int64_t)room_x * x >> 16) : 0,
                room_y > 0 ? (int)((int64_t)room_y * y >> 16) : 0);
    return 0;
}

static int take(struct work *w, AVFrame *f, struct err *e)
{
    if (f->width != w->s.w || f->height != w->s.h || f->format != AV_PIX_FMT_YUV420P ||
        w->sent >= w->s.frames || f->decode_error_flags)
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
    for (int i = 0; i < w->s.frames; i++) {
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
    if (w->sent != w->s.frames)
        return fail_set(e, "media.burst_input", "The segment does not decode.");
    if (encode(w, NULL, e))
        return -1;
    return w->done == w->s.frames ? 0 : fail_av(e, AVERROR_EXTERNAL, "encode");
}

int burst_encode(struct str init, struct str segment, const struct label_font *font,
                 const uint32_t *text, int n, struct burst_place place, struct buf *out,
                 struct err *e)
{
    struct work *w = calloc(1, sizeof *w);
    must(w != NULL);
    *w = (struct work){.font = font, .text = text, .text_n = n, .place = place};
    int rc = read_init(&w->s, init) || read_segment(&w->s, segment)
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
