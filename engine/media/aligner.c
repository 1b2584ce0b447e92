// SPDX-License-Identifier: Apache-2.0
#include "media/aligner.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"

enum { AFFINE = 6, PROJECTIVE = 8, LEVEL = 12, LEVEL_ROUGH = 8 /* radii */ };
static const double PERSPECTIVE = 0.01;
/* Steps below which nothing is gained, as parts of half the width. */
static const double ROUGH = 5e-4, FINE = 5e-5;
static const float LIMIT = 30; /* larger differences are logos, not shifts */

struct gray_map aligner_from_view(const struct fp_view *v, int w, int h)
{
    double s = (double)h / w;
    return (struct gray_map){
        .m = {v->a[1], 0, 2 * v->a[0] + v->a[1] - 1, 0, v->a[3], (2 * v->a[2] + v->a[3] - 1) * s}};
}

struct fp_view aligner_to_view(const struct gray_map *g, int w, int h)
{
    double s = (double)h / w;
    const double *m = g->m;
    return (struct fp_view){{(m[2] - m[0] + 1) / 2, m[0], (m[5] / s - m[4] + 1) / 2, m[4]}};
}

struct sums {
    double a[PROJECTIVE * PROJECTIVE], b[PROJECTIVE];
};

/* Correlation of one pair under the map, and its share of the equations. */
static double pair_step(const float *t, const float *im, int w, int h, const struct gray_map *g,
                        int np, struct sums *sum)
{
    static __thread float val[GRAY_MAX], px[GRAY_MAX], py[GRAY_MAX];
    static __thread uint8_t ok[GRAY_MAX];
    double n = 0, st = 0, si = 0, stt = 0, sii = 0, sti = 0;
    for (int y = 1; y < h - 1; y++)
        for (int x = 1; x < w - 1; x++) {
            int q = y * w + x;
            gray_where(g, w, h, x, y, &px[q], &py[q]);
            ok[q] = gray_inside(g, w, h, 1, px[q], py[q]);
            if (!ok[q])
                continue;
            float v = val[q] = gray_at(im, w, px[q], py[q]);
            n++;
            st += (double)t[q];
            si += (double)v;
            stt += (double)(t[q] * t[q]);
            sii += (double)(v * v);
            sti += (double)(t[q] * v);
        }
    if (n < w * h * 0.2)
        return -1;
    double mt = st / n, mi = si / n, vt = stt / n - mt * mt, vi = sii / n - mi * mi;
    double ncc = (sti / n - mt * mi) / sqrt(vt * vi + 1e-6);
    if (!sum)
        return ncc;
    float gain = (float)sqrt(vt / (vi + 1e-3)), weight = (float)(1 / (vt + 1)), u = (float)w * 0.5f;
    for (int y = 1; y < h - 1; y++)
        for (int x = 1; x < w - 1; x++) {
            int q = y * w + x;
            if (!ok[q])
                continue;
            float cx = ((float)x - u + 0.5f) / u, cy = ((float)y - (float)h * 0.5f + 0.5f) / u;
            float d = 1 / (1 + (float)g->m[6] * cx + (float)g->m[7] * cy);
            float X = px[q], Y = py[q], k = gain * 0.5f * u * d;
            float gx = k * (gray_at(im, w, X + 1, Y) - gray_at(im, w, X - 1, Y));
            float gy = k * (gray_at(im, w, X, Y + 1) - gray_at(im, w, X, Y - 1));
            float e = (t[q] - (float)mt) - gain * (val[q] - (float)mi);
            e = e > LIMIT ? LIMIT : e < -LIMIT ? -LIMIT : e;
            float z = -(gx * (X - u + 0.5f) + gy * (Y - (float)h * 0.5f + 0.5f)) / u;
            float j[PROJECTIVE] = {gx * cx, gx * cy, gx, gy * cx, gy * cy, gy, z * cx, z * cy};
            for (int i = 0; i < np; i++) {
                float wi = weight * j[i];
                sum->b[i] += (double)(wi * e);
                for (int l = i; l < np; l++)
                    sum->a[i * np + l] += (double)(wi * j[l]);
            }
        }
    return ncc;
}

/* Whether a step moved nothing any more. */
static bool settled(const double *step, int np, double least)
{
    double most = 0;
    for (int i = 0; i < np; i++)
        most = fmax(most, fabs(step[i]));
    return most < least;
}

/* Returns the mean correlation before the last step. */
static double solve(int n, float *const *t, float *const *im, int w, int h, struct gray_map *g,
                    int np, int steps)
{
    double ncc = 0;
    for (int it = 0; it <= steps; it++) {
        struct sums s = {0};
        ncc = 0;
        for (int f = 0; f < n; f++) {
            double r = pair_step(t[f], im[f], w, h, g, np, it < steps ? &s : NULL);
            if (r < -0.99)
                return -1;
            ncc += r / n;
        }
        if (it == steps)
            break;
        for (int i = 0; i < np; i++)
            for (int l = 0; l < i; l++)
                s.a[i * np + l] = s.a[l * np + i];
        for (int i = 0; i < np; i++)
            s.a[i * np + i] *= i < AFFINE ? 1.0005 : 1.01;
        if (!gray_solve(s.a, s.b, np))
            return ncc;
        for (int i = 0; i < np; i++)
            g->m[i] += s.b[i];
        if (settled(s.b, np, ROUGH))
            it = steps - 1;
    }
    return ncc;
}

/* ---- the fine stage ----
 * Picture borders, bars and what a crop hides would disturb the levels of everything near them. So the clip is first seen
 * through the map, then both pictures are levelled over the pixels that both show. The step is composed with the map and uses
 * the mean of both gradients (Benhimane & Malis 2004), which leaves no bias when one picture is blurred or noisy. */

enum { RIM = 2 };

/* Pixels that both pictures show, but for a rim. */
static int common(const uint8_t *ok, int w, int h, uint8_t *out)
{
    int n = 0;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            int q = y * w + x;
            out[q] = x >= RIM && y >= RIM && x < w - RIM && y < h - RIM && ok[q] && ok[q - RIM] &&
                     ok[q + RIM] && ok[q - RIM * w] && ok[q + RIM * w];
            n += out[q];
        }
    return n;
}

static double correlation(const float *a, const float *b, const uint8_t *in, int n, int px,
                          float *gain)
{
    double sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
    for (int q = 0; q < px; q++)
        if (in[q]) {
            sa += (double)a[q];
            sb += (double)b[q];
            saa += (double)(a[q] * a[q]);
            sbb += (double)(b[q] * b[q]);
            sab += (double)(a[q] * b[q]);
        }
    double va = saa / n - sa / n * (sa / n), vb = sbb / n - sb / n * (sb / n);
    *gain = (float)sqrt((va + 1e-3) / (vb + 1e-3));
    return (sab / n - sa / n * (sb / n)) / sqrt(va * vb + 1e-6);
}

/* Correlation of one pair under the map, and its share of the equations of a step; < -0.99 = they show too little in common. */
static double fine_pair(const float *title, const float *clip, int w, int h,
                        const struct gray_map *g, int np, struct sums *sum)
{
    static __thread float t[GRAY_MAX], c[GRAY_MAX];
    static __thread uint8_t ok[GRAY_MAX], in[GRAY_MAX];
    float gain, u = (float)w * 0.5f;
    gray_warp(clip, w, h, g, c, ok);
    int n = common(ok, w, h, in);
    if (n < w * h / 5)
        return -1;
    memcpy(t, title, sizeof *t * (size_t)(w * h));
    gray_level(t, in, w, h, LEVEL);
    gray_level(c, in, w, h, LEVEL);
    double ncc = correlation(t, c, in, n, w * h, &gain);
    for (int y = RIM; sum && y < h - RIM; y++)
        for (int x = RIM; x < w - RIM; x++) {
            int q = y * w + x;
            if (!in[q] || !in[q - 1] || !in[q + 1] || !in[q - w] || !in[q + w])
                continue;
            float cx = ((float)x - u + 0.5f) / u, cy = ((float)y - (float)h * 0.5f + 0.5f) / u;
            float gx = u * 0.25f * (t[q + 1] - t[q - 1] + gain * (c[q + 1] - c[q - 1]));
            float gy = u * 0.25f * (t[q + w] - t[q - w] + gain * (c[q + w] - c[q - w]));
            float e = t[q] - gain * c[q], z = -(gx * cx + gy * cy);
            e = e > LIMIT ? LIMIT : e < -LIMIT ? -LIMIT : e;
            float j[PROJECTIVE] = {gx * cx, gx * cy, gx, gy * cx, gy * cy, gy, z * cx, z * cy};
            for (int i = 0; i < np; i++) {
                sum->b[i] += (double)(j[i] * e);
                for (int l = i; l < np; l++)
                    sum->a[i * np + l] += (double)(j[i] * j[l]);
            }
        }
    return ncc;
}

/* g = g after (the identity + d). */
static void compose(struct gray_map *g, const double d[PROJECTIVE])
{
    const double a[9] = {g->m[0], g->m[1], g->m[2], g->m[3], g->m[4], g->m[5], g->m[6], g->m[7], 1},
                 b[9] = {1 + d[0], d[1], d[2], d[3], 1 + d[4], d[5], d[6], d[7], 1};
    double p[9];
    for (int i = 0; i < 9; i++)
        p[i] = a[i / 3 * 3] * b[i % 3] + a[i / 3 * 3 + 1] * b[i % 3 + 3] +
               a[i / 3 * 3 + 2] * b[i % 3 + 6];
    for (int i = 0; i < PROJECTIVE; i++)
        g->m[i] = p[i] / p[8];
}

/* Returns the mean correlation at the end. */
static double refine(int n, float *const *t, float *const *c, int w, int h, struct gray_map *g,
                     int np, int steps)
{
    for (int it = 0;; it++) {
        struct sums s = {0};
        double ncc = 0;
        for (int f = 0; f < n; f++) {
            double r = fine_pair(t[f], c[f], w, h, g, np, it < steps ? &s : NULL);
            if (r < -0.99)
                return -1;
            ncc += r / n;
        }
        if (it == steps)
            return ncc;
        for (int i = 0; i < np; i++) {
            for (int l = 0; l < i; l++)
                s.a[i * np + l] = s.a[l * np + i];
            s.a[i * np + i] = s.a[i * np + i] * 1.0002 + 1e-3;
        }
        double d[PROJECTIVE] = {0};
        if (!gray_solve(s.a, s.b, np))
            return ncc;
        memcpy(d, s.b, sizeof *d * (size_t)np);
        compose(g, d);
        if (settled(d, np, FINE))
            it = steps - 1;
    }
}

struct level {
    int w, h;
    float *t[ALIGNER_PAIRS], *c[ALIGNER_PAIRS];
};

static void level_init(struct level *l, const struct aligner_pair *p, int n, int w, int h, int k)
{
    *l = (struct level){.w = w / k, .h = h / k};
    size_t bytes = (size_t)(l->w * l->h) * sizeof(float);
    for (int i = 0; i < n; i++) {
        l->t[i] = malloc(bytes);
        l->c[i] = malloc(bytes);
        must(l->t[i] && l->c[i]);
        gray_reduce(p[i].title, w, h, k, l->t[i]);
        gray_reduce(p[i].clip, w, h, k, l->c[i]);
    }
}

static void level_fini(struct level *l, int n)
{
    for (int i = 0; i < n; i++) {
        free(l->t[i]);
        free(l->c[i]);
    }
}

/* Rough place: sizes and shapes around the given one are tried. */
static void search(const struct aligner_pair *pair, int n, int w, int h, struct gray_map *m)
{
    static const double start[][2] = {
        {1, 1},   {1.05, 1.05}, {1.11, 1.11}, {1.18, 1.18}, {1.28, 1.28}, {.95, .95}, {.9, .9},
        {.8, .8}, {1.05, 1},    {1, 1.05},    {.75, 1},     {1, .75},     {1, 1.33},  {1.33, 1}};
    struct level l;
    struct gray_map best = *m;
    double r = -2;
    level_init(&l, pair, n, w, h, 4);
    for (int i = 0; i < n; i++) {
        gray_level(l.t[i], NULL, l.w, l.h, LEVEL_ROUGH);
        gray_level(l.c[i], NULL, l.w, l.h, LEVEL_ROUGH);
    }
    for (unsigned i = 0; i < sizeof start / sizeof *start; i++) {
        struct gray_map g = *m;
        g.m[0] *= start[i][0];
        g.m[4] *= start[i][1];
        double s = solve(n, l.t, l.c, l.w, l.h, &g, AFFINE, 12);
        if (s > r) {
            r = s;
            best = g;
        }
    }
    level_fini(&l, n);
    *m = best;
}

double aligner_find(const struct aligner_pair *pair, int n, int w, int h, struct gray_map *m)
{
    struct level half;
    level_init(&half, pair, n, w, h, 2);
    search(pair, n, w, h, m);
    double r = refine(n, half.t, half.c, half.w, half.h, m, AFFINE, 8);
    level_fini(&half, n);
    return r;
}

double aligner_refine(const struct aligner_pair *pair, int n, int w, int h, struct gray_map *m)
{
    struct level full;
    level_init(&full, pair, n, w, h, 1);
    double a = refine(n, full.t, full.c, w, h, m, AFFINE, 5);
    struct gray_map free8 = *m;
    double r = refine(n, full.t, full.c, w, h, &free8, PROJECTIVE, 4);
    level_fini(&full, n);
    // Two more freedoms always fit a little better; only real perspective fits better by this.
    if (r <= a + PERSPECTIVE)
        return a;
    *m = free8;
    return r;
}

double aligner_follow(const float *title, const float *clip, int w, int h, int steps,
                      struct gray_map *m)
{
    float *t = (float *)title, *c = (float *)clip;
    return refine(1, &t, &c, w, h, m, AFFINE, steps);
}
