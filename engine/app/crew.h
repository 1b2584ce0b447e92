/* SPDX-License-Identifier: Apache-2.0
 * The master's worker processes: fork, restart with back-off, heartbeat kill, bundle hand-over. Main thread of the master. */
#ifndef APP_CREW_H
#define APP_CREW_H
#include <stdbool.h>
#include <sys/types.h>
#include "base/err.h"
#include "base/str.h"
struct loop;
struct bundle;
struct crew_conf {
    struct loop *loop;
    const char *root, *conninfo;
    int web, job;
    void (*strike)(const char *plugin,
                   const char *what); /* a plugin broke a limit in some worker */
    void (*ready)(void);              /* every web worker serves for the first time */
};
/* Starts all workers with the bundle (referenced until replaced). */
void crew_start(const struct crew_conf *c, struct bundle *b);
/* A child ended. True when it was one of ours. */
bool crew_reaped(pid_t pid, int status);
/* Every 250 ms: heartbeats, due restarts. */
void crew_tick(void);
/* Gives the bundle to every running worker and waits for their answers (10 s). New workers get it from now on.
 * -1: e names the first that refused; those keep their old one. */
int crew_load(struct bundle *b, bool cold, struct err *e);
struct bundle *crew_bundle(void);
void crew_stop_begin(void); /* SIGTERM to all; no restarts any more */
bool crew_stopped(void);    /* none left */
void crew_stop_force(void); /* SIGKILL to what is left */
int crew_port(void);        /* of the first web worker, 0 before it is ready */
bool crew_failed(
    void); /* a worker could not start for the third time in a row before anything was ready */
void crew_json(struct buf *out); /* appends a JSON array of workers */
#endif
