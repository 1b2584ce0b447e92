/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "http/core.h"
#include "http/linger.h"
#include "http/peer.h"
#include "run/board.h"
#include "run/threads.h"

enum {
    SWEEP_US = 500000,
    SECOND = 1000000,
    POOL_BYTES = 12288, /* MHD clears all of it per request: never raise it; headers of 10 KB fit */
    BACKLOG = 1024,
    BODY_RATE = 65536
};

/* ---- connections from outside ---- */

/* MHD sends the head of a file in a packet of its own, which wakes the client for nothing. */
void server_cork(struct conn *c, bool on)
{
    int v = on;
    if (c->corked == on)
        return;
    c->corked = on;
    setsockopt(c->fd, IPPROTO_TCP, TCP_CORK, &v, sizeof v);
}

void server_kill(struct conn *c)
{
    if (c->req)
        c->req->dead = true;
    shutdown(c->fd, SHUT_RDWR);
    server_wake(c);
}

void server_later(struct req *r)
{
    if (r->later || !r->s)
        return;
    struct http_server *s = r->s;
    r->later = true;
    r->later_next = NULL;
    msg_ref(r);
    if (s->later)
        s->later_tail->later_next = r;
    else
        s->later = r;
    s->later_tail = r;
}

static void run_later(struct http_server *s)
{
    struct req *r = s->later, *next;
    s->later = s->later_tail = NULL;
    for (; r; r = next) {
        next = r->later_next;
        r->later = false;
        msg_later(r);
        msg_unref(r);
    }
}

/* ---- a request arrives ---- */

static enum MHD_Result refuse(struct req *r, enum gate_reason why)
{
    char name[64];
    snprintf(name, sizeof name, "http_rejects_total{reason=\"%s\"}", gate_reason_name(why));
    board_count(name, 1);
    log_event(LOG_INFO, "http.reject", "sss", "id", r->id, "reason", gate_reason_name(why), "ip",
              r->conn->ip);
    msg_refuse(r, 400, ERR_BAD_REQUEST);
    r->linger = true;
    return msg_queue(r);
}

static void start(struct req *r)
{
    struct http_server *s = r->s;
    r->started = r->held = true;
    server_phase(r->conn, CONN_WAIT);
    r->conn->deadline = r->deadline_us ? s->now + r->deadline_us : 0;
    s->started_now = true;
    msg_ref(r);
    if (s->handler.start(s->handler.arg, &r->pub) == 0)
        return;
    r->held = false;
    body_abort(r);
    if (!r->replied) {
        struct err e = {0};
        ERR(&e, ERR_INTERNAL, "request was not accepted by the handler");
        http_respond_err(&r->pub, &e);
    }
    msg_unref(r);
}

static enum MHD_Result step(struct req *r);

static enum MHD_Result first_call(struct req *r, const char *method, const char *version)
{
    r->gated = true;
    server_phase(r->conn, CONN_WAIT);
    r->conn->deadline = r->s->now + r->s->conf.header_us;
    enum gate_reason why = intake_read(r, method, version);
    if (why != GATE_OK)
        return refuse(r, why);
    if (r->s->nconns > r->s->conf.conn_max - r->s->conf.conn_max / 20) {
        board_count("http_shed_total", 1);
        msg_refuse(r, 503, ERR_BUSY);
        return msg_queue(r);
    }
    /* Without a body an answer here would close the connection; MHD calls again at once. */
    return r->pub.has_body ? step(r) : MHD_YES;
}

static void open_body(struct req *r)
{
    struct conn *c = r->conn;
    int64_t size = r->pub.content_length;
    bool upload = r->body.mode >= BODY_MULTIPART;
    r->body_open = true;
    server_phase(c, CONN_BODY);
    c->mark_at = 0;
    if (size < 0)
        size = (int64_t)r->body.max;
    c->deadline =
        upload && !r->discard ? 0 : clock_mono() + r->s->conf.body_us + size * SECOND / BODY_RATE;
}

/* A call without data: headers complete, body complete, or resumed at one of the two. */
static enum MHD_Result step(struct req *r)
{
    if (!r->started)
        start(r);
    if (r->dead)
        return MHD_NO;
    if (r->pub.has_body && !r->body_open) {
        if (r->replied && !r->discard)
            return msg_queue(r);
        if (!r->replied && (r->body.mode == BODY_NONE || r->body.failed)) {
            server_suspend(r->conn);
            return MHD_YES;
        }
        open_body(r);
        return MHD_YES;
    }
    if (!r->body_complete) {
        r->body_complete = true;
        if (r->pub.has_body)
            body_end(r);
    }
    if (r->dead)
        return MHD_NO;
    if (r->replied)
        return msg_queue(r);
    if (r->conn->phase == CONN_BODY) { /* the pool still writes */
        server_phase(r->conn, CONN_WAIT);
        r->conn->deadline = r->deadline_us ? clock_mono() + r->deadline_us : 0;
    }
    server_park(r->conn);
    return MHD_YES;
}

static enum MHD_Result on_access(void *arg, struct MHD_Connection *mc, const char *url,
                                 const char *method, const char *version, const char *data,
                                 size_t *n, void **rq)
{
    struct req *r = *rq;
    (void)arg;
    (void)mc;
    (void)url;
    if (!r || r->dead || !r->conn)
        return MHD_NO;
    if (!r->gated)
        return first_call(r, method, version);
    if (*n == 0)
        return step(r);
    if (r->conn->suspended)
        return MHD_YES; /* left in MHD's buffer until we resume */
    body_feed(r, data, *n);
    *n = 0;
    if (r->dead)
        return MHD_NO;
    if (r->body.failed && !r->replied && !r->gone)
        server_suspend(r->conn);
    return MHD_YES;
}

/* ---- connections ---- */

static struct conn *conn_of(struct MHD_Connection *mc)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(mc, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return i ? i->socket_context : NULL;
}

static void *on_uri(void *arg, const char *uri, struct MHD_Connection *mc)
{
    struct http_server *s = arg;
    struct conn *c = conn_of(mc);
    if (!c)
        return NULL;
    struct req *r = msg_new(s, c, uri);
    if (c->phase == CONN_IDLE)
        c->deadline = r->since + s->conf.header_us;
    server_phase(c, CONN_HEADERS);
    c->req = r;
    s->active++;
    return r;
}

static void log_request(const struct req *r)
{
    char shown[HTTP_LOG_PATH];
    static const char *const classes[] = {
        "http_requests_total{code=\"other\"}", "http_requests_total{code=\"1xx\"}",
        "http_requests_total{code=\"2xx\"}",   "http_requests_total{code=\"3xx\"}",
        "http_requests_total{code=\"4xx\"}",   "http_requests_total{code=\"5xx\"}",
    };
    if (!r->gated)
        return;
    int k = r->queued || r->replied ? r->status / 100 : 0;
    board_count(classes[k >= 1 && k <= 5 ? k : 0], 1);
    board_count("http_bytes_sent_total", r->sent);
    board_count("http_bytes_received_total", r->received);
    if (!log_is_on(LOG_INFO))
        return;
    log_event(LOG_INFO, "http.request", "sssidis", "id", r->id, "method", r->pub.method, "path",
              http_log_path(&r->pub, shown), "status", (int64_t)(k ? r->status : 499), "ms",
              (double)(clock_mono() - r->since) / 1000, "bytes", r->sent, "ip", r->pub.ip);
}

static void on_completed(void *arg, struct MHD_Connection *mc, void **rq,
                         enum MHD_RequestTerminationCode code)
{
    struct http_server *s = arg;
    struct req *r = *rq;
    (void)mc;
    (void)code;
    if (!r)
        return;
    *rq = NULL;
    struct conn *c = r->conn;
    s->active--;
    log_request(r);
    if (c) {
        server_unpark(c);
        server_cork(c, false);
        if (r->linger && !s->stopped)
            linger_add(s->lingers, c->fd);
        c->req = NULL;
        server_phase(c, CONN_IDLE);
        c->suspended = false;
        c->deadline = s->now + s->conf.idle_us;
    }
    msg_end(r);
}

static void conn_open(struct http_server *s, struct MHD_Connection *mc, void **ctx)
{
    struct conn *c = calloc(1, sizeof *c);
    must(c);
    c->s = s;
    c->mc = mc;
    c->fd = MHD_get_connection_info(mc, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    peer_from_sockaddr(MHD_get_connection_info(mc, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr,
                       c->addr);
    peer_format(c->addr, c->ip);
    server_phase(c, CONN_HEADERS);
    c->deadline = clock_mono() + s->conf.header_us;
    c->next = s->conns;
    if (s->conns)
        s->conns->prev = c;
    s->conns = c;
    s->nconns++;
    peer_add(s->peers, c->addr, 1);
    *ctx = c;
}

static void on_connection(void *arg, struct MHD_Connection *mc, void **ctx,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_server *s = arg;
    struct conn *c = *ctx;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        conn_open(s, mc, ctx);
        return;
    }
    if (!c)
        return;
    *ctx = NULL;
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->nconns--;
    peer_add(s->peers, c->addr, -1);
    free(c);
}

static enum MHD_Result on_accept(void *arg, const struct sockaddr *sa, socklen_t len)
{
    struct http_server *s = arg;
    unsigned char a[16];
    (void)len;
    if (s->conf.ip_max <= 0)
        return MHD_YES;
    peer_from_sockaddr(sa, a);
    if (peer_count(s->peers, a) < s->conf.ip_max || peer_is_listed(s->proxies, s->nproxies, a))
        return MHD_YES;
    board_count("http_ip_limit_total", 1);
    return MHD_NO;
}

static size_t keep_raw(void *arg, struct MHD_Connection *mc, char *s)
{
    (void)arg;
    (void)mc;
    return strlen(s);
}

static void on_mhd_log(void *arg, const char *fmt, va_list ap)
{
    char line[256];
    (void)arg;
    vsnprintf(line, sizeof line, fmt, ap);
    log_event(LOG_DEBUG, "http.library", "s", "text", line);
}

static void on_sweep(struct timer *t)
{
    struct http_server *s = t->arg;
    sweep_run(s);
    files_sweep(s->files);
    s->need_run = true; /* MHD's own inactivity timers */
    loop_timer_set(s->loop, t, SWEEP_US);
}

/* ---- the loop ---- */

static void run_mhd(struct http_server *s)
{
    if (s->running || s->stopped)
        return;
    s->running = true;
    s->need_run = false;
    s->now = clock_mono();
    MHD_run(s->mhd);
    s->running = false;
}

static void on_ready(struct watch *w, uint32_t events)
{
    (void)events;
    run_mhd(w->arg);
}

/* MHD's epoll is edge-triggered inside: a timeout of 0 means it knows of more to do. */
static bool has_more(struct http_server *s)
{
    MHD_UNSIGNED_LONG_LONG ms = 0;
    return MHD_get_timeout(s->mhd, &ms) == MHD_YES && ms == 0;
}

static int64_t on_turn(struct loop_hook *h)
{
    struct http_server *s = h->arg;
    if (s->stopped)
        return -1;
    s->started_now = false;
    /* An answer needs three: to be queued, to be sent, to find that nothing else came. */
    int rounds = s->later || s->need_run ? 3 : 1;
    for (int i = 0; i < rounds; i++) {
        run_later(s);
        if (s->need_run || has_more(s))
            run_mhd(s);
        else
            break;
    }
    /* Handlers started here may have queued work for a hook that ran before this one. */
    if (s->need_run || s->later || s->started_now)
        return 0;
    /* MHD has more to do as long as somebody is parked: then what else it may have waits a little. */
    int64_t wait = server_suspend_late(s);
    return wait >= 0 ? wait : has_more(s) ? 0 : -1;
}

/* ---- start and stop ---- */

void http_conf_init(struct http_conf *c)
{
    *c = (struct http_conf){
        .addr = "127.0.0.1",
        .base_url = "",
        .hosts = "",
        .trusted_proxies = "",
        .conn_max = 12000,
        .ip_max = 256,
        .header_us = 10 * SECOND,
        .idle_us = 15 * SECOND,
        .stall_us = 30 * SECOND,
        .total_us = 60 * SECOND,
        .body_us = 30 * SECOND,
        .min_rate = 4096,
    };
}

static void add_host(struct buf *b, const char *p, size_t n)
{
    struct str s = str_trim((struct str){p, n});
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] | 32) : s.p[i];
        buf_put(b, &c, 1);
    }
    if (s.n)
        buf_put(b, ",", 1);
}

/* ",name,name," of the configured names and the host of base_url. */
static char *hosts_list(const struct http_conf *c)
{
    struct buf b = {0};
    buf_puts(&b, ",");
    const char *host = c->base_url ? strstr(c->base_url, "://") : NULL;
    if (host) {
        host += 3;
        size_t n = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/?#");
        add_host(&b, host, strnlen(host, n));
    }
    for (const char *p = c->hosts ? c->hosts : ""; *p;) {
        size_t n = strcspn(p, ",");
        add_host(&b, p, n);
        p += n + (p[n] == ',');
    }
    if (b.n == 1)
        buf_clear(&b);
    char *out = strdup(b.n ? b.p : "");
    must(out);
    buf_fini(&b);
    return out;
}

static int listen_on(const char *addr, int port, struct err *e)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    bool is4 = inet_pton(AF_INET, addr, &v4.sin_addr) == 1;
    int on = 1, off = 0, stall_ms = 30000;
    if (!is4 && inet_pton(AF_INET6, addr, &v6.sin6_addr) != 1)
        return ERR(e, ERR_CONFIG, "cannot listen on %s: not an address", addr);
    int fd = socket(is4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(e, "socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &stall_ms, sizeof stall_ms);
    if (!is4)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    int rc = is4 ? bind(fd, (struct sockaddr *)&v4, sizeof v4)
                 : bind(fd, (struct sockaddr *)&v6, sizeof v6);
    if (rc < 0 || listen(fd, BACKLOG) < 0) {
        char what[128];
        snprintf(what, sizeof what, "listening on %s port %d", addr, port);
        err_errno(e, what);
        close(fd);
        return -1;
    }
    return fd;
}

static int bound_port(int fd)
{
    struct sockaddr_in6 a;
    socklen_t n = sizeof a;
    return getsockname(fd, (struct sockaddr *)&a, &n) == 0 ? ntohs(a.sin6_port) : 0;
}

static int start_daemon(struct http_server *s, struct err *e)
{
    unsigned flags = MHD_USE_EPOLL | MHD_USE_TURBO | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    s->mhd = MHD_start_daemon(
        flags, (uint16_t)s->port, on_accept, s, on_access, s, MHD_OPTION_EXTERNAL_LOGGER,
        on_mhd_log, s, MHD_OPTION_LISTEN_SOCKET, s->listen_fd, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)s->conf.conn_max, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)(s->conf.stall_us / SECOND), MHD_OPTION_STRICT_FOR_CLIENT, 0,
        MHD_OPTION_URI_LOG_CALLBACK, on_uri, s, MHD_OPTION_UNESCAPE_CALLBACK, keep_raw, s,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
        s, MHD_OPTION_END);
    return s->mhd ? 0 : ERR(e, ERR_IO, "libmicrohttpd did not start");
}

static void server_destroy(struct http_server *s)
{
    files_free(s->files);
    ready_set_free(s->ready);
    peer_table_free(s->peers);
    linger_free(s->lingers);
    free(s->proxies);
    free(s->hosts);
    free(s->policy);
    free(s->origin);
    free(s->films);
    s->files = NULL;
    s->ready = NULL;
    s->peers = NULL;
    s->lingers = NULL;
    s->proxies = NULL;
    s->hosts = s->policy = s->origin = s->films = NULL;
}

void http_server_films_from(struct http_server *s, const char *origin)
{
    if (strcmp(s->films, origin) == 0)
        return;
    free(s->films);
    free(s->policy);
    s->films = strdup(origin);
    must(s->films);
    s->policy = msg_policy(s->origin, s->films);
    ready_set_clear(s->ready);
}

int http_server_new(struct loop *l, const struct http_conf *c, const struct http_handler *h,
                    struct http_server **out, struct err *e)
{
    struct http_server *s = calloc(1, sizeof *s);
    must(s);
    s->loop = l;
    s->conf = *c;
    s->handler = *h;
    s->hsts = c->base_url && strncasecmp(c->base_url, "https://", 8) == 0;
    s->hosts = hosts_list(c);
    s->origin = strdup(c->media_origin ? c->media_origin : "");
    s->films = strdup("");
    must(s->origin && s->films);
    s->policy = msg_policy(s->origin, s->films);
    int keep = (int)(s->conf.idle_us * 2 / 3 / SECOND);
    snprintf(s->keep, sizeof s->keep, "timeout=%d", keep > 0 ? keep : 1);
    s->files = files_new();
    s->ready = ready_set_new();
    s->peers = peer_table_new();
    s->lingers = linger_new(l);
    if (peer_nets_parse(c->trusted_proxies, &s->proxies, &s->nproxies, e) < 0 ||
        (s->listen_fd = listen_on(c->addr, c->port, e)) < 0) {
        server_destroy(s);
        free(s);
        return -1;
    }
    s->port = bound_port(s->listen_fd);
    s->conf.addr = s->conf.base_url = s->conf.hosts = s->conf.trusted_proxies =
        s->conf.media_origin = NULL; /* parsed; not ours to keep */
    if (start_daemon(s, e) < 0) {
        close(s->listen_fd);
        server_destroy(s);
        free(s);
        return -1;
    }
    s->watch = (struct watch){.fd = MHD_get_daemon_info(s->mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd,
                              .fn = on_ready,
                              .arg = s};
    loop_watch(l, &s->watch, EPOLLIN);
    s->sweep.fn = on_sweep;
    s->sweep.arg = s;
    loop_timer_set(l, &s->sweep, SWEEP_US);
    s->hook.fn = on_turn;
    s->hook.arg = s;
    loop_hook_add(l, &s->hook);
    *out = s;
    return 0;
}

int http_server_port(const struct http_server *s)
{
    return s->port;
}

int http_server_active(const struct http_server *s)
{
    return s->active;
}

int http_server_connections(const struct http_server *s)
{
    return s->nconns;
}

void http_server_quiesce(struct http_server *s)
{
    if (s->draining)
        return;
    s->draining = true;
    MHD_socket fd = MHD_quiesce_daemon(s->mhd);
    if (fd != MHD_INVALID_SOCKET)
        close(fd);
    for (struct conn *c = s->conns; c; c = c->next) {
        struct req *r = c->req;
        if (c->phase == CONN_IDLE)
            server_kill(c);
        if (c->phase != CONN_STREAM || !r->stream.sse || r->stream.ended)
            continue;
        r->stream.ended = true;
        msg_gone(r);
        server_wake(c);
    }
    s->need_run = true;
}

/* Stopping MHD with a suspended connection aborts the process: everything is answered or cut
 * first. */
static void end_requests(struct http_server *s)
{
    enum { ROUNDS = 200, PAUSE_US = 1000 };
    for (struct conn *c = s->conns; c; c = c->next) {
        struct req *r = c->req;
        if (r && r->gated && !r->replied)
            msg_fail(r, 503, ERR_BUSY);
        else if (c->phase == CONN_STREAM)
            server_kill(c);
    }
    for (int i = 0; i < ROUNDS && s->active > 0; i++) {
        run_later(s);
        MHD_run(s->mhd);
        usleep(PAUSE_US);
    }
    for (struct conn *c = s->conns; c; c = c->next)
        server_kill(c);
    for (int i = 0; i < 3; i++)
        MHD_run(s->mhd);
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    http_server_quiesce(s);
    s->running = true; /* handlers called from here must not run MHD again */
    loop_watch(s->loop, &s->watch, 0);
    loop_timer_clear(s->loop, &s->sweep);
    end_requests(s);
    s->stopped = true;
    MHD_stop_daemon(s->mhd);
    run_later(s);
    server_destroy(s);
    /* The hook stays in the loop's list until loop_free: the rest of s is left to it. */
}
