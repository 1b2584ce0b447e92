/* SPDX-License-Identifier: Apache-2.0
 * How much the pictures of a film differ from those before them, and where. A struct belongs to one thread. */
#ifndef MEDIA_MOTION_H
#define MEDIA_MOTION_H
#include <stddef.h>
#include <stdint.h>

/* A slide, a screen on which somebody writes: less of it changes. Noise changes more of what a camera sees. */
#define MOTION_STILL 0.02f

enum { MOTION_CELL = 16 /* pixels */ };

struct motion {
    /* Share of the picture that has changed; falls slowly. The first picture counts as changed. */
    float recent;
    int cols, rows;
    /* cols x rows cells, row by row; not 0: one of the last pictures changed something in it. */
    uint8_t *fresh;
    /* private */
    int w, h;
    uint8_t *before; /* some rows of the last picture; NULL: there was none */
};
void motion_init(struct motion *m, int w, int h);
void motion_fini(struct motion *m);
/* The next picture's luma: h rows of w bytes. */
void motion_add(struct motion *m, const uint8_t *y, ptrdiff_t stride);
#endif
