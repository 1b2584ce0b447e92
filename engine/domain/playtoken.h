/* SPDX-License-Identifier: Apache-2.0
 * The :session part of /hls/:session/:file. It is all a player needs: no cookie, so that AirPlay,
 * Chromecast and embedded players, which have none, can fetch everything by address.
 *
 * Form: base64url of 39 bytes = 52 characters: kind, 16 bytes of id, end (seconds since 1970, big
 * endian, 32 bits), the first 18 bytes of HMAC-SHA256 over these 21 with the instance's signing
 * keys of the purpose "playback".
 *
 * Why the end is hours away although addresses should live short: a VOD playlist is read once, and
 * native players (Safari, AirPlay, Android) never come back for newer addresses. So the token only
 * bounds the session; what lives short is the session itself: its row ends minutes after its last
 * key, and a lease in the shared cache, at most 10 s old, is behind every answer. Pure; any thread.
 */
#ifndef DOMAIN_PLAYTOKEN_H
#define DOMAIN_PLAYTOKEN_H
#include <stdint.h>
#include "base/str.h"

enum { PLAYTOKEN_LEN = 52 };
enum playtoken_kind {
    PLAYTOKEN_SESSION = 1, /* id: the playback session */
    PLAYTOKEN_PREVIEW = 2  /* id: the video; the keyless beginning, for anybody */
};
struct playtoken {
    enum playtoken_kind kind;
    uint8_t id[16];
    int64_t expires; /* seconds since 1970 */
};
/* After token_init. NUL-terminated. */
void playtoken_make(const struct playtoken *t, char out[PLAYTOKEN_LEN + 1]);
/* 0, or -1 for anything we did not make. A token past its end is read: the caller compares. */
int playtoken_read(struct str text, struct playtoken *out);
#endif
