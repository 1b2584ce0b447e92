/* SPDX-License-Identifier: Apache-2.0
 * Web and job worker processes. */
#ifndef APP_WORKER_H
#define APP_WORKER_H
#include <stdbool.h>
#include <sys/types.h>
#include "base/err.h"
struct bundle;
struct gen;
struct loop;
struct db;
struct fetch;
struct threads;
struct http_server;
enum worker_kind { WORKER_WEB, WORKER_JOB, WORKER_SPEC, WORKER_TOOL };
/* What a worker process owns; one per process. */
struct worker {
    enum worker_kind kind;
    int index; /* number within its kind */
    int slot;  /* board slot */
    const char *root;
    const char *conninfo;
    int ctl_fd;   /* socketpair to the master, -1 = none */
    bool patient; /* our own commands in a terminal: they may look at the whole of the books */
    struct loop *loop;
    struct db *db;
    struct fetch *fetch;
    struct threads *threads;
    struct http_server *http;
    struct bundle *bundle;
    bool draining;
    int port; /* after start: the bound port */
};
/* The conf key `listen` taken apart. */
int worker_listen(char *addr, size_t cap, int *port, struct err *e);
/* The origin of cdn_base_url, "" with delivery = direct. */
int worker_media_origin(char *out, size_t cap, struct err *e);
/* The process's worker, NULL in the master. */
struct worker *worker_self(void);
/* jobworker.c: runners and ticks of a job worker. drain: no new jobs; idle when all runners stopped. */
int jobworker_start(struct worker *w, struct err *e);
void jobworker_drain(void);
bool jobworker_idle(void);
void jobworker_abort(void); /* drain time is over: jobs are given back */
/* The opener for gen_set_opener in every process: bind_open_all and ppv.jobs. */
struct lua_State;
void jobworker_open(struct lua_State *L);
/* In a forked child: keeps 0-2 and its control socket; everything else belongs to the master. */
void worker_close_inherited(int keep);
/* The whole life of a forked child; returns its exit status. master = the pid it was forked from. */
int worker_main(struct worker *w, pid_t master);
/* In-process use (spec, lua): builds loop, db, fetch, threads, the generation and, for SPEC, the server. */
int worker_start(struct worker *w, bool full, struct err *e);
void worker_stop(struct worker *w);
#endif
