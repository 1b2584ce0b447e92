/* SPDX-License-Identifier: Apache-2.0
 * A request's body on its way onto the end of a file that other requests began: bytes are collected
 * in one buffer and written and hashed on the thread pool; a flush that is a step also syncs them.
 * Inside of http/. Loop thread; while a flush runs only append_free may be called. */
#ifndef HTTP_APPEND_H
#define HTTP_APPEND_H
#include "http/msg.h"
struct append;
struct loop;
struct threads;
enum { APPEND_FLUSH = 262144, APPEND_STEP = 32 << 20, APPEND_STEP_US = 1000000 };

/* Opens dirfd/name, which is there, and locks it against every other append of any process.
 * Errors: ERR_CONFLICT (locked), ERR_NOT_FOUND, ERR_IO. */
int append_open(struct loop *l, struct threads *t, int dirfd, const char *name, struct append **out,
                struct err *e);
/* What lies behind s->offset is cut off. Errors: ERR_NOT_FOUND (the file is shorter), ERR_INVALID
 * (state, digest), ERR_DISK_FULL, ERR_IO. */
int append_begin(struct append *a, const struct http_append_spec *s, struct err *e);
/* ERR_TOO_LARGE behind s->max bytes. */
int append_put(struct append *a, const char *p, size_t n, struct err *e);
/* Enough is waiting that the sender should wait too (or something is not synced, when all is
 * set). */
bool append_is_due(const struct append *a, bool all);
/* Writes what waits, and syncs it when a step is due or all is set; done(arg, step, e) on the loop,
 * never inside this call. */
void append_flush(struct append *a, bool all,
                  void (*done)(void *arg, bool step, const struct err *e), void *arg);
/* After a step: what is on the disk for certain. ended: the body is complete, so the digest is
 * judged; cut: it is not and never will be. */
void append_tell(struct append *a, bool ended, bool cut, struct http_appended *out);
/* Closes and unlocks. A running flush is waited for in the background; its done is not called. NULL
 * is fine. */
void append_free(struct append *a);
#endif
