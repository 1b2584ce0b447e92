/* SPDX-License-Identifier: Apache-2.0
 * One media job in a sandboxed child (`ppv media <kind>`, see media/child.h): start, events,
 * cancel, clean-up. Loop thread. The output grows in <out_path>.part and takes its name only when
 * the child reported a result. An ingest that died, was let go or met a fault of the machine leaves it for the next attempt
 * (media/journal.h); any other end removes it. */
#ifndef DOMAIN_MEDIAQ_H
#define DOMAIN_MEDIAQ_H
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

struct loop;
struct threads;
struct mediaq;
struct proc_spec;
struct mediaq_spec {
    const char *kind;         /* "probe", "ingest", "still", "sign" or "trace" */
    const char *id;           /* [A-Za-z0-9_-]{1,64} */
    const char *title_secret; /* ingest: 64 hex digits */
    const char *ext;          /* of the upload's name, NULL = none */
    const char *in_root, *in_path;
    const char *out_root, *out_path;    /* ingest, still, sign: an existing tree is replaced at
                                           the end; trace: the title's directory, read only */
    int segment_s, threads, max_height; /* 0 = the child's default */
    int64_t max_duration_s;             /* 0 = 12 h */
    const char *sign_path;              /* trace: clip.fp in root "tmp" */
    const char *job;                    /* trace: more lines of the job */
    double strength;   /* of the invisible mark, 0 .. 1.2; < 0 = the child's default */
    double duration_s; /* from probe; sets the CPU limit. 0 = unknown: max_duration_s counts */
};
enum mediaq_event { MEDIAQ_NONE, MEDIAQ_PROGRESS, MEDIAQ_RESULT, MEDIAQ_ERROR, MEDIAQ_OVER };

/* Spec strings are copied. ready(arg) runs in a later turn whenever mediaq_next has something new.
 * Errors: ERR_INVALID, ERR_NOT_FOUND (input), ERR_IO, ERR_DISK_FULL. */
int mediaq_start(struct loop *l, struct threads *t, const struct mediaq_spec *s,
                 void (*ready)(void *arg), void *arg, struct mediaq **out, struct err *e);
/* The latest progress, then once result or error, then OVER. json: the child's line
 * {"progress":..} {"result":..} {"error":{"code","message"}}, valid until the next turn. */
enum mediaq_event mediaq_next(struct mediaq *m, struct str *json);
/* Asks the child to stop (killed after 5 s); an error event media.cancelled follows. */
void mediaq_cancel(struct mediaq *m);
/* The same for the running job of that id in this process; false = none. */
bool mediaq_cancel_id(const char *id);
/* The owner lets go: ready is not called again, a running child is killed and its output removed.
 * NULL is fine. */
void mediaq_free(struct mediaq *m);
/* Limits of memory, files and processes for any media child. */
void mediaq_limits(struct proc_spec *p);
/* Its user, when we are root; out_fd: a directory it is to own, or -1. ERR_CONFIG, ERR_IO. */
int mediaq_user(struct proc_spec *p, int out_fd, struct err *e);
#endif
