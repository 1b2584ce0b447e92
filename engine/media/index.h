/* SPDX-License-Identifier: Apache-2.0
 * index.json: what playlists are made of. Pure; any thread. */
#ifndef MEDIA_INDEX_H
#define MEDIA_INDEX_H
#include "base/str.h"
#include "media/ladder.h"
#include "media/probe.h"
#include "media/sprite.h"
#include "media/subs.h"
#include "media/track.h"

struct index_info {
    const char *id;
    int w, h, segment_s, posters;
    double seconds;
    struct ladder_rate rate;
    const struct track *video[LADDER_MAX]; /* ascending */
    int nvideo;
    const struct track *audio[PROBE_MAX_AUDIO];
    int naudio;                    /* 0 = silent */
    double strength;               /* of the mark; 0 = none */
    const struct track *reference; /* NULL without a mark */
    const struct subs *subs;
    const AVFormatContext *format; /* for its chapters */
    int64_t origin_ms;             /* of the first picture, by the container's clock */
    const struct sprite *sprite;
    double gop_seconds;         /* between two offers to sprite */
    struct store_segment fp[2]; /* fingerprint: whole, coarse */
};
void index_json(const struct index_info *x, bool segments, struct buf *out);
#endif
