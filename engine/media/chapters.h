/* SPDX-License-Identifier: Apache-2.0
 * Chapters that a container names. Pure; any thread. */
#ifndef MEDIA_CHAPTERS_H
#define MEDIA_CHAPTERS_H
#include <libavformat/avformat.h>
#include <stdint.h>
#include "base/str.h"

enum { CHAPTERS_MAX = 200, CHAPTERS_TITLE = 200 };
/* Appends [[start ms, "title"], ...] in order of time, counted from the film's first picture; those beyond its end, of the same
 * moment as the one before or beyond CHAPTERS_MAX are left out. A single one at the very beginning tells nothing: []. */
void chapters_json(const AVFormatContext *f, int64_t origin_ms, int64_t length_ms, struct buf *out);
#endif
