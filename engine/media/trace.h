/* SPDX-License-Identifier: Apache-2.0
 * The two jobs of the tracer, each in a sandboxed child: a clip's signature (to find the title with), and the reading of the
 * marks once the title is known. Neither knows a code word or a user: a clip that takes the child over can frame nobody. */
#ifndef MEDIA_TRACE_H
#define MEDIA_TRACE_H
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"
#include "media/fp.h"
#include "media/refs.h"

/* Correlation of picture pairs ("registration") below which the clip shows another title, or the geometry was not found. */
#define TRACE_TRUST 0.30
enum { TRACE_PROBES = 64, TRACE_PROBE_W = 320, TRACE_PROBE_H = 180, TRACE_SEGMENTS = 32768 };

/* A clip's signature: what trace_sign writes and the others read. */
struct trace_clip {
    struct fp_clip fp; /* points into the rest */
    double *t;
    uint8_t *cells;
    int probes;
    double probe_t[TRACE_PROBES];
    uint8_t *probe; /* probes x TRACE_PROBE_W x TRACE_PROBE_H luma */
};
/* Reads a signature; a child that met a hostile clip wrote it, so everything is checked. Free with trace_clip_fini. */
int trace_clip_read(struct trace_clip *c, int fd, struct err *e);
void trace_clip_fini(struct trace_clip *c);

/* x0 y0 x1 y1, 0..1, of what is left between bars along any of the edges, each of its own colour; logos and a sliver of picture
 * at the very edge are looked past. What is plain in the title itself counts too: it says nothing about where it is from.
 * probe: pictures one after the other, as in struct trace_clip. */
void trace_bars(const uint8_t *probe, int probes, double bars[4]);

struct trace_job {
    char id[65], ext[17];
    int fd, dirfd, sign_fd; /* clip; output directory or the title's directory; signature */
    int fps_num, fps_den;
    uint8_t pattern[32];
    struct refs refs; /* init, segment, count, gop are set */
    struct refs_segment fp;
    bool have_fp;
    const volatile sig_atomic_t *cancel;
    void (*progress)(const char *stage, double part);
};
/* Lines "key=value" up to an empty one; see child.h. The text is cut up. */
int trace_parse(struct trace_job *j, char *text, bool reads, struct err *e);
void trace_job_fini(struct trace_job *j);
/* Writes clip.fp into the output directory; out gets {"duration","width","height","fps","pictures"}. */
int trace_sign(const struct trace_job *j, struct buf *out, struct err *e);
/* out gets the alignment and the readings, see child.h. */
int trace_run(struct trace_job *j, struct buf *out, struct err *e);
#endif
