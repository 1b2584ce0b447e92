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
    char name[12], init[40], codecs[24];
    bool audio, main;                           /* main: the sound a player begins with */
    char language[LANG_TAG], label[LANG_LABEL]; /* of sound; "" = unknown */
    int w, h;
    uint32_t timescale;
    int variants;  /* 1, or 2: the segments of a and b are sealed in pairs of equal length */
    uint64_t time; /* decode time of the next segment, in timescale */
    struct store_segment *segment[2]; /* by variant */
    int count, cap;
    int kept;      /* of count: from an earlier attempt */
    int64_t bytes; /* of one variant */
    double peak;   /* bits/s of the fattest segment */
    /* private: muxed segments of the variant that is ahead, until the other has them too */
    struct buf *waiting;
    int nwaiting, ahead;
    uint64_t next[2]; /* like time, by variant */
};

void track_init(struct track *t, const char *name, bool audio, uint32_t timescale);
void track_fini(struct track *t);
/* Puts the init segment into the store, with its line for the journal. codecs and size are known. */
int track_put_init(const struct track *t, struct store *s, const void *p, size_t n, struct err *e);
/* A segment that an earlier attempt finished; per variant in order, before the first track_add. */
void track_keep(struct track *t, int variant, int number, const struct store_segment *file,
                uint64_t ticks);
/* Muxes, seals and stores the next segment of a variant (0 = a, 1 = b). Both variants must have the same durations. */
int track_add(struct track *t, struct store *s, int variant, const struct frag_sample *sample,
              int count, const void *data, size_t n, struct err *e);
/* Nothing of one variant still waits for the other. */
bool track_complete(const struct track *t);
double track_seconds(const struct track *t);
/* Appends the JSON object; segments: with the array, else the count alone. */
void track_json(const struct track *t, bool segments, struct buf *out);
#endif
