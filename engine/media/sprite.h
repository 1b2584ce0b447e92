/* SPDX-License-Identifier: Apache-2.0
 * The storyboard: a small picture for each moment of the film, packed into JPEG sheets under random names. One thread at a
 * time. */
#ifndef MEDIA_SPRITE_H
#define MEDIA_SPRITE_H
#include <libavutil/frame.h>
#include "base/str.h"
#include "media/store.h"

enum { SPRITE_TILES = 600, SPRITE_SIDE = 160, SPRITE_COLUMNS = 10, SPRITE_ROWS = 10 };

struct sprite {
    AVFrame *tile[SPRITE_TILES];
    int n, w, h;
    int64_t step; /* pictures offered for each one that is kept */
    int64_t offered;
    char sheet[SPRITE_TILES / (SPRITE_COLUMNS * SPRITE_ROWS)][40];
    int nsheets;
};

/* Offers the next picture; offers are equally far apart in time. Out of memory: the tile is missing, nothing fails. */
void sprite_offer(struct sprite *s, const AVFrame *f);
int sprite_write(struct sprite *s, struct store *st, struct err *e);
/* Appends the object for index.json; seconds: between two offers. */
void sprite_json(const struct sprite *s, double seconds, struct buf *out);
void sprite_fini(struct sprite *s);
#endif
