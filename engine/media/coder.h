/* SPDX-License-Identifier: Apache-2.0
 * One H.264 encoder: closed GOPs of one segment each, handed to a track. Parameter sets (SPS, PPS) depend on size, rate,
 * colour and level alone, not on preset (up to veryfast: slower ones move the chroma quantiser), quality, rate cap, threads
 * or content: a segment encoded later by a quicker coder fits the same init segment. A struct belongs to one thread. */
#ifndef MEDIA_CODER_H
#define MEDIA_CODER_H
#include <libavcodec/avcodec.h>
#include <stdint.h>
#include "base/err.h"
#include "media/frag.h"
#include "media/ladder.h"
#include "media/store.h"
#include "media/track.h"

struct coder_spec {
    int w, h;
    struct ladder_rate rate;
    int gop; /* frames per segment */
    struct frag_color color;
    int level; /* 31 = 3.1; 0 = what size, rate and cap need. Later segments: that of the init segment. */
    int64_t maxrate;     /* bits/s; 0 = no cap */
    const char *preset;  /* of x264 */
    const char *encoder; /* of hardware, as coder_hardware named it; NULL = x264 */
    double crf;
    int threads;
};
/* What is added to the quantiser of a picture, and of chosen cells of it. */
struct coder_quantiser {
    int all, chosen;
    int cols, rows, size; /* cells across and down; pixels of one */
    const uint8_t *cell;  /* row by row; not 0: chosen */
};
struct coder {
    struct coder_spec spec;
    AVCodecContext *codec; /* extradata: SPS and PPS, Annex B */
    int delay;             /* frames between decoding and showing */
    /* private */
    AVPacket *packet;
    struct frag_sample *sample; /* of the GOP being collected */
    struct buf data;
    int count;
    int64_t sent, decoded; /* frames in, samples out */
};

/* The hardware encoder of that name, or with "auto" the first of libavcodec's that works here: one that opens with headers of
 * its own, twice the same, and keeps the segment grid. NULL with a sentence in why when there is none. Before the sandbox
 * closes. The result is static. */
const char *coder_hardware(const char *want, char why[160]);
int coder_open(struct coder *c, const struct coder_spec *spec, struct err *e);
void coder_close(struct coder *c);
/* Encodes the next frame (its pts, type and regions of interest are overwritten), NULL = the end. q: x264 only; NULL = as
 * it is. Finished segments go to t as that variant. */
int coder_send(struct coder *c, AVFrame *f, const struct coder_quantiser *q, struct track *t,
               int variant, struct store *s, struct err *e);
uint32_t coder_timescale(struct ladder_rate r);
uint32_t coder_ticks(struct ladder_rate r); /* of one frame, in that timescale */
#endif
