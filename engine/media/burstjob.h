/* SPDX-License-Identifier: Apache-2.0
 * `ppv media burst`: one sandboxed child that burns names into segments, one after the other. Parent side: domain/burstq.c.
 *
 * fd 3:   the window, BURSTJOB_WINDOW bytes of shared memory that cannot change its size. Before a job the parent lays the init
 *         segment at 0 and the clear segment behind it; after it the marked segment lies at 0. Keys never come here.
 * stdin:  a line for each job, in decimal and hex:
 *         <init bytes> <segment bytes> <x1> <y1> <x2> <y2> <turn> <name, hex> <what follows the name, hex>
 * stdout: for each job "ok <bytes>" or "no <media code>".
 * The end of stdin ends the child. A line that is none is answered "no media.bad_job". */
#ifndef MEDIA_BURSTJOB_H
#define MEDIA_BURSTJOB_H
#include <stddef.h>
#include "base/str.h"
#include "media/burst.h"

enum {
    BURSTJOB_WINDOW = 16 << 20,
    BURSTJOB_LINE = 1024,
    BURSTJOB_TEXT = 200 /* bytes of name, of tail */
};

/* Appends the line of a job, with its end. */
void burstjob_line(struct buf *out, size_t init, size_t segment, const struct burst_place *place,
                   struct str name, struct str tail);
/* Does one job in the window; the answer line goes to out. line: without its end, NUL-terminated. */
void burstjob_do(char *window, const char *line, const struct label_font *font, struct buf *out);
#endif
