/* SPDX-License-Identifier: Apache-2.0
 * All `ppv.*` modules: what they need from the process, and the one call that registers them. Loop
 * thread. app/ fills one struct bind_env per process, calls bind_init(&env) before the first
 * gen_build and keeps env alive until the last generation is closed. Members may be NULL (canary
 * state, tools): calls that need them answer engine.busy. */
#ifndef BIND_BIND_H
#define BIND_BIND_H
#include <lua.h>
#include "base/err.h"
#include "base/str.h"

struct loop;
struct db;
struct fetch;
struct threads;
struct http_server;
struct gen;
struct http_handler;

struct bind_env {
    struct loop *loop;
    struct db *db;
    struct fetch *fetch;
    struct threads *threads;
    struct http_server *http;
    int worker;       /* board slot */
    const char *role; /* "web0", "job1", "spec" ... */
    const char *root; /* directory with scripts/ plugins/ static/ sql/ */
    const char *var;  /* var directory (conf), NULL = conf "var_dir" when it exists, else "var" */
    /* ppv.plugin.reload/state: one request to the master's control socket. Blocking, called on a pool thread, reply gets
     * one JSON object. NULL: engine.unsupported to Lua. */
    int (*control)(const char *cmd, const char *arg, struct buf *reply, struct err *e);
};

/* Remembers env, gives bind_open_all to gen_set_opener and bind_http_swap to gen_on_swap. env NULL
 * forgets it. */
void bind_init(struct bind_env *env);
/* The process's env, never NULL (an empty one before bind_init). */
struct bind_env *bind_env(void);
/* Registers every module with vm_module(L, ...). */
void bind_open_all(lua_State *L);

/* bind_http.c: builds the router of the BOOT table into g->slot[GEN_SLOT_HTTP]; -1 names the
 * clashing routes. */
int bind_http_swap(void *arg, struct gen *g, struct err *e);
/* The handler for http_server_new: routes, spawns one task per request in gen_current(), answers.
 * arg of the callbacks is unused. Static storage. */
const struct http_handler *bind_http_handler(void);
#endif
