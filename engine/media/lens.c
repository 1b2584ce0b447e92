// SPDX-License-Identifier: Apache-2.0
#include "media/lens.h"
#include <math.h>
#include <string.h>

enum { UNIT = LENS_UNIT, SLOW = LENS_SLOW, LEAST = FP_CELLS * 3 / 8 };
static const float FLAT = 0.02f; /* spread of the logarithm below which a picture says nothing */
static const float DARK = 16;    /* luma that counts as black */
static const float LOUD = 2.2f; /* spreads that a cell may stand out: a logo is no more than that */
static const double FAINT = 0.1; /* share of a title picture's contrast that is worth little */

#ifdef __SSE2__
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif
#define INLINE static inline __attribute__((always_inline))

/* Eight cells at a time. */
typedef float eight __attribute__((vector_size(32), aligned(4), may_alias));

INLINE float sum_of(eight v)
{
    return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]));
}

INLINE float product(const float a[FP_CELLS], const float b[FP_CELLS])
{
    eight d = {0};
    for (int i = 0; i < FP_CELLS; i += 8)
        d += *(const eight *)(a + i) * *(const eight *)(b + i);
    return sum_of(d);
}

/* Orthonormal polynomials of degree 2 over the cells that count: what a vignette or uneven light multiplies the picture with is
 * nearly a sum of these in its logarithm. Returns how many cells count. */
static int slow_terms(const uint8_t *w, float out[SLOW][FP_CELLS])
{
    int n = 0;
    for (int k = 0; k < SLOW; k++)
        for (int i = 0; i < FP_CELLS; i++) {
            float x = ((float)(i % FP_W) + 0.5f) / FP_W * 2 - 1,
                  y = ((float)(i / FP_W) + 0.5f) / FP_H * 2 - 1;
            const float term[SLOW] = {1, x, y, x * x, x * y, y * y};
            out[k][i] = !w || w[i] ? term[k] : 0;
            n += k == 0 && (!w || w[i]);
        }
    for (int k = 0; k < SLOW; k++) {
        for (int j = 0; j < k; j++) {
            float d = product(out[k], out[j]);
            for (int i = 0; i < FP_CELLS; i++)
                out[k][i] -= d * out[j][i];
        }
        float len = 1 / sqrtf(product(out[k], out[k]) + 1e-12f);
        for (int i = 0; i < FP_CELLS; i++)
            out[k][i] *= len;
    }
    return n;
}

INLINE float size_of(const float f[FP_CELLS])
{
    return product(f, f);
}

/* Made once: the logarithm of every luma, the slow terms of a whole picture. */
static float level[256], whole[SLOW][FP_CELLS];

__attribute__((constructor)) static void make_tables(void)
{
    for (int i = 0; i < 256; i++)
        level[i] = logf((float)i + DARK);
    slow_terms(NULL, whole);
}

INLINE void take_slow(const float slow[SLOW][FP_CELLS], float f[FP_CELLS])
{
    eight d[SLOW] = {{0}}; // the terms are orthonormal, so all may be measured before any is taken
    for (int i = 0; i < FP_CELLS; i += 8)
        for (int k = 0; k < SLOW; k++)
            d[k] += *(eight *)(f + i) * *(const eight *)(slow[k] + i);
    for (int k = 0; k < SLOW; k++)
        d[k] = (eight){0} + sum_of(d[k]);
    for (int i = 0; i < FP_CELLS; i += 8)
        for (int k = 0; k < SLOW; k++)
            *(eight *)(f + i) -= d[k] * *(const eight *)(slow[k] + i);
}

/* f: logarithms, 0 where a cell does not count; n cells do. */
WIDE static void normalise(float f[FP_CELLS], const float slow[SLOW][FP_CELLS], int n,
                           int16_t out[FP_CELLS])
{
    take_slow(slow, f);
    float most = LOUD * sqrtf(size_of(f) / (float)n);
    for (int i = 0; i < FP_CELLS; i++)
        f[i] = f[i] > most ? most : f[i] < -most ? -most : f[i];
    float sq = size_of(f), k = sq > FLAT * FLAT * (float)n ? UNIT / sqrtf(sq) : 0;
    for (int i = 0; i < FP_CELLS; i++)
        out[i] = (int16_t)(f[i] * k + (f[i] < 0 ? -0.5f : 0.5f));
}

void lens_whole(const uint8_t *cells, int16_t out[FP_CELLS])
{
    float f[FP_CELLS];
    for (int k = 0; k < FP_CELLS; k++)
        f[k] = level[cells[k]];
    normalise(f, whole, FP_CELLS, out);
}

bool lens_init(struct lens *l, const struct fp_clip *c, const struct fp_view *v)
{
    // Clip cells that are wholly inside the bars.
    double x0 = ceil(c->bars[0] * FP_CLIP_W - 0.1), x1 = floor(c->bars[2] * FP_CLIP_W + 0.1) - 1;
    double y0 = ceil(c->bars[1] * FP_CLIP_H - 0.1), y1 = floor(c->bars[3] * FP_CLIP_H + 0.1) - 1;
    l->n = 0;
    for (int i = 0; i < FP_CELLS; i++) {
        double x = v->a[0] + v->a[1] * (i % FP_W + 0.5) / FP_W;
        double y = v->a[2] + v->a[3] * (i / FP_W + 0.5) / FP_H;
        l->in[i] = x > c->bars[0] && y > c->bars[1] && x < c->bars[2] && y < c->bars[3];
        l->x[i] = (float)fmin(fmax(x * FP_CLIP_W - 0.5, x0), x1 - 0.001);
        l->y[i] = (float)fmin(fmax(y * FP_CLIP_H - 0.5, y0), y1 - 0.001);
        l->n += l->in[i];
    }
    if (l->n < LEAST)
        return false;
    if (l->n == FP_CELLS)
        memcpy(l->slow, whole, sizeof whole);
    else
        slow_terms(l->in, l->slow);
    return true;
}

bool lens_project(const uint8_t *cells, const struct lens *l, int16_t out[FP_CELLS])
{
    float f[FP_CELLS];
    for (int i = 0; i < FP_CELLS; i++) {
        f[i] = 0;
        if (!l->in[i])
            continue;
        int x = (int)l->x[i], y = (int)l->y[i];
        float a = l->x[i] - (float)x, b = l->y[i] - (float)y;
        const uint8_t *p = cells + y * FP_CLIP_W + x;
        f[i] = (level[p[0]] * (1 - a) + level[p[1]] * a) * (1 - b) +
               (level[p[FP_CLIP_W]] * (1 - a) + level[p[FP_CLIP_W + 1]] * a) * b;
    }
    normalise(f, l->slow, l->n, out);
    return lens_dot(out, out) > 0;
}

WIDE double lens_exact(const struct lens *l, const int16_t *clip, const int16_t *title)
{
    float f[FP_CELLS], d = 0;
    if (l->n == FP_CELLS) // the title's vector is what it would become
        return lens_dot(clip, title) / (UNIT * UNIT * sqrt(1 + FAINT));
    for (int i = 0; i < FP_CELLS; i++)
        f[i] = l->in[i] ? title[i] : 0;
    take_slow(l->slow, f);
    for (int i = 0; i < FP_CELLS; i++)
        d += f[i] * clip[i];
    return (double)d / (UNIT * sqrt((double)size_of(f) + FAINT * UNIT * UNIT));
}
