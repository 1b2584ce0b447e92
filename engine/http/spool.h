/* SPDX-License-Identifier: Apache-2.0
 * Received files on their way to disk: bytes are collected in one buffer and written, hashed and
 * fsynced on the thread pool. Inside of http/. Loop thread; while a flush runs only spool_free may
 * be called. */
#ifndef HTTP_SPOOL_H
#define HTTP_SPOOL_H
#include "http/msg.h"
struct loop;
struct spool;
struct threads;
enum { SPOOL_FLUSH = 262144 };

struct spool *spool_new(struct loop *l, struct threads *t, const struct http_upload_spec *s);
/* The next file; returns its number. */
int spool_begin(struct spool *s);
void spool_put(struct spool *s, const char *p, size_t n);
void spool_end(struct spool *s);
/* Enough is waiting that the sender should wait too (or any, when all is set). */
bool spool_is_due(const struct spool *s, bool all);
/* Writes what waits; done(arg, e) on the loop, never inside this call. */
void spool_flush(struct spool *s, void (*done)(void *arg, const struct err *e), void *arg);
const char *spool_path(const struct spool *s, int i);
const char *spool_sha256(const struct spool *s, int i);
int64_t spool_size(const struct spool *s, int i);
/* keep = false deletes the files. A running flush is waited for in the background; its done is not
 * called. NULL is fine. */
void spool_free(struct spool *s, bool keep);
/* ERR_DISK_FULL unless need + reserve bytes are free beneath dirfd. */
int spool_has_room(int dirfd, int64_t need, int64_t reserve, struct err *e);
#endif
