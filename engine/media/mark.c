// SPDX-License-Identifier: Apache-2.0
#include "media/mark.h"
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "media/key.h"

/* The amplitude has four nodes per cell: texture ends at edges of things, not of cells. */
enum {
    FINE = 2,
    NODES = MARK_CELLS * FINE * FINE,
    LANES = 16,
    ONE = 10 /* bits after the point */
};

struct mark_pen {
    int w, h, cols, rows, width; /* width: w rounded up to LANES */
    bool fresh;                  /* no picture seen yet */
    float gain[NODES];           /* what each node may carry, smoothed over time */
    int16_t *line;               /* one row per row of nodes, stretched to the picture's width */
    int16_t *step, *delta;       /* one picture row */
};

static void shape(int w, int h, int *cols, int *rows)
{
    *cols = w >= h ? MARK_LONG : MARK_SHORT;
    *rows = w >= h ? MARK_SHORT : MARK_LONG;
}

int mark_key(const uint8_t title_secret[32], uint8_t k_pattern[32])
{
    return key_derive(title_secret, "v1|pattern", k_pattern, 32);
}

void mark_grid(const uint8_t k_pattern[32], int segment, int w, int h, struct mark_grid *out)
{
    uint8_t mac[32];
    char text[32];
    shape(w, h, &out->cols, &out->rows);
    for (int c = 0; c < MARK_CELLS; c++) {
        if (c % 256 == 0) {
            snprintf(text, sizeof text, "%d|%d", segment, c / 256);
            key_mac(k_pattern, text, mac);
        }
        out->cell[c] = mac[c % 256 / 8] >> c % 8 & 1 ? 1 : -1;
    }
}

/* Luma levels that a patch of mean luma m and activity a (mean absolute difference of neighbours) hides. */
static float hides(float m, float a)
{
    float g = fminf(0.6f + 0.22f * a, 2.2f);
    // Near black one level is a large step of light, and nothing moves there to hide it.
    if (m < 48)
        g *= fminf(1, fmaxf(fmaxf(0, (m - 24) / 24), (a - 1) / 3));
    return fmaxf(g, 0);
}

/* Sums of one patch; every dy-th row is enough. */
static float patch(const uint8_t *y, ptrdiff_t stride, int x0, int x1, int y0, int y1, int far,
                   int w, int h)
{
    unsigned sum = 0, act = 0, n = 0;
    int dy = (y1 - y0) / 5 + 1;
    for (int j = y0; j < y1; j += dy) {
        const uint8_t *p = y + j * stride, *q = y + (j + far < h ? j + far : j - far) * stride;
        int end = x1 + far <= w ? x1 : w - far;
        for (int i = x0; i < end; i++) {
            sum += p[i];
            act += (unsigned)abs(p[i] - p[i + far]) + (unsigned)abs(p[i] - q[i]);
        }
        n += (unsigned)(end > x0 ? end - x0 : 0);
    }
    return n ? hides((float)sum / (float)n, (float)act / (float)(2 * n)) : 0;
}

static void measure(const uint8_t *y, ptrdiff_t stride, int w, int h, int cols, int rows,
                    float gain[NODES])
{
    int fw = cols * FINE, fh = rows * FINE, far = (w < h ? w : h) / 360 + 1;
    for (int j = 0; j < fh; j++)
        for (int i = 0; i < fw; i++)
            gain[j * fw + i] = patch(y, stride, i * w / fw, (i + 1) * w / fw, j * h / fh,
                                     (j + 1) * h / fh, far, w, h);
}

void mark_gain(const uint8_t *y, ptrdiff_t stride, int w, int h, float gain[MARK_CELLS])
{
    float node[NODES];
    int cols, rows;
    shape(w, h, &cols, &rows);
    measure(y, stride, w, h, cols, rows, node);
    memset(gain, 0, MARK_CELLS * sizeof *gain);
    for (int k = 0; k < NODES; k++) {
        int j = k / (cols * FINE), i = k % (cols * FINE);
        gain[j / FINE * cols + i / FINE] += node[k] / (FINE * FINE);
    }
}

struct mark_pen *mark_pen_new(int w, int h)
{
    struct mark_pen *p = calloc(1, sizeof *p);
    must(p != NULL);
    p->w = w;
    p->h = h;
    p->width = (w + LANES - 1) / LANES * LANES;
    p->fresh = true;
    shape(w, h, &p->cols, &p->rows);
    p->line = calloc((size_t)p->width * (size_t)(p->rows * FINE), sizeof *p->line);
    p->step = calloc((size_t)p->width * 2, sizeof *p->step);
    must(p->line && p->step);
    p->delta = p->step + p->width;
    return p;
}

void mark_pen_free(struct mark_pen *p)
{
    if (!p)
        return;
    free(p->line);
    free(p->step);
    free(p);
}

/* Value of the pattern at a node, between the centres of cells. */
static float pattern(const struct mark_grid *g, int i, int j)
{
    float x = fminf(fmaxf(((float)i + 0.5f) / FINE - 0.5f, 0), (float)(g->cols - 1));
    float y = fminf(fmaxf(((float)j + 0.5f) / FINE - 0.5f, 0), (float)(g->rows - 1));
    int x0 = (int)x, y0 = (int)y, x1 = x0 + (x0 + 1 < g->cols), y1 = y0 + (y0 + 1 < g->rows);
    float u = x - (float)x0, v = y - (float)y0;
    const int8_t *a = g->cell + y0 * g->cols, *b = g->cell + y1 * g->cols;
    return ((float)a[x0] * (1 - u) + (float)a[x1] * u) * (1 - v) +
           ((float)b[x0] * (1 - u) + (float)b[x1] * u) * v;
}

/* A row of nodes, linear between their centres. */
static void stretch(const float *node, int n, int16_t *out, int w)
{
    for (int k = -1, x = 0; k < n; k++) {
        float from = node[k < 0 ? 0 : k], to = node[k + 1 < n ? k + 1 : n - 1];
        float at = ((float)k + 0.5f) * (float)w / (float)n, len = (float)w / (float)n;
        int end = (int)ceilf(at + len - 0.5f);
        for (; x < w && x < end; x++)
            out[x] = (int16_t)lrintf(from + (to - from) * fmaxf(0, ((float)x + 0.5f - at) / len));
    }
}

static void adapt(struct mark_pen *p, const uint8_t *src, ptrdiff_t stride)
{
    float now[NODES];
    measure(src, stride, p->w, p->h, p->cols, p->rows, now);
    for (int k = 0; k < NODES; k++) {
        float up = now[k] - p->gain[k];
        p->gain[k] += p->fresh || up < 0 ? up : up / 8;
    }
    p->fresh = false;
}

/* delta = rounded luma levels of one picture row, between node rows l and m. q in 1/32768. */
static void blend(const struct mark_pen *p, const int16_t *l, const int16_t *m, int16_t q)
{
    for (int x = 0; x < p->width; x += LANES)
        for (int k = x; k < x + LANES; k++) {
            int16_t d = (int16_t)(((int16_t)(m[k] - l[k]) * q) >> 16);
            p->delta[k] = (int16_t)((int16_t)(l[k] + 2 * d + (1 << (ONE - 1))) >> ONE);
        }
}

static void add(const int16_t *delta, int sign, const uint8_t *src, uint8_t *to, int w)
{
    int x = 0;
    for (; x + LANES <= w; x += LANES)
        for (int k = x; k < x + LANES; k++) {
            int16_t v = (int16_t)(src[k] + (int16_t)(delta[k] * sign));
            to[k] = (uint8_t)(v < 1 ? 1 : v > 254 ? 254 : v);
        }
    for (; x < w; x++) {
        int v = src[x] + delta[x] * sign;
        to[x] = (uint8_t)(v < 1 ? 1 : v > 254 ? 254 : v);
    }
}

void mark_draw(struct mark_pen *p, const struct mark_grid *g, float strength, const uint8_t *src,
               ptrdiff_t stride, uint8_t *a, ptrdiff_t a_stride, uint8_t *b, ptrdiff_t b_stride)
{
    float node[MARK_LONG * FINE];
    int fw = p->cols * FINE, fh = p->rows * FINE;
    adapt(p, src, stride);
    for (int j = 0; j < fh; j++) {
        for (int i = 0; i < fw; i++)
            node[i] = pattern(g, i, j) * p->gain[j * fw + i] * strength * (1 << ONE);
        stretch(node, fw, p->line + j * p->width, p->w);
    }
    for (int y = 0; y < p->h; y++) {
        float at = ((float)y + 0.5f) * (float)fh / (float)p->h - 0.5f;
        int j = at < 0 ? 0 : at > (float)(fh - 1) ? fh - 1 : (int)at, k = j + (j + 1 < fh);
        float q = fminf(fmaxf(at - (float)j, 0), 1) * 32767;
        blend(p, p->line + j * p->width, p->line + k * p->width, (int16_t)q);
        if (b)
            add(p->delta, -1, src + y * stride, b + y * b_stride, p->w);
        if (a)
            add(p->delta, 1, src + y * stride, a + y * a_stride, p->w);
    }
}
