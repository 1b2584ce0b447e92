/* SPDX-License-Identifier: Apache-2.0
 * Segments as transport stream, read back by libavformat: the same coded pictures and sound, at the same moments. */
#include "test.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/log.h>
#include <stdlib.h>
#include <string.h>

#include "media/frag.h"
#include "media/ts.h"

enum {
    SCALE = 12800,
    TICKS = 512,
    FRAMES = 50,
    RATE = 48000,
    AAC = 94,
    DELAY = 2,
    PER_SEGMENT = 24
};

static const uint8_t headers[] = {0,    0, 0, 1, 0x67, 0x64, 0,    0x1e, 0xac, 0xd9, 0x40,
                                  0xa0, 0, 0, 0, 1,    0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0};

static struct str view(const struct buf *b)
{
    return (struct str){b->p, b->n};
}

static void put_be32(struct buf *b, uint32_t v)
{
    buf_put(b, (uint8_t[]){(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v},
            4);
}

/* Bytes that are no start code. */
static void put_noise(struct buf *b, uint8_t first, size_t n, unsigned seed)
{
    buf_putc(b, (char)first);
    for (size_t i = 1; i < n; i++)
        buf_putc(b, (char)(1 + (seed = seed * 1103515245 + 12345, seed >> 16) % 255));
}

/* Segment n of a made-up film, as long as `size` says by a free box; its NAL units also behind start codes into plain. */
static void pictures(int n, unsigned seed, size_t size, struct buf *segment, struct buf *plain)
{
    static const int order[5] = {0, 3, 1, 2, 4}; // shown, in a group of five that is repeated
    struct frag_sample s[FRAMES];
    struct buf data = {0};
    for (int i = 0; i < FRAMES; i++) {
        size_t before = data.n;
        for (int k = 0; k <= i % 2; k++) {
            size_t len = 5 + (seed * 7919 + (unsigned)(i * 131 + k * 17)) % (i ? 900 : 90000);
            put_be32(&data, (uint32_t)len);
            size_t at = data.n;
            put_noise(&data, i ? 0x41 : 0x65, len, seed + (unsigned)i);
            if (plain) {
                put_be32(plain, 1);
                buf_put(plain, data.p + at, len);
            }
        }
        s[i] = (struct frag_sample){(uint32_t)(data.n - before), TICKS,
                                    (order[i % 5] - i % 5 + DELAY) * TICKS};
    }
    frag_segment(segment, (uint32_t)n + 1, (uint64_t)n * FRAMES * TICKS, false, s, FRAMES, data.p,
                 data.n);
    if (size)
        frag_pad(segment, size);
    buf_fini(&data);
}

static void sound(int n, struct buf *segment, struct buf *plain)
{
    struct frag_sample s[AAC];
    struct buf data = {0};
    for (int i = 0; i < AAC; i++) {
        s[i] = (struct frag_sample){(uint32_t)(200 + i * 3 + n), 1024, 0};
        put_noise(&data, 0x21, s[i].size, (unsigned)(n * 1000 + i));
    }
    frag_segment(segment, (uint32_t)n + 1, (uint64_t)n * AAC * 1024, true, s, AAC, data.p, data.n);
    buf_put(plain, data.p, data.n);
    buf_fini(&data);
}

static void video_init(struct buf *out)
{
    char codecs[24];
    CHECK(frag_init_video(out, 640, 360, SCALE, DELAY * TICKS, (struct frag_color){1, 1, 1},
                          headers, sizeof headers, codecs) == 0);
}

static void audio_init(struct buf *out)
{
    frag_init_audio(out, RATE, 2, 128000, (const uint8_t[]){0x11, 0x90, 0x56, 0xe5, 0}, 5);
}

struct source {
    const char *p;
    size_t n, at;
};

static int read_source(void *arg, uint8_t *out, int n)
{
    struct source *s = arg;
    size_t k = s->n - s->at < (size_t)n ? s->n - s->at : (size_t)n;
    memcpy(out, s->p + s->at, k);
    s->at += k;
    return k ? (int)k : AVERROR_EOF;
}

static int complaints;
static void on_log(void *avcl, int level, const char *fmt, va_list va)
{
    char line[512];
    (void)avcl;
    if (level > AV_LOG_DEBUG)
        return;
    vsnprintf(line, sizeof line, fmt, va);
    complaints += level <= AV_LOG_WARNING || strstr(line, "Continuity") != NULL;
}

/* All packets of a stream, as libavformat cuts them: take(arg, packet number, packet). */
static int demux(const struct buf *ts, void (*take)(void *, int, const AVPacket *), void *arg)
{
    struct source from = {ts->p, ts->n, 0};
    AVFormatContext *f = avformat_alloc_context();
    f->pb = avio_alloc_context(av_malloc(4096), 4096, 0, &from, read_source, NULL, NULL);
    f->flags |=
        AVFMT_FLAG_NOPARSE | AVFMT_FLAG_NOFILLIN; // as they are, not as a parser would cut them
    complaints = 0;
    av_log_set_level(AV_LOG_DEBUG);
    av_log_set_callback(on_log);
    CHECK(avformat_open_input(&f, NULL, av_find_input_format("mpegts"), NULL) == 0);
    AVPacket *p = av_packet_alloc();
    int n = 0;
    for (; av_read_frame(f, p) == 0; n++) {
        take(arg, n, p);
        av_packet_unref(p);
    }
    av_packet_free(&p);
    av_free(f->pb->buffer);
    avio_context_free(&f->pb);
    avformat_close_input(&f);
    av_log_set_callback(av_log_default_callback);
    return n;
}

struct seen {
    struct buf plain;
    int wrong;
};

static void take_picture(void *arg, int n, const AVPacket *p)
{
    static const int order[5] = {0, 3, 1, 2, 4};
    struct seen *s = arg;
    const uint8_t *d = p->data;
    size_t len = (size_t)p->size, head = 6 + (n % FRAMES ? 0 : sizeof headers);
    int64_t dts = 900000 + (n - DELAY) * 3600, pts = dts + (order[n % 5] - n % 5 + DELAY) * 3600;
    if (len < head || d[4] != 9 ||
        (n % FRAMES == 0 && memcmp(d + 6, headers, sizeof headers) != 0) || p->pts != pts ||
        p->dts != dts || p->flags & AV_PKT_FLAG_CORRUPT)
        s->wrong++;
    else
        buf_put(&s->plain, d + head, len - head);
}

/* Four ADTS frames, the last packet of a segment two. */
static void take_sound(void *arg, int n, const AVPacket *p)
{
    struct seen *s = arg;
    int frame = n / PER_SEGMENT * AAC + n % PER_SEGMENT * 4, left = p->size, k = 0;
    s->wrong +=
        llabs(p->pts - 900000 - frame * INT64_C(1920)) > 1 || p->flags & AV_PKT_FLAG_CORRUPT;
    for (const uint8_t *d = p->data; left > 7; k++) {
        int len = (d[3] & 3) << 11 | d[4] << 3 | d[5] >> 5;
        // 48 kHz, two channels, AAC LC, no checksum
        if (d[0] != 0xff || d[1] != 0xf1 || d[2] != 0x4c || d[3] >> 6 != 2 || len <= 7 ||
            len > left)
            break;
        buf_put(&s->plain, (const char *)d + 7, (size_t)len - 7);
        d += len;
        left -= len;
    }
    s->wrong += left != 0 || k != (n % PER_SEGMENT == PER_SEGMENT - 1 ? 2 : 4);
}

static void some_pictures(int n, struct buf *segment, struct buf *plain)
{
    pictures(n, (unsigned)n * 77 + 5, 0, segment, plain);
}

/* Nine segments in one stream: libavformat finds in it what went in. */
static void round_trip(const struct buf *init, void (*make)(int, struct buf *, struct buf *),
                       void (*take)(void *, int, const AVPacket *), int packets)
{
    struct buf all = {0}, plain = {0};
    struct seen got = {0};
    struct err e = {0};
    for (int n = 0; n < 9; n++) {
        struct buf segment = {0};
        make(n, &segment, &plain);
        CHECK(ts_segment(view(init), view(&segment), &all, &e) == 0 && all.n % 188 == 0);
        buf_fini(&segment);
    }
    CHECK(demux(&all, take, &got) == 9 * packets);
    CHECK(got.wrong == 0 && complaints == 0);
    CHECK(got.plain.n == plain.n && !memcmp(got.plain.p, plain.p, plain.n));
    buf_fini(&all);
    buf_fini(&plain);
    buf_fini(&got.plain);
}

TEST(ts_pictures_are_those_of_the_segments)
{
    struct buf init = {0};
    video_init(&init);
    round_trip(&init, some_pictures, take_picture, FRAMES);
    buf_fini(&init);
}

TEST(ts_sound_is_that_of_the_segments)
{
    struct buf init = {0};
    audio_init(&init);
    round_trip(&init, sound, take_sound, PER_SEGMENT);
    buf_fini(&init);
}

TEST(ts_variants_are_equally_long)
{
    struct buf init = {0};
    struct err e = {0};
    video_init(&init);
    for (unsigned seed = 0; seed < 200; seed++) {
        struct buf pair[2] = {{0}}, ts[2] = {{0}};
        pictures(3, seed, 0, &pair[0], NULL);
        pictures(3, seed + 1, 0, &pair[1], NULL);
        size_t most = pair[0].n > pair[1].n ? pair[0].n : pair[1].n;
        for (int i = 0; i < 2; i++) {
            frag_pad(&pair[i], most + 8);
            CHECK(ts_segment(view(&init), view(&pair[i]), &ts[i], &e) == 0);
        }
        CHECK(ts[0].n == ts[1].n && ts[0].n < most * 1.2 + 100 * 188);
        for (int i = 0; i < 2; i++) {
            buf_fini(&pair[i]);
            buf_fini(&ts[i]);
        }
    }
    buf_fini(&init);
}

/* A view that ends where readable memory ends: a byte too far is seen by the address sanitizer. */
static int convert(struct str init, struct str segment)
{
    struct buf out = {0};
    struct err e = {0};
    char *a = malloc(init.n + 1), *b = malloc(segment.n + 1);
    memcpy(a + 1, init.p, init.n);
    memcpy(b + 1, segment.p, segment.n);
    int rc = ts_segment((struct str){a + 1, init.n}, (struct str){b + 1, segment.n}, &out, &e);
    CHECK(rc == 0 || (!strcmp(e.detail, "media.bad_segment") && out.n == 0));
    free(a);
    free(b);
    buf_fini(&out);
    return rc;
}

TEST(ts_refuses_damage)
{
    struct buf init[2] = {{0}}, segment[2] = {{0}}, plain = {0};
    video_init(&init[0]);
    audio_init(&init[1]);
    pictures(0, 1, 0, &segment[0], NULL);
    sound(0, &segment[1], &plain);
    CHECK(convert(view(&init[0]), view(&segment[1])) == -1 &&
          convert(view(&init[1]), view(&segment[0])) == -1);
    unsigned seed = 7, refused = 0;
    for (int i = 0; i < 2; i++) {
        CHECK(convert(view(&init[i]), view(&segment[i])) == 0);
        for (size_t n = 0; n < init[i].n; n++)
            CHECK(convert((struct str){init[i].p, n}, view(&segment[i])) == -1);
        for (size_t n = 0; n < segment[i].n; n += n < 2000 ? 1 : 97)
            CHECK(convert(view(&init[i]), (struct str){segment[i].p, n}) == -1);
        for (int k = 0; k < 20000; k++) {
            struct buf *b =
                (seed = seed * 1103515245 + 12345, seed >> 16 & 1) ? &init[i] : &segment[i];
            size_t at = (seed >> 8) % (b->n < 1200 ? b->n : 1200);
            char was = b->p[at];
            b->p[at] = (char)(seed >> 3);
            refused += convert(view(&init[i]), view(&segment[i])) != 0;
            b->p[at] = was;
        }
    }
    CHECK(refused > 1000);
    for (int i = 0; i < 2; i++) {
        buf_fini(&init[i]);
        buf_fini(&segment[i]);
    }
    buf_fini(&plain);
}
