/* SPDX-License-Identifier: Apache-2.0
 * One video rendition on one thread: takes pictures of the next larger rendition (or decoded ones), scales, hands its result to
 * smaller ones, draws the mark, encodes the variants. */
#ifndef MEDIA_ENCODE_H
#define MEDIA_ENCODE_H
#include <libavcodec/avcodec.h>
#include <stdint.h>
#include "media/coder.h"
#include "media/fp.h"
#include "media/group.h"
#include "media/journal.h"
#include "media/ladder.h"
#include "media/mark.h"
#include "media/motion.h"
#include "media/pixels.h"
#include "media/poster.h"
#include "media/sprite.h"
#include "media/queue.h"
#include "media/track.h"

struct encode_picture {
    AVFrame *frame;
    int times; /* shown for so many output frames */
};
struct encode_plan {
    struct ladder_rate rate;
    int gop;     /* frames per segment */
    int threads; /* of each encoder */
    const char *preset;
    const char *encoder; /* of hardware; NULL = x264. Only without a mark. */
    double crf;
    float strength;           /* of the mark; 0 = one variant, unmarked */
    const uint8_t *k_pattern; /* outlives the thread */
    struct frag_color color;
    bool swap, flip_x, flip_y; /* largest rendition only */
    const struct tone *tone;   /* largest rendition only; outlives the thread */
};
struct encode {
    struct ladder_rung rung;
    struct encode_plan plan;
    struct group *group;
    struct store *store;
    struct poster *poster;                /* or NULL */
    struct sprite *sprite;                /* or NULL */
    struct fp_maker *fp;                  /* or NULL; gets the unmarked pictures */
    struct encode *child[LADDER_MAX + 1]; /* made from this one's pictures */
    int nchildren;
    struct queue in; /* of struct encode_picture */
    struct track track;
    /* private */
    struct pixels pixels;
    struct coder coder[2]; /* of variant a, b */
    struct mark_pen *pen;  /* NULL without a mark */
    struct mark_grid grid;
    AVBufferPool *luma; /* planes of marked pictures */
    int stride;
    struct motion motion;  /* only with a mark */
    float level;           /* share of the mark's strength that was drawn last */
    int64_t sent, segment; /* frames; whose grid that is */
    int64_t skip;          /* frames that an earlier attempt has encoded */
    pthread_t thread;
    bool started;
};

/* Opens the encoder and writes the init segment, or goes on where the journal's attempt ended. */
int encode_open(struct encode *v, const struct ladder_rung *rung, const struct encode_plan *plan,
                struct group *g, struct store *s, struct journal *j, struct err *e);
int encode_start(struct encode *v, struct err *e);
/* Takes the picture over. -1 when the group failed. */
int encode_feed(struct queue *q, AVFrame *f, int times);
void encode_join(struct encode *v);
/* After encode_join. */
void encode_close(struct encode *v);
#endif
