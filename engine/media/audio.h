/* SPDX-License-Identifier: Apache-2.0
 * One sound track on one thread: decode, resample to 48 kHz stereo, lay out on the picture's time line (gaps become silence,
 * overlaps are cut), AAC-LC 128 kb/s, sealed on the video's segment grid. */
#ifndef MEDIA_AUDIO_H
#define MEDIA_AUDIO_H
#include <libavcodec/avcodec.h>
#include <libavutil/audio_fifo.h>
#include <libswresample/swresample.h>
#include <stdatomic.h>
#include <stdint.h>
#include "media/group.h"
#include "media/journal.h"
#include "media/ladder.h"
#include "media/queue.h"
#include "media/track.h"

enum { AUDIO_RATE = 48000 };
struct audio {
    struct group *group;
    struct store *store;
    AVCodecContext *decoder; /* owned */
    struct queue in;         /* of AVPacket* */
    struct track track;
    struct ladder_rate rate; /* of the video, with gop: the segment grid */
    int gop;
    atomic_llong
        video_pos; /* samples of picture already fed; sound far beyond it is a damaged time line */
    /* under group->lock */
    bool origin_known, decoded, total_known;
    int64_t origin, end,
        total; /* samples: source time of output 0; where the sound ends; where the output ends */
    /* private to the thread */
    AVCodecContext *codec;
    SwrContext *swr;
    AVChannelLayout from_layout;
    int from_format, from_rate;
    AVAudioFifo *fifo;
    AVFrame *frame, *out;
    AVPacket *packet;
    uint8_t *convert[2]; /* planar output of the resampler */
    int convert_cap;
    int64_t pos;  /* next sample of the time line to be laid out */
    int64_t skip; /* samples still to drop: those that the encoder's priming covers */
    int64_t sent, packets;
    int64_t kept; /* AAC frames that an earlier attempt has sealed */
    bool any;
    int errors;
    struct audio_unit {
        uint32_t size;
    } * unit; /* AAC frames not sealed yet; first one starts at track.time */
    int units, units_cap;
    struct buf data;
    pthread_t thread;
    bool started;
};

/* Takes the decoder over. name: of the rendition. rate and gop are set later, before audio_origin. */
int audio_open(struct audio *a, const char *name, AVCodecContext *decoder, struct group *g,
               struct store *s, struct journal *j, struct err *e);
int audio_start(struct audio *a, struct err *e);
/* Demuxer's side. Takes the packet over; -1 when the group failed or nothing but sound comes. */
int audio_feed(struct audio *a, AVPacket *p);
/* Source time of the first picture, in samples. */
void audio_origin(struct audio *a, int64_t samples);
/* No more packets; waits until all is decoded. The end of the sound in samples, or -1 when the group failed. */
int64_t audio_drain(struct audio *a);
/* The length of the picture; the thread pads or cuts to it and ends. */
void audio_total(struct audio *a, int64_t samples);
void audio_join(struct audio *a);
void audio_close(struct audio *a);
#endif
