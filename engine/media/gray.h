/* SPDX-License-Identifier: Apache-2.0
 * Small float pictures for the tracer: sums over boxes, local contrast, reduction, resampling through a projective map.
 * Pure; a picture belongs to one thread. Pixel (x, y) of a w x h picture lies at x - (w - 1) / 2, y - (h - 1) / 2. */
#ifndef MEDIA_GRAY_H
#define MEDIA_GRAY_H
#include <stdbool.h>
#include <stdint.h>

enum { GRAY_SIDE = 320, GRAY_MAX = GRAY_SIDE * GRAY_SIDE };

/* Projective map in units of half the width, from the middle:
 * X = (m0 x + m1 y + m2) / (1 + m6 x + m7 y), Y = (m3 x + m4 y + m5) / (the same). */
struct gray_map {
    double m[8];
    float edge
        [4]; /* left, top, right, bottom: shares of the clip's picture that are bars, not looked at */
};

/* Box sums of a picture, optionally of the marked pixels only. s has (w + 1) * (h + 1) entries. */
void gray_integral(const float *in, const uint8_t *mask, int w, int h, double *s);
/* Sum over the box of radius r around (x, y), clipped to the picture. */
static inline double gray_box(const double *s, int w, int h, int x, int y, int r)
{
    int x0 = x - r < 0 ? 0 : x - r, x1 = x + r + 1 > w ? w : x + r + 1;
    int y0 = y - r < 0 ? 0 : y - r, y1 = y + r + 1 > h ? h : y + r + 1, n = w + 1;
    return s[y1 * n + x1] - s[y0 * n + x1] - s[y1 * n + x0] + s[y0 * n + x0];
}
/* Reduces 8-bit luma by a whole factor into w/k x h/k. */
void gray_reduce(const uint8_t *in, int w, int h, int k, float *out);
/* Replaces every pixel by its deviation from the mean of its surroundings (radius r), over their spread. What changes tone,
 * exposure and slow shading leaves the result nearly as it is. mask: pixels that count, or NULL; the others become 0. */
void gray_level(float *p, const uint8_t *mask, int w, int h, int r);
/* Bilinear value; 0 <= x <= w - 1.001 and likewise y is the caller's duty. */
static inline float gray_at(const float *p, int w, float x, float y)
{
    int x0 = (int)x, y0 = (int)y;
    float a = x - (float)x0, b = y - (float)y0;
    const float *q = p + y0 * w + x0;
    return (q[0] * (1 - a) + q[1] * a) * (1 - b) + (q[w] * (1 - a) + q[w + 1] * a) * b;
}
/* Position in a picture of the same size that the map gives pixel (x, y). */
static inline void gray_where(const struct gray_map *g, int w, int h, int x, int y, float *ox,
                              float *oy)
{
    float u = (float)w * 0.5f, cx = ((float)x - u + 0.5f) / u,
          cy = ((float)y - (float)h * 0.5f + 0.5f) / u;
    const double *m = g->m;
    float d = 1 / (1 + (float)m[6] * cx + (float)m[7] * cy);
    *ox = ((float)m[0] * cx + (float)m[1] * cy + (float)m[2]) * d * u + u - 0.5f;
    *oy = ((float)m[3] * cx + (float)m[4] * cy + (float)m[5]) * d * u + (float)h * 0.5f - 0.5f;
}
/* Whether a position of a w x h picture lies at least margin pixels inside the picture and its bars. */
static inline bool gray_inside(const struct gray_map *g, int w, int h, float margin, float x,
                               float y)
{
    const float *e = g->edge;
    return x >= margin + e[0] * (float)w && y >= margin + e[1] * (float)h &&
           x < (float)w * (1 - e[2]) - margin - 1 && y < (float)h * (1 - e[3]) - margin - 1;
}
/* out = in seen through the map; ok marks pixels that lie inside by more than a margin. */
void gray_warp(const float *in, int w, int h, const struct gray_map *g, float *out, uint8_t *ok);
/* Solves A x = b in place (b becomes x) by elimination with pivots; false when A is singular. n <= 40. */
bool gray_solve(double *a, double *b, int n);
#endif
