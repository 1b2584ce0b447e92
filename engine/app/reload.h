/* SPDX-License-Identifier: Apache-2.0
 * Bundles in the master: reading, the trial build (trial.h), hand-over to the workers, rollback,
 * plugins switched off after three strikes, watching the files in development. Main thread of the master. */
#ifndef APP_RELOAD_H
#define APP_RELOAD_H
#include "base/err.h"
#include "base/str.h"
struct bundle;
struct loop;
/* First read and trial (cold: broken plugins are left out and stand in problems). var holds the list of plugins switched off. */
int reload_first(const char *root, const char *var, struct bundle **out, struct err *e);
/* Each appends one JSON object {"ok":...,"bundle":...,"problems":[...]}. */
void reload_now(struct buf *reply);
void reload_rollback(const char *id, struct buf *reply); /* "" = the one before */
void reload_plugin(const char *name, bool enable, struct buf *reply);
void reload_json(struct buf *out); /* members "bundle":..., "problems":... without braces */
/* A plugin broke a limit or took a worker with it; the third time within ten minutes switches it off. */
void reload_strike(const char *plugin, const char *what);
/* Called from the loop when quiet: switches off what has three strikes. */
void reload_tick(void);
void reload_watch(struct loop *l); /* development: inotify with 200 ms of quiet time */
#endif
