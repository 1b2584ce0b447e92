// SPDX-License-Identifier: Apache-2.0
#include "media/sprite.h"
#include <stdio.h>
#include <string.h>
#include "media/fail.h"
#include "media/pixels.h"
#include "media/poster.h"

static AVFrame *blank(int w, int h, const AVFrame *like)
{
    AVFrame *f = av_frame_alloc();
    if (!f)
        return NULL;
    f->width = w;
    f->height = h;
    f->format = AV_PIX_FMT_YUV420P;
    f->colorspace = like->colorspace;
    f->color_range = like->color_range;
    if (av_frame_get_buffer(f, 0) < 0)
        av_frame_free(&f);
    return f;
}

static AVFrame *shrink(struct sprite *s, const AVFrame *f)
{
    if (!s->w) {
        int side = f->width > f->height ? f->width : f->height;
        s->w = (f->width * SPRITE_SIDE / side + 1) & ~1;
        s->h = (f->height * SPRITE_SIDE / side + 1) & ~1;
        if (s->w < 2)
            s->w = 2;
        if (s->h < 2)
            s->h = 2;
    }
    AVFrame *t = blank(s->w, s->h, f);
    struct SwsContext *c =
        t ? pixels_scaler(f->width, f->height, AV_PIX_FMT_YUV420P, false, f->colorspace, s->w, s->h,
                          AV_PIX_FMT_YUV420P, false, f->colorspace, SWS_AREA)
          : NULL;
    if (!c || sws_scale(c, (const uint8_t *const *)f->data, f->linesize, 0, f->height, t->data,
                        t->linesize) <= 0)
        av_frame_free(&t);
    sws_freeContext(c);
    return t;
}

void sprite_offer(struct sprite *s, const AVFrame *f)
{
    if (!s->step)
        s->step = 1;
    if (s->offered++ % s->step)
        return;
    if (s->n == SPRITE_TILES) { // twice as far apart from here on
        for (int i = 0; i < s->n; i++) {
            if (i % 2)
                av_frame_free(&s->tile[i]);
            else
                s->tile[i / 2] = s->tile[i];
        }
        s->n /= 2;
        memset(s->tile + s->n, 0, sizeof s->tile - (size_t)s->n * sizeof *s->tile);
        s->step *= 2;
    }
    s->tile[s->n++] = shrink(s, f);
}

static void put_plane(AVFrame *to, const AVFrame *t, int plane, int x, int y)
{
    int half = plane ? 1 : 0;
    for (int row = 0; row < t->height >> half; row++)
        memcpy(to->data[plane] + (size_t)((y >> half) + row) * (size_t)to->linesize[plane] +
                   (x >> half),
               t->data[plane] + (size_t)row * (size_t)t->linesize[plane],
               (size_t)(t->width >> half));
}

static int write_sheet(struct sprite *s, int first, int n, const AVFrame *like, struct store *st,
                       struct err *e)
{
    int rows = (n + SPRITE_COLUMNS - 1) / SPRITE_COLUMNS;
    int columns = s->n < SPRITE_COLUMNS ? s->n : SPRITE_COLUMNS;
    AVFrame *f = blank(columns * s->w, rows * s->h, like);
    if (!f)
        return fail_av(e, AVERROR(ENOMEM), "storyboard");
    for (int p = 0; p < 3; p++)
        memset(f->data[p], p ? 128 : 16, (size_t)f->linesize[p] * (size_t)(f->height >> !!p));
    for (int i = 0; i < n; i++)
        for (int p = 0; p < 3 && s->tile[first + i]; p++)
            put_plane(f, s->tile[first + i], p, i % SPRITE_COLUMNS * s->w,
                      i / SPRITE_COLUMNS * s->h);
    char *name = s->sheet[s->nsheets++];
    int rc = store_random_name(name, "jpg", e) || poster_jpeg(f, st, name, e);
    av_frame_free(&f);
    return rc ? -1 : 0;
}

int sprite_write(struct sprite *s, struct store *st, struct err *e)
{
    const AVFrame *like = NULL;
    int per = SPRITE_COLUMNS * SPRITE_ROWS;
    for (int i = 0; i < s->n && !like; i++)
        like = s->tile[i];
    for (int i = 0; like && i < s->n; i += per)
        if (write_sheet(s, i, s->n - i < per ? s->n - i : per, like, st, e))
            return -1;
    return 0;
}

void sprite_json(const struct sprite *s, double seconds, struct buf *out)
{
    buf_printf(out,
               "{\"w\":%d,\"h\":%d,\"columns\":%d,\"rows\":%d,\"count\":%d,\"interval\":%.6f,"
               "\"sheets\":[",
               s->w, s->h, SPRITE_COLUMNS, SPRITE_ROWS, s->n, seconds * (double)s->step);
    for (int i = 0; i < s->nsheets; i++)
        buf_printf(out, "%s\"%s\"", i ? "," : "", s->sheet[i]);
    buf_puts(out, "]}");
}

void sprite_fini(struct sprite *s)
{
    for (int i = 0; i < s->n; i++)
        av_frame_free(&s->tile[i]);
    s->n = 0;
}
