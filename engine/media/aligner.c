// SPDX-License-Identifier: Apache-2.0
#include "media/aligner.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"

enum { AFFINE = 6, PROJECTIVE = 8 };
static const double PERSPECTIVE = 0.05;
static const float LIMIT = 30; /* larger differences are logos, not shifts */

struct gray_map aligner_from_view(const struct fp_view *v, int w, int h)
{
    double s = (double)h / w;
    return (struct gray_map){
        {v->a[1], 0, 2 * v->a[0] + v->a[1] - 1, 0, v->a[3], (2 * v->a[2] + v->a[3] - 1) * s, 0, 0}};
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
            ok[q] = px[q] >= 1 && py[q] >= 1 && px[q] < (float)(w - 2) && py[q] < (float)(h - 2);
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
    }
    return ncc;
}

struct level {
    int k, w, h;
    float *t[ALIGNER_PAIRS], *c[ALIGNER_PAIRS];
};

static void level_init(struct level *l, const struct aligner_pair *p, int n, int w, int h, int k)
{
    *l = (struct level){.k = k, .w = w / k, .h = h / k};
    size_t bytes = (size_t)(l->w * l->h) * sizeof(float);
    for (int i = 0; i < n; i++) {
        l->t[i] = malloc(bytes);
        l->c[i] = malloc(bytes);
        must(l->t[i] && l->c[i]);
        gray_reduce(p[i].title, w, h, k, l->t[i]);
        gray_reduce(p[i].clip, w, h, k, l->c[i]);
        gray_level(l->t[i], l->w, l->h, k == 4 ? 8 : 12);
        gray_level(l->c[i], l->w, l->h, k == 4 ? 8 : 12);
    }
}

static void level_fini(struct level *l, int n)
{
    for (int i = 0; i < n; i++) {
        free(l->t[i]);
        free(l->c[i]);
    }
}

double aligner_find(const struct aligner_pair *pair, int n, int w, int h, struct gray_map *m)
{
    static const double start[][2] = {
        {1, 1},   {1.05, 1.05}, {1.11, 1.11}, {1.18, 1.18}, {1.28, 1.28}, {.95, .95}, {.9, .9},
        {.8, .8}, {1.05, 1},    {1, 1.05},    {.75, 1},     {1, .75},     {1, 1.33},  {1.33, 1}};
    struct level l[3];
    struct gray_map best = *m;
    double r = -2;
    for (int k = 0; k < 3; k++)
        level_init(&l[k], pair, n, w, h, 4 >> k);
    for (unsigned i = 0; i < sizeof start / sizeof *start; i++) {
        struct gray_map g = *m;
        g.m[0] *= start[i][0];
        g.m[4] *= start[i][1];
        double s = solve(n, l[0].t, l[0].c, l[0].w, l[0].h, &g, AFFINE, 12);
        if (s > r) {
            r = s;
            best = g;
        }
    }
    solve(n, l[1].t, l[1].c, l[1].w, l[1].h, &best, AFFINE, 8);
    struct gray_map affine = best;
    double a = solve(n, l[2].t, l[2].c, l[2].w, l[2].h, &affine, AFFINE, 8);
    struct gray_map free8 = affine;
    r = solve(n, l[2].t, l[2].c, l[2].w, l[2].h, &free8, PROJECTIVE, 6);
    // Two more freedoms always fit a little better; only real perspective fits much better.
    bool slanted = r > a + PERSPECTIVE;
    *m = slanted ? free8 : affine;
    for (int k = 0; k < 3; k++)
        level_fini(&l[k], n);
    return slanted ? r : a;
}

double aligner_follow(const float *title, const float *clip, int w, int h, struct gray_map *m)
{
    float *t = (float *)title, *c = (float *)clip;
    return solve(1, &t, &c, w, h, m, AFFINE, 3);
}
