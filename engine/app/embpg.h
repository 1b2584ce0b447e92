/* SPDX-License-Identifier: Apache-2.0
 * The private PostgreSQL under <var>/pg (data) and <var>/pgrun (socket, postgres.log). Blocking;
 * master only, single-threaded part: the server gets SIGINT when the thread that called
 * embpg_start ends. */
#ifndef APP_EMBPG_H
#define APP_EMBPG_H
#include <sys/types.h>
#include "base/err.h"
struct embpg;
/* First start: initdb with data checksums. As root the server runs as `user` (NULL or "" = ppv
 * if it exists, else postgres); otherwise as ourselves. Left-over processes of a killed server
 * on the same data are ended first. Creates database ppv. */
int embpg_start(const char *var_dir, const char *user, struct embpg **out, struct err *e);
/* libpq conninfo for a role ("ppv" = superuser for migrations, "ppv_app", "ppv_plugin" ...),
 * valid until the next call or stop. */
const char *embpg_conninfo(struct embpg *p, const char *role);
/* The postmaster's pid, for pidfd_open. It is our child: whoever waits for it reports with
 * embpg_exited. */
pid_t embpg_pid(const struct embpg *p);
/* The postmaster ended by itself and has been reaped: kills what is left of its group. Then
 * embpg_restart may be called. */
void embpg_exited(struct embpg *p);
int embpg_restart(struct embpg *p, struct err *e);
/* Fast shutdown (SIGINT), after 30 s immediate (SIGQUIT), after 5 s more SIGKILL to the group.
 * Frees p. NULL is fine. */
void embpg_stop(struct embpg *p);
#endif
