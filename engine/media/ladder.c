// SPDX-License-Identifier: Apache-2.0
#include "media/ladder.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SIDE_MIN = 16, SIDE_MAX = 4096 };

static const struct rung_def {
    int side;
    int64_t maxrate;
} rungs[LADDER_MAX] = {
    {1080, 5000000}, {720, 2800000}, {480, 1400000}, {360, 800000}, {240, 400000}};

static int even(double v)
{
    int n = (int)lround(v / 2) * 2;
    return n < 2 ? 2 : n;
}

static void fill(struct ladder_rung *r, int side, int w, int h, int64_t rate, double fps)
{
    memset(r, 0, sizeof *r);
    snprintf(r->name, sizeof r->name, "%d", side);
    r->w = w;
    r->h = h;
    // Long pictures (panoramas) need more than a 16:9 one of the same height; so do fast ones.
    double area = (double)w * h / ((double)side * side * 16 / 9);
    r->maxrate = (int64_t)((double)rate * fmax(1, area) * (fps > 31 ? 1.5 : 1));
}

int ladder_make(int w, int h, int max_height, double fps, struct ladder_rung out[LADDER_MAX])
{
    int low = w < h ? w : h, high = w < h ? h : w, n = 0;
    if (low < SIDE_MIN || high > 2 * SIDE_MAX)
        return 0;
    for (int i = 0; i < LADDER_MAX; i++) {
        int side = rungs[i].side;
        // 1278x718 is a cropped 720p: it keeps its size under the name rather than losing a third of its lines.
        if (side > max_height || low < side * 97 / 100)
            continue;
        double k = low <= side ? 1 : (double)side / low;
        int rw = low <= side ? w & ~1 : even(w * k), rh = low <= side ? h & ~1 : even(h * k);
        if (rw <= SIDE_MAX && rh <= SIDE_MAX)
            fill(&out[n++], side, rw, rh, rungs[i].maxrate, fps);
    }
    if (!n && high <= SIDE_MAX) {
        int side = low & ~1;
        fill(&out[n++], side, w & ~1, h & ~1, rungs[LADDER_MAX - 1].maxrate, fps);
        if (side > max_height) {
            double k = (double)max_height / low;
            fill(&out[0], max_height, even(w * k), even(h * k), rungs[LADDER_MAX - 1].maxrate, fps);
        }
    }
    return n;
}

void ladder_reference(int w, int h, struct ladder_rung *out)
{
    double k = fmin(1, 320.0 / (w > h ? w : h));
    *out = (struct ladder_rung){
        .name = "ref", .w = even(floor(w * k / 2) * 2), .h = even(floor(h * k / 2) * 2)};
}

struct ladder_rate ladder_fps(double base, double avg)
{
    static const struct ladder_rate std[] = {
        {5, 1},        {6, 1},  {8, 1},        {10, 1}, {12, 1},       {12500, 1000}, {15000, 1001},
        {15, 1},       {16, 1}, {18, 1},       {20, 1}, {24000, 1001}, {24, 1},       {25, 1},
        {30000, 1001}, {30, 1}, {48000, 1001}, {48, 1}, {50, 1},       {60000, 1001}, {60, 1}};
    int best = -1;
    double bestd = 0.004; // relative: tells 29.97 from 30 only when the source does
    if (!(avg > 0))
        avg = base;
    if (base > 0 && fabs(base - avg) <= 0.02 * base) {
        for (int i = 0; i < (int)(sizeof std / sizeof *std); i++) {
            double d = fabs(base * std[i].den / std[i].num - 1);
            if (d < bestd) {
                bestd = d;
                best = i;
            }
        }
    }
    if (best >= 0)
        return std[best];
    if (avg > 0 && avg < 4.9)
        return (struct ladder_rate){10, 1}; // time lapses and slides
    if (fabs(avg - 25) < 0.5)
        return (struct ladder_rate){25, 1};
    return avg > 0 && avg <= 31 ? (struct ladder_rate){30, 1}
           : avg > 31           ? (struct ladder_rate){60, 1}
                                : (struct ladder_rate){25, 1};
}
