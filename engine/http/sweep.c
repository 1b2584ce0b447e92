/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "http/core.h"
#include "run/board.h"

enum { SECOND = 1000000, SEND_RATE = 1024 };

static int64_t bytes_acked(int fd)
{
    struct tcp_info t;
    socklen_t n = sizeof t;
    memset(&t, 0, sizeof t);
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &t, &n) == 0 ? (int64_t)t.tcpi_bytes_acked : -1;
}

/* True when the window is over and less than rate bytes per second moved in it. */
static bool is_too_slow(struct conn *c, int64_t now, int64_t bytes, int64_t window_us, int64_t rate)
{
    if (c->mark_at == 0) {
        c->mark_at = now;
        c->mark_bytes = bytes;
    }
    if (now - c->mark_at < window_us)
        return false;
    bool slow = bytes - c->mark_bytes < rate * (window_us / SECOND);
    c->mark_at = now;
    c->mark_bytes = bytes;
    return slow;
}

static void expire(struct conn *c, int status)
{
    struct req *r = c->req;
    board_count("http_deadlines_total", 1);
    if (!r || !r->gated || r->replied)
        server_kill(c);
    else
        msg_fail(r, status, ERR_TIMEOUT);
}

static void sweep_conn(struct http_server *s, struct conn *c, int64_t now)
{
    struct req *r = c->req;
    bool late = c->deadline && now >= c->deadline;
    switch (c->phase) {
    case CONN_IDLE:
        if (late || s->draining)
            server_kill(c);
        break;
    case CONN_HEADERS:
        if (late)
            expire(c, 408);
        break;
    case CONN_BODY:
        if (!c->suspended && c->deadline == 0)
            late = is_too_slow(c, now, r->received, 20 * SECOND, s->conf.min_rate);
        if (late)
            expire(c, 408);
        break;
    case CONN_WAIT:
        if (late)
            expire(c, 504);
        break;
    case CONN_SEND:
        if (late || is_too_slow(c, now, bytes_acked(c->fd), s->conf.stall_us, SEND_RATE))
            expire(c, 504);
        break;
    case CONN_STREAM: msg_heartbeat(r, now); break;
    }
}

/* A client that sent all of its request may close its side and still wait; one that owes us a
 * body, or listens to a stream, may not. */
static bool has_left(const struct conn *c, short revents)
{
    int unread = 0;
    if (c->phase == CONN_STREAM)
        return revents & (POLLHUP | POLLERR | POLLRDHUP);
    if (c->phase != CONN_BODY || c->suspended)
        return revents & (POLLHUP | POLLERR);
    return (revents & POLLRDHUP) && ioctl(c->fd, FIONREAD, &unread) == 0 && unread == 0;
}

static void check_gone(struct pollfd *p, struct conn **who, nfds_t n)
{
    if (n == 0 || poll(p, n, 0) <= 0)
        return;
    for (nfds_t i = 0; i < n; i++)
        if (has_left(who[i], p[i].revents))
            server_kill(who[i]);
}

/* MHD does not watch a suspended connection, and after it misses the end of a body whose edge
 * came while it slept: clients that left are looked for here. */
static void sweep_gone(struct http_server *s)
{
    enum { BATCH = 128 };
    struct pollfd p[BATCH];
    struct conn *who[BATCH];
    nfds_t n = 0;
    for (struct conn *c = s->conns; c; c = c->next) {
        if (!c->suspended && c->phase != CONN_BODY)
            continue;
        p[n] = (struct pollfd){.fd = c->fd, .events = POLLRDHUP};
        who[n++] = c;
        if (n == BATCH) {
            check_gone(p, who, n);
            n = 0;
        }
    }
    check_gone(p, who, n);
}

void sweep_run(struct http_server *s)
{
    int64_t now = clock_mono();
    /* Nothing here frees a connection: only MHD_run does. */
    for (struct conn *c = s->conns; c; c = c->next)
        sweep_conn(s, c, now);
    if (++s->sweeps % 4 == 0)
        sweep_gone(s);
    board_gauge("http_connections", s->nconns);
    board_gauge("http_active", s->active);
}
