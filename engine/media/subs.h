/* SPDX-License-Identifier: Apache-2.0
 * Subtitle tracks that are text: their cues as the container holds them, without decoding, written as subs_<n>.json for
 * scripts to clean. Picture subtitles (DVD, Blu-ray) are left out. One thread. */
#ifndef MEDIA_SUBS_H
#define MEDIA_SUBS_H
#include <libavformat/avformat.h>
#include <stdbool.h>
#include "base/str.h"
#include "media/lang.h"
#include "media/store.h"

/* What is beyond these is left out, not refused: a film is worth more than its subtitles. */
enum { SUBS_TRACKS = 8, SUBS_CUES = 10000, SUBS_CUE_BYTES = 2000, SUBS_BYTES = 1 << 20 };

struct subs_cue {
    int64_t start, end; /* ms of the container; end <= start: unknown */
    size_t at, n;       /* its text */
};
struct subs_track {
    int stream, ncues, cap;
    struct subs_cue *cue;
    struct buf text;
    char language[LANG_TAG], label[LANG_LABEL];
    bool forced, main;
    const char *codec; /* "mov_text", "subrip", "ass", "webvtt", "text" */
};
struct subs {
    struct subs_track track[SUBS_TRACKS];
    int n;
};

/* Chooses the tracks and asks the demuxer for them. */
void subs_open(struct subs *s, AVFormatContext *f);
/* Keeps a cue of a chosen track, ignores everything else. */
void subs_feed(struct subs *s, const AVFormatContext *f, const AVPacket *p);
/* Writes one file for each track that has cues and forgets the others.
 * origin_ms: of the film's first picture; cues are counted from there and end with the film. */
int subs_write(struct subs *s, int64_t origin_ms, int64_t length_ms, struct store *st,
               struct err *e);
/* Appends the list for index.json. */
void subs_json(const struct subs *s, struct buf *out);
void subs_fini(struct subs *s);
#endif
