// SPDX-License-Identifier: Apache-2.0
#include "media/fp.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "media/lens.h"

enum {
    UNIT = LENS_UNIT,
    MOMENTS = 12,      /* of the clip that are looked up */
    MOMENT_FRAMES = 4, /* coarse pictures each */
    WINDOW = 4,        /* fine pictures that are placed together */
    CHOICES = 16,      /* places kept for each window, */
    LINES = 3,         /* and those on the longest runs of a first round */
    VIEWS = 26,
    LOOKS = 4,       /* moments for a first look at every view ... */
    LOOK_FRAMES = 2, /* ... and their pictures */
    MANY = 600       /* pictures of a title of which a first look takes every other */
};
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

void fp_title_init(struct fp_title *t, const uint8_t *cells, size_t bytes, int step)
{
    t->n = (int)(bytes / FP_CELLS);
    t->step = step;
    t->vec = malloc((size_t)t->n * FP_CELLS * sizeof *t->vec + 16);
    must(t->vec != NULL);
    for (int i = 0; i < t->n; i++)
        lens_whole(cells + (size_t)i * FP_CELLS, t->vec + (size_t)i * FP_CELLS);
}

void fp_title_fini(struct fp_title *t)
{
    free(t->vec);
    t->vec = NULL;
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
static inline __attribute__((always_inline)) void
seek_by(const struct fp_title *t, struct moment *m, int n, int every, dot_fn *by)
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
    seek_by(t, m, n, every, lens_dot_wide);
}
#endif

static void seek(const struct fp_title *t, struct moment *m, int n, int every)
{
#ifdef __SSE2__
    if (__builtin_cpu_supports("avx2"))
        return seek_wide(t, m, n, every);
#endif
    seek_by(t, m, n, every, lens_dot);
}

/* How well a moment fits at its place. */
static double fit_of(const struct fp_title *t, const struct moment *m)
{
    double r = 0;
    for (int k = 0; k < m->frames; k++)
        r += lens_exact(m->l, m->m[k], t->vec + (size_t)(m->place + k) * FP_CELLS) / m->frames;
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
        if (!lens_project(x->c->cells + (size_t)nearest(x->c, at + i * x->gap) * FP_CLIP_CELLS, l,
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
        sum += lens_exact(&l, m.m[0], x->t->vec + (size_t)x->place[k] * FP_CELLS);
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

/* Where in the title the clip as one piece fits best, seen through a lens; sets the places of its moments. */
static double slide(struct match *x, const struct lens *l)
{
    struct moment m[MOMENTS];
    int at[MOMENTS], n = 0, last = 0, best = 0;
    double most = -1;
    for (int k = 0; k < MOMENTS; k++) {
        x->place[k] = -1;
        if (!moment_of(x, l, k, 1, &m[n]))
            continue;
        at[n++] = last = (int)lround((k + 0.5) / MOMENTS * x->length * FP_RATE);
    }
    for (int o = -last / 4; n && o < x->t->n - last * 3 / 4; o++) {
        int64_t sum = 0;
        for (int i = 0; i < n; i++)
            if (o + at[i] >= 0 && o + at[i] < x->t->n)
                sum += lens_dot(m[i].m[0], x->t->vec + (size_t)(o + at[i]) * FP_CELLS);
        if ((double)sum > most) {
            most = (double)sum;
            best = o;
        }
    }
    for (int i = 0; i < n; i++)
        if (best + at[i] >= 0 && best + at[i] < x->t->n)
            x->place[m[i].which] = best + at[i];
    return n ? most / ((double)UNIT * UNIT * n) : -1;
}

double fp_steady(const struct fp_title *t, const struct fp_clip *c, struct fp_view *best)
{
    struct fp_view views[VIEWS];
    struct lens l;
    struct match x = {t, c, 1.0 / FP_RATE, c->n ? c->t[c->n - 1] : 0, 1, {0}};
    int n = t->n && c->n ? views_of(c, views) : 0;
    double most = -1;
    for (int i = 0; i < n; i++) {
        double s = lens_init(&l, c, &views[i]) ? slide(&x, &l) : -1;
        if (s > most) {
            most = s;
            *best = views[i];
        }
    }
    for (int round = 0; n && round < 2 && lens_init(&l, c, best); round++) {
        slide(&x, &l);
        climb(&x, best);
        most = at_places(&x, best);
    }
    return most;
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
    int first, n; /* clip picture; places */
    struct place p[CHOICES + LINES];
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

/* False when a picture is flat or there are not enough. */
static bool look_at(const struct fp_clip *c, const struct lens *l, int first,
                    int16_t m[WINDOW][FP_CELLS])
{
    for (int k = 0; k < WINDOW; k++)
        if (first + k >= c->n ||
            !lens_project(c->cells + (size_t)(first + k) * FP_CLIP_CELLS, l, m[k]))
            return false;
    return true;
}

static double exact_at(const struct fp_title *t, const struct lens *l, int16_t m[WINDOW][FP_CELLS],
                       int at)
{
    double d = 0;
    for (int k = 0; k < WINDOW; k++)
        d += lens_exact(l, m[k], t->vec + (size_t)(at + k) * FP_CELLS) / WINDOW;
    return d;
}

static void find_places(const struct fp_title *t, const struct fp_clip *c, const struct lens *l,
                        int first, struct window *w)
{
    int16_t m[WINDOW][FP_CELLS];
    w->t = c->t[first];
    w->first = first;
    w->n = 0;
    if (!look_at(c, l, first, m))
        return;
    float worst = -1;
    for (int o = 0; o + WINDOW <= t->n; o++) {
        int s = 0;
        for (int k = 0; k < WINDOW; k++)
            s += lens_dot(m[k], t->vec + (size_t)(o + k) * FP_CELLS) >> 2;
        float d = (float)s / ((float)UNIT * UNIT * WINDOW / 4);
        if (d > worst && d > 0.3f) {
            keep(w, o, d);
            if (w->n == CHOICES)
                worst = w->p[CHOICES - 1].score;
        }
    }
    for (int i = 0; i < w->n; i++)
        w->p[i].score = (float)exact_at(t, l, m, w->p[i].at);
}

/* The place that a run gives a window outside it: where pictures hardly change, the right one may not be among the likeliest. */
static void add_place(const struct fp_title *t, const struct fp_clip *c, const struct lens *l,
                      const struct fp_run *r, struct window *w)
{
    int16_t m[WINDOW][FP_CELLS];
    int at = (int)lround((r->offset + r->speed * w->t) * FP_RATE);
    for (int i = 0; i < w->n; i++)
        if (abs(w->p[i].at - at) <= 1)
            return;
    if (at >= 0 && at + WINDOW <= t->n && look_at(c, l, w->first, m))
        w->p[w->n++] = (struct place){.at = at, .score = (float)exact_at(t, l, m, at)};
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

/* The likeliest path through the windows, as runs. */
static int path(struct window *w, int n, int *pick, struct fp_run *out, int max)
{
    int best = 0;
    chain(w, n);
    for (int i = 1; i < w[n - 1].n; i++)
        if (w[n - 1].p[i].total > w[n - 1].p[best].total)
            best = i;
    for (int k = n - 1; k >= 0; k--) {
        pick[k] = best;
        best = w[k].p[best].from;
    }
    return cut(w, pick, n, out, max);
}

static double length_of(const struct fp_run *r)
{
    return r->to - r->from;
}

/* The longest runs, longest first; returns how many. */
static int longest(const struct fp_run *run, int n, struct fp_run out[LINES])
{
    int kept = 0;
    for (int k = 0; k < n; k++) {
        if (kept == LINES && length_of(&out[LINES - 1]) >= length_of(&run[k]))
            continue;
        int i = kept < LINES ? kept++ : LINES - 1;
        for (; i > 0 && length_of(&out[i - 1]) < length_of(&run[k]); i--)
            out[i] = out[i - 1];
        out[i] = run[k];
    }
    return kept;
}

int fp_align(const struct fp_title *t, const struct fp_clip *c, const struct fp_view *v,
             struct fp_run *out, int max)
{
    int n = 0, cap = c->n / WINDOW + 1, nrun = 0;
    struct lens l;
    struct fp_run line[LINES];
    if (!lens_init(&l, c, v))
        return 0;
    struct window *w = malloc((size_t)cap * sizeof *w);
    int *pick = malloc((size_t)cap * sizeof *pick);
    must(w && pick);
    for (int first = 0; first + WINDOW <= c->n; first += WINDOW) {
        find_places(t, c, &l, first, &w[n]);
        n += w[n].n > 0; // flat pictures are bridged
    }
    if (n)
        nrun = path(w, n, pick, out, max);
    if (nrun > 1) {
        int lines = longest(out, nrun, line);
        for (int i = 0; i < n * lines; i++)
            add_place(t, c, &l, &line[i % lines], &w[i / lines]);
        nrun = path(w, n, pick, out, max);
    }
    free(w);
    free(pick);
    return nrun;
}
