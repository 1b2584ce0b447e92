/* SPDX-License-Identifier: Apache-2.0
 * Which renditions a source gets, and at which constant frame rate. Pure arithmetic; any thread. */
#ifndef MEDIA_LADDER_H
#define MEDIA_LADDER_H
#include <stdint.h>

#define LADDER_MAX 5
struct ladder_rung {
    char name[12];   /* the short side: "480" */
    int w, h;        /* even, portrait kept */
    int64_t maxrate; /* bits/s for the encoder's rate buffer; 0 = no cap */
};
/* Renditions for a display size, largest first: 1080/720/480/360/240 by the short side, none above the source or max_height;
 * a smaller source gets one at its own size. Returns how many (>= 1), or 0 when the picture is too small or too long. */
int ladder_make(int w, int h, int max_height, double fps, struct ladder_rung out[LADDER_MAX]);

/* The unmarked rendition that leaks are compared with: longer side 320, never above the source, no rate cap. */
void ladder_reference(int w, int h, struct ladder_rung *out);

struct ladder_rate {
    int num, den;
};
/* Constant rate to encode at: base is the rate of the time stamps' grid, avg the measured mean (0 = unknown). Steady
 * sources keep their standard rate (23.976, 25, 29.97 ...), others get 25, 30 or 60; never above 60 or below 5. */
struct ladder_rate ladder_fps(double base, double avg);
#endif
