/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/core.h"

static struct req *req_of(struct http_req *r)
{
    return (struct req *)r;
}

/* ---- life ---- */

static void new_id(struct http_server *s, char out[33])
{
    static const char hex[] = "0123456789abcdef";
    if (s->random_left < 16) {
        arc4random_buf(s->random, sizeof s->random);
        s->random_left = sizeof s->random;
    }
    s->random_left -= 16;
    for (int i = 0; i < 16; i++) {
        out[2 * i] = hex[s->random[s->random_left + (size_t)i] >> 4];
        out[2 * i + 1] = hex[s->random[s->random_left + (size_t)i] & 15];
    }
    out[32] = '\0';
}

struct req *msg_new(struct http_server *s, struct conn *c, const char *uri)
{
    enum { KEEP = 2049 }; /* one more than the gate allows */
    size_t n = strnlen(uri, KEEP);
    struct arena *a = arena_new();
    struct req *r = arena_alloc(a, sizeof *r + n + 1);
    r->arena = a;
    memcpy(r->uri, uri, n);
    r->s = s;
    r->conn = c;
    r->refs = 1;
    r->since = s->now;
    r->deadline_us = s->conf.total_us;
    new_id(s, r->id);
    r->pub.id = r->id;
    r->pub.method = r->pub.path = r->pub.query = r->pub.host = r->pub.ip = "";
    return r;
}

void msg_ref(struct req *r)
{
    r->refs++;
}

void msg_unref(struct req *r)
{
    if (--r->refs > 0)
        return;
    body_fini(r);
    buf_fini(&r->stream.q);
    files_release(&r->reply);
    struct arena *a = r->arena;
    arena_free(a);
}

void msg_gone(struct req *r)
{
    if (r->gone)
        return;
    r->gone = true;
    body_gone(r);
    r->stream.writable = NULL;
    if (r->held)
        r->s->handler.gone(r->s->handler.arg, &r->pub);
}

void msg_end(struct req *r)
{
    bool answered = r->replied && (!r->stream.open || r->stream.ended);
    r->conn = NULL;
    if (!answered)
        msg_gone(r);
    else
        body_abort(r);
    if (r->ready) {
        ready_give(r->s->ready, r->ready);
        r->ready = NULL;
        r->reply.m = NULL;
    }
    r->s = NULL;
    msg_unref(r);
}

void http_release(struct http_req *pub)
{
    struct req *r = req_of(pub);
    must(r->held);
    if (!r->replied && !r->gone && r->conn) {
        struct err e = {0};
        ERR(&e, ERR_INTERNAL, "handler gave no answer");
        http_respond_err(pub, &e);
    } else if (r->stream.open && !r->stream.ended) {
        http_stream_end(pub);
    }
    r->held = false;
    body_abort(r);
    msg_unref(r);
}

const char *http_log_path(const struct http_req *r, char out[HTTP_LOG_PATH])
{
    enum { SECRET_AT = 5, KEEP = 20 };
    const char *path = r->path;
    if (strncmp(path, "/hls/", SECRET_AT) != 0)
        return path;
    size_t n = strcspn(path + SECRET_AT, "/");
    snprintf(out, HTTP_LOG_PATH, "/hls/%.*s*%.100s", (int)(n < KEEP ? n : KEEP), path + SECRET_AT,
             path + SECRET_AT + n);
    return out;
}

const char *http_header_get(const struct http_req *r, const char *name)
{
    for (int i = 0; i < r->nheaders; i++)
        if (strcmp(r->headers[i].name, name) == 0)
            return r->headers[i].value;
    return NULL;
}

bool http_is_gone(const struct http_req *pub)
{
    const struct req *r = (const struct req *)pub;
    return r->gone || !r->conn;
}

struct arena *http_arena(struct http_req *pub)
{
    return req_of(pub)->arena;
}

void http_deadline(struct http_req *pub, int64_t us)
{
    struct req *r = req_of(pub);
    r->deadline_us = us;
    if (r->conn && r->conn->phase == CONN_WAIT)
        r->conn->deadline = us ? clock_mono() + us : 0;
}

/* ---- headers every answer carries ---- */

char *msg_policy(const char *origin, const char *more)
{
    struct buf b = {0}, from = {0};
    buf_printf(&from, "%s%s%s%s", *origin ? " " : "", origin, *more ? " " : "", more);
    buf_printf(&b,
               "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
               "media-src 'self' blob:%s; connect-src 'self'%s; font-src 'self'; "
               "manifest-src 'self'; worker-src 'self' blob:; form-action 'self'; base-uri 'none'; "
               "object-src 'none'; frame-ancestors 'none'; report-uri /csp",
               from.p ? from.p : "", from.p ? from.p : "");
    buf_fini(&from);
    return b.p;
}

/* data: what JSON carries, which is no page: it has no scripts, frames or links of its own. NULL = nothing. */
static const struct {
    const char *name, *page, *data;
} defaults[] = {
    {"Content-Security-Policy", NULL,
     "default-src 'none'; frame-ancestors 'none'"}, // page: server's
    {"X-Content-Type-Options", "nosniff", "nosniff"},
    {"X-Frame-Options", "DENY", NULL},
    {"Referrer-Policy", "same-origin", NULL},
    {"Cross-Origin-Opener-Policy", "same-origin", NULL},
    {"Cross-Origin-Resource-Policy", "same-origin", "same-origin"},
    {"Permissions-Policy", "camera=(), microphone=(), geolocation=(), usb=(), browsing-topics=()",
     NULL},
    {"Cache-Control", "no-store", "no-store"},
};
static const char hsts[] = "max-age=31536000; includeSubDomains";

static bool is_given(const struct http_header *h, int nh, const char *name)
{
    for (int i = 0; i < nh; i++)
        if (strcasecmp(h[i].name, name) == 0)
            return true;
    return false;
}

static const bool no_token[256] = {
    ['('] = true,  [')'] = true,  ['<'] = true,  ['>'] = true, ['@'] = true, [','] = true,
    [';'] = true,  [':'] = true,  ['\\'] = true, ['"'] = true, ['/'] = true, ['['] = true,
    [']'] = true,  ['?'] = true,  ['='] = true,  ['{'] = true, ['}'] = true, [' '] = true,
    ['\t'] = true, ['\r'] = true, ['\n'] = true, [127] = true,
};

/* The server frames messages; a handler may not. */
static bool is_framing(const char *name)
{
    if (!strchr("cCtTdDuU", *name))
        return false;
    return strcasecmp(name, "content-length") == 0 || strcasecmp(name, "transfer-encoding") == 0 ||
           strcasecmp(name, "date") == 0 || strcasecmp(name, "upgrade") == 0;
}

static bool is_legal(const struct http_header *h)
{
    for (const char *p = h->value + str_plain(h->value, strlen(h->value)); *p; p++)
        if (((unsigned char)*p < 32 && *p != '\t') || *p == 127)
            return false;
    for (const char *p = h->name; *p; p++)
        if (no_token[(unsigned char)*p])
            return false;
    return *h->name && !is_framing(h->name);
}

static bool is_data(const struct http_header *h, int nh)
{
    for (int i = 0; i < nh; i++)
        if (strcasecmp(h[i].name, "content-type") == 0)
            return strncmp(h[i].value, "application/json", 16) == 0;
    return false;
}

static const char *default_value(const struct req *r, size_t i, bool data)
{
    if (data)
        return defaults[i].data;
    return defaults[i].page ? defaults[i].page : r->s->policy;
}

static void default_header(struct MHD_Response *m, const struct http_header *h, int nh,
                           const char *name, const char *value)
{
    if (value && !is_given(h, nh, name))
        MHD_add_response_header(m, name, value);
}

void msg_decorate(void *arg, struct MHD_Response *m, const struct http_header *h, int nh,
                  bool ready)
{
    struct req *r = arg;
    bool cached = MHD_get_response_header(m, "Cache-Control") != NULL, data = is_data(h, nh);
    for (int i = 0; i < nh; i++) {
        if (!*h[i].value)
            continue;
        if (!is_legal(&h[i]) || MHD_add_response_header(m, h[i].name, h[i].value) != MHD_YES)
            log_event(LOG_ERROR, "http.bad_header", "ss", "id", r->id, "name", h[i].name);
    }
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        if (!(cached && strcmp(defaults[i].name, "Cache-Control") == 0))
            default_header(m, h, nh, defaults[i].name, default_value(r, i, data));
    if (r->s->hsts)
        default_header(m, h, nh, "Strict-Transport-Security", hsts);
    if (!ready)
        default_header(m, h, nh, "X-Request-Id", r->id);
    if (r->last || r->s->draining)
        default_header(m, h, nh, "Connection", "close");
    else
        default_header(m, h, nh, "Keep-Alive", r->s->keep);
}

/* ---- answers ---- */

/* The body is still coming and too long to wait for: MHD cannot answer now, so these bytes go out
 * by hand. */
static bool is_mid_body(const struct req *r)
{
    return r->body_open && !r->body_complete && !r->discard &&
           (r->last || r->pub.content_length < 0 ||
            r->pub.content_length - r->received > DRAIN_MAX);
}

static void put_header(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, "%s: %s\r\n", name, value);
}

static void send_by_hand(struct req *r, int status, const struct http_header *h, int nh,
                         const void *body, size_t n)
{
    struct buf b = {0};
    buf_printf(&b, "HTTP/1.1 %d %s\r\nContent-Length: %zu\r\nConnection: close\r\n", status,
               MHD_get_reason_phrase_for((unsigned)status), n);
    put_header(&b, "X-Request-Id", r->id);
    for (int i = 0; i < nh; i++)
        if (*h[i].value && is_legal(&h[i]) && strcasecmp(h[i].name, "connection") != 0)
            put_header(&b, h[i].name, h[i].value);
    bool data = is_data(h, nh);
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        if (default_value(r, i, data) && !is_given(h, nh, defaults[i].name))
            put_header(&b, defaults[i].name, default_value(r, i, data));
    if (r->s->hsts && !is_given(h, nh, "Strict-Transport-Security"))
        put_header(&b, "Strict-Transport-Security", hsts);
    buf_puts(&b, "\r\n");
    if (strcmp(r->pub.method, "HEAD") != 0)
        buf_put(&b, body, n);
    if (send(r->conn->fd, b.p, b.n, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
        r->sent = (int64_t)n;
    buf_fini(&b);
    shutdown(r->conn->fd, SHUT_WR);
    r->linger = r->dead = true;
    server_phase(r->conn, CONN_SEND);
    r->conn->deadline = clock_mono() + 5000000;
}

/* The answer may be set now; tells why not otherwise. */
static bool may_reply(struct req *r)
{
    if (r->gone || !r->conn)
        return false;
    if (!r->replied)
        return true;
    char shown[HTTP_LOG_PATH];
    log_event(LOG_ERROR, "http.second_answer", "ss", "id", r->id, "path",
              http_log_path(&r->pub, shown));
    return false;
}

static void accept_reply(struct req *r, int status, int64_t bytes)
{
    r->replied = true;
    r->status = status;
    if (strcmp(r->pub.method, "HEAD") != 0)
        r->sent = bytes;
    /* A short rest of the body is read and dropped, which keeps the connection; a long one ends
     * it. */
    if (r->pub.has_body && !r->body_complete) {
        r->discard = r->body_open || !r->last;
        r->linger = !r->discard;
        body_abort(r);
    }
    server_wake(r->conn);
}

/* An answer in front of a long unread body ends the connection. */
static void plan_end(struct req *r)
{
    if (r->pub.has_body && !r->body_open &&
        (r->pub.content_length < 0 || r->pub.content_length > DRAIN_MAX || r->expect))
        r->last = true;
}

static int sane_status(int status)
{
    return status >= 200 && status <= 599 ? status : 500;
}

static bool are_legal(const struct http_header *h, int nh)
{
    for (int i = 0; i < nh; i++)
        if (!is_legal(&h[i]))
            return false;
    return true;
}

/* False: an answer of its own is needed. */
static bool reply_ready(struct req *r, const struct http_header *h, int nh, const void *body,
                        size_t n)
{
    static const char id[] = "X-Request-Id";
    if (r->last || r->s->draining || is_given(h, nh, id))
        return false;
    struct ready *k = ready_take(r->s->ready, h, nh, body, n);
    if (!k)
        return false;
    if (k->made) {
        if (!are_legal(h, nh)) {
            ready_drop(k);
            return false;
        }
        msg_decorate(r, k->m, h, nh, true);
        must(MHD_add_response_header(k->m, id, r->id) == MHD_YES);
        /* MHD has a copy of its own, on the heap: writing the next id over it saves six allocations per answer. */
        k->id = (char *)(uintptr_t)MHD_get_response_header(k->m, id);
    } else {
        memcpy(k->id, r->id, sizeof r->id);
    }
    r->ready = k;
    r->reply.m = k->m;
    return true;
}

void http_respond(struct http_req *pub, int status, const struct http_header *h, int nh,
                  const void *body, size_t n)
{
    struct req *r = req_of(pub);
    if (!may_reply(r))
        return;
    status = sane_status(status);
    if (is_mid_body(r)) {
        r->replied = true;
        r->status = status;
        body_abort(r);
        send_by_hand(r, status, h, nh, body, n);
        server_wake(r->conn);
        return;
    }
    plan_end(r);
    if (!reply_ready(r, h, nh, body, n)) {
        r->reply.m = MHD_create_response_from_buffer(n, (void *)body, MHD_RESPMEM_MUST_COPY);
        must(r->reply.m);
        msg_decorate(r, r->reply.m, h, nh, false);
    }
    accept_reply(r, status, (int64_t)n);
}

static void error_body(struct req *r, enum err_code code, struct buf *b)
{
    buf_puts(b, "{\"ok\":false,\"error\":\"");
    buf_put_json(b, str_from(err_sentence(code)));
    buf_puts(b, "\",\"code\":\"");
    buf_put_json(b, str_from(err_name(code)));
    buf_printf(b, "\",\"request_id\":\"%s\"}", r->id);
}

static void respond_code(struct req *r, int status, enum err_code code)
{
    static const struct http_header json[] = {{"Content-Type", "application/json"}};
    struct buf b = {0};
    error_body(r, code, &b);
    http_respond(&r->pub, status, json, 1, b.p, b.n);
    buf_fini(&b);
}

void http_respond_err(struct http_req *pub, const struct err *e)
{
    struct req *r = req_of(pub);
    enum err_code code = e && e->code != ERR_NONE ? e->code : ERR_INTERNAL;
    int status = err_status(code);
    if (!may_reply(r))
        return;
    if (e && status >= 500)
        log_err(LOG_WARN, "http.error", e);
    respond_code(r, status, code);
}

void msg_refuse(struct req *r, int status, enum err_code code)
{
    r->last = true;
    respond_code(r, status, code);
}

void msg_fail(struct req *r, int status, enum err_code code)
{
    struct conn *c = r->conn;
    if (r->replied || !c)
        return;
    /* gone() first: the handler must stop before its answer is given away. */
    msg_gone(r);
    r->gone = false;
    msg_refuse(r, status, code);
    r->gone = true;
}

int http_respond_file(struct http_req *pub, int status, const struct http_header *h, int nh,
                      const struct http_file *f)
{
    struct req *r = req_of(pub);
    if (!may_reply(r))
        return 0;
    plan_end(r);
    struct files_answer a = {
        .req = pub,
        .file = f,
        .headers = h,
        .nheaders = nh,
        .status = sane_status(status),
        .fresh = r->s->draining || r->last,
        .decorate = msg_decorate,
        .arg = r,
    };
    int got = files_answer(r->s->files, &a, &r->reply);
    if (!r->reply.m) {
        respond_code(r, got, got == 404 ? ERR_NOT_FOUND : ERR_BUSY);
        return got;
    }
    if (is_mid_body(r))
        r->discard = true; /* a file cannot go out by hand: its upload is read to the end */
    accept_reply(r, got, r->reply.bytes);
    return got;
}

enum MHD_Result msg_queue(struct req *r)
{
    server_cork(r->conn, r->reply.by_sendfile);
    enum MHD_Result ok = MHD_queue_response(r->conn->mc, (unsigned)r->status, r->reply.m);
    if (!r->ready)
        files_release(&r->reply);
    r->queued = true;
    server_phase(r->conn, r->stream.open ? CONN_STREAM : CONN_SEND);
    r->conn->deadline = 0;
    r->conn->mark_at = 0;
    return ok;
}

/* ---- streams ---- */

static size_t waiting(const struct req *r)
{
    return r->stream.q.n - r->stream.head;
}

static ssize_t stream_read(void *arg, uint64_t pos, char *out, size_t max)
{
    struct req *r = arg;
    size_t n = waiting(r);
    (void)pos;
    if (!r->conn || r->dead)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (n == 0 && r->stream.ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (n == 0) {
        server_suspend(r->conn);
        return 0;
    }
    n = n < max ? n : max;
    memcpy(out, r->stream.q.p + r->stream.head, n);
    r->stream.head += n;
    r->sent += (int64_t)n;
    if (waiting(r) == 0) {
        r->stream.head = 0;
        buf_clear(&r->stream.q);
    }
    if (r->stream.writable && waiting(r) < STREAM_LOW) {
        r->stream.writable_due = true;
        server_later(r);
    }
    return (ssize_t)n;
}

static void stream_free(void *arg)
{
    msg_unref(arg);
}

void http_stream_open(struct http_req *pub, int status, const struct http_header *h, int nh)
{
    enum { BLOCK = 8192 };
    struct req *r = req_of(pub);
    if (!may_reply(r))
        return;
    r->stream.open = true;
    r->stream.last = clock_mono();
    for (int i = 0; i < nh; i++)
        if (strcasecmp(h[i].name, "content-type") == 0)
            r->stream.sse = strncasecmp(h[i].value, "text/event-stream", 17) == 0;
    plan_end(r);
    msg_ref(r);
    r->reply.m =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, stream_read, r, stream_free);
    must(r->reply.m);
    msg_decorate(r, r->reply.m, h, nh, false);
    if (is_mid_body(r))
        r->discard = true;
    accept_reply(r, sane_status(status), 0);
}

static void stream_put(struct req *r, const void *p, size_t n)
{
    if (r->stream.head > STREAM_HIGH) {
        memmove(r->stream.q.p, r->stream.q.p + r->stream.head, waiting(r));
        r->stream.q.n -= r->stream.head;
        r->stream.head = 0;
    }
    buf_put(&r->stream.q, p, n);
    r->stream.last = clock_mono();
    if (r->queued)
        server_wake(r->conn);
}

enum http_stream_result http_stream_write(struct http_req *pub, const void *p, size_t n)
{
    struct req *r = req_of(pub);
    if (r->gone || r->dead || !r->conn || !r->stream.open || r->stream.ended)
        return HTTP_STREAM_GONE;
    if (waiting(r) >= STREAM_HIGH)
        return HTTP_STREAM_FULL;
    if (n)
        stream_put(r, p, n);
    return HTTP_STREAM_OK;
}

void http_stream_writable(struct http_req *pub, void (*fn)(struct http_req *r, void *arg),
                          void *arg)
{
    struct req *r = req_of(pub);
    r->stream.writable = fn;
    r->stream.arg = arg;
    if (fn && !r->gone && r->conn && waiting(r) < STREAM_LOW) {
        r->stream.writable_due = true;
        server_later(r);
    }
}

void http_stream_end(struct http_req *pub)
{
    struct req *r = req_of(pub);
    if (!r->stream.open || r->stream.ended)
        return;
    r->stream.ended = true;
    if (r->conn && r->queued)
        server_wake(r->conn);
}

void msg_heartbeat(struct req *r, int64_t now)
{
    enum { SILENCE_US = 15000000 };
    if (r->stream.sse && !r->stream.ended && now - r->stream.last >= SILENCE_US && waiting(r) == 0)
        stream_put(r, ":\n\n", 3);
}

void msg_later(struct req *r)
{
    void (*fn)(struct http_req *, void *) = r->stream.writable;
    if (r->stream.writable_due && fn && !r->gone && waiting(r) < STREAM_LOW) {
        r->stream.writable = NULL;
        r->stream.writable_due = false;
        fn(&r->pub, r->stream.arg);
    }
    body_later(r);
}
