// SPDX-License-Identifier: Apache-2.0
#include "media/clip.h"
#include <math.h>
#include <string.h>
#include "media/fail.h"
#include "media/pixels.h"
#include "media/probe.h"

struct reader {
    const struct clip_sink *sink;
    struct probe src;
    AVCodecContext *decoder;
    struct pixels pixels;
    bool sized, stop;
    int64_t origin, pictures;
    double last, next; /* seconds of the last picture, of the next one that is wanted */
};

static int show(struct reader *r, const AVFrame *f, struct err *e)
{
    const struct clip_sink *s = r->sink;
    double fps = r->src.rate_avg > 0 ? r->src.rate_avg : 25, t = r->last + 1 / fps;
    int64_t pts = f->best_effort_timestamp;
    if (!r->sized) {
        struct frag_color c = pixels_color(f);
        if (pixels_init(&r->pixels, s->w, s->h, SWS_AREA, c, e))
            return -1;
        r->pixels.swap = r->src.swap;
        r->pixels.flip_x = r->src.flip_x;
        r->pixels.flip_y = r->src.flip_y;
        r->sized = true;
        r->origin = pts == AV_NOPTS_VALUE ? 0 : pts;
        t = 0;
    }
    if (pts != AV_NOPTS_VALUE)
        t = (double)(pts - r->origin) * av_q2d(r->decoder->pkt_timebase);
    if (!(t >= r->last))
        t = r->last;
    r->last = t;
    r->pictures++;
    if (t > CLIP_MAX_S || (double)r->pictures > CLIP_MAX_FPS * (t + PROBE_MAX_GAP_S))
        return fail_set(e, "media.too_long", "The clip is longer than %d hours.",
                        CLIP_MAX_S / 3600);
    if (s->rate > 0 && t + 1e-6 < r->next)
        return 0;
    if (s->rate > 0)
        r->next = (floor(t * s->rate + 1e-6) + 1) / s->rate;
    AVFrame *g = pixels_convert(&r->pixels, f, e);
    if (!g)
        return -1;
    r->stop = s->picture(s->arg, t, g->data[0], g->linesize[0]) != 0;
    av_frame_free(&g);
    return 0;
}

static int decode(struct reader *r, const AVPacket *p, AVFrame *f, struct err *e)
{
    if (avcodec_send_packet(r->decoder, p) == AVERROR(ENOMEM))
        return fail_av(e, AVERROR(ENOMEM), "decode");
    for (int errors = 0; !r->stop && errors < 1000;) {
        int rc = avcodec_receive_frame(r->decoder, f);
        if (rc == AVERROR(EAGAIN) || rc == AVERROR_EOF)
            return 0;
        if (rc < 0) { // a leak may be damaged: what is whole counts
            if (p)
                return 0;
            errors++;
            continue;
        }
        rc = show(r, f, e);
        av_frame_unref(f);
        if (rc)
            return -1;
    }
    return 0;
}

static int run(struct reader *r, struct err *e)
{
    AVPacket *p = av_packet_alloc();
    AVFrame *f = av_frame_alloc();
    must(p && f);
    int rc = 0;
    while (!rc && !r->stop && av_read_frame(r->src.format, p) >= 0) {
        if (*r->sink->cancel)
            rc = fail_set(e, "media.cancelled", "The job was cancelled.");
        else if (p->stream_index == r->src.video)
            rc = decode(r, p, f, e);
        av_packet_unref(p);
    }
    if (!rc && !r->stop)
        rc = decode(r, NULL, f, e);
    if (!rc && !r->pictures)
        rc = fail_set(e, "media.truncated",
                      "No picture could be decoded; the file is damaged or incomplete.");
    av_packet_free(&p);
    av_frame_free(&f);
    return rc;
}

int clip_read(int fd, const char *ext, const struct clip_sink *s, struct clip_info *info,
              struct err *e)
{
    struct reader r = {.sink = s};
    int rc = probe_open(&r.src, fd, s->cancel, ext, e);
    if (!rc)
        rc = probe_decoder(&r.src, r.src.video, 1, &r.decoder, e);
    if (!rc) {
        *info = (struct clip_info){r.src.w, r.src.h, r.src.seconds, r.src.rate_avg};
        if (s->rough)
            r.decoder->skip_loop_filter = AVDISCARD_ALL;
        if (s->rate > 0)
            r.decoder->skip_frame = AVDISCARD_NONREF;
        rc = run(&r, e);
    }
    if (r.sized)
        pixels_fini(&r.pixels);
    avcodec_free_context(&r.decoder);
    probe_close(&r.src);
    return rc;
}

/* ---- our own segments ---- */

struct memory {
    const uint8_t *p;
    size_t n, pos;
};

static int memory_read(void *arg, uint8_t *buf, int n)
{
    struct memory *m = arg;
    size_t left = m->n - m->pos, k = (size_t)n < left ? (size_t)n : left;
    memcpy(buf, m->p + m->pos, k);
    m->pos += k;
    return k ? (int)k : AVERROR_EOF;
}

static int segment_pictures(AVFormatContext *f, AVCodecContext *c,
                            void (*fn)(void *, int, const uint8_t *, ptrdiff_t, int, int),
                            void *arg)
{
    AVPacket *p = av_packet_alloc();
    AVFrame *g = av_frame_alloc();
    must(p && g);
    int n = 0;
    for (bool more = true; more;) {
        more = av_read_frame(f, p) >= 0;
        avcodec_send_packet(c, more ? p : NULL);
        while (avcodec_receive_frame(c, g) >= 0) {
            fn(arg, n++, g->data[0], g->linesize[0], g->width, g->height);
            av_frame_unref(g);
        }
        av_packet_unref(p);
    }
    av_packet_free(&p);
    av_frame_free(&g);
    return n;
}

int clip_segment(const uint8_t *data, size_t n,
                 void (*fn)(void *arg, int number, const uint8_t *y, ptrdiff_t stride, int w,
                            int h),
                 void *arg, struct err *e)
{
    struct memory m = {data, n, 0};
    uint8_t *buf = av_malloc(1 << 16);
    AVIOContext *io = buf ? avio_alloc_context(buf, 1 << 16, 0, &m, memory_read, NULL, NULL) : NULL;
    AVFormatContext *f = avformat_alloc_context();
    AVCodecContext *c = NULL;
    must(io && f);
    f->pb = io;
    f->flags |= AVFMT_FLAG_CUSTOM_IO;
    int got = 0, rc = avformat_open_input(&f, "", av_find_input_format("mp4"), NULL);
    const AVCodec *codec =
        rc >= 0 && f->nb_streams ? avcodec_find_decoder(f->streams[0]->codecpar->codec_id) : NULL;
    if (codec && (c = avcodec_alloc_context3(codec))) {
        avcodec_parameters_to_context(c, f->streams[0]->codecpar);
        c->thread_count = 1;
        if (avcodec_open2(c, codec, NULL) >= 0)
            got = segment_pictures(f, c, fn, arg);
    }
    avcodec_free_context(&c);
    avformat_close_input(&f);
    av_freep(&io->buffer);
    avio_context_free(&io);
    return got ? 0 : fail_set(e, "media.internal", "A reference segment of the title is broken.");
}
