// SPDX-License-Identifier: Apache-2.0
#include "media/still.h"
#include <libavcodec/avcodec.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "media/fail.h"
#include "media/pixels.h"
#include "media/poster.h"
#include "media/probe.h"
#include "media/store.h"

static int bad(struct err *e)
{
    return fail_set(e, "media.bad_picture",
                    "This picture cannot be read; please send a whole JPEG, PNG or WebP file.");
}

static int read_file(int fd, AVPacket *p, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        return fail_set(e, "media.bad_job", "The input is not a file.");
    if (st.st_size < 16 || st.st_size > STILL_BYTES)
        return bad(e);
    int rc = av_new_packet(p, (int)st.st_size);
    if (rc < 0)
        return fail_av(e, rc, "read the picture");
    for (int done = 0; done < p->size;) {
        ssize_t n = pread(fd, p->data + done, (size_t)(p->size - done), done);
        if (n <= 0)
            return bad(e);
        done += (int)n;
    }
    return 0;
}

/* By the first bytes: a name proves nothing. */
static enum AVCodecID kind(const uint8_t *p)
{
    if (!memcmp(p, "\xff\xd8\xff", 3))
        return AV_CODEC_ID_MJPEG;
    if (!memcmp(p, "\x89PNG\r\n\x1a\n", 8))
        return AV_CODEC_ID_PNG;
    if (!memcmp(p, "RIFF", 4) && !memcmp(p + 8, "WEBP", 4))
        return AV_CODEC_ID_WEBP;
    return AV_CODEC_ID_NONE;
}

static int decode(AVPacket *p, AVFrame *f, struct err *e)
{
    const AVCodec *codec = avcodec_find_decoder(kind(p->data));
    AVCodecContext *c = codec ? avcodec_alloc_context3(codec) : NULL;
    if (!c)
        return bad(e);
    c->max_pixels = STILL_PIXELS;
    c->thread_count = 1;
    c->err_recognition = AV_EF_EXPLODE;
    c->codec_whitelist = av_strdup("mjpeg,png,webp,vp8");
    int rc = avcodec_open2(c, codec, NULL);
    if (rc >= 0)
        rc = avcodec_send_packet(c, p);
    if (rc >= 0)
        rc = avcodec_send_packet(c, NULL);
    if (rc >= 0)
        rc = avcodec_receive_frame(c, f);
    avcodec_free_context(&c);
    if (rc == AVERROR(ENOMEM))
        return fail_av(e, rc, "decode the picture");
    return rc < 0 || f->decode_error_flags ? bad(e) : 0;
}

static int even(double v)
{
    return (int)lround(v / 2) * 2;
}

static int shape(const AVFrame *f, struct pixels *p, struct err *e)
{
    bool swap = false, flip_x = false, flip_y = false;
    const AVFrameSideData *m = av_frame_get_side_data(f, AV_FRAME_DATA_DISPLAYMATRIX);
    if (m && m->size >= 9 * sizeof(int32_t))
        probe_turn((const int32_t *)(const void *)m->data, &swap, &flip_x, &flip_y);
    int w = swap ? f->height : f->width, h = swap ? f->width : f->height;
    int low = w < h ? w : h, high = w < h ? h : w;
    if (low < STILL_SIDE_MIN || high > 4 * low)
        return fail_set(e, "media.bad_picture",
                        "The picture is %d x %d pixels; a poster has at least %d on each side and "
                        "is at most four times as long as it is wide.",
                        w, h, STILL_SIDE_MIN);
    double k = fmin(1, (double)STILL_SIDE / high);
    if (pixels_init(p, even(w * k), even(h * k), SWS_AREA, pixels_color(f), e))
        return -1;
    p->swap = swap;
    p->flip_x = flip_x;
    p->flip_y = flip_y;
    return 0;
}

int still_run(int fd, int dirfd, struct buf *out, struct err *e)
{
    static const uint8_t no_secret[32]; // nothing is sealed
    struct pixels pixels = {0};
    AVPacket *p = av_packet_alloc();
    AVFrame *f = av_frame_alloc(), *small = NULL;
    struct store *s = store_new(dirfd, no_secret, e);
    must(p && f);
    int rc = s && !read_file(fd, p, e) && !decode(p, f, e) && !shape(f, &pixels, e) ? 0 : -1;
    if (!rc) {
        f->interlaced_frame = 0;
        small = pixels_convert(&pixels, f, e);
        rc = !small || poster_jpeg(small, s, "poster.jpg", e) || store_sync(s, e) ? -1 : 0;
    }
    if (!rc)
        buf_printf(out, "{\"width\":%d,\"height\":%d}", small->width, small->height);
    av_frame_free(&small);
    av_frame_free(&f);
    av_packet_free(&p);
    pixels_fini(&pixels);
    store_free(s);
    return rc;
}
