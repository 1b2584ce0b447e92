/* SPDX-License-Identifier: Apache-2.0
 * The canary: a bundle is built on trial, with all checks a worker does, in a process that serves nobody. It stays, as the
 * workers do, with what it compiled, so that a reload parses only the files that changed; one that ends, or does not
 * answer, refuses the bundle and the next trial has a new one. Main thread of the master. */
#ifndef APP_TRIAL_H
#define APP_TRIAL_H
#include <stdbool.h>
#include <sys/types.h>
#include "base/err.h"
#include "base/str.h"
struct bundle;
/* 0: accepted. problems gets a JSON array in both cases. Blocks up to 15 s. root: of the first call. */
int trial_run(const char *root, struct bundle *b, bool cold, struct buf *problems, struct err *e);
/* A child ended. True when it was this one. */
bool trial_reaped(pid_t pid);
void trial_stop(void); /* ends it; a later trial starts another */
#endif
