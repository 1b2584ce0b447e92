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
    int w, h, cols, rows, width; /* width: whole LANES, more than w */
    bool fresh;                  /* no picture seen yet */
    float gain[NODES];           /* what each node may carry, smoothed over time */
    int16_t *line;               /* one row per row of nodes, stretched to the picture's width */
    int16_t *delta;              /* one picture row of luma levels */
    uint16_t *diff;              /* one picture row of differences */
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

/* Pictures over which the mark comes, and again those over which it goes. */
static int ramp_of(int pictures)
{
    return (pictures + 6) / 12;
}

float mark_fade(int n, int pictures)
{
    // Straight, so that pictures predicted from both sides of them need no correction. Gone before the end: an encoder takes
    // some pictures to follow a change that nobody sees.
    int ramp = ramp_of(pictures), left = pictures - 1 - ramp - n, at = n < left ? n : left;
    return at < 0 ? 0 : at < ramp ? (float)at / (float)ramp : 1;
}

int mark_quantiser(int n, int pictures, bool still)
{
    bool last = n == pictures - 1;
    if (!still)
        return last ? -4 : 0;
    // Found by trying on screen recordings: what follows a picture that drew the mark well repeats it for nothing.
    return n == 0 || last ? -5 : n <= ramp_of(pictures) + 2 ? 0 : 10;
}

/* Luma levels that a patch of mean luma m and activity a (mean absolute difference of neighbours) hides. */
static float hides(float m, float a)
{
    float g = fminf(1.2f + 0.4f * a, 3.3f);
    // Near black one level is a large step of light, and nothing moves there to hide it.
    if (m < 48)
        g *= fminf(1, fmaxf(fmaxf(0, (m - 24) / 24), (a - 1) / 3));
    return fmaxf(g, 0);
}

/* d = differences of a group of pixels to their neighbours on the right and below. */
static void differ(const uint8_t *p, const uint8_t *q, int far, uint16_t d[LANES])
{
    uint8_t here[LANES], right[LANES], down[LANES];
    memcpy(here, p, LANES);
    memcpy(right, p + far, LANES);
    memcpy(down, q, LANES);
    for (int k = 0; k < LANES; k++)
        d[k] = (uint16_t)(abs(here[k] - right[k]) + abs(here[k] - down[k]));
}

/* Luma and differences of one picture row, added up per column of patches. diff: room for w. */
static void sum_row(const uint8_t *p, const uint8_t *q, int w, int far, int fw, uint16_t *diff,
                    unsigned *luma, unsigned *act)
{
    int x = 0;
    for (; x + LANES <= w - far; x += LANES)
        differ(p + x, q + x, far, diff + x);
    for (; x < w - far; x++)
        diff[x] = (uint16_t)(abs(p[x] - p[x + far]) + abs(p[x] - q[x]));
    x = 0;
    for (int i = 0; i < fw; i++) {
        int end = (i + 1) * w / fw < w - far ? (i + 1) * w / fw : w - far;
        unsigned l = 0, a = 0;
        for (; x < end; x++) {
            l += p[x];
            a += diff[x];
        }
        luma[i] += l;
        act[i] += a;
    }
}

/* A few rows of each patch are enough. */
static void measure(const uint8_t *y, ptrdiff_t stride, int w, int h, int cols, int rows,
                    uint16_t *diff, float gain[NODES])
{
    int fw = cols * FINE, fh = rows * FINE, far = (w < h ? w : h) / 360 + 1;
    for (int j = 0; j < fh; j++) {
        unsigned luma[MARK_LONG * FINE] = {0}, act[MARK_LONG * FINE] = {0}, n = 0;
        int y0 = j * h / fh, y1 = (j + 1) * h / fh, dy = (y1 - y0) / 5 + 1;
        for (int r = y0; r < y1; r += dy, n++)
            sum_row(y + r * stride, y + (r + far < h ? r + far : r - far) * stride, w, far, fw,
                    diff, luma, act);
        for (int i = 0; i < fw; i++) {
            int x1 = (i + 1) * w / fw, x0 = i * w / fw;
            int px = (x1 < w - far ? x1 : w - far) - x0;
            float all = (float)px * (float)n;
            gain[j * fw + i] = all > 0 ? hides((float)luma[i] / all, (float)act[i] / (2 * all)) : 0;
        }
    }
}

void mark_gain(const uint8_t *y, ptrdiff_t stride, int w, int h, float gain[MARK_CELLS])
{
    float node[NODES];
    int cols, rows;
    shape(w, h, &cols, &rows);
    uint16_t *diff = malloc((size_t)w * sizeof *diff);
    must(diff != NULL);
    measure(y, stride, w, h, cols, rows, diff, node);
    free(diff);
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
    p->width = (w + LANES) / LANES * LANES;
    p->fresh = true;
    shape(w, h, &p->cols, &p->rows);
    p->line = calloc((size_t)p->width * (size_t)(p->rows * FINE), sizeof *p->line);
    p->delta = calloc((size_t)p->width, sizeof *p->delta);
    p->diff = calloc((size_t)p->width, sizeof *p->diff);
    must(p->line && p->delta && p->diff);
    return p;
}

void mark_pen_free(struct mark_pen *p)
{
    if (!p)
        return;
    free(p->line);
    free(p->delta);
    free(p->diff);
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
    float len = (float)w / (float)n;
    for (int k = -1, x = 0; k < n; k++) {
        float from = node[k < 0 ? 0 : k], to = node[k + 1 < n ? k + 1 : n - 1];
        float at = ((float)k + 0.5f) * len, slope = (to - from) / len;
        int end = (int)ceilf(at + len - 0.5f);
        float v = from + slope * ((float)x + 0.5f - at) + 32768.5f; // truncation then rounds
        for (; x < w && x < end; x++, v += slope)
            out[x] = (int16_t)((int)v - 32768);
    }
}

static void adapt(struct mark_pen *p, const uint8_t *src, ptrdiff_t stride)
{
    float now[NODES];
    measure(src, stride, p->w, p->h, p->cols, p->rows, p->diff, now);
    for (int k = 0; k < NODES; k++) {
        float up = now[k] - p->gain[k];
        p->gain[k] += p->fresh || up < 0 ? up : up / 8;
    }
    p->fresh = false;
}

/* delta = rounded luma levels of one picture row, between node rows l and m. q in 1/32768. */
static void blend(const struct mark_pen *p, const int16_t *l, const int16_t *m, int16_t q)
{
    int16_t from[LANES], to[LANES];
    for (int x = 0; x < p->width; x += LANES) {
        memcpy(from, l + x, sizeof from);
        memcpy(to, m + x, sizeof to);
        for (int k = 0; k < LANES; k++) {
            int16_t d = (int16_t)(((int16_t)(to[k] - from[k]) * q) >> 16);
            from[k] = (int16_t)((int16_t)(from[k] + 2 * d + (1 << (ONE - 1))) >> ONE);
        }
        memcpy(p->delta + x, from, sizeof from);
    }
}

/* Copies in and out, of a constant size, keep the compiler free of doubts about overlap. */
static void add_lanes(const int16_t *delta, int16_t sign, uint8_t px[LANES])
{
    int16_t d[LANES];
    memcpy(d, delta, sizeof d);
    for (int k = 0; k < LANES; k++) {
        int16_t v = (int16_t)(px[k] + (int16_t)(d[k] * sign));
        v = v < 1 ? 1 : v;
        px[k] = (uint8_t)(v > 254 ? 254 : v);
    }
}

static void add(const int16_t *delta, int16_t sign, const uint8_t *src, uint8_t *to, int w)
{
    uint8_t px[LANES] = {0};
    int x = 0;
    for (; x + LANES <= w; x += LANES) {
        memcpy(px, src + x, LANES);
        add_lanes(delta + x, sign, px);
        memcpy(to + x, px, LANES);
    }
    memcpy(px, src + x, (size_t)(w - x));
    add_lanes(delta + x, sign, px); // a row of delta has one more lane group than the picture
    memcpy(to + x, px, (size_t)(w - x));
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
