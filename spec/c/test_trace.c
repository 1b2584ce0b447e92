/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <math.h>
#include <stdlib.h>

#include "media/aligner.h"
#include "media/trace.h"

enum { W = 320, H = 180, SHAPES = 60, PAIRS = 4 };
static unsigned seed;
static double dice(double from, double to)
{
    seed = seed * 1664525 + 1013904223;
    return from + (to - from) * (seed >> 8) / (1 << 24);
}

/* A scene: soft discs of many sizes. Coordinates of the title's picture in pixels; beyond it the scene goes on. */
struct scene {
    double x[SHAPES], y[SHAPES], r[SHAPES], luma[SHAPES];
};

static void scene_of(struct scene *s, unsigned number)
{
    seed = number * 7919 + 17;
    for (int i = 0; i < SHAPES; i++) {
        s->x[i] = dice(-40, W + 40);
        s->y[i] = dice(-40, H + 40);
        s->r[i] = dice(3, i < 20 ? 60 : 14);
        s->luma[i] = dice(30, 220);
    }
}

static double scene_at(const struct scene *s, double x, double y)
{
    double v = 120;
    for (int i = 0; i < SHAPES; i++) {
        double d = hypot(x - s->x[i], y - s->y[i]) - s->r[i];
        if (d < 1.5)
            v += (s->luma[i] - v) * fmin(1, 0.5 - d / 3);
    }
    return v;
}

/* The title's pixel that the clip shows at (x, y): the inverse of the map. */
static void back(const double m[9], double x, double y, double *ox, double *oy)
{
    double u = W / 2., cx = (x - u + .5) / u, cy = (y - H / 2. + .5) / u;
    double a = m[0] - m[6] * cx, b = m[1] - m[7] * cx, c = m[3] - m[6] * cy, d = m[4] - m[7] * cy;
    double e = cx - m[2], f = cy - m[5], det = a * d - b * c;
    *ox = (e * d - b * f) / det * u + u - .5;
    *oy = (a * f - e * c) / det * u + H / 2. - .5;
}

/* Largest error in pixels of the found map in the middle of the edges and in the corners of what the clip shows. */
static double placed(const double m[9], bool bars, double noise, const struct fp_view *from)
{
    static uint8_t title[PAIRS][W * H], clip[PAIRS][W * H];
    struct aligner_pair pair[PAIRS];
    static struct scene s;
    for (int k = 0; k < PAIRS; k++) {
        scene_of(&s, (unsigned)k);
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++) {
                double tx, ty;
                title[k][y * W + x] = (uint8_t)scene_at(&s, x, y);
                back(m, x, y, &tx, &ty);
                bool border = bars && (tx < -.5 || ty < -.5 || tx > W - .5 || ty > H - .5);
                double v = border ? 16 : 20 + .8 * scene_at(&s, tx, ty) + dice(-noise, noise);
                clip[k][y * W + x] = (uint8_t)fmin(255, fmax(0, v));
            }
        pair[k] = (struct aligner_pair){title[k], clip[k]};
    }
    struct gray_map g = aligner_from_view(from, W, H), want;
    aligner_find(pair, PAIRS, W, H, &g);
    double ncc = aligner_refine(pair, PAIRS, W, H, &g), worst = 0;
    memcpy(want.m, m, sizeof want.m);
    for (int k = 0; k < 9; k++) {
        float ax, ay, bx, by;
        double tx, ty;
        back(m, (k % 3) * (W - 1) / 2., (k / 3) * (H - 1) / 2., &tx, &ty);
        int x = (int)fmin(W - 1, fmax(0, tx)), y = (int)fmin(H - 1, fmax(0, ty));
        gray_where(&g, W, H, x, y, &ax, &ay);
        gray_where(&want, W, H, x, y, &bx, &by);
        worst = fmax(worst, hypot((double)(ax - bx), (double)(ay - by)));
    }
    if (getenv("VERBOSE"))
        printf("# ncc %.3f, error %.3f px\n", ncc, worst);
    return ncc > 0.4 ? worst : 99;
}

static const struct fp_view whole = {{0, 1, 0, 1}}, fifth = {{-.1, 1.2, -.1, 1.2}},
                            framed = {{0, 1, .12, .76}};

TEST(strong_crops_are_placed)
{
    CHECK(placed((double[9]){1.176, 0, -.06, 0, 1.176, .04, 0, 0, 1}, false, 6, &fifth) < 0.25);
    CHECK(placed((double[9]){1.176, 0, -.06, 0, 1.176, .04, 0, 0, 1}, false, 6, &whole) < 0.25);
    CHECK(placed((double[9]){1.06, .02, .03, -.02, 1.06, -.02, 0, 0, 1}, false, 20, &whole) < 0.25);
}

TEST(borders_do_not_pull)
{
    CHECK(placed((double[9]){1, 0, 0, 0, .76, 0, 0, 0, 1}, true, 6, &framed) < 0.25);
    CHECK(placed((double[9]){1, 0, 0, 0, .755, .004, 0, 0, 1}, true, 20, &framed) < 0.25);
    CHECK(placed((double[9]){.75, 0, 0, 0, .75, 0, 0, 0, 1}, true, 6,
                 &(struct fp_view){{.13, .74, .12, .76}}) < 0.25);
}

TEST(perspective_is_placed)
{
    CHECK(placed((double[9]){1.03, .01, .01, -.01, 1.02, .01, .02, -.03, 1}, false, 6, &whole) <
          0.3);
}

/* ---- the search ---- */

enum { SW = 64, SH = 36, TITLES = 4, LONG = 40, CLIP = 12 };
/* How a clip shows its title: the part of the frame that it fills, the part of it that is left, bars over it. */
struct show {
    double frame[4], crop[4], bar_left, bar_below;
    bool mirror, logo;
    int border;
    unsigned spoilt; /* lines of the frame from below that are noise */
};

/* Luma of a title at a moment: a still scene with one thing that wanders; 0..1 of the picture. */
static double title_at(const struct scene *s, int second, double x, double y)
{
    double d = hypot(x * W - (60 + second * 37 % 200), y * H - (40 + second * 23 % 100)) - 12;
    return d < 0 ? 230 : scene_at(s, x * W, y * H);
}

static double shown_at(const struct scene *s, const struct show *h, int second, double x, double y)
{
    bool bar = x < h->bar_left || y > 1 - h->bar_below;
    if (h->logo && x > .05 && x < .25 && y > .06 && y < .2)
        return 40;
    double u = (x - h->frame[0]) / (h->frame[2] - h->frame[0]);
    double v = (y - h->frame[1]) / (h->frame[3] - h->frame[1]);
    if (bar || u < 0 || v < 0 || u > 1 || v > 1)
        return h->border;
    u = h->mirror ? 1 - u : u;
    return 20 + .8 * title_at(s, second, h->crop[0] + u * (h->crop[2] - h->crop[0]),
                              h->crop[1] + v * (h->crop[3] - h->crop[1]));
}

static void title_cells(int number, uint8_t *cells)
{
    static uint8_t y[SW * SH];
    static struct scene s;
    scene_of(&s, (unsigned)number + 50);
    for (int k = 0; k < LONG; k++) {
        for (int q = 0; q < SW * SH; q++)
            y[q] = (uint8_t)title_at(&s, k, (q % SW + .5) / SW, (q / SW + .5) / SH);
        fp_cells(y, SW, SW, SH, FP_W, FP_H, cells + k * FP_CELLS);
    }
}

/* Rank (0 = first) of the right title, 99 when it is not likely; *off = error of its best view. */
static int rank_of(const struct fp_title *title, int right, const struct show *h, double *off)
{
    static uint8_t y[TRACE_PROBE_W * TRACE_PROBE_H], cells[CLIP * FP_CLIP_CELLS],
        probe[2 * sizeof y];
    static struct scene s;
    double t[CLIP], score[TITLES];
    struct fp_clip c = {.n = CLIP, .t = t, .cells = cells, .box = {0, 0, 1, 1}};
    struct fp_view best[FP_BEST];
    int rank = 0;
    scene_of(&s, (unsigned)right + 50);
    for (int q = 0; q < W * H; q++) {
        double v = shown_at(&s, h, 9, (q % W + .5) / W, (q / W + .5) / H);
        if (h->spoilt & 1u << (H - 1 - q / W < 8 ? H - 1 - q / W : 31))
            v += dice(-30, 30);
        probe[q] = (uint8_t)(v + dice(-3, 3));
        probe[W * H + q] = (uint8_t)(v + dice(-3, 3));
    }
    trace_bars(probe, 2, c.bars);
    for (int k = 0; k < CLIP; k++) {
        t[k] = k;
        for (int q = 0; q < SW * SH; q++)
            y[q] = (uint8_t)(shown_at(&s, h, 9 + k, (q % SW + .5) / SW, (q / SW + .5) / SH) +
                             dice(-6, 6));
        fp_cells(y, SW, SW, SH, FP_CLIP_W, FP_CLIP_H, cells + k * FP_CLIP_CELLS);
    }
    score[right] = fp_match(&title[right], &c, best);
    double sx = (h->frame[2] - h->frame[0]) / (h->crop[2] - h->crop[0]),
           x = h->frame[0] - h->crop[0] * sx;
    double sy = (h->frame[3] - h->frame[1]) / (h->crop[3] - h->crop[1]),
           v = h->frame[1] - h->crop[1] * sy;
    if (h->mirror) {
        x = h->frame[2] + h->crop[0] * sx;
        sx = -sx;
    }
    const double *a = best[0].a;
    *off = fmax(fmax(fabs(a[0] - x), fabs(a[0] + a[1] - x - sx)),
                fmax(fabs(a[2] - v), fabs(a[2] + a[3] - v - sy)));
    for (int k = 0; k < TITLES; k++) {
        struct fp_view other[FP_BEST];
        rank += k != right && fp_match(&title[k], &c, other) >= score[right];
    }
    if (getenv("VERBOSE"))
        printf("# title %d: likeness %.3f, rank %d, view off by %.3f, bars %.2f %.2f %.2f %.2f\n",
               right, score[right], rank, *off, c.bars[0], c.bars[1], c.bars[2], c.bars[3]);
    return score[right] > FP_LIKELY ? rank : 99;
}

#define ALL \
    { \
        0, 0, 1, 1 \
    }
TEST(titles_are_found_behind_bars_crops_and_logos)
{
    static const struct show show[] = {
        {.frame = ALL, .crop = ALL},
        {.frame = ALL, .crop = {.1, .03, .95, .88}},
        {.frame = ALL, .crop = {.02, .12, .84, .94}, .mirror = true},
        {.frame = {0, .12, 1, .88}, .crop = ALL, .border = 16},
        {.frame = {.125, .125, .875, .875}, .crop = ALL, .border = 128},
        {.frame = {.25, .25, .75, .75}, .crop = ALL, .border = 235},
        {.frame = {0, 0, .7, .8}, .crop = ALL, .border = 60},
        {.frame = ALL, .crop = ALL, .bar_below = .12, .logo = true, .border = 16},
        {.frame = ALL, .crop = ALL, .bar_below = .12, .border = 16, .spoilt = 1u << 2},
        {.frame = ALL,
         .crop = ALL,
         .bar_below = .12,
         .border = 16,
         .spoilt = 1u << 0 | 1u << 3 | 1u << 5},
        {.frame = ALL, .crop = ALL, .bar_left = .2, .border = 200},
        {.frame = {.1, 0, 1, .9}, .crop = {.05, .05, .95, .95}, .border = 16, .mirror = true},
    };
    static uint8_t cells[LONG * FP_CELLS];
    struct fp_title title[TITLES];
    for (int k = 0; k < TITLES; k++) {
        title_cells(k, cells);
        fp_title_init(&title[k], cells, sizeof cells, FP_COARSE);
    }
    for (unsigned i = 0; i < sizeof show / sizeof *show; i++)
        for (int k = 0; k < TITLES; k++) {
            double off;
            CHECK(rank_of(title, k, &show[i], &off) == 0);
            CHECK(off < .03);
        }
    for (int k = 0; k < TITLES; k++)
        fp_title_fini(&title[k]);
}

/* ---- one piece of a title in which moments look alike ---- */

enum { TALK = 300, FROM = 60, SPEECH = 200 };

/* Somebody before a wall: all that happens is that the scene moves and grows a little, never twice quite the same. */
static double talk_at(const struct scene *s, int picture, double x, double y)
{
    double a = picture * .37, b = picture * .093, grow = 1 + .02 * sin(a * 1.7 + b);
    return scene_at(s, ((x - .5) * grow + .5 + .03 * sin(a) + .02 * sin(b * 3)) * W,
                    ((y - .5) * grow + .5 + .025 * sin(a * .71 + 1) + .02 * cos(b)) * H);
}

static void talk_cells(const struct scene *s, const double crop[4], int gw, int gh, double noise,
                       int from, int n, uint8_t *cells)
{
    static uint8_t y[SW * SH];
    for (int k = 0; k < n; k++) {
        for (int q = 0; q < SW * SH; q++) {
            double u = (q % SW + .5) / SW, v = (q / SW + .5) / SH;
            y[q] = (uint8_t)(talk_at(s, from + k, crop[0] + u * (crop[2] - crop[0]),
                                     crop[1] + v * (crop[3] - crop[1])) +
                             dice(-noise, noise));
        }
        fp_cells(y, SW, SW, SH, gw, gh, cells + k * gw * gh);
    }
}

TEST(a_piece_is_found_where_moments_look_alike)
{
    static const double crops[][4] = {
        {.1, .03, .95, .88}, {.1, .03, .95, .88}, {.02, .1, .87, .95}};
    static const double all[4] = {0, 0, 1, 1};
    static uint8_t of_title[TALK * FP_CELLS], of_clip[SPEECH * FP_CLIP_CELLS];
    static struct scene s;
    static struct fp_run run[50];
    double t[SPEECH];
    for (int k = 0; k < SPEECH; k++)
        t[k] = (double)k / FP_RATE;
    for (unsigned i = 0; i < 3; i++) {
        const double *crop = crops[i];
        struct fp_title title;
        struct fp_view v;
        struct fp_clip c = {SPEECH, t, of_clip, {0, 0, 1, 1}, {0, 0, 1, 1}};
        scene_of(&s, (unsigned[]){92, 93, 95}[i]);
        talk_cells(&s, all, FP_W, FP_H, 0, 0, TALK, of_title);
        talk_cells(&s, crop, FP_CLIP_W, FP_CLIP_H, 12, FROM, SPEECH, of_clip);
        fp_title_init(&title, of_title, sizeof of_title, 1);
        CHECK(fp_steady(&title, &c, &v) > .6);
        double size = 1 / (crop[2] - crop[0]);
        double off = fmax(fabs(v.a[0] + crop[0] * size), fabs(v.a[2] + crop[1] * size));
        int n = fp_align(&title, &c, &v, run, 50);
        if (getenv("VERBOSE"))
            printf("# view off by %.3f, %d runs, the first %.2f to %.2f + %.2f\n", off, n,
                   run[0].from, run[0].to, run[0].offset);
        CHECK(off < .03);
        CHECK(n > 0 && n < 4 && run[0].to > 20 &&
              fabs(run[0].offset - (double)FROM / FP_RATE) < .15);
        fp_title_fini(&title);
    }
}
