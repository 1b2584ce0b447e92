/* SPDX-License-Identifier: Apache-2.0
 * Requests between http/ and Lua: bind_http.c routes and spawns tasks, bind_request.c shows them
 * the request, bind_reply.c turns Lua results into answers, bind_stream.c holds the other ppv.http
 * functions. Loop thread. */
#ifndef BIND_BIND_HTTP_H
#define BIND_BIND_HTTP_H
#include <stdbool.h>
#include <stdint.h>
#include <lua.h>
#include "http/router.h"

struct gen;
struct bind_pure;
struct http_file;
struct http_header;
struct http_req;
struct task;

enum { BIND_HTTP_TIMEOUT_US = 60000000 };
/* One request being handled; lives in the request's arena. */
struct bind_http {
    struct http_req *r;
    struct gen *g;     /* pinned from routing to the end */
    struct task *task; /* NULL before the body is there */
    struct router_match match;
    int64_t max_body;
    bool gone, streaming, in_memory, body_taken;
    bool locked, appending;   /* appending: the task outlives the client, to note what has come */
    struct bind_pure *pure;   /* where to remember a file answer, or NULL */
    struct bind_body *bodies; /* made for the answer: bind_reply.c */
};
/* The request of the running task, or raises; _seen to read of it only, in any phase. */
struct bind_http *bind_http_seen(lua_State *L);
struct bind_http *bind_http_current(lua_State *L, struct task **t);
/* The task's own deadline: off while the client decides the pace (uploads, streams), on again
 * afterwards. */
void bind_http_clock(struct bind_http *h, bool on);

/* Headers of the table at idx ({name = value | {values}}, nil = none). Names and values are the
 * table's: valid while it is. */
int bind_reply_headers(lua_State *L, int idx, struct bind_http *h, struct http_header **out);
/* The file answer of a pure route went out: the same path is answered without Lua while the
 * generation lives. */
void bind_http_remember(struct bind_http *h, int status, const struct http_header *v, int n,
                        const char *root, const struct http_file *f);
/* Answers with the results status, headers, body on co's top. */
void bind_reply_send(lua_State *co, int nresults, struct bind_http *h);

/* ppv.http */
int bind_reply_json(lua_State *L);
int bind_request_header(lua_State *L);
int bind_request_part(lua_State *L);
int bind_http_open(lua_State *L);
#endif
