/* SPDX-License-Identifier: Apache-2.0
 * Helpers of embpg.c on processes and files. Blocking. */
#ifndef APP_EMBPG_PROC_H
#define APP_EMBPG_PROC_H
#include <stddef.h>
#include "base/err.h"
/* Ends every PostgreSQL process whose working directory is data: a postmaster is asked first
 * (SIGINT, SIGQUIT), backends without one are killed. They keep the shared memory busy otherwise
 * and the next start is refused. Its own children are not reaped; their lock files go when only
 * a zombie holds them. The caller owns the data directory (lock on var). */
int embpg_proc_kill_all(const char *data, const char *sock, struct err *e);
/* Removes a directory tree without following links; missing is fine. */
int embpg_proc_remove(const char *dir, struct err *e);
/* The last line of <sock>/postgres.log. */
void embpg_proc_tail(const char *sock, char *out, size_t cap);
#endif
