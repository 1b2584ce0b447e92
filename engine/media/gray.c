// SPDX-License-Identifier: Apache-2.0
#include "media/gray.h"
#include <math.h>
#include <string.h>

void gray_integral(const float *in, const uint8_t *mask, int w, int h, double *s)
{
    memset(s, 0, sizeof *s * (size_t)(w + 1));
    for (int y = 0; y < h; y++) {
        double a = 0;
        s[(y + 1) * (w + 1)] = 0;
        for (int x = 0; x < w; x++) {
            if (!mask || mask[y * w + x])
                a += (double)in[y * w + x];
            s[(y + 1) * (w + 1) + x + 1] = s[y * (w + 1) + x + 1] + a;
        }
    }
}

void gray_reduce(const uint8_t *in, int w, int h, int k, float *out)
{
    int ow = w / k, oh = h / k;
    for (int y = 0; y < oh; y++)
        for (int x = 0; x < ow; x++) {
            int a = 0;
            for (int j = 0; j < k; j++)
                for (int i = 0; i < k; i++)
                    a += in[(y * k + j) * w + x * k + i];
            out[y * ow + x] = (float)a / (float)(k * k);
        }
}

void gray_level(float *p, const uint8_t *mask, int w, int h, int r)
{
    enum { SUMS = (GRAY_SIDE + 1) * (GRAY_SIDE + 1) };
    static __thread double s[SUMS], t[SUMS], c[SUMS];
    static __thread float work[GRAY_MAX];
    gray_integral(p, mask, w, h, s);
    for (int i = 0; i < w * h; i++)
        work[i] = p[i] * p[i];
    gray_integral(work, mask, w, h, t);
    for (int i = 0; i < w * h; i++)
        work[i] = 1;
    gray_integral(work, mask, w, h, c);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            int q = y * w + x;
            if (mask && !mask[q]) {
                p[q] = 0;
                continue;
            }
            float n = (float)gray_box(c, w, h, x, y, r), m = (float)gray_box(s, w, h, x, y, r) / n;
            float v = (float)gray_box(t, w, h, x, y, r) / n - m * m;
            p[q] = 20 * (p[q] - m) / (sqrtf(v > 0 ? v : 0) + 5);
        }
}

void gray_warp(const float *in, int w, int h, const struct gray_map *g, float *out, uint8_t *ok)
{
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            int q = y * w + x;
            float a, b;
            gray_where(g, w, h, x, y, &a, &b);
            ok[q] = gray_inside(g, w, h, 2, a, b);
            out[q] = ok[q] ? gray_at(in, w, a, b) : 0;
        }
}

bool gray_solve(double *a, double *b, int n)
{
    for (int i = 0; i < n; i++) {
        int p = i;
        for (int j = i + 1; j < n; j++)
            if (fabs(a[j * n + i]) > fabs(a[p * n + i]))
                p = j;
        if (!(fabs(a[p * n + i]) > 1e-12))
            return false;
        for (int k = 0; p != i && k < n; k++) {
            double t = a[i * n + k];
            a[i * n + k] = a[p * n + k];
            a[p * n + k] = t;
        }
        double t = b[i];
        b[i] = b[p];
        b[p] = t;
        for (int j = i + 1; j < n; j++) {
            double f = a[j * n + i] / a[i * n + i];
            for (int k = i; f != 0 && k < n; k++)
                a[j * n + k] -= f * a[i * n + k];
            b[j] -= f * b[i];
        }
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int k = i + 1; k < n; k++)
            b[i] -= a[i * n + k] * b[k];
        b[i] /= a[i * n + i];
    }
    return true;
}
