/* SPDX-License-Identifier: Apache-2.0
 * Media failures: struct err with code ERR_MEDIA, the stable code ("media.truncated") in detail and a sentence that a
 * creator understands in msg. Any thread. */
#ifndef MEDIA_FAIL_H
#define MEDIA_FAIL_H
#include "base/err.h"

/* Fills *e and returns -1. */
int fail_set(struct err *e, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* media.internal with libav's text for rc; out of memory and a full disk get their own codes. Returns -1. */
int fail_av(struct err *e, int rc, const char *what);
/* The stable code of an error made here or by base/ (which has no media code of its own). */
const char *fail_code(const struct err *e);
#endif
