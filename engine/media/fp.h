/* SPDX-License-Identifier: Apache-2.0
 * Fingerprints: which title a clip is from, and which moment of the title each moment of the clip shows.
 * A title's fingerprint is its unmarked picture reduced to 16 x 9 luma cells, five times a second; a clip's is 32 x 18, so that
 * borders can be cut away and mirror images tried. Comparison is by correlation, which does not care for brightness and contrast.
 * Pure; a struct belongs to one thread. */
#ifndef MEDIA_FP_H
#define MEDIA_FP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

enum {
    FP_RATE = 5,
    FP_COARSE = 5, /* every fifth picture is enough to find the title */
    FP_W = 16,
    FP_H = 9,
    FP_CELLS = FP_W * FP_H,
    FP_CLIP_W = 32,
    FP_CLIP_H = 18,
    FP_CLIP_CELLS = FP_CLIP_W * FP_CLIP_H
};

/* ---- making ---- */

/* Mean luma of the cells of a gw x gh grid over a picture of at least gw x gh pixels. */
void fp_cells(const uint8_t *y, ptrdiff_t stride, int w, int h, int gw, int gh, uint8_t *out);

/* Collects a title's pictures; cells by FP_RATE. */
struct fp_maker {
    struct buf cells;
    int64_t frames;
};
/* Every picture of the title in order, at a constant rate of num/den. */
void fp_maker_add(struct fp_maker *m, int num, int den, const uint8_t *y, ptrdiff_t stride, int w,
                  int h);

/* ---- comparing ---- */

struct fp_title {
    int n;        /* pictures */
    int step;     /* 1 = all, FP_COARSE = every fifth */
    int16_t *vec; /* n x FP_CELLS, zero mean, length 1024 (or all zero for a flat picture) */
};
/* cells: whole pictures of FP_CELLS bytes. */
void fp_title_init(struct fp_title *t, const uint8_t *cells, size_t bytes, int step);
void fp_title_fini(struct fp_title *t);

struct fp_clip {
    int n;
    const double *t;      /* seconds from the clip's start, ascending */
    const uint8_t *cells; /* n x FP_CLIP_CELLS */
    double box[4]; /* x0 y0 x1 y1 of the part that moves, 0..1: a guess where the picture is */
    double bars
        [4]; /* the same of what is not a plain bar along an edge: nothing outside is compared */
};

/* Where the title's picture lies in the clip's: u' = a[0] + a[1] u, v' = a[2] + a[3] v, both 0..1; a[1] < 0 = mirrored. */
struct fp_view {
    double a[4];
};
enum { FP_BEST = 3 };

/* How well the clip shows this title: mean correlation of about a dozen moments, each at its best place; -1..1. Frames, crops and
 * mirror images are tried, bars left out, the likeliest made exact. A right title has more than FP_LIKELY, a wrong one may have
 * it too: whether the pictures are the same, aligner_find tells. best gets the views, likeliest first (the last may repeat). */
#define FP_LIKELY 0.55
double fp_match(const struct fp_title *t, const struct fp_clip *c, struct fp_view best[FP_BEST]);

/* The same for a clip that may be one piece of the title: all moments on one line, so that the picture of another moment cannot
 * make up for a wrong view. best gets the view (untouched when nothing fits); returns its correlation, -1 without pictures.
 * t must have step 1. */
double fp_steady(const struct fp_title *t, const struct fp_clip *c, struct fp_view *best);

/* A stretch of the clip that runs through the title at constant speed. */
struct fp_run {
    double from, to;      /* clip seconds */
    double offset, speed; /* title seconds = offset + speed * clip seconds */
    double score;         /* mean correlation */
};
/* Cuts the clip into runs; returns how many (at most max), in the clip's order. t must have step 1. Takes time and memory in
 * proportion to the product of the two lengths (2 h x 2 h: about half a minute). */
int fp_align(const struct fp_title *t, const struct fp_clip *c, const struct fp_view *v,
             struct fp_run *out, int max);
#endif
