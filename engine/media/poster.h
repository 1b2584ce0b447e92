/* SPDX-License-Identifier: Apache-2.0
 * Still pictures from the frames of one rendition: poster.jpg near a tenth of the title, poster_<n>.jpg further on. Fed by one
 * encoder thread; finished after it ended. */
#ifndef MEDIA_POSTER_H
#define MEDIA_POSTER_H
#include <libavutil/frame.h>
#include "media/store.h"

enum { POSTER_COUNT = 4 };
struct poster {
    AVFrame *pick[POSTER_COUNT]; /* 0 = poster.jpg */
    AVFrame *first;
    double at[POSTER_COUNT]; /* seconds */
    double score;            /* of pick[0] */
    double next;             /* no look before this time */
    int written;             /* candidates on disk: poster_1 .. poster_<written> */
};

/* seconds: expected duration, 0 = unknown. */
void poster_init(struct poster *p, double seconds);
void poster_fini(struct poster *p);
void poster_offer(struct poster *p, const AVFrame *f, double t);
/* Stores a limited-range yuv420p picture as JPEG without metadata. */
int poster_jpeg(const AVFrame *f, struct store *s, const char *name, struct err *e);
int poster_write(struct poster *p, struct store *s, struct err *e);
#endif
