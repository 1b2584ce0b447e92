/* SPDX-License-Identifier: Apache-2.0
 * Where a title's picture lies in a clip's: projective registration of picture pairs on locally levelled luma, coarse to fine
 * (Gauss-Newton on the intensity difference; Lucas & Kanade 1981, Baker & Matthews 2004). Pure; one thread. */
#ifndef MEDIA_ALIGNER_H
#define MEDIA_ALIGNER_H
#include <stdint.h>
#include "media/fp.h"
#include "media/gray.h"

enum { ALIGNER_PAIRS = 10 };
struct aligner_pair {
    const uint8_t *title, *clip; /* w x h luma of the same moment */
};
/* The map of a view for pictures of this shape. */
struct gray_map aligner_from_view(const struct fp_view *v, int w, int h);
struct fp_view aligner_to_view(const struct gray_map *m, int w, int h);
/* Finds the map to about a pixel, starting near *m (other sizes and shapes are tried too). Returns the mean correlation, -1..1;
 * above about 0.4 the map can be trusted. n <= ALIGNER_PAIRS. */
double aligner_find(const struct aligner_pair *pair, int n, int w, int h, struct gray_map *m);
/* Makes the map exact, perspective included, from about two pixels off. Returns the correlation. */
double aligner_refine(const struct aligner_pair *pair, int n, int w, int h, struct gray_map *m);
/* A few small steps for a single pair at full size, for following a picture that moves. Returns the correlation at the end;
 * without steps that of the map as it is. */
double aligner_follow(const float *title, const float *clip, int w, int h, int steps,
                      struct gray_map *m);
#endif
