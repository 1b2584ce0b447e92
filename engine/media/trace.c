// SPDX-License-Identifier: Apache-2.0
#include "media/trace.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "media/aligner.h"
#include "media/clip.h"
#include "media/fail.h"
#include "media/reading.h"

enum { RUNS = 2000, REACH = 3, REGISTER_REACH = 5, FOLLOW_EVERY = 13, SPARSE = 5, WORK_FPS = 8 };
static const double TRUST = TRACE_TRUST, CERTAIN = 0.6, SAME = 0.5, MOST = 0.5, PIECE = 5,
                    DRIFT = 0.06, MOVED = 0.01, LONG_S = 600, CLEAR = 9, WALL = 0.01;

struct tracer {
    struct trace_job *job;
    struct trace_clip clip;
    struct fp_title title;
    struct refs *refs;
    struct fp_run run[RUNS];
    double bias[RUNS]; /* pictures by which a run's line is off, learned on the way */
    int runs, w, h;
    double match, ncc;
    struct gray_map map, follow;
    struct reading *reading;
    struct clip_info info;
    int64_t seen, used;
    float *work, *title_f;
    int last_run, countdown;
    double rate; /* pictures a second that are read; 0: every one counts, the marks are weak */
};

/* ---- job ---- */

static int hex_to(const char *s, size_t n, uint8_t *out, size_t want)
{
    return str_unhex((struct str){s, n}, out, want) == (long)want ? 0 : -1;
}

/* "<name> <iv> <key>" */
static int set_segment(struct refs_segment *s, const char *v)
{
    const char *a = strchr(v, ' '), *b = a ? strchr(a + 1, ' ') : NULL;
    size_t n = a ? (size_t)(a - v) : 0;
    if (!b || n < 1 || n >= sizeof s->name || v[0] == '.' || memchr(v, '/', n))
        return -1;
    memcpy(s->name, v, n);
    s->name[n] = 0;
    return hex_to(a + 1, (size_t)(b - a - 1), s->iv, 16) || hex_to(b + 1, strlen(b + 1), s->key, 16)
               ? -1
               : 0;
}

static int word(char *to, size_t max, const char *v)
{
    size_t n = strlen(v);
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)v[i]) && !strchr("_-.", v[i]))
            return -1;
    if (n < 1 || n > max || v[0] == '.')
        return -1;
    memcpy(to, v, n + 1);
    return 0;
}

static int set(struct trace_job *j, const char *key, const char *v)
{
    if (!strcmp(key, "id"))
        return word(j->id, sizeof j->id - 1, v);
    if (!strcmp(key, "ext"))
        return word(j->ext, sizeof j->ext - 1, v);
    if (!strcmp(key, "max_duration_s") || !strcmp(key, "threads"))
        return 0;
    if (!strcmp(key, "rate"))
        return sscanf(v, "%d/%d", &j->fps_num, &j->fps_den) == 2 && j->fps_num > 0 && j->fps_den > 0
                   ? 0
                   : -1;
    if (!strcmp(key, "gop"))
        return (j->refs.gop = atoi(v)) > 0 && j->refs.gop <= 720 ? 0 : -1;
    if (!strcmp(key, "pattern"))
        return hex_to(v, strlen(v), j->pattern, sizeof j->pattern);
    if (!strcmp(key, "init"))
        return word(j->refs.init, sizeof j->refs.init - 1, v);
    if (!strcmp(key, "fp"))
        return (j->have_fp = !set_segment(&j->fp, v)) ? 0 : -1;
    if (strcmp(key, "ref") != 0 || j->refs.count >= TRACE_SEGMENTS)
        return -1;
    if (!j->refs.segment)
        j->refs.segment = calloc(TRACE_SEGMENTS, sizeof *j->refs.segment);
    must(j->refs.segment != NULL);
    return set_segment(&j->refs.segment[j->refs.count++], v);
}

int trace_parse(struct trace_job *j, char *text, bool reads, struct err *e)
{
    for (char *line = text, *next; *line && *line != '\n'; line = next) {
        char *end = strchr(line, '\n'), *eq = strchr(line, '=');
        if (!end || !eq || eq > end)
            return fail_set(e, "media.bad_job", "A line of the job has no '='.");
        next = end + 1;
        *end = *eq = '\0';
        if (set(j, line, eq + 1))
            return fail_set(e, "media.bad_job", "The job's key \"%.32s\" has a bad value.", line);
    }
    if (!j->id[0] || (reads && (!j->fps_num || !j->refs.gop || !j->refs.init[0] || !j->refs.count ||
                                !j->have_fp)))
        return fail_set(e, "media.bad_job", "The job is incomplete.");
    return 0;
}

void trace_job_fini(struct trace_job *j)
{
    if (j->refs.segment)
        explicit_bzero(j->refs.segment, TRACE_SEGMENTS * sizeof *j->refs.segment);
    free(j->refs.segment);
    explicit_bzero(j->pattern, sizeof j->pattern);
}

/* ---- which picture of the title ---- */

struct sparse {
    float v[(GRAY_SIDE / SPARSE) * (GRAY_SIDE / SPARSE)];
    int q[(GRAY_SIDE / SPARSE) * (GRAY_SIDE / SPARSE)], n;
};

static void sample(const struct tracer *t, const float *clip, const struct gray_map *m,
                   struct sparse *s)
{
    s->n = 0;
    for (int y = SPARSE; y < t->h - SPARSE; y += SPARSE)
        for (int x = SPARSE; x < t->w - SPARSE; x += SPARSE) {
            float a, b;
            gray_where(m, t->w, t->h, x, y, &a, &b);
            if (!gray_inside(m, t->w, t->h, 2, a, b))
                continue;
            s->q[s->n] = y * t->w + x;
            s->v[s->n++] = gray_at(clip, t->w, a, b);
        }
}

static double compare(const struct sparse *s, const uint8_t *title)
{
    double sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0, n = s->n;
    for (int i = 0; i < s->n; i++) {
        double a = (double)s->v[i], b = title[s->q[i]];
        sa += a;
        sb += b;
        saa += a * a;
        sbb += b * b;
        sab += a * b;
    }
    double va = saa / n - sa / n * (sa / n), vb = sbb / n - sb / n * (sb / n);
    return s->n < 20 ? -1 : (sab / n - sa / n * (sb / n)) / sqrt(va * vb + 1);
}

/* The title's picture nearest `want` that fits best; *score its correlation. */
static int best_picture(struct tracer *t, const struct sparse *s, double want, int reach,
                        double *score)
{
    int best = -1;
    *score = -1;
    for (int r = (int)lround(want) - reach; r <= (int)lround(want) + reach; r++) {
        const uint8_t *p = refs_get(t->refs, r);
        // Without movement all fit: then the expected one is right.
        double c = p ? compare(s, p) - 0.0002 * fabs(r - want) : -1;
        if (c > *score) {
            *score = c;
            best = r;
        }
    }
    return best;
}

static double picture_at(const struct tracer *t, int run, double clip_s)
{
    const struct fp_run *r = &t->run[run];
    return (r->offset + r->speed * clip_s) * t->job->fps_num / t->job->fps_den + t->bias[run];
}

/* ---- registration ---- */

static void resize(const uint8_t *in, int iw, int ih, uint8_t *out, int w, int h)
{
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            double fx = fmin(fmax((x + 0.5) * iw / w - 0.5, 0), iw - 1.001);
            double fy = fmin(fmax((y + 0.5) * ih / h - 0.5, 0), ih - 1.001);
            int x0 = (int)fx, y0 = (int)fy;
            double a = fx - x0, b = fy - y0;
            const uint8_t *p = in + y0 * iw + x0;
            out[y * w + x] = (uint8_t)lround((p[0] * (1 - a) + p[1] * a) * (1 - b) +
                                             (p[iw] * (1 - a) + p[iw + 1] * a) * b);
        }
}

static int run_at(const struct tracer *t, double clip_s)
{
    for (int i = 0; i < t->runs; i++)
        if (clip_s >= t->run[i].from + 0.2 && clip_s <= t->run[i].to - 0.2)
            return i;
    return -1;
}

struct pairs {
    int n, probe[ALIGNER_PAIRS], picture[ALIGNER_PAIRS];
    uint8_t *title[ALIGNER_PAIRS], *clip[ALIGNER_PAIRS];
};

static void choose_pairs(struct tracer *t, struct pairs *p)
{
    int fit[TRACE_PROBES], n = 0;
    size_t size = (size_t)t->w * (size_t)t->h;
    p->n = 0;
    for (int i = 0; i < t->clip.probes; i++)
        if (run_at(t, t->clip.probe_t[i]) >= 0)
            fit[n++] = i;
    for (int k = 0; k < ALIGNER_PAIRS && k < n; k++) {
        int i = fit[n <= ALIGNER_PAIRS ? k : (int)((k + 0.5) * n / ALIGNER_PAIRS)];
        int r = (int)lround(picture_at(t, run_at(t, t->clip.probe_t[i]), t->clip.probe_t[i]));
        const uint8_t *ref = refs_get(t->refs, r);
        if (!ref)
            continue;
        p->probe[p->n] = i;
        p->picture[p->n] = r;
        p->title[p->n] = malloc(size);
        p->clip[p->n] = malloc(size);
        must(p->title[p->n] && p->clip[p->n]);
        memcpy(p->title[p->n], ref, size);
        resize(t->clip.probe + (size_t)i * TRACE_PROBE_W * TRACE_PROBE_H, TRACE_PROBE_W,
               TRACE_PROBE_H, p->clip[p->n], t->w, t->h);
        p->n++;
    }
}

static double fit_map(struct tracer *t, const struct pairs *p, bool fine, struct gray_map *m)
{
    struct aligner_pair a[ALIGNER_PAIRS];
    for (int i = 0; i < p->n; i++)
        a[i] = (struct aligner_pair){p->title[i], p->clip[i]};
    return (fine ? aligner_refine : aligner_find)(a, p->n, t->w, t->h, m);
}

/* The fingerprint's grid is coarser than pictures: with the map known, every pair finds its exact picture. */
static void refine_pairs(struct tracer *t, struct pairs *p, const struct gray_map *m)
{
    struct sparse *s = malloc(sizeof *s);
    must(s != NULL);
    for (int i = 0; i < p->n; i++) {
        double score;
        for (int q = 0; q < t->w * t->h; q++)
            t->work[q] = p->clip[i][q];
        sample(t, t->work, m, s);
        int r = best_picture(t, s, p->picture[i], REGISTER_REACH, &score);
        if (r >= 0)
            memcpy(p->title[i], refs_get(t->refs, r), (size_t)t->w * (size_t)t->h);
    }
    free(s);
}

/* Mean correlation of the pairs under the map as it is. */
static double agreement(struct tracer *t, const struct pairs *p, struct gray_map m)
{
    double sum = 0;
    for (int i = 0; i < p->n; i++) {
        for (int q = 0; q < t->w * t->h; q++) {
            t->title_f[q] = p->title[i][q];
            t->work[q] = p->clip[i][q];
        }
        sum += aligner_follow(t->title_f, t->work, t->w, t->h, 0, &m) / p->n;
    }
    return sum;
}

/* What looked like a bar may be a plain wall of the title, and marks are read from walls too. */
static void doubt_bars(struct tracer *t, const struct pairs *p)
{
    struct gray_map open = t->map;
    memset(open.edge, 0, sizeof open.edge);
    if (agreement(t, p, open) > agreement(t, p, t->map) - WALL)
        t->map = open;
}

/* Runs and geometry as one of the views of the search has them; returns the correlation of the pictures. */
static double place(struct tracer *t, const struct fp_view *v)
{
    const double *bars = t->clip.fp.bars;
    struct pairs p = {0};
    t->runs = fp_align(&t->title, &t->clip.fp, v, t->run, RUNS);
    t->map = aligner_from_view(v, t->w, t->h);
    for (int i = 0; i < 4; i++)
        t->map.edge[i] = (float)(i < 2 ? bars[i] : 1 - bars[i]);
    choose_pairs(t, &p);
    double ncc = p.n ? fit_map(t, &p, false, &t->map) : 0;
    if (ncc > 0.1) {
        refine_pairs(t, &p, &t->map);
        ncc = fit_map(t, &p, true, &t->map);
        doubt_bars(t, &p);
    }
    for (int i = 0; i < p.n; i++) {
        free(p.title[i]);
        free(p.clip[i]);
    }
    return ncc;
}

static double clip_length(const struct tracer *t)
{
    return t->clip.fp.n ? t->clip.fp.t[t->clip.fp.n - 1] : 0;
}

/* Seconds of the clip that the runs explain. */
static double explained(const struct fp_run *run, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += run[i].to - run[i].from;
    return sum;
}

/* Pictures agree, and the runs explain most of the clip in pieces of some length. In a zoom a wrong size is nearly another
 * moment, so a wrong view may agree for a while, and where somebody talks it jumps from one likely moment to the next. */
static bool convinces(double ncc, const struct fp_run *run, int n, double length)
{
    double sum = explained(run, n);
    return ncc >= CERTAIN && sum >= MOST * length && sum >= PIECE * (n - 1);
}

/* Takes the first view that convinces; without one, the best. First comes the one under which the clip is one piece. */
static void locate(struct tracer *t)
{
    struct fp_view view[1 + FP_BEST];
    struct gray_map best = {0};
    struct fp_run *run = malloc(sizeof t->run);
    double worth = -1, ncc = -1, length = clip_length(t);
    int runs = 0;
    must(run != NULL);
    t->match = fp_match(&t->title, &t->clip.fp, view + 1);
    view[0] = view[1];
    fp_steady(&t->title, &t->clip.fp, &view[0]);
    for (int i = 0; i <= FP_BEST && !convinces(ncc, run, runs, length); i++) {
        double now = place(t, &view[i]), value = now * sqrt(explained(t->run, t->runs));
        if (i && value <= worth)
            continue;
        worth = value;
        ncc = now;
        best = t->map;
        memcpy(run, t->run, sizeof t->run);
        runs = t->runs;
    }
    t->map = best;
    t->ncc = ncc;
    if (ncc > TRUST) { // what the crop hides no longer disturbs
        struct fp_view v = aligner_to_view(&t->map, t->w, t->h);
        t->runs = fp_align(&t->title, &t->clip.fp, &v, t->run, RUNS);
    }
    if (ncc <= TRUST || explained(t->run, t->runs) < explained(run, runs)) {
        memcpy(t->run, run, sizeof t->run);
        t->runs = runs;
    }
    free(run);
}

/* ---- reading ---- */

/* Follows a picture that moves (a hand-held camera), but not to somewhere else. One pair alone places a picture less exactly than
 * the ten together, so where nothing moves the common map stays. */
static void follow(struct tracer *t, const uint8_t *title)
{
    struct gray_map g = t->follow;
    for (int q = 0; q < t->w * t->h; q++)
        t->title_f[q] = title[q];
    double still = aligner_follow(t->title_f, t->work, t->w, t->h, 0, &t->map);
    double moved = aligner_follow(t->title_f, t->work, t->w, t->h, 3, &g);
    bool near = true;
    for (int i = 0; i < 6; i++)
        near = near && fabs(g.m[i] - t->map.m[i]) < DRIFT;
    if (!near || moved < still + MOVED)
        g = t->map;
    for (int i = 0; i < 6; i++)
        t->follow.m[i] = (t->follow.m[i] + g.m[i]) / 2;
}

static int take(void *arg, double clip_s, const uint8_t *y, ptrdiff_t stride)
{
    struct tracer *t = arg;
    static struct sparse s;
    double best = -1;
    int run = -1, picture = -1;
    if (t->info.seconds > 0)
        t->job->progress("read", fmin(0.99, clip_s / t->info.seconds));
    t->seen++;
    for (int i = 0; i < t->h; i++)
        for (int x = 0; x < t->w; x++)
            t->work[i * t->w + x] = y[i * stride + x];
    sample(t, t->work, &t->follow, &s);
    for (int i = 0; i < t->runs; i++) {
        double score;
        if (clip_s < t->run[i].from - 0.8 || clip_s > t->run[i].to + 0.8)
            continue;
        int r = best_picture(t, &s, picture_at(t, i, clip_s), REACH, &score);
        if (score > best) {
            best = score;
            run = i;
            picture = r;
        }
    }
    if (run < 0 || best < SAME)
        return 0;
    t->bias[run] += 0.05 * (picture - picture_at(t, run, clip_s));
    const uint8_t *title = refs_get(t->refs, picture);
    if (!title)
        return 0;
    if (run != t->last_run || --t->countdown <= 0) {
        t->last_run = run;
        t->countdown = FOLLOW_EVERY;
        follow(t, title);
    }
    float share = mark_fade(picture % t->refs->gop, t->refs->gop);
    if (share > 0)
        reading_add(t->reading, picture / t->refs->gop, share, title, t->work, &t->follow);
    t->used++;
    return 0;
}

static void put_result(const struct tracer *t, struct buf *out)
{
    double per = (double)t->job->fps_den / t->job->fps_num;
    int n = 0;
    buf_printf(out, "{\"match\":%.4f,\"registration\":%.4f,\"mirrored\":%s,\"map\":[", t->match,
               t->ncc, t->map.m[0] < 0 ? "true" : "false");
    for (int i = 0; i < 8; i++)
        buf_printf(out, "%s%.5f", i ? "," : "", t->map.m[i]);
    buf_printf(out, "],\"pictures\":%lld,\"used\":%lld,\"runs\":[", (long long)t->seen,
               (long long)t->used);
    for (int i = 0; i < t->runs && i < 200; i++)
        buf_printf(out, "%s[%.2f,%.2f,%.3f,%.5f,%.3f]", i ? "," : "", t->run[i].from, t->run[i].to,
                   t->run[i].offset + t->bias[i] * per, t->run[i].speed, t->run[i].score);
    buf_puts(out, "],\"segments\":[");
    for (int i = 0; t->reading && i < t->refs->count; i++) {
        struct reading_result r;
        if (reading_of(t->reading, t->job->pattern, i, &r))
            buf_printf(out, "%s[%d,%d,%.5g,%.4g]", n++ ? "," : "", r.number, r.pictures, r.amp,
                       r.z);
    }
    buf_puts(out, "]}");
}

static int load(struct tracer *t, struct err *e)
{
    struct buf fp = {0};
    size_t px;
    int rc = trace_clip_read(&t->clip, t->job->sign_fd, e) || refs_open(t->refs, e) ||
             refs_file(t->job->dirfd, &t->job->fp, &fp, e);
    if (!rc) {
        t->w = t->refs->w;
        t->h = t->refs->h;
        fp_title_init(&t->title, (const uint8_t *)fp.p, fp.n, 1);
        px = (size_t)t->w * (size_t)t->h;
        t->work = malloc(px * sizeof *t->work);
        t->title_f = malloc(px * sizeof *t->work);
        must(t->work && t->title_f);
    }
    buf_fini(&fp);
    return rc ? -1 : 0;
}

static int read_pass(struct tracer *t, struct err *e)
{
    struct clip_sink sink = {
        .w = t->w, .h = t->h, .rate = t->rate, .cancel = t->job->cancel, .picture = take, .arg = t};
    t->follow = t->map;
    t->last_run = -1;
    t->seen = t->used = 0;
    memset(t->bias, 0, sizeof t->bias);
    t->reading = reading_new(t->w, t->h, t->refs->count);
    return clip_read(t->job->fd, t->job->ext, &sink, &t->info, e);
}

/* A few pictures suffice for a clear mark; a weak one is looked for in all, unless the clip is long enough to tell anyway. */
static int read_marks(struct tracer *t, struct err *e)
{
    double power = 0;
    int n = 0;
    bool is_long = clip_length(t) > LONG_S;
    t->rate = is_long ? WORK_FPS / 2. : WORK_FPS;
    if (read_pass(t, e))
        return -1;
    for (int i = 0; i < t->refs->count; i++) {
        struct reading_result r;
        if (reading_of(t->reading, t->job->pattern, i, &r)) {
            power += r.z * r.z;
            n++;
        }
    }
    if (is_long || !n || power / n > CLEAR || (t->info.fps > 0 && t->info.fps <= t->rate))
        return 0;
    reading_free(t->reading);
    t->rate = 0;
    return read_pass(t, e);
}

int trace_run(struct trace_job *j, struct buf *out, struct err *e)
{
    struct tracer *t = calloc(1, sizeof *t);
    must(t != NULL);
    t->job = j;
    t->refs = &j->refs;
    t->refs->dirfd = j->dirfd;
    t->last_run = -1;
    j->progress("align", 0);
    int rc = load(t, e);
    if (!rc)
        locate(t);
    if (!rc && t->runs && t->ncc > TRUST)
        rc = read_marks(t, e);
    if (!rc)
        put_result(t, out);
    reading_free(t->reading);
    refs_close(t->refs);
    fp_title_fini(&t->title);
    trace_clip_fini(&t->clip);
    free(t->work);
    free(t->title_f);
    free(t);
    return rc;
}
