/* SPDX-License-Identifier: Apache-2.0
 * What an encode has finished, so that one that was cut off goes on instead of starting again. A file "journal" in the output
 * directory, one line for each published file, in this order (the last word is the SHA-256 of the stored bytes):
 *   ppv-journal 1 <64 hex: source, job and version of the encoder>
 *   init <rendition> <name> <timescale> <width> <height> <codecs> <sha256>
 *   seg <rendition> <a|b> <number> <name> <iv> <size> <ticks> <sha256>
 * It is also what the creator's early playlists are made of (scripts/lib/early.lua). The last step of an encode removes it. */
#ifndef MEDIA_JOURNAL_H
#define MEDIA_JOURNAL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "media/store.h"

#define JOURNAL_NAME "journal"
struct track;
struct journal_entry {
    char rendition[12], sum[65];
    int variant, number; /* variant -1: the init segment */
    struct store_segment file;
    uint64_t ticks;
};
struct journal {
    int fd, dirfd;
    struct journal_entry *entry;
    int n, cap;
};

/* Before the sandbox closes: locks the directory, keeps what an earlier attempt at the same job finished and whose bytes are
 * still right, and removes everything else in it. what: all that decides the output, as text; secret: authenticates it.
 * pairs: segments of numbered renditions count when both variants are there. media.internal: another process has the lock. */
int journal_open(struct journal *j, int dirfd, const uint8_t secret[32], const char *what,
                 bool pairs, struct err *e);
/* Gives a new track the segments that were finished, when the init segment is byte for byte the same and each lasts a multiple
 * of unit ticks (whole = exactly that). False: nothing was kept, and what there was is removed. */
bool journal_take(struct journal *j, struct track *t, const void *init, size_t n, uint64_t unit,
                  bool whole, struct store *s);
void journal_close(struct journal *j);
#endif
