/* SPDX-License-Identifier: Apache-2.0
 * HTTP/1.1 server: one libmicrohttpd daemon driven by our loop. Loop thread only.
 * The process must ignore SIGPIPE and have raised RLIMIT_NOFILE before http_server_new. */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H
#include "http/msg.h"
struct loop;
struct threads;
struct http_server;

struct http_conf {
    const char *addr;     /* "0.0.0.0", "::", "127.0.0.1" */
    int port;             /* 0 = any free one, see http_server_port */
    const char *base_url; /* https://... turns HSTS on; its host is an allowed Host; "" = unknown */
    const char
        *hosts; /* further allowed Host names, comma separated; both empty = any well-formed host */
    const char
        *media_origin; /* where films may come from besides this site; NULL or "" = nowhere */
    const char *trusted_proxies; /* addresses or CIDR blocks, comma separated */
    int conn_max;                /* connections of this worker; requests above 95 % get 503 */
    int ip_max; /* connections per address (IPv6: per /64), 0 = off; trusted proxies are exempt */
    int64_t header_us, idle_us, stall_us, total_us,
        body_us;             /* absolute deadlines; body_us + size / 64 KiB/s */
    int64_t min_rate;        /* bytes per second an upload must average over 20 s */
    struct threads *threads; /* for uploads; must outlive the server */
};
/* start runs for every request that passed the gate, before its body is read. 0: the handler holds
 * r until http_release. -1: refused, the server answers 500 and the handler must not touch r
 * again. */
struct http_handler {
    void *arg;
    int (*start)(void *arg, struct http_req *r);
    void (*gone)(void *arg, struct http_req *r);
};
/* The defaults of every field (R29). */
void http_conf_init(struct http_conf *c);
/* Binds with SO_REUSEPORT. conf strings are copied. Errors: ERR_CONFIG, ERR_IO. */
int http_server_new(struct loop *l, const struct http_conf *c, const struct http_handler *h,
                    struct http_server **out, struct err *e);
int http_server_port(const struct http_server *s);
/* Films may also come from this origin ("" = none), besides media_origin of the start: for every answer from now on. */
void http_server_films_from(struct http_server *s, const char *origin);
/* No new connections; answers carry Connection: close; idle connections and event streams end. */
void http_server_quiesce(struct http_server *s);
/* Requests not yet completed; the worker frees the server when this is 0 or its drain time is
 * over. */
int http_server_active(const struct http_server *s);
int http_server_connections(const struct http_server *s);
/* Ends what is left with 503 (gone() is called for each), then stops the daemon. NULL is fine. */
void http_server_free(struct http_server *s);
#endif
