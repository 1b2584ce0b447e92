/* SPDX-License-Identifier: Apache-2.0
 * Opens an untrusted file from a descriptor: own reader (no path, no protocol), container and codec lists, stream limits,
 * and what the picture looks like when shown. One thread. */
#ifndef MEDIA_PROBE_H
#define MEDIA_PROBE_H
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

enum {
    PROBE_MAX_PIXELS = 4096 * 2160,
    PROBE_MAX_STREAMS = 32,
    PROBE_MAX_GAP_S = 10,
    PROBE_MAX_AUDIO = 4
};

struct probe {
    AVFormatContext *format;
    AVIOContext *io;
    int fd;
    int64_t pos, size;
    const volatile sig_atomic_t *cancel;
    int video, audio[PROBE_MAX_AUDIO]; /* stream numbers */
    int naudio, main_audio;            /* main: index in audio; naudio 0 = silent */
    double seconds;                    /* as the container says; 0 = unknown */
    double rate_base, rate_avg;
    int coded_w, coded_h;
    int w, h;                  /* as shown: sample aspect and rotation applied */
    bool swap, flip_x, flip_y; /* to show: flip in shown coordinates after swapping x and y */
    bool hdr, dolby;           /* dolby: colours that only a Dolby Vision decoder knows */
};

/* Refuses to work when a library or list would let a forbidden demuxer or decoder in. Before the sandbox closes. */
int probe_guard(struct err *e);
/* Opens fd (borrowed). cancel may become true at any time. */
int probe_open(struct probe *p, int fd, const volatile sig_atomic_t *cancel, const char *ext,
               struct err *e);
/* Opens the decoder of a chosen stream. */
int probe_decoder(const struct probe *p, int stream, int threads, AVCodecContext **out,
                  struct err *e);
void probe_close(struct probe *p);
void probe_json(const struct probe *p, struct buf *out);
/* What a display matrix asks for, as in struct probe. */
void probe_turn(const int32_t *matrix, bool *swap, bool *flip_x, bool *flip_y);
/* Whether this is light for a high dynamic range screen (PQ or HLG). */
bool probe_is_hdr(enum AVColorTransferCharacteristic trc);
#endif
