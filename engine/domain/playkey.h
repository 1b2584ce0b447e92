/* SPDX-License-Identifier: Apache-2.0
 * Answers to key requests without Lua and without the database. Lua decides whether a playback
 * session may go on and leaves that decision as a lease in the shared cache; until the lease is 10 s
 * old, or dropped because something changed, every worker of the machine answers the session's keys
 * from it. What the lease cannot decide goes the Lua way. Loop thread. */
#ifndef DOMAIN_PLAYKEY_H
#define DOMAIN_PLAYKEY_H
#include <stdbool.h>
#include <stdint.h>
#include "base/str.h"
#include "media/code.h"

enum {
    PLAYKEY_LEASE_S = 10,
    PLAYKEY_NAME = 16,       /* of a rendition, with its NUL */
    PLAYKEY_RENDITIONS = 48, /* of one title; more go the Lua way */
    PLAYKEY_ASK_MAX = 8192   /* bytes of a lease's ask map: 65536 segments */
};

/* Pace: what an account may be ahead of the clock in one title, sound and picture apart. A bucket of
 * ahead_ms + seek_ms of film that refills at speed_pct / 100 times real time: reading ahead, seeking
 * and changing the quality drain it, nobody who watches empties it, and who wants the whole film
 * waits for most of its length. Kept per account and title, so that more sessions give no more. */
struct playkey_pace {
    uint32_t ahead_ms, seek_ms, speed_pct;
};
struct playkey_lease {
    int64_t user_id, login_id;
    int64_t version; /* of the title, see playkey_title */
    int64_t expires; /* seconds since 1970: the end of the session whatever happens */
    uint8_t video[16];
    char access[12]; /* what ppv_access said */
    bool over;       /* the session may not go on: nothing is answered until the lease is gone */
    struct playkey_pace pace;
};
/* ask: bit n (byte n / 8, value 1 << n % 8) set = the key of segment n is for Lua to answer, because
 * it may be one of the viewer's visible bursts. False when it does not fit. */
bool playkey_lease_set(const uint8_t id[16], const struct playkey_lease *l, struct str ask);
bool playkey_lease_get(const uint8_t id[16], struct playkey_lease *l);
void playkey_lease_drop(const uint8_t id[16]);

struct playkey_rendition {
    char name[PLAYKEY_NAME];
    int segments;
    bool two; /* has variant b; audio and titles without a forensic mark have not */
    bool audio;
};
/* What this process knows of a title: enough to derive its keys. version tells one preparation of the
 * title from the next: a lease for another one is not answered. The last 64 used are kept. */
struct playkey_title {
    uint8_t video[16];
    int64_t version;
    uint8_t secret[32];
    enum code_kind code;
    int segment_ms; /* usual length, for the pace */
    int n;
    struct playkey_rendition v[PLAYKEY_RENDITIONS];
};
/* 0, or -1: the crypto library fails. */
int playkey_title_set(const struct playkey_title *t);

/* Milliseconds until segments of that length may be had again, 0 = now (and they are charged). */
int64_t playkey_pace(int64_t user_id, const uint8_t video[16], bool audio, int ms,
                     const struct playkey_pace *p);

struct playkey_found {
    uint8_t session[16], video[16];
    int64_t user_id;
    char rendition[PLAYKEY_NAME];
    char variant;
    int seq;
    uint8_t key[16];
};
/* token and file: the two parts of the address. True: key holds the answer, which is to be logged.
 * False: let Lua decide. */
bool playkey_find(struct str token, struct str file, struct playkey_found *out);
/* "k-<rendition>-<n>.key": 0 or -1. name: PLAYKEY_NAME bytes. */
int playkey_name(struct str file, char *name, int *n);
#endif
