/* SPDX-License-Identifier: Apache-2.0
 * What pictures are compared by: 16 x 9 cells of the logarithm of luma, light that varies slowly over them taken away, as vectors
 * of one length. A lens says which cells of a title's picture a clip shows, and where. Pure. */
#ifndef MEDIA_LENS_H
#define MEDIA_LENS_H
#include <stdbool.h>
#include <stdint.h>
#include "media/fp.h"
#ifdef __SSE2__
#include <immintrin.h>
#endif

enum { LENS_UNIT = 1024, /* length of a vector */ LENS_SLOW = 6 };

struct lens {
    int n; /* cells that count */
    uint8_t in[FP_CELLS];
    float x[FP_CELLS], y[FP_CELLS],
        slow[LENS_SLOW][FP_CELLS]; /* place in the clip's grid; slow terms */
};

/* False when the view shows too little of the title. */
bool lens_init(struct lens *l, const struct fp_clip *c, const struct fp_view *v);
/* A clip's picture (FP_CLIP_CELLS) on the title's cells. False when it is flat. */
bool lens_project(const uint8_t *cells, const struct lens *l, int16_t out[FP_CELLS]);
/* A title's picture (FP_CELLS). */
void lens_whole(const uint8_t *cells, int16_t out[FP_CELLS]);
/* Correlation over the cells that count alone; the quick dot product takes the title's length over all. */
double lens_exact(const struct lens *l, const int16_t *clip, const int16_t *title);

#ifdef __SSE2__
__attribute__((target("avx2"))) static inline int lens_dot_wide(const int16_t *a, const int16_t *b)
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

/* In units of LENS_UNIT squared. */
static inline int lens_dot(const int16_t *a, const int16_t *b)
{
#ifdef __SSE2__
    if (__builtin_cpu_supports("avx2"))
        return lens_dot_wide(a, b);
#endif
    int s = 0;
    for (int i = 0; i < FP_CELLS; i++)
        s += a[i] * b[i];
    return s;
}
#endif
