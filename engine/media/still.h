/* SPDX-License-Identifier: Apache-2.0
 * A picture that somebody sent, made into a poster: decoded, turned as its camera says, scaled, and encoded anew without
 * anything else that was in the file. In the sandboxed child (`ppv media still`). */
#ifndef MEDIA_STILL_H
#define MEDIA_STILL_H
#include "base/err.h"
#include "base/str.h"

enum { STILL_BYTES = 16 << 20, STILL_PIXELS = 50000000, STILL_SIDE = 1280, STILL_SIDE_MIN = 64 };
/* Reads a JPEG, PNG or WebP from fd and writes poster.jpg, its longer side at most STILL_SIDE, into dirfd. out gets
 * {"width","height"}. Errors: media.bad_picture, of the machine as for ingest. */
int still_run(int fd, int dirfd, struct buf *out, struct err *e);
#endif
