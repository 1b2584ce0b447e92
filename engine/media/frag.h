/* SPDX-License-Identifier: Apache-2.0
 * Our own fragmented MP4 writer: one init segment per rendition, one moof+mdat per HLS segment, decode times exactly on the
 * segment grid from 0, no metadata. Deterministic: the same samples give the same bytes.
 * Pure functions over struct buf; any thread. */
#ifndef MEDIA_FRAG_H
#define MEDIA_FRAG_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

struct frag_sample {
    uint32_t size, duration;
    int32_t cts; /* presentation minus decode time, delay added */
};
struct frag_color {
    int primaries, transfer,
        matrix; /* ISO/IEC 23001-8 numbers; 2 = unknown. Range is always limited. */
};

/* Composition offsets are given relative to presentation time 0 and may be negative (as far as -delay); the file holds them
 * plus `delay` ticks, and an edit list that takes delay away again. Offsets that are negative in the file are legal too, but
 * FFmpeg's demuxer, and so every player made of it, then shows the picture late by that much.
 * headers: SPS and PPS as Annex B. codecs gets "avc1.PPCCLL". 0 or -1 when there is no SPS or PPS. */
int frag_init_video(struct buf *out, int w, int h, uint32_t timescale, uint32_t delay,
                    struct frag_color color, const uint8_t *headers, size_t n, char codecs[24]);
/* config: AudioSpecificConfig. */
void frag_init_audio(struct buf *out, uint32_t rate, int channels, uint32_t bitrate,
                     const uint8_t *config, size_t n);
/* seq from 1. Every segment starts with a sync sample; audio: every sample is one. data = all samples in order. */
void frag_segment(struct buf *out, uint32_t seq, uint64_t decode_time, bool audio,
                  const struct frag_sample *s, int count, const void *data, size_t n);
/* Makes a segment n bytes long by a `free` box; n is at least 8 more than it has. */
void frag_pad(struct buf *out, size_t n);
/* Appends an Annex B access unit as 4-byte-length NAL units without parameter sets, SEI and delimiters. */
void frag_put_annexb(struct buf *out, const uint8_t *p, size_t n);
#endif
