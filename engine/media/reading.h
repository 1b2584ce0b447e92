/* SPDX-License-Identifier: Apache-2.0
 * Reads the mark: the difference between registered clip pictures and the unmarked title, tone and shading taken away, summed
 * over each segment's pictures cell by cell, and compared with the keyed grid. Without a mark of ours the result of a segment is
 * a sum with random signs: P(z > T) <= exp(-T^2 / 2), whatever the picture does (Hoeffding). One thread. */
#ifndef MEDIA_READING_H
#define MEDIA_READING_H
#include <stdint.h>
#include "media/gray.h"
#include "media/mark.h"

struct reading;
struct reading_result {
    int number, pictures;
    double amp, z; /* > 0 speaks for variant a */
};
struct reading *reading_new(int w, int h, int segments);
void reading_free(struct reading *r);
/* One picture of a segment that carries this share (> 0) of the mark's strength: the title's luma, and the clip's as float, both
 * w x h. */
void reading_add(struct reading *r, int segment, float share, const uint8_t *title,
                 const float *clip, const struct gray_map *m);
/* False when too little of the segment was seen. */
bool reading_of(const struct reading *r, const uint8_t k_pattern[32], int segment,
                struct reading_result *out);
#endif
