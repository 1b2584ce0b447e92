/* SPDX-License-Identifier: Apache-2.0
 * Inside of http/: what server.c, msg.c, body.c and spool.c share. Nobody else includes this. */
#ifndef HTTP_CORE_H
#define HTTP_CORE_H
#include <microhttpd.h>
#include "http/files.h"
#include "http/gate.h"
#include "http/peer.h"
#include "http/ready.h"
#include "http/server.h"
#include "run/loop.h"

struct append;
struct multipart;
struct spool;
struct peer_net;
struct peer_table;
struct linger_set;

enum {
    DRAIN_MAX = 65536, /* an unread rest up to this is read and dropped to keep the connection */
    STREAM_HIGH = 65536,
    STREAM_LOW = 32768,
    FIELD_MAX = 65536,
    FIELDS_TOTAL_MAX = 1 << 20,
    PARK_MAX = 64 /* MHD asks all of them every time it runs */
};
enum conn_phase { CONN_IDLE, CONN_HEADERS, CONN_BODY, CONN_WAIT, CONN_SEND, CONN_STREAM };

struct conn {
    struct conn *prev, *next;
    struct http_server *s;
    struct MHD_Connection *mc;
    struct req *req; /* the request at work, or NULL */
    int fd;
    enum conn_phase phase;
    bool suspended, corked;
    int parked; /* its place in the server's list, from 1; 0: it is not there */
    int64_t parked_at;
    unsigned char addr[16];
    char ip[PEER_TEXT];          /* addr as text */
    int64_t deadline;            /* absolute, 0 = none */
    int64_t mark_at, mark_bytes; /* start of the minimum-rate window */
};

enum body_mode { BODY_NONE, BODY_MEMORY, BODY_MULTIPART, BODY_RAW, BODY_APPEND };
struct body {
    enum body_mode mode;
    bool done;     /* the handler was told, or does not want to be */
    bool ended;    /* all input was seen */
    bool flushing; /* the pool writes; the connection sleeps */
    bool failed;
    struct err err;
    http_body_fn fn;
    void *arg;
    size_t max;
    struct buf mem; /* memory body, or the field being read */
    struct http_upload_spec spec;
    struct multipart *parser;
    struct spool *spool;
    size_t fields_bytes;
    const char *part_name, *part_filename, *part_ctype;
    bool part_is_file, part_opened;
    int64_t part_bytes;
    struct append *append;
    http_append_fn step; /* set while the handler waits for one */
    bool cut;            /* the sender left; what has come still goes to the disk */
};

struct req {
    struct http_req pub; /* first: http_req* and req* are the same address */
    struct http_server *s;
    struct conn *conn;   /* NULL: the connection side has ended */
    int refs;            /* connection, handler, open stream, body job */
    struct arena *arena; /* the request lives in it */
    char id[33];
    int64_t since, received, sent, deadline_us;
    int status;
    bool gated, started, held, gone, dead, replied, queued, linger, discard;
    bool body_open, body_complete, expect, last; /* last: answer with Connection: close */
    struct files_reply reply;
    struct ready *ready; /* reply.m is its; goes back when the connection has ended the request */
    struct body body;
    struct {
        bool open, ended, sse;
        struct buf q;
        size_t head;
        int64_t last;
        void (*writable)(struct http_req *r, void *arg);
        void *arg;
        bool writable_due;
    } stream;
    struct req *later_next;
    bool later;
    char uri[];
};

struct http_server {
    struct loop *loop;
    struct http_conf conf;
    struct http_handler handler;
    struct MHD_Daemon *mhd;
    struct watch watch;
    struct timer sweep;
    struct loop_hook hook;
    struct conn *conns;
    struct conn *parked[PARK_MAX];
    struct req *later, *later_tail;
    struct files *files;
    struct ready_set *ready;
    struct peer_net *proxies;
    int nproxies;
    struct peer_table *peers;
    struct linger_set *lingers;
    char *hosts, *policy;
    char *origin, *films; /* where films come from: by the configuration, by the settings */
    char keep[24];        /* how long clients may use an idle connection: less than we wait */
    int listen_fd, port, nconns, nparked, nmoving, active, sweeps;
    int64_t
        now; /* clock_mono when MHD was last run: enough for deadlines of seconds, and one look at the clock per batch */
    bool need_run, running, draining, started_now, stopped, hsts;
    unsigned char random[1024];
    size_t random_left;
};

/* pause.c: what connections are at, and requests that wait */
void server_phase(struct conn *c, enum conn_phase p);
void server_suspend(struct conn *c);
void server_park(
    struct conn *c); /* waits for its answer, complete: for a moment without suspending */
void server_unpark(struct conn *c);
/* Suspends those that waited too long; microseconds until the next is, -1: nobody is parked. */
int64_t server_suspend_late(struct http_server *s);
void server_wake(struct conn *c); /* ends either wait, if any */
/* server.c */
void server_later(struct req *r); /* req_later runs in this turn's hook */
void server_cork(struct conn *c, bool on);
void server_kill(struct conn *c); /* ends the connection without an answer */
/* intake.c */
enum gate_reason intake_read(struct req *r, const char *method,
                             const char *version); /* headers are complete */
/* sweep.c */
void sweep_run(struct http_server *s); /* deadlines, rates, clients that left; twice a second */
/* msg.c */
struct req *msg_new(struct http_server *s, struct conn *c, const char *uri);
void msg_ref(struct req *r);
void msg_unref(struct req *r);
void msg_later(struct req *r);
void msg_end(struct req *r); /* the connection side is over */
void msg_refuse(struct req *r, int status,
                enum err_code code); /* engine's own answer, then close */
void msg_fail(struct req *r, int status,
              enum err_code code); /* the same for a started one: gone() comes first */
void msg_gone(struct req *r);      /* tells the handler, once */
/* The Content-Security-Policy of our pages; films may also come from these origins ("" = none). Heap. */
char *msg_policy(const char *origin, const char *more);
void msg_decorate(void *arg, struct MHD_Response *m, const struct http_header *h, int nh,
                  bool ready);
enum MHD_Result msg_queue(struct req *r);
void msg_heartbeat(struct req *r, int64_t now);
/* body.c */
int body_feed(struct req *r, const char *p, size_t n); /* -1: close the connection */
void body_end(struct req *r);
void body_later(struct req *r);
void body_abort(struct req *r);
void body_gone(struct req *r); /* like body_abort, but an append keeps what has come */
void body_fini(struct req *r);
#endif
