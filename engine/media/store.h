/* SPDX-License-Identifier: Apache-2.0
 * Output directory: seals segments and publishes files (temporary name, fsync, rename) on one writer thread, so encoders
 * never wait for the disk. Files are created beneath the directory only. */
#ifndef MEDIA_STORE_H
#define MEDIA_STORE_H
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

struct store;
struct store_segment {
    char name[40]; /* random: tells neither rendition nor variant nor number */
    char iv[33];
    double seconds;
    int64_t size;
};

/* Loads everything of libcrypto that needs files; before the sandbox closes. */
int store_warm(struct err *e);
struct store *store_new(int dirfd, const uint8_t secret[32], struct err *e);
/* Waits for the writer thread. NULL is fine. */
void store_free(struct store *s);
/* From now on each noted file gets a line in fd (media/journal.h) once it is published. Before the first file. */
void store_journal(struct store *s, int fd);
/* A file that is there already, for the list of checksums. sum: 64 hex digits. Before the writer has anything to do with it. */
void store_keep(struct store *s, const char *name, const char *sum);
/* Any thread. Copies; the write happens later and its error shows in a later call or in store_sync. note: the journal's line
 * without the checksum, NULL = none. */
int store_put(struct store *s, const char *name, const char *note, const void *p, size_t n,
              struct err *e);
/* A name that tells nothing: 32 hex digits and the suffix (at most 6 characters). Any thread. */
int store_random_name(char out[40], const char *suffix, struct err *e);
/* Any thread. Encrypts under the segment's own key (key_info) and puts it; fills everything of out but seconds.
 * ticks: how long it lasts, for the journal; 0 = it is no segment and not noted. */
int store_seal(struct store *s, const char *rendition, const char *variant, int number,
               uint64_t ticks, const void *p, size_t n, struct store_segment *out, struct err *e);
/* Waits until everything is on disk, and the directory too. */
int store_sync(struct store *s, struct err *e);
/* The end of a film: everything so far, then SHA256SUMS (the format of sha256sum, all files of the store and this one), then
 * this file; each is durable before the next. Then the journal goes. */
int store_finish(struct store *s, const char *name, const void *p, size_t n, struct err *e);
#endif
