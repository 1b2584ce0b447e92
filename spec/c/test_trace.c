/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <math.h>
#include <stdlib.h>

#include "media/aligner.h"

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
