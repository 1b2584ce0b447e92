/* SPDX-License-Identifier: Apache-2.0
 * The files of visible bursts: <video>/<name> below the blob root "burst". Together they stay below the setting burst_cache,
 * give or take a sixteenth per process; what was unused for longest goes first. */
#ifndef DOMAIN_BURSTFILE_H
#define DOMAIN_BURSTFILE_H
#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"

/* Any thread. Says too that it is in use. */
bool burstfile_has(const char *path);
/* Pool thread: writes, and tidies up now and then. */
int burstfile_put(const char *path, const void *p, size_t n, struct err *e);
#endif
