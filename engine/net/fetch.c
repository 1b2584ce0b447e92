/* SPDX-License-Identifier: Apache-2.0 */
#include "net/fetch.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/conf.h"
#include "run/loop.h"

enum { IN_FLIGHT_MAX = 256, HEAD_MAX = 64 * 1024, BODY_MAX_DEFAULT = 1 << 20 };
enum { TIMEOUT_US = 15000000, CONNECT_US = 5000000 };

struct fetch_easy {
    struct fetch *fetch;
    CURL *easy;
    void (*done)(void *arg, int code);
    void *arg;
    struct fetch_easy *prev, *next;
};

struct fetch {
    struct loop *loop;
    CURLM *multi;
    struct timer timer;
    struct fetch_easy list; /* ring */
    int in_flight;
};

/* One request: what must outlive fetch_start. */
struct op {
    struct fetch *fetch;
    struct fetch_req *r;
    CURL *easy;
    struct fetch_easy *running;
    struct curl_slist *headers;
    struct fetch_file upload, download;
    int64_t sent;
    size_t max_body;
    bool allow_private, refused, too_large;
    int io_errno;
};

/* ---- addresses ---- */

static bool is_public4(uint32_t a)
{
    static const struct {
        uint32_t net;
        int bits;
    } not_public[] = {
        {0x00000000, 8},  {0x0a000000, 8},  {0x64400000, 10}, {0x7f000000, 8},  {0xa9fe0000, 16},
        {0xac100000, 12}, {0xc0000000, 24}, {0xc0000200, 24}, {0xc0586300, 24}, {0xc0a80000, 16},
        {0xc6120000, 15}, {0xc6336400, 24}, {0xcb007100, 24}, {0xe0000000, 3},
    };
    for (size_t i = 0; i < sizeof not_public / sizeof *not_public; i++)
        if ((a ^ not_public[i].net) >> (32 - not_public[i].bits) == 0)
            return false;
    return true;
}

static bool is_public6(const uint8_t a[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff},
                         nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    if (memcmp(a, mapped, 12) == 0 || memcmp(a, nat64, 12) == 0)
        return is_public4((uint32_t)a[12] << 24 | (uint32_t)a[13] << 16 | (uint32_t)a[14] << 8 |
                          a[15]);
    if ((a[0] & 0xe0) != 0x20) /* outside 2000::/3: local, link, multicast, unassigned */
        return false;
    if (a[0] == 0x20 && a[1] == 0x01 && (a[2] < 0x02 || (a[2] == 0x0d && a[3] == 0xb8)))
        return false; /* Teredo and other protocol assignments, documentation */
    if ((a[0] == 0x20 && a[1] == 0x02) || (a[0] == 0x3f && a[1] == 0xff && a[2] < 0x10))
        return false; /* 6to4 carries any IPv4 address; documentation */
    return true;
}

static bool is_public_address(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return is_public4(ntohl(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr));
    if (sa->sa_family == AF_INET6)
        return is_public6(((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr.s6_addr);
    return false;
}

bool fetch_is_public(const char *ip)
{
    struct in_addr a4;
    struct in6_addr a6;
    if (inet_pton(AF_INET, ip, &a4) == 1)
        return is_public4(ntohl(a4.s_addr));
    return inet_pton(AF_INET6, ip, &a6) == 1 && is_public6(a6.s6_addr);
}

/* ---- the multi handle on the loop ---- */

static void collect(struct fetch *f)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(f->multi, &left)) != NULL) {
        if (m->msg != CURLMSG_DONE)
            continue;
        struct fetch_easy *x = NULL;
        int code = (int)m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&x);
        void (*done)(void *, int) = x->done;
        void *arg = x->arg;
        fetch_easy_stop(x);
        done(arg, code);
    }
}

static void act(struct fetch *f, curl_socket_t fd, int flags)
{
    int running;
    curl_multi_socket_action(f->multi, fd, flags, &running);
    collect(f);
}

static void on_timer(struct timer *t)
{
    act(t->arg, CURL_SOCKET_TIMEOUT, 0);
}

static void on_ready(struct watch *w, uint32_t events)
{
    int flags = (events & EPOLLIN ? CURL_CSELECT_IN : 0) |
                (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                (events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
    act(w->arg, w->fd, flags); /* may free w */
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    (void)easy;
    struct fetch *f = arg;
    struct watch *w = socket_arg;
    if (what == CURL_POLL_REMOVE) {
        if (w)
            loop_watch(f->loop, w, 0);
        free(w);
        curl_multi_assign(f->multi, fd, NULL);
        return 0;
    }
    if (!w) {
        w = calloc(1, sizeof *w);
        must(w);
        *w = (struct watch){.fd = fd, .fn = on_ready, .arg = f};
        curl_multi_assign(f->multi, fd, w);
    }
    loop_watch(f->loop, w,
               (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u));
    return 0;
}

static int on_timeout(CURLM *multi, long ms, void *arg)
{
    (void)multi;
    struct fetch *f = arg;
    if (ms < 0)
        loop_timer_clear(f->loop, &f->timer);
    else
        loop_timer_set(f->loop, &f->timer, (int64_t)ms * 1000);
    return 0;
}

struct fetch *fetch_new(struct loop *l)
{
    must(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    struct fetch *f = calloc(1, sizeof *f);
    must(f);
    f->loop = l;
    f->list.prev = f->list.next = &f->list;
    f->timer = (struct timer){.fn = on_timer, .arg = f};
    f->multi = curl_multi_init();
    must(f->multi);
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
    curl_multi_setopt(f->multi, CURLMOPT_MAXCONNECTS, 32L);
    return f;
}

void fetch_free(struct fetch *f)
{
    if (!f)
        return;
    while (f->list.next != &f->list) {
        struct fetch_easy *x = f->list.next;
        void (*done)(void *, int) = x->done;
        void *arg = x->arg;
        fetch_easy_stop(x);
        done(arg, -1);
    }
    curl_multi_cleanup(f->multi);
    loop_timer_clear(f->loop, &f->timer);
    free(f);
}

struct loop *fetch_loop(struct fetch *f)
{
    return f->loop;
}

struct fetch_easy *fetch_easy_start(struct fetch *f, void *easy, void (*done)(void *arg, int code),
                                    void *arg)
{
    struct fetch_easy *x = calloc(1, sizeof *x);
    must(x);
    *x = (struct fetch_easy){
        .fetch = f, .easy = easy, .done = done, .arg = arg, .next = &f->list, .prev = f->list.prev};
    x->prev->next = x->next->prev = x;
    f->in_flight++;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, x);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    must(curl_multi_add_handle(f->multi, easy) == CURLM_OK);
    return x;
}

void fetch_easy_stop(struct fetch_easy *x)
{
    curl_multi_remove_handle(x->fetch->multi, x->easy);
    x->prev->next = x->next;
    x->next->prev = x->prev;
    x->fetch->in_flight--;
    free(x);
}

/* ---- callbacks of one transfer ---- */

static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)purpose;
    struct op *op = arg;
    if (!op->allow_private && !is_public_address(&address->addr)) {
        op->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t on_head(char *p, size_t size, size_t n, void *arg)
{
    struct op *op = arg;
    struct buf *b = &op->r->head_out;
    n *= size;
    struct str line = str_trim((struct str){p, n});
    if (str_starts(line, "HTTP/"))
        buf_clear(b);
    const char *colon = line.n ? memchr(line.p, ':', line.n) : NULL;
    if (!colon)
        return n;
    if (b->n + line.n > HEAD_MAX) {
        op->too_large = true;
        return 0;
    }
    size_t name = (size_t)(colon - line.p), at = b->n;
    struct str value = str_trim((struct str){colon + 1, line.n - name - 1});
    buf_put(b, line.p, name);
    for (; at < b->n; at++)
        b->p[at] = (char)tolower((unsigned char)b->p[at]);
    buf_puts(b, ": ");
    buf_put(b, value.p, value.n);
    buf_puts(b, "\n");
    return n;
}

static size_t to_file(struct op *op, const char *p, size_t n)
{
    struct fetch_req *r = op->r;
    if (op->download.size && r->downloaded + (int64_t)n > op->download.size) {
        op->too_large = true;
        return 0;
    }
    for (size_t at = 0; at < n;) {
        ssize_t k = pwrite(op->download.fd, p + at, n - at, op->download.off + r->downloaded);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0) {
            op->io_errno = errno;
            return 0;
        }
        at += (size_t)k;
        r->downloaded += k;
    }
    return n;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct op *op = arg;
    long status = 0;
    n *= size;
    curl_easy_getinfo(op->easy, CURLINFO_RESPONSE_CODE, &status);
    if (op->r->download && status / 100 == 2)
        return to_file(op, p, n);
    if (op->r->body_out.n + n > op->max_body) {
        op->too_large = true;
        return 0;
    }
    buf_put(&op->r->body_out, p, n);
    return n;
}

static size_t on_read(char *p, size_t size, size_t n, void *arg)
{
    struct op *op = arg;
    int64_t left = op->upload.size - op->sent;
    n *= size;
    if ((int64_t)n > left)
        n = (size_t)left;
    ssize_t k = n ? pread(op->upload.fd, p, n, op->upload.off + op->sent) : 0;
    if (k < 0 || (k == 0 && n)) {
        op->io_errno = k < 0 ? errno : EIO;
        return CURL_READFUNC_ABORT;
    }
    op->sent += k;
    return (size_t)k;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
    if (origin != SEEK_SET)
        return CURL_SEEKFUNC_CANTSEEK;
    ((struct op *)arg)->sent = offset; /* curl repeats on a connection the server had just closed */
    return CURL_SEEKFUNC_OK;
}

/* ---- requests ---- */

static void op_free(struct op *op)
{
    curl_easy_cleanup(op->easy);
    curl_slist_free_all(op->headers);
    free(op);
}

static void set_error(struct op *op, CURLcode code)
{
    struct err *e = &op->r->err;
    if (op->io_errno) {
        errno = op->io_errno;
        err_errno(e, "file of a transfer");
    } else if (op->refused) {
        ERR(e, ERR_NET_REFUSED, "the host has no address that may be contacted");
    } else if (op->too_large || code == CURLE_FILESIZE_EXCEEDED) {
        ERR(e, ERR_TOO_LARGE, "the answer is larger than allowed");
    } else if (code == CURLE_OPERATION_TIMEDOUT) {
        ERR(e, ERR_TIMEOUT, "no complete answer in time");
    } else if (code != CURLE_OK) {
        ERR(e, ERR_NET, "%s", curl_easy_strerror(code));
        snprintf(e->detail, sizeof e->detail, "curl %d", (int)code);
    }
}

static void on_done(void *arg, int code)
{
    struct op *op = arg;
    struct fetch_req *r = op->r;
    r->op = NULL;
    if (code >= 0) {
        long status = 0;
        curl_easy_getinfo(op->easy, CURLINFO_RESPONSE_CODE, &status);
        r->err.code = ERR_NONE;
        if (code == CURLE_OK)
            r->status = (int)status;
        else
            set_error(op, (CURLcode)code);
    }
    op_free(op);
    if (code >= 0)
        r->done(r);
}

static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!isalnum((unsigned char)s.p[i]) && !strchr("!#$%&'*+-.^_`|~", s.p[i]))
            return false;
    return s.n > 0;
}

static int add_headers(struct op *op, const char *const *headers, struct err *e)
{
    bool typed = false;
    for (; headers && *headers; headers++) {
        const char *h = *headers, *colon = strchr(h, ':');
        struct str name = {h, colon ? (size_t)(colon - h) : 0};
        if (!is_token(name) || strpbrk(h, "\r\n"))
            return ERR(e, ERR_INVALID, "malformed header");
        if (str_caseeqz(name, "content-length") || str_caseeqz(name, "transfer-encoding"))
            continue; /* the library's business */
        typed = typed || str_caseeqz(name, "content-type");
        struct buf line = {0};
        struct str value = str_trim(str_from(colon + 1));
        buf_put(&line, name.p, name.n);
        buf_puts(&line, value.n ? ": " : ";"); /* "Name;" is libcurl's spelling of an empty value */
        buf_put(&line, value.p, value.n);
        op->headers = curl_slist_append(op->headers, line.p);
        buf_fini(&line);
        must(op->headers);
    }
    op->headers = curl_slist_append(op->headers, "Expect:");
    if (!typed)
        op->headers = curl_slist_append(op->headers, "Content-Type:"); /* no made-up form type */
    must(op->headers);
    curl_easy_setopt(op->easy, CURLOPT_HTTPHEADER, op->headers);
    return 0;
}

static int check_url(const char *url, struct err *e)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *user = NULL;
    must(u);
    int rc = 0;
    if (strlen(url) > 8192 || curl_url_set(u, CURLUPART_URL, url, 0) ||
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0))
        rc = ERR(e, ERR_INVALID, "malformed URL");
    else if (strcasecmp(scheme, "http") != 0 && strcasecmp(scheme, "https") != 0)
        rc = ERR(e, ERR_NET_REFUSED, "only http and https are fetched");
    else if (curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK)
        rc = ERR(e, ERR_INVALID, "credentials belong into a header, not into the URL");
    curl_free(scheme);
    curl_free(user);
    curl_url_cleanup(u);
    return rc;
}

static int set_method(struct op *op, const struct fetch_req *r, struct err *e)
{
    const char *method = r->method ? r->method : r->upload ? "PUT" : r->body.n ? "POST" : "GET";
    if (!is_token(str_from(method)) || strlen(method) > 16)
        return ERR(e, ERR_INVALID, "malformed method");
    if (r->upload) {
        curl_easy_setopt(op->easy, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(op->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->upload->size);
        curl_easy_setopt(op->easy, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(op->easy, CURLOPT_READDATA, op);
        curl_easy_setopt(op->easy, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(op->easy, CURLOPT_SEEKDATA, op);
    } else if (r->body.n || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0) {
        curl_easy_setopt(op->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.n);
        curl_easy_setopt(op->easy, CURLOPT_COPYPOSTFIELDS, r->body.n ? r->body.p : "");
    } else if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(op->easy, CURLOPT_NOBODY, 1L);
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        curl_easy_setopt(op->easy, CURLOPT_CUSTOMREQUEST, method);
    /* The library repeats a request when a kept connection breaks before an answer. What was done may be done only
     * once, so such a request gets a connection of its own. */
    if (strcmp(method, "POST") == 0 || strcmp(method, "PATCH") == 0)
        curl_easy_setopt(op->easy, CURLOPT_FRESH_CONNECT, 1L);
    return 0;
}

static void set_options(struct op *op, const struct fetch_req *r)
{
    CURL *c = op->easy;
    bool everywhere = conf_bool("fetch_allow_private");
    op->allow_private = r->allow_private || everywhere;
    curl_easy_setopt(c, CURLOPT_URL, r->url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L); /* signatures cover the path as it was written */
    curl_easy_setopt(c, CURLOPT_USERAGENT, "ppv/1");
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS,
                     (long)((r->timeout_us > 0 ? r->timeout_us : TIMEOUT_US) / 1000));
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)((r->connect_us > 0 ? r->connect_us : CONNECT_US) / 1000));
    curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, op);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_head);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, op);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, op);
    if (r->allow_private && !everywhere) {
        /* A kept connection to a private address must not be found by a request that may not open one. */
        curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L);
        curl_easy_setopt(c, CURLOPT_FORBID_REUSE, 1L);
    }
}

int fetch_start(struct fetch *f, struct fetch_req *r, struct err *e)
{
    r->op = NULL;
    r->status = 0;
    r->downloaded = 0;
    r->err = (struct err){0};
    if (f->in_flight >= IN_FLIGHT_MAX)
        return ERR(e, ERR_BUSY, "too many outgoing requests");
    if (check_url(r->url, e))
        return -1;
    struct op *op = calloc(1, sizeof *op);
    must(op);
    op->fetch = f;
    op->r = r;
    op->easy = curl_easy_init();
    must(op->easy);
    op->max_body = r->max_body ? r->max_body : BODY_MAX_DEFAULT;
    if (r->upload)
        op->upload = *r->upload;
    if (r->download)
        op->download = *r->download;
    set_options(op, r);
    if (set_method(op, r, e) || add_headers(op, r->headers, e)) {
        op_free(op);
        return -1;
    }
    r->op = op;
    op->running = fetch_easy_start(f, op->easy, on_done, op);
    return 0;
}

void fetch_cancel(struct fetch *f, struct fetch_req *r)
{
    struct op *op = r->op;
    if (!op)
        return;
    must(op->fetch == f);
    r->op = NULL;
    fetch_easy_stop(op->running);
    op_free(op);
}

void fetch_req_fini(struct fetch_req *r)
{
    buf_fini(&r->head_out);
    buf_fini(&r->body_out);
}

struct str fetch_header(const struct fetch_req *r, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = r->head_out.p; p && *p;) {
        const char *end = strchr(p, '\n');
        if (!end)
            break;
        if (strncmp(p, name, n) == 0 && p[n] == ':')
            return str_trim((struct str){p + n + 1, (size_t)(end - p) - n - 1});
        p = end + 1;
    }
    return str_from(NULL);
}
