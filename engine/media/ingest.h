/* SPDX-License-Identifier: Apache-2.0
 * One title: demux and decode once, constant frame rate, ladder, sound, posters, index. Called once per process, in the
 * sandbox; starts and joins its own threads. */
#ifndef MEDIA_INGEST_H
#define MEDIA_INGEST_H
#include <signal.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"
#include "media/journal.h"

struct ingest_job {
    char id[65], ext[17], wanted[24]; /* wanted: what was asked for as encoder, "" = software */
    uint8_t secret[32];
    double strength;      /* of the mark, 0 .. MARK_STRENGTH_MAX; 0 = none */
    int cores, jobs;      /* child.h */
    const char *encoder;  /* of hardware; NULL = software */
    const char *fallback; /* why not, when it was asked for; or NULL */
    int segment_s, threads, max_duration_s, max_height;
    int fd, dirfd;
    struct journal *journal; /* open */
    const volatile sig_atomic_t *cancel;
    void (*progress)(const char *stage, double part);
};

/* out gets index.json without segment arrays, and how many segments are an earlier attempt's: "kept", "encoded";
 * and "encoder", and why it is not the one that was asked for: "fallback". */
int ingest_run(const struct ingest_job *job, struct buf *out, struct err *e);
#endif
