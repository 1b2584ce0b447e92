/* SPDX-License-Identifier: Apache-2.0
 * A viewer's name and a date as a small picture that is blended into frames: white letters with a dark outline. The text
 * is data from the first to the last byte: no filter, shell or markup ever sees it. A struct belongs to one thread. */
#ifndef MEDIA_LABEL_H
#define MEDIA_LABEL_H
#include <libavutil/frame.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

enum { LABEL_NAME_GLYPHS = 24, LABEL_GLYPHS = 64, LABEL_OPACITY = 102 /* of 256: 40 % */ };
struct label_font {
    void *library, *face; /* FT_Library, FT_Face */
    void *file;
};
struct label {
    int w, h;
    uint8_t *fill, *edge; /* coverage 0..255, w * h each; edge includes fill */
};

/* Reads the whole font into memory, so that a process without files may use it. path NULL: DejaVu Sans Bold. */
int label_font_open(struct label_font *f, const char *path, struct err *e);
void label_font_close(struct label_font *f);
/* What is drawn, as code points in drawing order: controls, invisible characters and combining marks are dropped, a name
 * longer than LABEL_NAME_GLYPHS ends in "…", runs of right-to-left letters are turned around (Arabic stays unjoined),
 * broken UTF-8 is "?". tail follows the name after a space, whole. Returns the number, <= LABEL_GLYPHS. */
int label_text(const char *name, size_t n, const char *tail, size_t tail_n,
               uint32_t out[LABEL_GLYPHS]);
/* A character that the font lacks becomes a hollow square. The letters are px high, or smaller when the line would be
 * wider than max_w. */
int label_make(struct label *l, const struct label_font *f, const uint32_t *text, int n, int px,
               int max_w, struct err *e);
void label_fini(struct label *l);
/* At (x, y), clipped to the picture; yuv420p, limited range, writable. */
void label_blend(const struct label *l, AVFrame *frame, int x, int y);
#endif
