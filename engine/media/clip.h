/* SPDX-License-Identifier: Apache-2.0
 * Luma of a video, picture by picture, at a wanted size: of an untrusted clip from a descriptor, and of one of our own
 * reference segments from memory. One thread. */
#ifndef MEDIA_CLIP_H
#define MEDIA_CLIP_H
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

enum { CLIP_MAX_S = 4 * 3600, CLIP_MAX_FPS = 250 };
struct clip_info {
    int w, h;
    double seconds, fps; /* as the container says */
};
struct clip_sink {
    int w, h; /* wanted size, even */
    /* Pictures a second that suffice, those that no other needs being left out; 0: all. */
    double rate;
    bool rough; /* edges may be */
    const volatile sig_atomic_t *cancel;
    /* t: seconds from the first picture, never falling. y: h rows of w, valid during the call. Non-zero stops (no error). */
    int (*picture)(void *arg, double t, const uint8_t *y, ptrdiff_t stride);
    void *arg;
};
/* Errors: the codes of a probe, media.too_long, media.truncated (nothing could be decoded), media.cancelled. */
int clip_read(int fd, const char *ext, const struct clip_sink *s, struct clip_info *info,
              struct err *e);
/* Decodes an init segment and one media segment, at their own size; fn gets every picture in order. -1 when they are broken. */
int clip_segment(const uint8_t *data, size_t n,
                 void (*fn)(void *arg, int number, const uint8_t *y, ptrdiff_t stride, int w,
                            int h),
                 void *arg, struct err *e);
#endif
