/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/arena.h"
#include "http/core.h"
#include "http/peer.h"

enum { HEADERS_SEEN = 101, PATH_BYTES = 2056 }; /* headers: one more than the gate allows */

struct header_walk {
    struct gate_header v[HEADERS_SEEN];
    int n;
    const char *end; /* behind the last value */
    bool bad;
};

/* MHD parses in place, so what it hides (folded lines, bare line feeds, headers without a name,
 * NUL bytes) shows as a gap between neighbours that is not exactly CRLF. A layout we do not know
 * is refused too. */
static enum MHD_Result on_header(void *arg, enum MHD_ValueKind kind, const char *name, size_t nlen,
                                 const char *value, size_t vlen)
{
    struct header_walk *w = arg;
    (void)kind;
    if (w->n == HEADERS_SEEN)
        return MHD_NO;
    w->v[w->n++] = (struct gate_header){{name, nlen}, {value ? value : "", value ? vlen : 0}};
    if (!value || name != w->end + 2 || value <= name + nlen || value - (name + nlen) > 256)
        w->bad = true;
    else
        for (const char *p = name + nlen + 1; p < value; p++)
            if (*p != ' ' && *p != '\t')
                w->bad = true;
    w->end = value ? value + vlen : name + nlen;
    return MHD_YES;
}

static bool is_layout_plain(struct conn *c, const struct header_walk *w, const char *method,
                            const char *version, const char *uri)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(c->mc, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (w->bad || !i)
        return false;
    if (version != method + strlen(method) + 1 + strlen(uri) + 1)
        return false;
    return w->end + 4 == method + i->header_size;
}

static struct str trim_right(struct str s)
{
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

static char *put_str(char **at, struct str s, bool lower)
{
    char *p = *at;
    memcpy(p, s.p, s.n);
    for (size_t i = 0; lower && i < s.n; i++)
        if (p[i] >= 'A' && p[i] <= 'Z')
            p[i] |= 32;
    p[s.n] = '\0';
    *at += s.n + 1;
    return p;
}

/* Copies what the handler may look at: the connection's memory ends before the handler does. */
static void keep_request(struct req *r, const struct header_walk *w, const char *path,
                         const struct gate_result *g)
{
    size_t n = sizeof(struct http_header) * (size_t)w->n + strlen(path) + 1 + g->host.n + 1;
    for (int i = 0; i < w->n; i++)
        n += w->v[i].name.n + w->v[i].value.n + 2;
    struct http_header *h = arena_alloc(r->arena, n);
    char *at = (char *)(h + w->n);
    for (int i = 0; i < w->n; i++) {
        h[i].name = put_str(&at, w->v[i].name, true);
        h[i].value = put_str(&at, w->v[i].value, false);
    }
    r->pub.headers = h;
    r->pub.nheaders = w->n;
    r->pub.path = put_str(&at, str_from(path), false);
    r->pub.host = put_str(&at, g->host, true);
    r->pub.ip = arena_strdup(r->arena, r->conn->ip); /* may outlive the connection */
    r->pub.method = g->method;
    r->pub.query = r->uri + (g->query - r->uri);
    r->pub.content_length = g->content_length;
    r->pub.has_body = g->content_length != 0;

    struct http_server *s = r->s;
    unsigned char addr[16];
    if (peer_is_listed(s->proxies, s->nproxies, r->conn->addr)) {
        const char *proto = http_header_get(&r->pub, "x-forwarded-proto");
        r->pub.https = proto && strcasecmp(proto, "https") == 0;
        memcpy(addr, r->conn->addr, 16);
        peer_forwarded(s->proxies, s->nproxies, h, w->n, addr);
        if (memcmp(addr, r->conn->addr, 16) != 0) {
            char *ip = arena_alloc(r->arena, PEER_TEXT);
            peer_format(addr, ip);
            r->pub.ip = ip;
        }
    }
    const char *expect = http_header_get(&r->pub, "expect");
    r->expect = expect && strcasecmp(expect, "100-continue") == 0;
}

enum gate_reason intake_read(struct req *r, const char *method, const char *version)
{
    struct header_walk w; /* large: v is not cleared */
    w.n = 0;
    w.bad = false;
    w.end = version + strlen(version);
    char path[PATH_BYTES];
    struct gate_result g;
    MHD_get_connection_values_n(r->conn->mc, MHD_HEADER_KIND, on_header, &w);
    bool plain = is_layout_plain(r->conn, &w, method, version, r->uri);
    for (int i = 0; i < w.n; i++)
        w.v[i].value = trim_right(w.v[i].value);
    struct gate_request q = {method, version, r->uri, w.v, w.n, r->s->hosts};
    enum gate_reason why = gate_check(&q, path, &g);
    if (why == GATE_OK && !plain)
        why = GATE_FOLD;
    if (why == GATE_OK)
        keep_request(r, &w, path, &g);
    return why;
}
