// SPDX-License-Identifier: Apache-2.0
#include "media/score.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"

enum { SIZES = 4, POOL = 160, PAIRS = 24, EXACT = 6, TESTS = 9, GRID_MAX = 40000 };
static const double SPREAD = 0.25; /* of a segment's amplitude about the clip's */
static const double FLOOR = 0.002; /* chance that a reading is nonsense ... */
static const double RANGE = 8;     /* ... and anything in here, in units of level */
/* Shares of the error budget; their sum is 1. */
static const struct {
    int group, accounts;
    double share;
} test[TESTS] = {{1, 1, .60}, {1, 2, .10}, {1, 3, .05}, {1, 4, .03}, {2, 2, .10},
                 {2, 3, .05}, {2, 4, .02}, {3, 3, .03}, {3, 4, .02}};

/* Likelihoods of a segment's reading when j of c accounts are known, s of them with an 'a'. */
struct seg {
    double p;
    double lik[SIZES + 1][SCORE_GROUP + 1][SCORE_GROUP + 1];
};
struct who {
    int index;    /* in job->user */
    double score; /* of the list's test */
    char *word;   /* 'a', 'b', or '-' where nothing was served */
};
struct team {
    int m[SCORE_GROUP]; /* in pool */
    double score;
};
struct run {
    const struct score_job *job;
    struct seg *seg;
    struct score_result *out;
    struct who pool[POOL];
    int npool;
    int first, span; /* segments that the readings lie in */
};

static double bell(double x, double sd)
{
    return exp(-0.5 * x * x / (sd * sd)) / (sd * 2.5066282746);
}

/* Of one reading when k of c accounts have an 'a'. */
static double reading(const struct score_segment *s, double level, double mixed, int c, int k)
{
    double x = s->amp / level, sd = fabs(s->z) > 1e-9 ? fabs(s->amp / s->z) / level : 1e3;
    sd = sqrt(sd * sd + SPREAD * SPREAD);
    double share = (double)k / c;
    double one = share * bell(x - 1, sd) + (1 - share) * bell(x + 1, sd);
    double mean = bell(x - (2 * share - 1), sd);
    return (1 - FLOOR) * ((1 - mixed) * one + mixed * mean) + FLOOR / RANGE;
}

static double choose(double n, int k)
{
    double r = 1;
    for (int i = 0; i < k; i++)
        r *= (n - i) / (i + 1);
    return r < 1 ? 1 : r;
}

static double binomial(int n, int k, double p)
{
    return choose(n, k) * pow(p, k) * pow(1 - p, n - k);
}

static double fitness(const struct run *r, int c, double level, double mixed)
{
    double sum = 0;
    for (int i = 0; i < r->job->n; i++) {
        double l = 0;
        for (int k = 0; k <= c; k++)
            l += binomial(c, k, r->seg[i].p) * reading(&r->job->seg[i], level, mixed, c, k);
        sum += log(l / level); // density of amp, so that levels compare
    }
    return sum;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Level and mixture come from the readings alone, so they do not favour anybody. */
static void learn(struct run *r, int c)
{
    int n = r->job->n;
    double *amp = malloc((size_t)n * sizeof *amp), best = -INFINITY, level = 1, mixed = 0;
    must(amp != NULL);
    for (int i = 0; i < n; i++)
        amp[i] = fabs(r->job->seg[i].amp);
    qsort(amp, (size_t)n, sizeof *amp, by_size);
    double typical = fmax(amp[n * 3 / 4], 1e-9);
    free(amp);
    for (double f = 0.4; f < 3.6; f *= 1.1) // means of three: most have a third of it
        for (double m = 0; m < 1.01; m += c == 1 ? 2 : 0.125) {
            double s = fitness(r, c, typical * f, m);
            if (s > best) {
                best = s;
                level = typical * f;
                mixed = m;
            }
        }
    if (c == 1)
        r->out->level = level;
    if (c == 2)
        r->out->averaged = mixed / 2; // half of the code words' pairs differ
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= c && j <= SCORE_GROUP; j++)
            for (int s = 0; s <= j; s++) {
                double l = 0;
                for (int k = 0; k <= c - j; k++)
                    l += binomial(c - j, k, r->seg[i].p) *
                         reading(&r->job->seg[i], level, mixed, c, s + k);
                r->seg[i].lik[c][j][s] = l;
            }
}

/* ---- the exact tail ---- */

/* One outcome of a segment: what it falls short of the best, and its chance. */
struct outcome {
    double lack, chance;
};

/* log P(sum of lacks <= total), rounded up: lacks are rounded down to the grid. o: n x kinds. */
static double tail(const struct outcome *o, int n, int kinds, double total)
{
    int grid = 60 * n < GRID_MAX ? 60 * n : GRID_MAX;
    double step = (total + 1e-9) / grid, scale = 0;
    double *p = calloc((size_t)grid + 1, sizeof *p), *q = malloc(((size_t)grid + 1) * sizeof *q);
    must(p && q);
    p[0] = 1;
    int used = 0;
    for (int i = 0; i < n; i++) {
        memset(q, 0, ((size_t)grid + 1) * sizeof *q);
        int next = used;
        for (int k = 0; k < kinds; k++) {
            const struct outcome *x = &o[i * kinds + k];
            if (x->chance <= 0 || x->lack / step > grid)
                continue;
            int d = (int)(x->lack / step), top = used + d < grid ? used + d : grid;
            for (int g = d; g <= top; g++)
                q[g] += x->chance * p[g - d];
            next = top > next ? top : next;
        }
        used = next;
        double *t = p;
        p = q;
        q = t;
        if (i % 64 == 63) { // far from what a double can hold
            double big = 0;
            for (int g = 0; g <= used; g++)
                big = fmax(big, p[g]);
            if (big <= 0)
                break;
            for (int g = 0; g <= used; g++)
                p[g] /= big;
            scale += log(big);
        }
    }
    double sum = 0;
    for (int g = 0; g <= used; g++)
        sum += p[g];
    free(p);
    free(q);
    return fmin(0, sum > 0 ? log(sum) + scale : -1e9);
}

/* log chance that the members of `mask` of a team, all innocent, fit as well by luck, the others' words being what they are. */
static double luck(const struct run *r, const struct team *t, int group, int c, int mask)
{
    int n = r->job->n, kinds = 1 << group;
    struct outcome *o = calloc((size_t)n * (size_t)kinds, sizeof *o);
    double total = 0;
    must(o != NULL);
    for (int i = 0; i < n; i++) {
        const struct seg *g = &r->seg[i];
        int rest = 0, rest_a = 0, in = 0, in_a = 0;
        for (int k = 0; k < group; k++) {
            char w = r->pool[t->m[k]].word[i];
            int *count = mask >> k & 1 ? &in : &rest, *as = mask >> k & 1 ? &in_a : &rest_a;
            *count += w != '-';
            *as += w == 'a';
        }
        double best = 0;
        for (int a = 0; a <= in; a++)
            best = fmax(best, g->lik[c][rest + in][rest_a + a]);
        for (int a = 0; a <= in; a++) {
            o[i * kinds + a].lack = log(best / g->lik[c][rest + in][rest_a + a]);
            o[i * kinds + a].chance = binomial(in, a, g->p);
        }
        total += log(best / g->lik[c][rest + in][rest_a + in_a]);
    }
    double l = tail(o, n, kinds, total);
    free(o);
    return l;
}

/* log bound for member 0 of the team. */
static double bound(const struct run *r, const struct team *t, int group, int c, double share)
{
    double sum = 0, users = r->job->users, guilty = fmin(users, SCORE_GUILTY);
    for (int mask = 1; mask < 1 << group; mask += 2) {
        int in = __builtin_popcount((unsigned)mask);
        sum += exp(luck(r, t, group, c, mask) + log(choose(users, in)) +
                   log(choose(guilty, group - in)) - log(share));
    }
    return fmin(0, log(sum + 1e-300));
}

/* ---- search ---- */

static void take(struct run *r, struct who *list, int *n, int max, double score, int index,
                 const char *word)
{
    if (*n == max && list[max - 1].score >= score)
        return;
    char *copy = *n < max ? malloc((size_t)r->job->n) : list[max - 1].word;
    must(copy != NULL);
    memcpy(copy, word, (size_t)r->job->n);
    int i = *n < max ? (*n)++ : max - 1;
    for (; i > 0 && list[i - 1].score < score; i--)
        list[i] = list[i - 1];
    list[i] = (struct who){index, score, copy};
}

static void spell(const struct run *r, int u, char *word, char *all)
{
    const struct score_job *j = r->job;
    code_word(j->k_code, j->user[u], j->kind, r->first, r->span, all);
    const uint8_t *served = j->served ? j->served[u] : NULL;
    for (int i = 0; i < j->n; i++)
        word[i] = served && !(served[i / 8] >> i % 8 & 1) ? '-' : all[j->seg[i].number - r->first];
}

/* The likeliest accounts under each size go to the pool. */
static void singles(struct run *r)
{
    const struct score_job *j = r->job;
    int n[SIZES + 1] = {0}, last = r->first = j->seg[0].number;
    for (int i = 1; i < j->n; i++) {
        r->first = j->seg[i].number < r->first ? j->seg[i].number : r->first;
        last = j->seg[i].number > last ? j->seg[i].number : last;
    }
    r->span = last - r->first + 1;
    char *word = malloc((size_t)j->n), *all = malloc((size_t)r->span);
    double *gain = malloc((size_t)j->n * (SIZES + 1) * 2 * sizeof *gain);
    struct who list[SIZES + 1][POOL / SIZES];
    must(word && all && gain);
    for (int i = 0; i < j->n; i++)
        for (int c = 1; c <= SIZES; c++)
            for (int b = 0; b < 2; b++)
                gain[(i * (SIZES + 1) + c) * 2 + b] =
                    log(r->seg[i].lik[c][1][b] / r->seg[i].lik[c][0][0]);
    for (int u = 0; u < j->users; u++) {
        double s[SIZES + 1] = {0};
        spell(r, u, word, all);
        for (int i = 0; i < j->n; i++)
            for (int c = 1; word[i] != '-' && c <= SIZES; c++)
                s[c] += gain[(i * (SIZES + 1) + c) * 2 + (word[i] == 'a')];
        for (int c = 1; c <= SIZES; c++)
            take(r, list[c], &n[c], POOL / SIZES, s[c], u, word);
    }
    for (int c = 1; c <= SIZES; c++)
        for (int i = 0; i < n[c]; i++) {
            bool have = false;
            for (int k = 0; k < r->npool && !have; k++)
                have = r->pool[k].index == list[c][i].index;
            if (have)
                free(list[c][i].word);
            else
                r->pool[r->npool++] = list[c][i];
        }
    free(word);
    free(all);
    free(gain);
}

static double team_score(const struct run *r, const struct team *t, int group, int c)
{
    double s = 0;
    for (int i = 0; i < r->job->n; i++) {
        int known = 0, as = 0;
        for (int k = 0; k < group; k++) {
            char w = r->pool[t->m[k]].word[i];
            known += w != '-';
            as += w == 'a';
        }
        s += log(r->seg[i].lik[c][known][as] / r->seg[i].lik[c][0][0]);
    }
    return s;
}

static void keep_team(struct team *list, int *n, int max, struct team t)
{
    if (*n == max && list[max - 1].score >= t.score)
        return;
    int i = *n < max ? (*n)++ : max - 1;
    for (; i > 0 && list[i - 1].score < t.score; i--)
        list[i] = list[i - 1];
    list[i] = t;
}

/* Teams of this size, best first: grown from the best smaller ones. */
static int teams(const struct run *r, int group, int c, struct team out[PAIRS])
{
    struct team seed[PAIRS * 2];
    int nseed = 0, n = 0;
    if (group == 1) {
        for (int i = 0; i < r->npool; i++) {
            struct team t = {{i, 0, 0}, 0};
            t.score = team_score(r, &t, 1, c);
            keep_team(out, &n, PAIRS, t);
        }
        return n;
    }
    if (group == 2)
        for (int i = 0; i < r->npool; i++)
            for (int k = i + 1; k < r->npool; k++) {
                struct team t = {{i, k, 0}, 0};
                t.score = team_score(r, &t, 2, c);
                keep_team(out, &n, PAIRS, t);
            }
    else {
        nseed = teams(r, 2, c, seed);
        for (int s = 0; s < nseed; s++)
            for (int k = 0; k < r->npool; k++) {
                struct team t = {{seed[s].m[0], seed[s].m[1], k}, 0};
                if (k == t.m[0] || k == t.m[1] || (s && k < t.m[0] && k < t.m[1]))
                    continue;
                t.score = team_score(r, &t, 3, c);
                keep_team(out, &n, PAIRS, t);
            }
    }
    return n;
}

/* ---- result ---- */

static void note(struct run *r, const struct team *t, int group, int c, double log10_bound)
{
    struct score_result *o = r->out;
    const struct who *w = &r->pool[t->m[0]];
    int64_t user = r->job->user[w->index];
    int i = 0;
    while (i < o->n && o->top[i].user != user)
        i++;
    if (i < o->n && o->top[i].log10_bound <= log10_bound)
        return;
    if (i == o->n) {
        if (o->n == SCORE_TOP && o->top[SCORE_TOP - 1].log10_bound <= log10_bound)
            return;
        i = o->n < SCORE_TOP ? o->n++ : SCORE_TOP - 1;
    }
    struct score_suspect s = {
        .user = user, .log10_bound = log10_bound, .score = t->score, .accounts = c};
    for (int k = 1; k < group; k++)
        s.with[k - 1] = r->job->user[r->pool[t->m[k]].index];
    for (int k = 0; k < r->job->n; k++) {
        if (w->word[k] == '-' || fabs(r->job->seg[k].z) < 2)
            continue;
        s.read++;
        s.agree += (r->job->seg[k].amp > 0) == (w->word[k] == 'a');
    }
    for (; i > 0 && (o->top[i - 1].log10_bound > s.log10_bound ||
                     (o->top[i - 1].log10_bound == s.log10_bound && o->top[i - 1].score < s.score));
         i--)
        o->top[i] = o->top[i - 1];
    o->top[i] = s;
}

static void run_test(struct run *r, int k)
{
    struct team list[PAIRS];
    int group = test[k].group, c = test[k].accounts;
    int n = teams(r, group, c, list);
    for (int i = 0; i < n && i < (group == 1 ? EXACT * 2 : EXACT); i++) {
        double worth = list[i].score;
        // Luck never beats the likelihood ratio by much, so hopeless teams need no exact tail.
        double rough = log(choose(r->job->users, group)) - worth;
        if (group > 1 && rough > 0)
            continue;
        for (int first = 0; first < group; first++) {
            struct team t = list[i];
            t.m[0] = list[i].m[first];
            t.m[first] = list[i].m[0];
            note(r, &t, group, c, bound(r, &t, group, c, test[k].share) / M_LN10);
        }
    }
}

void score_run(const struct score_job *job, struct score_result *out)
{
    struct run *r = calloc(1, sizeof *r);
    memset(out, 0, sizeof *out);
    out->candidates = job->users;
    must(r != NULL);
    if (job->n && job->users) {
        r->job = job;
        r->out = out;
        r->seg = calloc((size_t)job->n, sizeof *r->seg);
        must(r->seg != NULL);
        for (int i = 0; i < job->n; i++)
            r->seg[i].p = code_bias(job->k_code, job->kind, job->seg[i].number);
        for (int c = 1; c <= SIZES; c++)
            learn(r, c);
        singles(r);
        for (int k = 0; k < TESTS; k++)
            run_test(r, k);
        for (int i = 0; i < r->npool; i++)
            free(r->pool[i].word);
        free(r->seg);
    }
    free(r);
}
