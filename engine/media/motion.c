// SPDX-License-Identifier: Apache-2.0
#include "media/motion.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"

enum {
    STEP = 4, /* rows */
    FRESH = 4 /* pictures: as many as encoders code out of order */
};

void motion_init(struct motion *m, int w, int h)
{
    *m = (struct motion){.recent = 2 * MOTION_STILL, .w = w, .h = h};
    m->cols = (w + MOTION_CELL - 1) / MOTION_CELL;
    m->rows = (h + MOTION_CELL - 1) / MOTION_CELL;
    m->fresh = calloc((size_t)m->cols * (size_t)m->rows, 1);
    must(m->fresh != NULL);
}

void motion_fini(struct motion *m)
{
    free(m->before);
    free(m->fresh);
    m->before = m->fresh = NULL;
}

/* Pixels that are more than one level from what they were. */
static unsigned changed(const uint8_t *p, const uint8_t *q, int n)
{
    unsigned count = 0;
    for (int i = 0; i < n; i++)
        count += abs(p[i] - q[i]) > 1;
    return count;
}

/* Changed pixels of one row; their cells become fresh. */
static unsigned look(struct motion *m, const uint8_t *was, const uint8_t *is, uint8_t *fresh)
{
    unsigned count = 0;
    for (int c = 0; c < m->cols; c++) {
        int x = c * MOTION_CELL, n = m->w - x < MOTION_CELL ? m->w - x : MOTION_CELL;
        unsigned here = changed(was + x, is + x, n);
        if (here)
            fresh[c] = FRESH;
        count += here;
    }
    return count;
}

void motion_add(struct motion *m, const uint8_t *y, ptrdiff_t stride)
{
    size_t w = (size_t)m->w, rows = ((size_t)m->h + STEP - 1) / STEP;
    uint64_t count = 0;
    bool first = !m->before;
    for (int k = 0; k < m->cols * m->rows; k++)
        m->fresh[k] -= m->fresh[k] > 0;
    if (first)
        must(m->before = malloc(w * rows));
    for (size_t r = 0; r < rows; r++) {
        const uint8_t *now = y + (ptrdiff_t)r * STEP * stride;
        if (!first)
            count += look(m, m->before + r * w, now,
                          m->fresh + r * STEP / MOTION_CELL * (size_t)m->cols);
        memcpy(m->before + r * w, now, w);
    }
    // Drawn films repeat each picture once or twice: that is not standing still.
    float share = (float)count / ((float)w * (float)rows), faded = m->recent * 0.7f;
    m->recent = share > faded ? share : faded;
}
