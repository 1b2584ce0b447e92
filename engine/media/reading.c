// SPDX-License-Identifier: Apache-2.0
#include "media/reading.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"

enum {
    TONES = 256,
    TERMS = 5,
    POLY = 15,
    SUMS = 9,
    SHADE_STEP = 3,
    LOCAL = 24,
    TILES_X = 4,
    TILES_Y = 3
};
static const float CLIP_TILE = 20, CLIP_END = 10; /* luma levels */

struct cells {
    float b[MARK_CELLS], d[MARK_CELLS];
    int pictures;
};
struct reading {
    int w, h, segments, cols, rows;
    struct cells **cells;
    /* pixel x lies between cell cx[x] and the next one, at wx[x] */
    int cx[GRAY_SIDE], cy[GRAY_SIDE];
    float wx[GRAY_SIDE], wy[GRAY_SIDE];
    double power[GRAY_SIDE][SUMS]; /* of u = -1 .. 1 across the picture */
    float seen[GRAY_MAX], model[GRAY_MAX], gain[GRAY_MAX], diff[GRAY_MAX], ref[GRAY_MAX];
    uint8_t ok[GRAY_MAX];
    double sum[(GRAY_SIDE + 1) * (GRAY_SIDE + 1)], count[(GRAY_SIDE + 1) * (GRAY_SIDE + 1)];
};

static void place(int n, int cells, int *at, float *weight)
{
    for (int i = 0; i < n; i++) {
        float f = ((float)i + 0.5f) * (float)cells / (float)n - 0.5f;
        int k = (int)floorf(f);
        float q = f - (float)k;
        if (k < 0) {
            k = 0;
            q = 0;
        }
        if (k > cells - 2) {
            k = cells - 2;
            q = 1;
        }
        at[i] = k;
        weight[i] = q;
    }
}

struct reading *reading_new(int w, int h, int segments)
{
    struct reading *r = calloc(1, sizeof *r);
    must(r != NULL);
    r->w = w;
    r->h = h;
    r->segments = segments;
    r->cols = w >= h ? MARK_LONG : MARK_SHORT;
    r->rows = w >= h ? MARK_SHORT : MARK_LONG;
    r->cells = calloc((size_t)segments, sizeof *r->cells);
    must(r->cells != NULL);
    place(w, r->cols, r->cx, r->wx);
    place(h, r->rows, r->cy, r->wy);
    for (int x = 0; x < w; x++)
        for (int i = 0; i < SUMS; i++)
            r->power[x][i] = i ? r->power[x][i - 1] * (2. * x / w - 1) : 1;
    return r;
}

void reading_free(struct reading *r)
{
    for (int i = 0; r && i < r->segments; i++)
        free(r->cells[i]);
    if (r)
        free(r->cells);
    free(r);
}

/* Smooth tone curve from title to clip under the present shading. */
static void tone(struct reading *r, const uint8_t *title)
{
    double s[TONES] = {0}, n[TONES] = {0};
    float lut[TONES];
    int px = r->w * r->h;
    for (int q = 0; q < px; q++)
        if (r->ok[q]) {
            s[title[q]] += (double)(r->seen[q] / r->gain[q]);
            n[title[q]]++;
        }
    for (int b = 0; b < TONES; b++) {
        double sum = 0, all = 0;
        for (int rad = 4; all < 60 && rad < TONES; rad += 3) {
            sum = all = 0;
            for (int k = b - rad < 0 ? 0 : b - rad; k <= b + rad && k < TONES; k++) {
                double w = 1. / (1 + abs(k - b));
                sum += w * (s[k] - n[k] * k);
                all += w * n[k];
            }
        }
        lut[b] = (float)(b + (all > 0 ? sum / all : 0));
    }
    for (int q = 0; q < px; q++)
        r->model[q] = lut[title[q]];
}

/* Sums over the picture of w model^2 u^p v^q and of w model seen u^p v^q, all that the least squares below need; w is low for
 * pixels that do not fit. */
static void moments(const struct reading *r, double square[SUMS][SUMS],
                    double product[TERMS][TERMS])
{
    for (int y = SHADE_STEP / 2; y < r->h; y += SHADE_STEP) {
        double s[SUMS] = {0}, p[TERMS] = {0}, v = 2. * y / r->h - 1, power = 1;
        for (int x = SHADE_STEP / 2; x < r->w; x += SHADE_STEP) {
            int q = y * r->w + x;
            if (!r->ok[q])
                continue;
            double model = (double)r->model[q], seen = (double)r->seen[q];
            double miss = seen - (double)r->gain[q] * model, w = model / (1 + miss * miss / 100);
            for (int i = 0; i < SUMS; i++)
                s[i] += w * model * r->power[x][i];
            for (int i = 0; i < TERMS; i++)
                p[i] += w * seen * r->power[x][i];
        }
        for (int k = 0; k < SUMS; k++, power *= v) {
            for (int i = 0; i < SUMS - k; i++)
                square[i][k] += s[i] * power;
            for (int i = 0; i < TERMS - k; i++)
                product[i][k] += p[i] * power;
        }
    }
}

/* Shading (vignette, uneven light) as a polynomial of degree 4 that multiplies the toned title. */
static void shade(struct reading *r)
{
    double square[SUMS][SUMS] = {0}, product[TERMS][TERMS] = {0}, a[POLY * POLY], b[POLY];
    int pu[POLY], pv[POLY], n = 0;
    moments(r, square, product);
    for (int i = 0; i < TERMS; i++)
        for (int k = 0; k < TERMS - i; k++, n++) {
            pu[n] = i;
            pv[n] = k;
            b[n] = product[i][k];
        }
    for (int i = 0; i < POLY; i++) {
        for (int k = 0; k < POLY; k++)
            a[i * POLY + k] = square[pu[i] + pu[k]][pv[i] + pv[k]];
        a[i * POLY + i] = a[i * POLY + i] * 1.0005 + 1;
    }
    if (!gray_solve(a, b, POLY))
        return;
    for (int y = 0; y < r->h; y++) {
        double v = 2. * y / r->h - 1, row[TERMS] = {0};
        for (int i = 0; i < POLY; i++)
            row[pu[i]] += b[i] * pow(v, pv[i]);
        for (int x = 0; x < r->w; x++) {
            double u = r->power[x][1];
            double g = row[0] + u * (row[1] + u * (row[2] + u * (row[3] + u * row[4])));
            r->gain[y * r->w + x] = g < 0.1 ? 0.1f : (float)g;
        }
    }
}

/* Shifts and changes of sharpness leave traces of the title's own edges: take away what edges explain, tile by tile. */
static void unedge(struct reading *r, int xa, int xb, int ya, int yb)
{
    const float *t = r->ref;
    int w = r->w;
    double a[9] = {100, 0, 0, 0, 100, 0, 0, 0, 100}, b[3] = {0};
    for (int pass = 0; pass < 2; pass++) {
        for (int y = ya; y < yb; y++)
            for (int x = xa; x < xb; x++) {
                int q = y * w + x;
                if (!r->ok[q])
                    continue;
                float g[3] = {t[q + 1] - t[q - 1], t[q + w] - t[q - w],
                              4 * t[q] - t[q - 1] - t[q + 1] - t[q - w] - t[q + w]};
                if (pass) {
                    r->diff[q] -= g[0] * (float)b[0] + g[1] * (float)b[1] + g[2] * (float)b[2];
                    continue;
                }
                float e = fminf(fmaxf(r->diff[q], -CLIP_TILE), CLIP_TILE);
                for (int i = 0; i < 3; i++) {
                    b[i] += (double)(g[i] * e);
                    for (int k = 0; k < 3; k++)
                        a[i * 3 + k] += (double)(g[i] * g[k]);
                }
            }
        if (!pass && !gray_solve(a, b, 3))
            return;
    }
}

static void difference(struct reading *r, const uint8_t *title)
{
    int w = r->w, h = r->h;
    for (int q = 0; q < w * h; q++) {
        r->gain[q] = 1;
        r->ref[q] = title[q];
    }
    tone(r, title);
    for (int i = 0; i < 2; i++) {
        shade(r);
        tone(r, title);
    }
    for (int q = 0; q < w * h; q++)
        r->diff[q] = r->ok[q] ? r->seen[q] - r->gain[q] * r->model[q] : 0;
    for (int ty = 0; ty < TILES_Y; ty++)
        for (int tx = 0; tx < TILES_X; tx++) {
            int xa = tx * w / TILES_X, xb = (tx + 1) * w / TILES_X;
            int ya = ty * h / TILES_Y, yb = (ty + 1) * h / TILES_Y;
            unedge(r, xa ? xa : 1, xb == w ? w - 1 : xb, ya ? ya : 1, yb == h ? h - 1 : yb);
        }
    // Slow remains.
    for (int q = 0; q < w * h; q++)
        r->model[q] = r->ok[q];
    gray_integral(r->diff, r->ok, w, h, r->sum);
    gray_integral(r->model, NULL, w, h, r->count);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            int q = y * w + x;
            if (!r->ok[q])
                continue;
            float m = (float)(gray_box(r->sum, w, h, x, y, LOCAL) /
                              (gray_box(r->count, w, h, x, y, LOCAL) + 1e-3));
            r->diff[q] = fminf(fmaxf(r->diff[q] - m, -CLIP_END), CLIP_END);
        }
}

static void collect(struct reading *r, struct cells *c, float share, const uint8_t *title)
{
    float s[MARK_CELLS] = {0}, s2[MARK_CELLS] = {0}, n[MARK_CELLS] = {0}, n2[MARK_CELLS] = {0};
    float gain[MARK_CELLS];
    mark_gain(title, r->w, r->w, r->h, gain);
    for (int y = 1; y < r->h - 1; y++)
        for (int x = 1; x < r->w - 1; x++) {
            int q = y * r->w + x;
            if (!r->ok[q])
                continue;
            float e = r->diff[q], wx = r->wx[x], wy = r->wy[y];
            int k = r->cy[y] * r->cols + r->cx[x];
            const int at[4] = {k, k + 1, k + r->cols, k + r->cols + 1};
            const float wt[4] = {(1 - wx) * (1 - wy), wx * (1 - wy), (1 - wx) * wy, wx * wy};
            for (int i = 0; i < 4; i++) {
                float we = wt[i] * e;
                s[at[i]] += we;
                s2[at[i]] += we * e;
                n[at[i]] += wt[i];
                n2[at[i]] += wt[i] * wt[i];
            }
        }
    for (int k = 0; k < r->cols * r->rows; k++)
        if (n[k] > 5) {
            float due = gain[k] * share, weight = due / (s2[k] / n[k] + 1);
            c->b[k] += weight * s[k];
            c->d[k] += weight * due * n2[k];
        }
    c->pictures++;
}

void reading_add(struct reading *r, int segment, float share, const uint8_t *title,
                 const float *clip, const struct gray_map *m)
{
    if (segment < 0 || segment >= r->segments)
        return;
    if (!r->cells[segment]) {
        r->cells[segment] = calloc(1, sizeof **r->cells);
        must(r->cells[segment] != NULL);
    }
    gray_warp(clip, r->w, r->h, m, r->seen, r->ok);
    difference(r, title);
    collect(r, r->cells[segment], share, title);
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

bool reading_of(const struct reading *r, const uint8_t k_pattern[32], int segment,
                struct reading_result *out)
{
    const struct cells *c = segment < r->segments ? r->cells[segment] : NULL;
    float size[MARK_CELLS];
    int n = 0;
    if (!c || c->pictures < 4)
        return false;
    for (int k = 0; k < r->cols * r->rows; k++)
        if (c->b[k] != 0)
            size[n++] = fabsf(c->b[k]);
    if (n < 50)
        return false;
    qsort(size, (size_t)n, sizeof *size, by_size);
    float limit = 3 * size[n / 2];
    struct mark_grid g;
    mark_grid(k_pattern, segment, r->w, r->h, &g);
    double sum = 0, sq = 0, d = 0;
    for (int k = 0; k < r->cols * r->rows; k++) {
        float size_k = fabsf(c->b[k]), cut = size_k > limit ? limit / size_k : 1;
        double b = (double)(c->b[k] * cut);
        sum += b * g.cell[k];
        sq += b * b;
        d += (double)(c->d[k] * cut);
    }
    *out = (struct reading_result){.number = segment,
                                   .pictures = c->pictures,
                                   .amp = sum / (d + 1e-12),
                                   .z = sum / sqrt(sq + 1e-12)};
    return true;
}
