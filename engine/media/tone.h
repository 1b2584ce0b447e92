/* SPDX-License-Identifier: Apache-2.0
 * HDR pictures (PQ or HLG, BT.2020) for SDR screens: one three-dimensional table holds transfer, tone curve, gamut and
 * BT.709 coding, so that a picture costs the same whatever the formulas are. Read only after it was made; any thread.
 * Formulas: SMPTE ST 2084 and ARIB STD-B67 transfer, ITU-R BT.2390 tone curve on the largest component, BT.2087 primaries,
 * BT.1886 display. White of the result is 203 cd/m2 of the source (BT.2408). */
#ifndef MEDIA_TONE_H
#define MEDIA_TONE_H
#include <libavutil/frame.h>

struct tone;
/* transfer: AVCOL_TRC_SMPTE2084 or AVCOL_TRC_ARIB_STD_B67. peak: brightest light of the source in cd/m2, 0 = unknown.
 * Owned by the caller. */
struct tone *tone_new(int transfer, double peak);
void tone_free(struct tone *t);
/* What the source says about its brightest light, in cd/m2; 0 = nothing. */
double tone_peak(const AVFrame *f);
/* in: limited range yuv420p10 of even size; out: yuv420p of the same size. */
void tone_apply(const struct tone *t, const AVFrame *in, AVFrame *out);
#endif
