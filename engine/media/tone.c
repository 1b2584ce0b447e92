// SPDX-License-Identifier: Apache-2.0
#include "media/tone.h"
#include <libavutil/mastering_display_metadata.h>
#include <math.h>
#include <stdlib.h>
#include "base/err.h"

// Steps of 16 luma and 32 chroma codes; results carry 6 more bits. Luma runs fastest: a 2x2 block shares its chroma.
enum { NY = 65, NC = 33, Y_BITS = 4, C_BITS = 5, SCALE = 64 };

struct tone {
    int16_t y[NC][NC][NY], cb[NC][NC][NY], cr[NC][NC][NY]; // [cb][cr][y]
};

static const double white = 203;

static double pq_to_nits(double e)
{
    double p = pow(e, 32 / 2523.0);
    return 10000 * pow(fmax(p - 0.8359375, 0) / (18.8515625 - 18.6875 * p), 16384 / 2610.0);
}

static double pq_from_nits(double nits)
{
    double p = pow(nits / 10000, 2610 / 16384.0);
    return pow((0.8359375 + 18.8515625 * p) / (1 + 18.6875 * p), 2523 / 32.0);
}

static double hlg_scene(double e)
{
    return e <= 0.5 ? e * e / 3 : (exp((e - 0.55991073) / 0.17883277) + 0.28466892) / 12;
}

/* Light of the three components in cd/m2. */
static void light(int transfer, double c[3])
{
    for (int i = 0; i < 3; i++)
        c[i] = transfer == AVCOL_TRC_ARIB_STD_B67 ? hlg_scene(c[i]) : pq_to_nits(c[i]);
    if (transfer != AVCOL_TRC_ARIB_STD_B67)
        return;
    double k = 1000 * pow(0.2627 * c[0] + 0.6780 * c[1] + 0.0593 * c[2], 0.2);
    for (int i = 0; i < 3; i++)
        c[i] *= k;
}

/* BT.2390: identity up to a knee, then a Hermite spline to white. */
static double curve(double nits, double peak)
{
    double top = pq_from_nits(peak), most = fmin(1, pq_from_nits(white) / top),
           knee = 1.5 * most - 0.5;
    double e = fmin(1, pq_from_nits(nits) / top);
    if (e > knee && knee < 1) {
        double t = (e - knee) / (1 - knee), t2 = t * t, t3 = t2 * t;
        e = (2 * t3 - 3 * t2 + 1) * knee + (t3 - 2 * t2 + t) * (1 - knee) +
            (3 * t2 - 2 * t3) * most;
    }
    return pq_to_nits(e * top);
}

/* Colours outside BT.709 move towards grey of the same luminance until they fit. */
static void fit(double c[3])
{
    double r = 1.6605 * c[0] - 0.5876 * c[1] - 0.0728 * c[2];
    double g = -0.1246 * c[0] + 1.1329 * c[1] - 0.0083 * c[2];
    double b = -0.0182 * c[0] - 0.1006 * c[1] + 1.1187 * c[2];
    double l = fmin(1, fmax(0, 0.2126 * r + 0.7152 * g + 0.0722 * b)), k = 1;
    c[0] = r, c[1] = g, c[2] = b;
    for (int i = 0; i < 3; i++) {
        if (c[i] < 0)
            k = fmin(k, l / (l - c[i]));
        if (c[i] > 1)
            k = fmin(k, (1 - l) / (c[i] - l));
    }
    for (int i = 0; i < 3; i++)
        c[i] = fmin(1, fmax(0, l + k * (c[i] - l)));
}

static int16_t code(double v, double low, double high)
{
    return (int16_t)lround(SCALE * fmin(high, fmax(low, v)));
}

static void fill(struct tone *t, int transfer, double peak, int ib, int ir, int iy)
{
    double y = ((iy << Y_BITS) - 64) / 876.0, cb = ((ib << C_BITS) - 512) / 896.0,
           cr = ((ir << C_BITS) - 512) / 896.0;
    double c[3] = {y + 1.4746 * cr, y - 0.16455 * cb - 0.57135 * cr, y + 1.8814 * cb};
    for (int i = 0; i < 3; i++)
        c[i] = fmin(1, fmax(0, c[i]));
    light(transfer, c);
    double most = fmax(c[0], fmax(c[1], c[2]));
    double k = most > 0 ? curve(most, peak) / most / white : 0;
    for (int i = 0; i < 3; i++)
        c[i] *= k;
    fit(c);
    for (int i = 0; i < 3; i++)
        c[i] = pow(c[i], 1 / 2.4);
    double l = 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2];
    t->y[ib][ir][iy] = code(16 + 219 * l, 16, 235);
    t->cb[ib][ir][iy] = code(128 + 224 * (c[2] - l) / 1.8556, 16, 240);
    t->cr[ib][ir][iy] = code(128 + 224 * (c[0] - l) / 1.5748, 16, 240);
}

struct tone *tone_new(int transfer, double peak)
{
    struct tone *t = malloc(sizeof *t);
    must(t != NULL);
    if (transfer == AVCOL_TRC_ARIB_STD_B67 || !(peak > 0))
        peak = 1000;
    peak = fmin(10000, fmax(white, peak));
    for (int ib = 0; ib < NC; ib++)
        for (int ir = 0; ir < NC; ir++)
            for (int iy = 0; iy < NY; iy++)
                fill(t, transfer, peak, ib, ir, iy);
    return t;
}

void tone_free(struct tone *t)
{
    free(t);
}

double tone_peak(const AVFrame *f)
{
    const AVFrameSideData *s = av_frame_get_side_data(f, AV_FRAME_DATA_CONTENT_LIGHT_LEVEL);
    if (s && ((const AVContentLightMetadata *)(const void *)s->data)->MaxCLL)
        return ((const AVContentLightMetadata *)(const void *)s->data)->MaxCLL;
    s = av_frame_get_side_data(f, AV_FRAME_DATA_MASTERING_DISPLAY_METADATA);
    const AVMasteringDisplayMetadata *m = s ? (const void *)s->data : NULL;
    return m && m->has_luminance && m->max_luminance.den ? av_q2d(m->max_luminance) : 0;
}

struct cell {
    int b, r, w[4]; // corner and weights of (b,r) (b,r+1) (b+1,r) (b+1,r+1), 10 bits together
};

static inline struct cell locate(int cb, int cr)
{
    enum { MASK = (1 << C_BITS) - 1, ONE = 1 << C_BITS };
    int fb = cb & MASK, fr = cr & MASK;
    return (struct cell){cb >> C_BITS,
                         cr >> C_BITS,
                         {(ONE - fb) * (ONE - fr), (ONE - fb) * fr, fb * (ONE - fr), fb * fr}};
}

static inline uint8_t look_up(const int16_t table[NC][NC][NY], const struct cell *c, int y)
{
    enum { ONE = 1 << Y_BITS, BITS = Y_BITS + 2 * C_BITS };
    const int16_t *p[4] = {table[c->b][c->r], table[c->b][c->r + 1], table[c->b + 1][c->r],
                           table[c->b + 1][c->r + 1]};
    int i = y >> Y_BITS, f = y & (ONE - 1), sum = 0;
    for (int k = 0; k < 4; k++)
        sum += c->w[k] * (p[k][i] * (ONE - f) + p[k][i + 1] * f);
    return (uint8_t)((sum + (SCALE << BITS) / 2) / (SCALE << BITS));
}

void tone_apply(const struct tone *t, const AVFrame *in, AVFrame *out)
{
    enum { TEN = 1023 };
    for (int y = 0; y < in->height / 2; y++) {
        const uint16_t *row[2], *cb = (const void *)(in->data[1] + y * in->linesize[1]),
                                *cr = (const void *)(in->data[2] + y * in->linesize[2]);
        for (int i = 0; i < 2; i++)
            row[i] = (const void *)(in->data[0] + (2 * y + i) * in->linesize[0]);
        for (int x = 0; x < in->width / 2; x++) {
            struct cell c = locate(cb[x] & TEN, cr[x] & TEN);
            int sum = 0;
            for (int i = 0; i < 4; i++) {
                int v = row[i >> 1][2 * x + (i & 1)] & TEN;
                sum += v;
                out->data[0][(2 * y + (i >> 1)) * out->linesize[0] + 2 * x + (i & 1)] =
                    look_up(t->y, &c, v);
            }
            out->data[1][y * out->linesize[1] + x] = look_up(t->cb, &c, sum / 4);
            out->data[2][y * out->linesize[2] + x] = look_up(t->cr, &c, sum / 4);
        }
    }
}
