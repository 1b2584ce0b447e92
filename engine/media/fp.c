// SPDX-License-Identifier: Apache-2.0
#include "media/fp.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif
#include "base/err.h"

enum {
    UNIT = 1024,       /* length of a vector */
    MOMENTS = 12,      /* of the clip that are looked up */
    MOMENT_FRAMES = 4, /* coarse pictures each */
    WINDOW = 4,        /* fine pictures that are placed together */
    CHOICES = 16,      /* places kept for each window */
    SLOW = 6
};
static const float FLAT = 0.02f;   /* spread of the logarithm below which a picture says nothing */
static const float DARK = 16;      /* luma that counts as black */
static const double WEIGHT = 8;    /* of a correlation against ... */
static const double JUMP_COST = 4; /* ... a cut */

void fp_cells(const uint8_t *y, ptrdiff_t stride, int w, int h, int gw, int gh, uint8_t *out)
{
    for (int cy = 0; cy < gh; cy++)
        for (int cx = 0; cx < gw; cx++) {
            int x0 = cx * w / gw, x1 = (cx + 1) * w / gw, y0 = cy * h / gh, y1 = (cy + 1) * h / gh;
            unsigned sum = 0, n = (unsigned)((x1 - x0) * (y1 - y0));
            for (int py = y0; py < y1; py++)
                for (int px = x0; px < x1; px++)
                    sum += y[py * stride + px];
            out[cy * gw + cx] = (uint8_t)(n ? (sum + n / 2) / n : 0);
        }
}

void fp_maker_add(struct fp_maker *m, int num, int den, const uint8_t *y, ptrdiff_t stride, int w,
                  int h)
{
    // The picture shown at each fifth of a second.
    int64_t have = (int64_t)(m->cells.n / FP_CELLS);
    if (m->frames++ * den * FP_RATE >= have * num) {
        uint8_t c[FP_CELLS];
        fp_cells(y, stride, w, h, FP_W, FP_H, c);
        buf_put(&m->cells, c, sizeof c);
    }
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
        float len = 0;
        for (int j = 0; j < k; j++) {
            float d = 0;
            for (int i = 0; i < FP_CELLS; i++)
                d += out[k][i] * out[j][i];
            for (int i = 0; i < FP_CELLS; i++)
                out[k][i] -= d * out[j][i];
        }
        for (int i = 0; i < FP_CELLS; i++)
            len += out[k][i] * out[k][i];
        len = 1 / sqrtf(len + 1e-12f);
        for (int i = 0; i < FP_CELLS; i++)
            out[k][i] *= len;
    }
    return n;
}

/* w: cells that count, or NULL. */
static void normalise(const float in[FP_CELLS], const uint8_t *w, int16_t out[FP_CELLS])
{
    static __thread float whole[SLOW][FP_CELLS];
    static __thread bool have;
    float part[SLOW][FP_CELLS], f[FP_CELLS], sq = 0;
    const float(*slow)[FP_CELLS] = (const float(*)[FP_CELLS])(w ? part : whole);
    int n = FP_CELLS;
    if (w)
        n = slow_terms(w, part);
    else if (!have)
        have = slow_terms(NULL, whole) > 0;
    for (int i = 0; i < FP_CELLS; i++)
        f[i] = !w || w[i] ? logf(in[i] + DARK) : 0;
    for (int k = 0; k < SLOW; k++) {
        float d = 0;
        for (int i = 0; i < FP_CELLS; i++)
            d += f[i] * slow[k][i];
        for (int i = 0; i < FP_CELLS; i++)
            f[i] -= d * slow[k][i];
    }
    for (int i = 0; i < FP_CELLS; i++)
        sq += f[i] * f[i];
    float k = sq > FLAT * FLAT * (float)n ? UNIT / sqrtf(sq) : 0;
    for (int i = 0; i < FP_CELLS; i++)
        out[i] = (int16_t)lrintf(f[i] * k);
}

void fp_title_init(struct fp_title *t, const uint8_t *cells, size_t bytes, int step)
{
    t->n = (int)(bytes / FP_CELLS);
    t->step = step;
    t->vec = malloc((size_t)t->n * FP_CELLS * sizeof *t->vec + 16);
    must(t->vec != NULL);
    for (int i = 0; i < t->n; i++) {
        float f[FP_CELLS];
        for (int k = 0; k < FP_CELLS; k++)
            f[k] = cells[(size_t)i * FP_CELLS + (size_t)k];
        normalise(f, NULL, t->vec + (size_t)i * FP_CELLS);
    }
}

void fp_title_fini(struct fp_title *t)
{
    free(t->vec);
    t->vec = NULL;
}

static int dot(const int16_t *a, const int16_t *b)
{
#ifdef __SSE2__
    __m128i s = _mm_setzero_si128();
    for (int i = 0; i < FP_CELLS; i += 8)
        s = _mm_add_epi32(s, _mm_madd_epi16(_mm_loadu_si128((const __m128i *)(a + i)),
                                            _mm_loadu_si128((const __m128i *)(b + i))));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
#else
    int s = 0;
    for (int i = 0; i < FP_CELLS; i++)
        s += a[i] * b[i];
    return s;
#endif
}

/* A clip's picture on the title's cells. False when it is flat. */
static bool project(const uint8_t *cells, const struct fp_view *v, int16_t out[FP_CELLS])
{
    float f[FP_CELLS];
    uint8_t in[FP_CELLS];
    int n = 0;
    for (int y = 0; y < FP_H; y++)
        for (int x = 0; x < FP_W; x++) {
            int q = y * FP_W + x;
            double cx = (v->a[0] + v->a[1] * (x + 0.5) / FP_W) * FP_CLIP_W - 0.5;
            double cy = (v->a[2] + v->a[3] * (y + 0.5) / FP_H) * FP_CLIP_H - 0.5;
            in[q] = cx > -0.51 && cy > -0.51 && cx < FP_CLIP_W - 0.49 && cy < FP_CLIP_H - 0.49;
            f[q] = 0;
            if (!in[q])
                continue;
            cx = fmin(fmax(cx, 0), FP_CLIP_W - 1.001);
            cy = fmin(fmax(cy, 0), FP_CLIP_H - 1.001);
            int x0 = (int)cx, y0 = (int)cy;
            double a = cx - x0, b = cy - y0;
            const uint8_t *p = cells + y0 * FP_CLIP_W + x0;
            f[q] = (float)((p[0] * (1 - a) + p[1] * a) * (1 - b) +
                           (p[FP_CLIP_W] * (1 - a) + p[FP_CLIP_W + 1] * a) * b);
            n++;
        }
    if (n < FP_CELLS / 3)
        return false;
    normalise(f, in, out);
    return dot(out, out) > 0;
}

static struct fp_view view_of(const double box[4], double part, double dx, double dy, bool mirror)
{
    double kx = (box[2] - box[0]) / part, ky = (box[3] - box[1]) / part;
    double cx = (box[0] + box[2]) / 2 + dx * kx, cy = (box[1] + box[3]) / 2 + dy * ky;
    return (struct fp_view){
        {mirror ? cx + kx / 2 : cx - kx / 2, mirror ? -kx : kx, cy - ky / 2, ky}};
}

int fp_views(const struct fp_clip *c, bool fine, struct fp_view out[FP_VIEWS])
{
    static const double shrink[] = {1, 0.9, 0.8}; /* part of the title that a crop leaves */
    static const double all[4] = {0, 0, 1, 1};
    bool framed = c->box[0] > 0.01 || c->box[1] > 0.01 || c->box[2] < 0.99 || c->box[3] < 0.99;
    int n = 0;
    for (int b = framed; b >= 0; b--)
        for (int s = 0; s < 3; s++)
            for (int mirror = 0; mirror < 2; mirror++)
                out[n++] = view_of(b ? c->box : all, shrink[s], 0, 0, mirror);
    for (int k = 0; fine && k < 9; k++)
        for (int s = 1; s < 3 && k != 4; s++)
            for (int mirror = 0; mirror < 2; mirror++)
                out[n++] = view_of(framed ? c->box : all, 1 - s * 0.1, (k % 3 - 1) * s * 0.045,
                                   (k / 3 - 1) * s * 0.045, mirror);
    return n;
}

/* The clip's picture nearest to a time. */
static int nearest(const struct fp_clip *c, double t)
{
    int lo = 0, hi = c->n - 1;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (c->t[mid] < t)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo > 0 && t - c->t[lo - 1] < c->t[lo] - t ? lo - 1 : lo;
}

static double best_place(const struct fp_title *t, const int16_t (*m)[FP_CELLS], int frames)
{
    double best = -1;
    for (int o = 0; o + frames <= t->n; o++) {
        int64_t s = 0;
        for (int k = 0; k < frames; k++)
            s += dot(m[k], t->vec + (size_t)(o + k) * FP_CELLS);
        double d = (double)s / ((double)UNIT * UNIT * frames);
        best = d > best ? d : best;
    }
    return best;
}

double fp_match(const struct fp_title *t, const struct fp_clip *c, bool fine, int *view)
{
    struct fp_view views[FP_VIEWS];
    int nviews = fp_views(c, fine, views), frames = MOMENT_FRAMES;
    double gap = (double)t->step / FP_RATE, best = -1;
    double length = c->n ? c->t[c->n - 1] : 0;
    while (frames > 1 && (length < gap * (frames - 1) || t->n < frames))
        frames--;
    *view = 0;
    for (int v = 0; v < nviews && t->n; v++) {
        double sum = 0;
        int n = 0;
        for (int k = 0; k < MOMENTS && c->n; k++) {
            int16_t m[MOMENT_FRAMES][FP_CELLS];
            double at = (k + 0.5) / MOMENTS * fmax(0, length - gap * (frames - 1));
            bool good = true;
            for (int i = 0; i < frames && good; i++)
                good = project(c->cells + (size_t)nearest(c, at + i * gap) * FP_CLIP_CELLS,
                               &views[v], m[i]);
            if (good) {
                sum += best_place(t, (const int16_t(*)[FP_CELLS])m, frames);
                n++;
            }
        }
        if (n && sum / n > best + 0.002) {
            best = sum / n;
            *view = v;
        }
    }
    return best;
}

/* ---- alignment ---- */

struct place {
    int at; /* title picture of the window's first one */
    float score;
    float total; /* of the best path that ends here */
    int from;    /* choice of the window before */
};
struct window {
    double t;
    int n;
    struct place p[CHOICES];
};

static void keep(struct window *w, int at, float score)
{
    // Neighbours are one place: the better stays.
    for (int i = 0; i < w->n; i++)
        if (abs(w->p[i].at - at) <= 1) {
            if (w->p[i].score >= score)
                return;
            memmove(&w->p[i], &w->p[i + 1], (size_t)(w->n - i - 1) * sizeof w->p[0]);
            w->n--;
            i--;
        }
    if (w->n == CHOICES && w->p[w->n - 1].score >= score)
        return;
    if (w->n < CHOICES)
        w->n++;
    int i = w->n - 1;
    while (i > 0 && w->p[i - 1].score < score) {
        w->p[i] = w->p[i - 1];
        i--;
    }
    w->p[i] = (struct place){.at = at, .score = score};
}

static void find_places(const struct fp_title *t, const struct fp_clip *c, const struct fp_view *v,
                        int first, struct window *w)
{
    int16_t m[WINDOW][FP_CELLS];
    w->t = c->t[first];
    w->n = 0;
    int n = 0;
    for (int k = 0; k < WINDOW && first + k < c->n; k++) {
        if (!project(c->cells + (size_t)(first + k) * FP_CLIP_CELLS, v, m[n]))
            break;
        n++;
    }
    if (n < WINDOW)
        return;
    float worst = -1;
    for (int o = 0; o + WINDOW <= t->n; o++) {
        int s = 0;
        for (int k = 0; k < WINDOW; k++)
            s += dot(m[k], t->vec + (size_t)(o + k) * FP_CELLS) >> 2;
        float d = (float)s / ((float)UNIT * UNIT * WINDOW / 4);
        if (d > worst && d > 0.3f) {
            keep(w, o, d);
            if (w->n == CHOICES)
                worst = w->p[CHOICES - 1].score;
        }
    }
}

/* Pictures by which a step from a to b, dt seconds apart, differs from a steady run; < 0 = a cut. */
static double deviation(int a, int b, double dt)
{
    double want = dt * FP_RATE, d = fabs(b - a - want);
    return d <= 1.01 + 0.15 * want ? d : -1;
}

static void chain(struct window *w, int n)
{
    for (int k = 0; k < n; k++)
        for (int i = 0; i < w[k].n; i++) {
            struct place *p = &w[k].p[i];
            float best = 0;
            p->from = -1;
            for (int j = 0; k && j < w[k - 1].n; j++) {
                const struct place *q = &w[k - 1].p[j];
                double d = deviation(q->at, p->at, w[k].t - w[k - 1].t);
                float s = q->total - (float)(d < 0 ? JUMP_COST : 0.3 * d);
                if (p->from < 0 || s > best) {
                    best = s;
                    p->from = j;
                }
            }
            p->total = best + (float)WEIGHT * p->score;
        }
}

/* Straight line through the places of a run, outliers left out. */
static void fit(const struct window *w, const int *pick, int from, int to, struct fp_run *r)
{
    double offset = 0, speed = 1, limit = 1e9;
    for (int round = 0; round < 4; round++) {
        double n = 0, st = 0, sr = 0, stt = 0, str = 0;
        for (int k = from; k <= to; k++) {
            double t = w[k].t, x = (double)w[k].p[pick[k]].at / FP_RATE;
            if (round && fabs(x - offset - speed * t) > limit)
                continue;
            n++;
            st += t;
            sr += x;
            stt += t * t;
            str += t * x;
        }
        double var = n > 0 ? stt / n - st / n * (st / n) : 0;
        speed = to - from >= 4 && var > 0.5 ? (str / n - st / n * (sr / n)) / var : 1;
        if (fabs(speed - 1) > 0.3)
            speed = 1;
        offset = n > 0 ? sr / n - speed * st / n : 0;
        limit = round ? 0.16 : 0.3;
    }
    r->offset = offset;
    r->speed = speed;
}

/* Runs from the chosen places. */
static int cut(const struct window *w, const int *pick, int n, struct fp_run *out, int max)
{
    int nrun = 0;
    for (int k = 0; k < n;) {
        int to = k;
        double sum = (double)w[k].p[pick[k]].score;
        while (to + 1 < n && deviation(w[to].p[pick[to]].at, w[to + 1].p[pick[to + 1]].at,
                                       w[to + 1].t - w[to].t) >= 0) {
            to++;
            sum += (double)w[to].p[pick[to]].score;
        }
        double score = sum / (to - k + 1);
        if (nrun < max && (score > 0.6 && to > k)) {
            struct fp_run *r = &out[nrun++];
            r->from = w[k].t;
            r->to = w[to].t + (double)WINDOW / FP_RATE;
            r->score = score;
            fit(w, pick, k, to, r);
        }
        k = to + 1;
    }
    return nrun;
}

int fp_align(const struct fp_title *t, const struct fp_clip *c, const struct fp_view *v,
             struct fp_run *out, int max)
{
    int n = 0, cap = c->n / WINDOW + 1, nrun = 0;
    struct window *w = malloc((size_t)cap * sizeof *w);
    int *pick = malloc((size_t)cap * sizeof *pick);
    must(w && pick);
    for (int first = 0; first + WINDOW <= c->n; first += WINDOW) {
        find_places(t, c, v, first, &w[n]);
        n += w[n].n > 0; // flat pictures are bridged
    }
    if (n) {
        chain(w, n);
        int best = 0;
        for (int i = 1; i < w[n - 1].n; i++)
            if (w[n - 1].p[i].total > w[n - 1].p[best].total)
                best = i;
        for (int k = n - 1; k >= 0; k--) {
            pick[k] = best;
            best = w[k].p[best].from;
        }
        nrun = cut(w, pick, n, out, max);
    }
    free(w);
    free(pick);
    return nrun;
}
