// SPDX-License-Identifier: Apache-2.0
#include "media/fp.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif
#include "base/err.h"

enum {
    UNIT = 1024,       /* length of a vector */
    MOMENTS = 12,      /* of the clip that are looked up */
    MOMENT_FRAMES = 4, /* coarse pictures each */
    WINDOW = 4,        /* fine pictures that are placed together */
    CHOICES = 16,      /* places kept for each window */
    SLOW = 6,
    VIEWS = 26,
    LOOKS = 4,       /* moments for a first look at every view ... */
    LOOK_FRAMES = 2, /* ... and their pictures */
    MANY = 600,      /* pictures of a title of which a first look takes every other */
    LEAST = FP_CELLS * 3 / 8
};
static const float FLAT = 0.02f; /* spread of the logarithm below which a picture says nothing */
static const float DARK = 16;    /* luma that counts as black */
static const float LOUD = 2.2f; /* spreads that a cell may stand out: a logo is no more than that */
static const double FAINT = 0.1;   /* share of a title picture's contrast that is worth little */
static const double CORNER = 0.05; /* by which a crop is off the middle */
static const double GAIN = 0.02;   /* by which a second climb must seem worth it */
static const double WORTH = 0.35;  /* correlation from which a view is made exact */
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

/* How a view is looked through: which cells count, where they lie in the clip's grid, what varies slowly over them. */
struct lens {
    int n;
    uint8_t in[FP_CELLS];
    float x[FP_CELLS], y[FP_CELLS], slow[SLOW][FP_CELLS];
};

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

void fp_title_init(struct fp_title *t, const uint8_t *cells, size_t bytes, int step)
{
    t->n = (int)(bytes / FP_CELLS);
    t->step = step;
    t->vec = malloc((size_t)t->n * FP_CELLS * sizeof *t->vec + 16);
    must(t->vec != NULL);
    for (int i = 0; i < t->n; i++) {
        float f[FP_CELLS];
        for (int k = 0; k < FP_CELLS; k++)
            f[k] = level[cells[(size_t)i * FP_CELLS + (size_t)k]];
        normalise(f, whole, FP_CELLS, t->vec + (size_t)i * FP_CELLS);
    }
}

void fp_title_fini(struct fp_title *t)
{
    free(t->vec);
    t->vec = NULL;
}

#ifdef __SSE2__
__attribute__((target("avx2"))) static int dot_wide(const int16_t *a, const int16_t *b)
{
    __m256i s = _mm256_setzero_si256();
    for (int i = 0; i < FP_CELLS; i += 16)
        s = _mm256_add_epi32(s, _mm256_madd_epi16(_mm256_loadu_si256((const __m256i *)(a + i)),
                                                  _mm256_loadu_si256((const __m256i *)(b + i))));
    __m128i t = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(t, _mm_shuffle_epi32(t, 0xb1)));
}
#endif

static int dot(const int16_t *a, const int16_t *b)
{
#ifdef __SSE2__
    if (__builtin_cpu_supports("avx2"))
        return dot_wide(a, b);
#endif
    int s = 0;
    for (int i = 0; i < FP_CELLS; i++)
        s += a[i] * b[i];
    return s;
}

/* False when the view shows too little of the title. */
static bool lens_init(struct lens *l, const struct fp_clip *c, const struct fp_view *v)
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

/* A clip's picture on the title's cells. False when it is flat. */
static bool project(const uint8_t *cells, const struct lens *l, int16_t out[FP_CELLS])
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
    return dot(out, out) > 0;
}

/* Correlation over the cells that count alone; the quick dot product takes the title's length over all. */
WIDE static double exact(const struct lens *l, const int16_t *clip, const int16_t *title)
{
    float f[FP_CELLS], d = 0;
    if (l->n == FP_CELLS) // the title's vector is what it would become
        return dot(clip, title) / (UNIT * UNIT * sqrt(1 + FAINT));
    for (int i = 0; i < FP_CELLS; i++)
        f[i] = l->in[i] ? title[i] : 0;
    take_slow(l->slow, f);
    for (int i = 0; i < FP_CELLS; i++)
        d += f[i] * clip[i];
    return (double)d / (UNIT * sqrt((double)size_of(f) + FAINT * UNIT * UNIT));
}

/* Of the title only a part is left, its middle off by dx, dy. */
static struct fp_view view_of(const double box[4], double part, double dx, double dy, bool mirror)
{
    double kx = (box[2] - box[0]) / part, ky = (box[3] - box[1]) / part;
    double cx = (box[0] + box[2]) / 2 + dx * kx, cy = (box[1] + box[3]) / 2 + dy * ky;
    return (struct fp_view){
        {mirror ? cx + kx / 2 : cx - kx / 2, mirror ? -kx : kx, cy - ky / 2, ky}};
}

static bool differ(const double a[4], const double b[4])
{
    double d = 0;
    for (int i = 0; i < 4; i++)
        d = fmax(d, fabs(a[i] - b[i]));
    return d > 0.02;
}

/* The picture fills what is no bar, or the frame (bars lie over it), or what moves; a crop takes away from it. */
static int views_of(const struct fp_clip *c, struct fp_view out[VIEWS])
{
    static const double shrink[] = {1, 0.9, 0.8}, all[4] = {0, 0, 1, 1};
    const double *box[3] = {c->bars};
    int n = 0, boxes = 1;
    if (differ(c->bars, all))
        box[boxes++] = all;
    if (differ(c->box, c->bars) && differ(c->box, all))
        box[boxes++] = c->box;
    for (int b = 0; b < boxes; b++)
        for (int s = 0; s < 3; s++)
            for (int mirror = 0; mirror < 2; mirror++)
                out[n++] = view_of(box[b], shrink[s], 0, 0, mirror);
    for (int k = 0; k < 8; k++)
        out[n++] =
            view_of(c->bars, 0.85, k & 1 ? CORNER : -CORNER, k & 2 ? CORNER : -CORNER, k & 4);
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

/* A moment of the clip seen through a lens, and where in the title it fits best. */
struct moment {
    int16_t m[MOMENT_FRAMES][FP_CELLS];
    const struct lens *l;
    int frames, place;
    int which;    /* moment, or view */
    int first;    /* best product of the first picture alone, */
    int64_t best; /* of all; -1 = none worth looking at */
};

typedef int dot_fn(const int16_t *a, const int16_t *b);

/* One pass through the title (every n-th picture) for all moments, so that it is fetched from memory once. */
INLINE void seek_by(const struct fp_title *t, struct moment *m, int n, int every, dot_fn *by)
{
    for (int o = 0; o < t->n; o += every)
        for (struct moment *q = m; q < m + n; q++) {
            const int16_t *at = t->vec + (size_t)o * FP_CELLS;
            if (o + q->frames > t->n)
                continue;
            int d = by(q->m[0], at);
            if (q->best < 0 && d > q->first) { // the best of nothing good
                q->first = d;
                q->place = o;
            }
            if (d < UNIT * UNIT / 5) // most places need no second picture
                continue;
            int64_t s = d;
            for (int k = 1; k < q->frames; k++)
                s += by(q->m[k], at + (size_t)k * FP_CELLS);
            if (s > q->best) {
                q->best = s;
                q->place = o;
            }
        }
}

#ifdef __SSE2__
__attribute__((target("avx2"))) static void seek_wide(const struct fp_title *t, struct moment *m,
                                                      int n, int every)
{
    seek_by(t, m, n, every, dot_wide);
}
#endif

static void seek(const struct fp_title *t, struct moment *m, int n, int every)
{
#ifdef __SSE2__
    if (__builtin_cpu_supports("avx2"))
        return seek_wide(t, m, n, every);
#endif
    seek_by(t, m, n, every, dot);
}

/* How well a moment fits at its place. */
static double fit_of(const struct fp_title *t, const struct moment *m)
{
    double r = 0;
    for (int k = 0; k < m->frames; k++)
        r += exact(m->l, m->m[k], t->vec + (size_t)(m->place + k) * FP_CELLS) / m->frames;
    return r;
}

struct match {
    const struct fp_title *t;
    const struct fp_clip *c;
    double gap, length;
    int frames, place[MOMENTS]; /* of the last scan; -1 = flat */
};

static bool moment_of(const struct match *x, const struct lens *l, int k, int frames,
                      struct moment *m)
{
    double at = (k + 0.5) / MOMENTS * fmax(0, x->length - x->gap * (x->frames - 1));
    *m = (struct moment){.l = l, .frames = frames, .which = k, .first = INT_MIN, .best = -1};
    for (int i = 0; i < frames; i++)
        if (!project(x->c->cells + (size_t)nearest(x->c, at + i * x->gap) * FP_CLIP_CELLS, l,
                     m->m[i]))
            return false;
    return true;
}

/* Looks all moments up in the whole title. */
static double scan(struct match *x, const struct fp_view *v)
{
    struct lens l;
    struct moment m[MOMENTS];
    double sum = 0;
    int n = 0;
    if (!lens_init(&l, x->c, v))
        return -1;
    for (int k = 0; k < MOMENTS; k++) {
        x->place[k] = -1;
        n += moment_of(x, &l, k, x->frames, &m[n]);
    }
    seek(x->t, m, n, 1);
    for (int i = 0; i < n; i++) {
        x->place[m[i].which] = m[i].place;
        sum += fit_of(x->t, &m[i]);
    }
    return n ? sum / n : -1;
}

static void rank(struct fp_view *list, double *score, int *n, int max, const struct fp_view *v,
                 double s)
{
    if (*n == max && score[max - 1] >= s)
        return;
    int i = *n < max ? (*n)++ : max - 1;
    for (; i > 0 && score[i - 1] < s; i--) {
        list[i] = list[i - 1];
        score[i] = score[i - 1];
    }
    list[i] = *v;
    score[i] = s;
}

/* A first look through every view: few moments, two pictures each. Returns how many views were kept in first, likeliest first. */
static int look(struct match *x, const struct fp_view *views, int n, struct fp_view first[FP_BEST])
{
    struct lens *l = malloc((size_t)n * sizeof *l);
    struct moment *m = malloc((size_t)(n * LOOKS) * sizeof *m);
    double sum[VIEWS] = {0}, rough[FP_BEST];
    int count[VIEWS] = {0}, all = 0, kept = 0, step = MOMENTS / LOOKS;
    must(l && m);
    for (int v = 0; v < n; v++)
        for (int k = step / 2; lens_init(&l[v], x->c, &views[v]) && k < MOMENTS; k += step)
            if (moment_of(x, &l[v], k, x->frames < LOOK_FRAMES ? x->frames : LOOK_FRAMES, &m[all]))
                m[all++].which = v;
    seek(x->t, m, all, x->t->n > MANY ? 2 : 1);
    for (int i = 0; i < all; i++) {
        sum[m[i].which] += fit_of(x->t, &m[i]);
        count[m[i].which]++;
    }
    for (int v = 0; v < n; v++)
        rank(first, rough, &kept, FP_BEST, &views[v], count[v] ? sum[v] / count[v] : -1);
    free(l);
    free(m);
    return kept;
}

/* The same at the places that the scan found, for a view nearby. */
static double at_places(const struct match *x, const struct fp_view *v)
{
    struct lens l;
    double sum = 0;
    int n = 0;
    if (!lens_init(&l, x->c, v))
        return -1;
    for (int k = 0; k < MOMENTS; k++) {
        struct moment m;
        if (x->place[k] < 0 || !moment_of(x, &l, k, 1, &m))
            continue;
        sum += exact(&l, m.m[0], x->t->vec + (size_t)x->place[k] * FP_CELLS);
        n++;
    }
    return n ? sum / n : -1;
}

/* Moves and stretches the view as long as that helps. */
static void climb(const struct match *x, struct fp_view *v)
{
    // Shift and size across and down, and size in both.
    static const double way[5][4] = {
        {1, 0, 0, 0}, {0, 0, 1, 0}, {-.5, 1, 0, 0}, {0, 0, -.5, 1}, {-.5, 1, -.5, 1}};
    double best = at_places(x, v);
    for (double step = 0.06; step > 0.007; step /= 2)
        for (bool up = true; up;) {
            up = false;
            for (int i = 0; i < 10; i++) {
                struct fp_view w = *v;
                for (int k = 0; k < 4; k++)
                    w.a[k] += way[i / 2][k] * v->a[k < 2 ? 1 : 3] * (i & 1 ? -step : step);
                double r = at_places(x, &w);
                if (r > best + 0.0005) {
                    best = r;
                    *v = w;
                    up = true;
                }
            }
        }
}

double fp_match(const struct fp_title *t, const struct fp_clip *c, struct fp_view best[FP_BEST])
{
    struct fp_view views[VIEWS], first[FP_BEST];
    double score[FP_BEST];
    int done = 0, n = views_of(c, views);
    struct match x = {t,  c, (double)t->step / FP_RATE, c->n ? c->t[c->n - 1] : 0, MOMENT_FRAMES,
                      {0}};
    for (int i = 0; i < FP_BEST; i++)
        best[i] = views[0];
    while (x.frames > 1 && (x.length < x.gap * (x.frames - 1) || t->n < x.frames))
        x.frames--;
    score[0] = -1;
    for (int k = 0, kept = t->n && c->n ? look(&x, views, n, first) : 0; k < kept; k++) {
        struct fp_view v = first[k];
        double s = scan(&x, &v), before = s - 1;
        for (int round = 0; round < 2 && s > WORTH && s > before + GAIN; round++) {
            before = s;
            climb(&x, &v);
            s = scan(&x, &v);
        }
        rank(best, score, &done, FP_BEST, &v, s);
    }
    return score[0];
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

static void find_places(const struct fp_title *t, const struct fp_clip *c, const struct lens *l,
                        int first, struct window *w)
{
    int16_t m[WINDOW][FP_CELLS];
    w->t = c->t[first];
    w->n = 0;
    int n = 0;
    for (int k = 0; k < WINDOW && first + k < c->n; k++) {
        if (!project(c->cells + (size_t)(first + k) * FP_CLIP_CELLS, l, m[n]))
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
    for (int i = 0; i < w->n; i++) {
        double d = 0;
        for (int k = 0; k < WINDOW; k++)
            d += exact(l, m[k], t->vec + (size_t)(w->p[i].at + k) * FP_CELLS) / WINDOW;
        w->p[i].score = (float)d;
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
    struct lens l;
    if (!lens_init(&l, c, v))
        return 0;
    struct window *w = malloc((size_t)cap * sizeof *w);
    int *pick = malloc((size_t)cap * sizeof *pick);
    must(w && pick);
    for (int first = 0; first + WINDOW <= c->n; first += WINDOW) {
        find_places(t, c, &l, first, &w[n]);
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
