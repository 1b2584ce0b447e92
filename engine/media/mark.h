/* SPDX-License-Identifier: Apache-2.0
 * The invisible mark: per segment a keyed grid of +1 and -1 cells in picture coordinates, the same in all renditions; drawn
 * into luma with an amplitude that follows what the picture can hide. Variant a = picture + mark, b = picture - mark.
 * The grid has 40 cells along the longer side of the picture and 22 along the shorter one (square: 40 x 22). A cell's value
 * holds at its centre and is interpolated linearly between centres; beyond the outer centres it is constant.
 * The mark comes and goes within a segment: at its borders, where the pattern changes, nothing is drawn.
 * Pure but for struct mark_pen, which belongs to one thread. */
#ifndef MEDIA_MARK_H
#define MEDIA_MARK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MARK_LONG = 40, MARK_SHORT = 22, MARK_CELLS = MARK_LONG * MARK_SHORT };
#define MARK_STRENGTH 0.95 /* default; 0 = no mark */
#define MARK_STRENGTH_MAX 1.2

/* Row-major: cell[y * cols + x]. */
struct mark_grid {
    int cols, rows;
    int8_t cell[MARK_CELLS];
};

/* K_pattern = HKDF(title_secret, "v1|pattern"). 0 or -1 (the crypto library fails). */
int mark_key(const uint8_t title_secret[32], uint8_t k_pattern[32]);
/* Grid of a segment (from 0) for a picture of this shape (only w >= h counts). Bit c of the digests HMAC-SHA256(K_pattern,
 * "<segment>|<c / 256>") says +1 (1) or -1 (0) for cell c; bit j of a digest is byte j / 8, value 1 << j % 8. */
void mark_grid(const uint8_t k_pattern[32], int segment, int w, int h, struct mark_grid *out);
/* Share of the strength that picture n (from 0) of a segment of so many pictures carries: rises over the first twelfth, falls
 * over the last but one, 0 in the last. A static scene would otherwise show each change of the pattern. */
float mark_fade(int n, int pictures);
/* What is added to the quantiser of that picture, so that a marked segment ends and begins as an unmarked one and costs no more.
 * still: little changes; then most bits are the first picture's, and those that draw the mark and take it away weigh most. */
int mark_quantiser(int n, int pictures, bool still);
/* No more than this is added where a still scene changes: somebody reads there. */
#define MARK_WRITTEN 5
/* Luma levels per unit of strength that the mark has in each cell of this picture (8-bit luma; mean over the cell, cells as in
 * mark_grid). The tracer weighs cells with it; any size of the same picture gives nearly the same. */
void mark_gain(const uint8_t *y, ptrdiff_t stride, int w, int h, float gain[MARK_CELLS]);

struct mark_pen;
struct mark_pen *mark_pen_new(int w, int h);
void mark_pen_free(struct mark_pen *p);
/* Draws both variants of one luma plane. Pictures must come in display order: what a cell may carry rises slowly and falls at
 * once. src, a, b: h rows of w bytes; any alignment; a or b may be NULL, a may be src. */
void mark_draw(struct mark_pen *p, const struct mark_grid *g, float strength, const uint8_t *src,
               ptrdiff_t stride, uint8_t *a, ptrdiff_t a_stride, uint8_t *b, ptrdiff_t b_stride);
#endif
