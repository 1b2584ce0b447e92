/* SPDX-License-Identifier: Apache-2.0
 * Local object store: named roots, each an open directory. Names are relative paths resolved
 * beneath their root; absolute paths, "..", empty segments and symbolic links anywhere are refused
 * (ERR_FORBIDDEN). Calls block on the disk: small ones may run on the loop, trees and big writes
 * belong on the thread pool. Roots are set before threads start; then any thread. */
#ifndef BLOB_BLOB_H
#define BLOB_BLOB_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include "base/err.h"
#include "base/str.h"

/* Makes the directory (0750, parents too) when missing and opens it. name: "upload", "media",
 * "static", "tmp". */
int blob_root(const char *name, const char *path, struct err *e);
void blob_fini(void);
/* The root's descriptor, or -1 for an unknown name. Borrowed. */
int blob_dirfd(const char *root);
/* The path given to blob_root, or NULL; for messages and children only. */
const char *blob_path(const char *root);

/* All return 0 / -1: ERR_NOT_FOUND, ERR_FORBIDDEN, ERR_CONFLICT (exists), ERR_IO, ERR_DISK_FULL. */
int blob_open(const char *root, const char *rel, int flags, unsigned mode, int *fd, struct err *e);
int blob_stat(const char *root, const char *rel, struct stat *st, struct err *e);
bool blob_exists(const char *root, const char *rel);
int blob_size(const char *root, const char *rel, int64_t *size,
              struct err *e); /* of a tree: its sum */
/* Replaces to. Makes to's parent directories; syncs both directories. Roots may differ on one file
 * system. */
int blob_rename(const char *root, const char *from, const char *to_root, const char *to,
                struct err *e);
int blob_mkdirs(const char *root, const char *rel, struct err *e);
int blob_remove(const char *root, const char *rel, struct err *e); /* a file; missing is fine */
/* A file or a whole directory; missing is fine; never follows links. The root itself is refused. */
int blob_remove_tree(const char *root, const char *rel, struct err *e);
/* Whole or not at all, durable when it returns. */
int blob_write(const char *root, const char *rel, const void *p, size_t n, struct err *e);
/* Appends to out; more than max bytes is ERR_TOO_LARGE. */
int blob_read(const char *root, const char *rel, size_t max, struct buf *out, struct err *e);
/* Calls fn for each entry of a directory (not . and ..), unordered; rel "" is the root. fn returns
 * -1 to stop. */
int blob_list(const char *root, const char *rel,
              int (*fn)(void *arg, const char *name, const struct stat *st), void *arg,
              struct err *e);
/* Moves every file of the directory from into the directory into (made when missing), replacing files of the same name; `last`
 * goes last, when all others are durable. Then removes from. Subdirectories of from are refused (ERR_CONFLICT). */
int blob_merge(const char *root, const char *from, const char *into, const char *last,
               struct err *e);
int blob_free_bytes(const char *root, int64_t *bytes, struct err *e);
#endif
