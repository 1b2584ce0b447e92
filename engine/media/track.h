/* SPDX-License-Identifier: Apache-2.0
 * One finished or growing rendition: its place in index.json and the segments sealed so far. Owned by one thread at a time. */
#ifndef MEDIA_TRACK_H
#define MEDIA_TRACK_H
#include <stdbool.h>
#include <stdint.h>
#include "base/str.h"
#include "media/frag.h"
#include "media/lang.h"
#include "media/store.h"

struct track {
    char name[12], init[24], codecs[24];
    bool audio, main;                           /* main: the sound a player begins with */
    char language[LANG_TAG], label[LANG_LABEL]; /* of sound; "" = unknown */
    int w, h;
    uint32_t timescale;
    uint64_t time; /* decode time of the next segment, in timescale */
    struct store_segment *segment;
    int count, cap;
    int64_t bytes;
    double peak; /* bits/s of the fattest segment */
    struct buf scratch;
};

void track_init(struct track *t, const char *name, bool audio, uint32_t timescale);
void track_fini(struct track *t);
/* Muxes, seals and stores one segment. */
int track_add(struct track *t, struct store *s, const struct frag_sample *sample, int count,
              const void *data, size_t n, struct err *e);
double track_seconds(const struct track *t);
/* Appends the JSON object; segments: with the array, else the count alone. */
void track_json(const struct track *t, bool segments, struct buf *out);
#endif
