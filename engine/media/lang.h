/* SPDX-License-Identifier: Apache-2.0
 * What a container says about a track's language and name, made fit for playlists. Pure; any thread. */
#ifndef MEDIA_LANG_H
#define MEDIA_LANG_H
#include <libavutil/dict.h>
#include <stddef.h>

enum { LANG_TAG = 20, LANG_LABEL = 64 };
/* BCP 47 tag of the "language" entry ("ger" -> "de", "pt-BR" stays); "" when unknown, undetermined or malformed. */
void lang_tag(const AVDictionary *meta, char out[LANG_TAG]);
/* The name its maker gave the track: valid UTF-8 without control characters and quotation marks; "" for none and for the
 * names that programs write ("SoundHandler"). */
void lang_label(const AVDictionary *meta, char out[LANG_LABEL]);
/* Text of a container as valid UTF-8 without control characters, quotation marks, backslashes and angle brackets, cut to fit;
 * "" when it is not UTF-8. */
void lang_clean(const char *text, char *out, size_t max);
#endif
