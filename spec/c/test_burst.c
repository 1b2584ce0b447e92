/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <libavcodec/avcodec.h>
#include <libavutil/log.h>
#include <libavutil/opt.h>
#include <string.h>

#include "media/burst.h"
#include "media/frag.h"

enum { W = 320, H = 240, FRAMES = 20, TICKS = 512 };

static AVCodecContext *encoder(const char *params)
{
    av_log_set_level(AV_LOG_ERROR);
    AVCodecContext *c = avcodec_alloc_context3(avcodec_find_encoder_by_name("libx264"));
    c->width = W;
    c->height = H;
    c->pix_fmt = AV_PIX_FMT_YUV420P;
    c->time_base = (AVRational){1, 25};
    c->framerate = (AVRational){25, 1};
    c->sample_aspect_ratio = (AVRational){1, 1};
    c->gop_size = c->keyint_min = 50;
    c->thread_count = 1;
    c->rc_max_rate = 400000;
    c->rc_buffer_size = 800000;
    c->color_range = AVCOL_RANGE_MPEG;
    c->color_primaries = AVCOL_PRI_BT709;
    c->color_trc = AVCOL_TRC_BT709;
    c->colorspace = AVCOL_SPC_BT709;
    c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_CLOSED_GOP;
    av_opt_set(c->priv_data, "preset", "veryfast", 0);
    av_opt_set(c->priv_data, "profile", "high", 0);
    av_opt_set(c->priv_data, "x264-params", params, 0);
    CHECK(avcodec_open2(c, c->codec, NULL) == 0);
    return c;
}

/* A grey film of FRAMES pictures, as ingest would have written it. */
static void film(const char *params, struct buf *init, struct buf *segment)
{
    AVCodecContext *c = encoder(params);
    AVPacket *p = av_packet_alloc();
    AVFrame *f = av_frame_alloc();
    struct frag_sample s[FRAMES];
    struct buf data = {0};
    char codecs[24];
    int n = 0, delay = c->has_b_frames;
    f->width = W;
    f->height = H;
    f->format = AV_PIX_FMT_YUV420P;
    CHECK(av_frame_get_buffer(f, 0) == 0);
    for (int i = 0; i <= FRAMES; i++) {
        av_frame_make_writable(f);
        for (int k = 0; k < 3; k++)
            memset(f->data[k], 128, (size_t)(f->linesize[k] * (k ? H / 2 : H)));
        f->pts = i;
        avcodec_send_frame(c, i < FRAMES ? f : NULL);
        while (avcodec_receive_packet(c, p) == 0) {
            size_t before = data.n;
            frag_put_annexb(&data, p->data, (size_t)p->size);
            s[n] = (struct frag_sample){(uint32_t)(data.n - before), TICKS,
                                        (int32_t)(p->pts - n + delay) * TICKS};
            n++;
            av_packet_unref(p);
        }
    }
    CHECK(n == FRAMES);
    CHECK(frag_init_video(init, W, H, 25 * TICKS, (uint32_t)delay * TICKS,
                          (struct frag_color){1, 1, 1}, c->extradata, (size_t)c->extradata_size,
                          codecs) == 0);
    frag_segment(segment, 8, 7 * 50 * TICKS, false, s, n, data.p, data.n);
    buf_fini(&data);
    av_frame_free(&f);
    av_packet_free(&p);
    avcodec_free_context(&c);
}

static int burn(const struct buf *init, const struct buf *segment, struct buf *out, struct err *e)
{
    struct label_font font;
    uint32_t text[LABEL_GLYPHS];
    int n = label_text("viewer", 6, "#42 2026-11-25", 14, text);
    CHECK(label_font_open(&font, NULL, e) == 0);
    struct burst_place place = {1000, 1000, 60000, 60000, 30000};
    int rc = burst_encode((struct str){init->p, init->n}, (struct str){segment->p, segment->n},
                          &font, text, n, place, out, e);
    label_font_close(&font);
    return rc;
}

TEST(burst_fits_its_place)
{
    struct buf init = {0}, segment = {0}, out = {0}, again = {0};
    struct err e = {0};
    film("scenecut=0:open-gop=0:stitchable=1", &init, &segment);
    CHECK(burn(&init, &segment, &out, &e) == 0);
    // The moof's heads: sequence number, decode time, duration and number of frames are the source's.
    CHECK(out.n > 200 && !memcmp(out.p + 4, segment.p + 4, 80));
    // It is itself a segment of ours, and the same job gives the same bytes.
    CHECK(burn(&init, &out, &again, &e) == 0);
    buf_clear(&again);
    struct buf twice = {0};
    CHECK(burn(&init, &segment, &twice, &e) == 0 && twice.n == out.n &&
          !memcmp(twice.p, out.p, out.n));
    buf_fini(&twice);
    buf_fini(&init);
    buf_fini(&segment);
    buf_fini(&out);
    buf_fini(&again);
}

TEST(burst_refuses_another_encoder)
{
    struct buf init = {0}, segment = {0}, out = {0};
    struct err e = {0};
    film("scenecut=0:open-gop=0:stitchable=1:8x8dct=0", &init, &segment);
    CHECK(burn(&init, &segment, &out, &e) == -1 && !strcmp(e.detail, "media.burst_splice"));
    CHECK(out.n == 0);
    buf_fini(&init);
    buf_fini(&segment);
}

TEST(burst_refuses_damage)
{
    struct buf init = {0}, segment = {0}, out = {0};
    film("scenecut=0:open-gop=0:stitchable=1", &init, &segment);
    size_t n = segment.n;
    for (size_t cut = 0; cut < n && cut < 300; cut++) {
        struct err e = {0};
        segment.n = cut;
        CHECK(burn(&init, &segment, &out, &e) == -1 && !strcmp(e.detail, "media.burst_input"));
    }
    buf_fini(&init);
    buf_fini(&segment);
    buf_fini(&out);
}

static int count(const char *name)
{
    uint32_t t[LABEL_GLYPHS];
    return label_text(name, strlen(name), "", 0, t);
}

TEST(label_hostile_names)
{
    uint32_t t[LABEL_GLYPHS];
    char longest[600];
    memset(longest, 'x', sizeof longest);
    int n = label_text(longest, 200, "#42 2026-11-25", 14, t);
    CHECK(n == LABEL_NAME_GLYPHS + 15 && t[LABEL_NAME_GLYPHS - 1] == 0x2026);
    CHECK(label_text(longest, sizeof longest, longest, sizeof longest, t) == LABEL_GLYPHS);
    CHECK(count("a\xcc\x81\xe2\x80\xae"
                "b\xe2\x80\x8b\x01\n") == 2);          // accent, override, zero width, control
    CHECK(count("\xf0\x9f\x98\x80\xef\xb8\x8f") == 1); // emoji with its selector
    CHECK(count("\xff\xc0\x80\xed\xa0\x80") > 0);      // no UTF-8
    n = label_text("\xd7\x90\xd7\x91 \xd7\x92 x", 9, "", 0, t); // Hebrew reads from the right
    CHECK(n == 6 && t[0] == 0x5d2 && t[2] == 0x5d1 && t[3] == 0x5d0 && t[5] == 'x');
    CHECK(count("") == 0);
}

TEST(label_stays_in_the_picture)
{
    struct label_font font;
    struct label l;
    struct err e = {0};
    uint32_t t[LABEL_GLYPHS];
    CHECK(label_font_open(&font, NULL, &e) == 0);
    int n = label_text("WWWWWWWWWWWWWWWWWWWWWWWW", 24, "#42", 3, t);
    CHECK(label_make(&l, &font, t, n, 40, 300, &e) == 0 && l.w <= 310);
    AVFrame *f = av_frame_alloc();
    f->width = 64;
    f->height = 16;
    f->format = AV_PIX_FMT_YUV420P;
    CHECK(av_frame_get_buffer(f, 0) == 0);
    label_blend(&l, f, 10, 4);
    label_blend(&l, f, -5, -5);
    label_blend(&l, f, 64, 16);
    label_fini(&l);
    av_frame_free(&f);
    label_font_close(&font);
}
