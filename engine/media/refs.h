/* SPDX-License-Identifier: Apache-2.0
 * A title's unmarked reference, read segment by segment as it is needed: decrypts and decodes, keeps the last few. One thread. */
#ifndef MEDIA_REFS_H
#define MEDIA_REFS_H
#include <stdint.h>
#include "base/err.h"

enum { REFS_NAME = 48 };
struct refs_segment {
    char name[REFS_NAME];
    uint8_t iv[16], key[16];
};
struct refs {
    int dirfd;
    char init[REFS_NAME];
    struct refs_segment *segment; /* the caller's */
    int count;
    int gop; /* pictures in each but the last */
    /* filled by refs_open: */
    int w, h;
    struct refs_cache *cache;
};
/* dirfd, init, segment, count and gop are set; reads the first segment to learn the size. */
int refs_open(struct refs *r, struct err *e);
void refs_close(struct refs *r);
/* Luma of a picture of the title, w x h without gaps; valid until four other segments were asked. NULL: there is none, or the
 * segment is broken. */
const uint8_t *refs_get(struct refs *r, int picture);
/* A whole file of the directory, decrypted; -1 with *e. */
struct buf;
int refs_file(int dirfd, const struct refs_segment *s, struct buf *out, struct err *e);
#endif
