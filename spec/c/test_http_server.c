/* SPDX-License-Identifier: Apache-2.0
 * A real server on a real loop; the client is a thread with raw sockets. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/log.h"
#include "http/server.h"
#include "run/loop.h"
#include "run/threads.h"
#include "test.h"

enum { SECOND = 1000000 };
static struct loop *loop;
static struct http_server *server;
static int upload_dir, port;
static atomic_int gone_count, live_count;

/* ---- the handler ---- */

static void finish(struct http_req *r)
{
    live_count--;
    http_release(r);
}

static void on_memory(struct http_req *r, void *arg, const struct err *e)
{
    (void)arg;
    if (e)
        http_respond_err(r, e);
    else
        http_respond(r, 200, NULL, 0, r->body.p, r->body.n);
    finish(r);
}

static void on_form(struct http_req *r, void *arg, const struct err *e)
{
    struct buf b = {0};
    (void)arg;
    if (e) {
        http_respond_err(r, e);
    } else {
        buf_printf(&b, "%d/%d", r->form->nfields, r->form->nfiles);
        for (int i = 0; i < r->form->nfiles; i++) {
            buf_printf(&b, " %lld:%s", (long long)r->form->files[i].size, r->form->files[i].sha256);
            CHECK(unlinkat(upload_dir, r->form->files[i].path, 0) == 0);
        }
        http_respond(r, 200, NULL, 0, b.p, b.n);
    }
    buf_fini(&b);
    finish(r);
}

static void on_start_form(struct http_req *r)
{
    struct http_upload_spec s = {.dirfd = upload_dir, .max_file = 1 << 20, .max_total = 2 << 20};
    http_body_multipart(r, &s, on_form, NULL);
}

struct later {
    struct timer t;
    struct http_req *r;
};

static void on_later(struct timer *t)
{
    struct later *l = t->arg;
    http_respond(l->r, 200, NULL, 0, l->r->query, strlen(l->r->query));
    finish(l->r);
    free(l);
}

/* Answers with its query, which says after how many microseconds. */
static void answer_later(struct http_req *r)
{
    struct later *l = calloc(1, sizeof *l);
    CHECK(l != NULL);
    l->r = r;
    l->t.fn = on_later;
    l->t.arg = l;
    loop_timer_set(loop, &l->t, atoi(r->query));
}

static int on_start(void *arg, struct http_req *r)
{
    static const struct http_header sse[] = {{"Content-Type", "text/event-stream"}};
    (void)arg;
    if (strcmp(r->path, "/refused") == 0)
        return -1;
    live_count++;
    if (strcmp(r->path, "/echo") == 0) {
        http_body_memory(r, 1 << 20, on_memory, NULL);
    } else if (strcmp(r->path, "/form") == 0) {
        on_start_form(r);
    } else if (strcmp(r->path, "/later") == 0) {
        answer_later(r);
    } else if (strcmp(r->path, "/never") == 0) {
        http_deadline(r, strcmp(r->query, "soon") == 0 ? SECOND / 2 : 0);
    } else if (strcmp(r->path, "/events") == 0) {
        http_stream_open(r, 200, sse, 1);
        CHECK(http_stream_write(r, "data: 1\n\n", 9) == HTTP_STREAM_OK);
    } else if (strcmp(r->path, "/denied") == 0) {
        struct err e = {0};
        ERR(&e, ERR_UNAUTHENTICATED, "who?");
        http_respond_err(r, &e);
        finish(r);
    } else if (strncmp(r->path, "/alike/", 7) == 0) {
        struct http_header kind = {"X-Kind", r->query};
        http_respond(r, 200, &kind, 1, r->path, strlen(r->path));
        finish(r);
    } else {
        http_respond(r, 200, NULL, 0, r->path, strlen(r->path));
        finish(r);
    }
    return 0;
}

static void on_gone(void *arg, struct http_req *r)
{
    (void)arg;
    gone_count++;
    CHECK(http_is_gone(r));
    http_respond(r, 200, NULL, 0, "late", 4); /* legal, and nothing happens */
    CHECK(http_stream_write(r, "x", 1) == HTTP_STREAM_GONE);
    finish(r);
}

/* ---- the client ---- */

static int dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval tv = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    CHECK(connect(fd, (struct sockaddr *)&a, sizeof a) == 0);
    return fd;
}

static void put(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0)
            return;
        p += k;
        n -= (size_t)k;
    }
}

static void put_line(int fd, const char *s)
{
    put(fd, s, strlen(s));
}

/* Reads until the text appears or the connection ends; true = it ended. */
static bool take(int fd, const char *until, struct buf *out)
{
    char chunk[4096];
    for (;;) {
        if (until && out->n && strstr(out->p, until))
            return false;
        ssize_t n = recv(fd, chunk, sizeof chunk, 0);
        if (n <= 0)
            return true;
        buf_put(out, chunk, (size_t)n);
    }
}

static int status_of(const struct buf *b)
{
    return b->n > 12 ? atoi(b->p + 9) : 0;
}

/* One request on a new connection; the status, and whether the server closed in reply. */
static int ask(const char *request, const char *until, bool *closed)
{
    struct buf b = {0};
    int fd = dial();
    put_line(fd, request);
    *closed = take(fd, until, &b);
    int status = status_of(&b);
    buf_fini(&b);
    close(fd);
    return status;
}

static bool is_refused(const char *request)
{
    bool closed = false;
    int status = ask(request, NULL, &closed);
    return closed && (status == 400 || status == 413 || status == 431 || status == 505);
}

static bool is_answered(const char *request, const char *until)
{
    bool closed = true;
    return ask(request, until, &closed) == 200 && !closed;
}

#define H "Host: a\r\n"
static void smuggling(void)
{
    static const char *const bad[] = {
        "POST /echo HTTP/1.1\r\n" H
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" H
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\n" H "Content-Length: 5,5\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n" H H "\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET / HTTP/1.1\r\n" H "X: 1\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\n" H ": no name\r\n\r\n",
        "GET / HTTP/1.1\r\n" H "X: a\rb\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n",
        "GET / HTTP/1.1\r\n" H "X: 1\n\n",
        "G@T / HTTP/1.1\r\n" H "\r\n",
        "TRACE / HTTP/1.1\r\n" H "\r\n",
        "GET / HTTP/1.2\r\n" H "\r\n",
        "GET http://a/ HTTP/1.1\r\n" H "\r\n",
        "GET /f/../x HTTP/1.1\r\n" H "\r\n",
        "GET /f/%2e%2e/x HTTP/1.1\r\n" H "\r\n",
        "GET /a%00.jpg HTTP/1.1\r\n" H "\r\n",
        "GET /a%2fb HTTP/1.1\r\n" H "\r\n",
        "GET //x HTTP/1.1\r\n" H "\r\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(is_refused(bad[i]));
    CHECK(is_answered("GET /plain HTTP/1.1\r\n" H "\r\n", "/plain"));
    CHECK(is_answered("GET /plain HTTP/1.1\r\nHost:a\r\nX:\r\nY: \t1 \r\n\r\n", "/plain"));
}

/* A request with one long header. */
static bool is_long_answered(const char *name, int n)
{
    struct buf b = {0};
    buf_printf(&b, "GET /plain HTTP/1.1\r\n" H "%s%0*d\r\n\r\n", name, n, 0);
    bool yes = is_answered(b.p, "/plain");
    buf_fini(&b);
    return yes;
}

static void sizes(void)
{
    CHECK(is_long_answered("X: ", 10000));
    CHECK(is_long_answered("Cookie: a=", 4096));
    CHECK(!is_long_answered("X: ", 20000));
}

static void keep_alive(void)
{
    struct buf b = {0};
    int fd = dial();
    static const char one[] = "GET /one HTTP/1.1\r\n" H "\r\n";
    for (size_t i = 0; i < sizeof one - 1; i++)
        put(fd, one + i, 1);
    CHECK(!take(fd, "/one", &b));
    static const char more[] =
        "POST /echo HTTP/1.1\r\n" H
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        "POST /denied HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabcHEAD /head HTTP/1.1\r\n" H "\r\n"
        "GET /last HTTP/1.1\r\n" H "\r\n";
    put(fd, more, sizeof more - 1);
    CHECK(!take(fd, "/last", &b));
    CHECK(strstr(b.p, "abcde") && strstr(b.p, "401") && strstr(b.p, "auth.required"));
    CHECK(strstr(b.p, "Content-Length: 5\r\n") && !strstr(b.p, "/head"));
    buf_fini(&b);
    close(fd);
}

/* The answer to a large upload that is not wanted arrives, although the client goes on sending. */
static void early_answers(void)
{
    enum { N = 8 << 20 };
    static const char *const heads[] = {
        "POST /denied HTTP/1.1\r\n" H "Content-Length: 8388608\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" H "Content-Length: 8388608\r\n\r\n",
        "POST /form HTTP/1.1\r\n" H "Content-Type: text/plain\r\n"
        "Content-Length: 8388608\r\n\r\n"};
    static const int want[] = {401, 413, 415};
    char *junk = calloc(1, N);
    for (int i = 0; i < 3; i++) {
        struct buf b = {0};
        int fd = dial();
        put_line(fd, heads[i]);
        put(fd, junk, N);
        CHECK(take(fd, NULL, &b) && status_of(&b) == want[i] && strstr(b.p, "Connection: close"));
        buf_fini(&b);
        close(fd);
    }
    free(junk);
}

static void wait_gone(int n)
{
    for (int i = 0; i < 1000 && gone_count < n; i++)
        usleep(10000);
    CHECK(gone_count == n);
}

static void uploads(void)
{
    static const char part[] = "--B\r\nContent-Disposition: form-data; name=t\r\n\r\nx\r\n"
                               "--B\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n";
    static const char end[] = "\r\n--B--\r\n";
    enum { N = 700000 };
    struct buf b = {0}, in = {0};
    char *data = calloc(1, N);
    CHECK(data != NULL);
    buf_printf(&b,
               "POST /form HTTP/1.1\r\n" H
               "Content-Type: multipart/form-data; boundary=B\r\nContent-Length: %zu\r\n\r\n",
               sizeof part - 1 + N + sizeof end - 1);
    buf_puts(&b, part);
    buf_put(&b, data, N);
    buf_puts(&b, end);
    int fd = dial();
    put(fd, b.p, b.n);
    CHECK(!take(fd, "1/1 700000:a77d6d522c7782b77a07b925109d18dad0141e34eda7ab260f1dd86e058e6bcc",
                &in));
    CHECK(status_of(&in) == 200);
    close(fd);
    int before = gone_count;
    for (int i = 0; i < 3; i++) { /* cut in the middle: nothing may stay */
        fd = dial();
        put(fd, b.p, b.n / 2 + (size_t)i * 100000);
        close(fd);
    }
    wait_gone(before + 3);
    free(data);
    buf_fini(&b);
    buf_fini(&in);
}

/* Short waits are not suspended, longer ones and those of many at once are: none may be forgotten. */
static void waits(void)
{
    enum { N = 100 };
    static const char *const us[] = {"0", "300", "900", "1100", "5000"};
    int fd[N];
    for (int i = 0; i < N; i++)
        fd[i] = dial();
    for (int round = 0; round < 10; round++) {
        char line[128];
        for (int i = 0; i < N; i++) {
            snprintf(line, sizeof line, "GET /later?%s HTTP/1.1\r\n" H "\r\n", us[(i + round) % 5]);
            put_line(fd[i], line);
        }
        for (int i = 0; i < N; i++) {
            struct buf b = {0};
            snprintf(line, sizeof line, "\r\n\r\n%s", us[(i + round) % 5]);
            CHECK(!take(fd[i], line, &b) && status_of(&b) == 200);
            buf_fini(&b);
        }
    }
    for (int i = 0; i < N; i++)
        close(fd[i]);
}

/* The client is gone in the first moments of a wait. */
static void hasty_clients(void)
{
    struct linger reset = {.l_onoff = 1};
    for (int i = 0; i < 5; i++) {
        int fd = dial(), before = gone_count, live = live_count;
        put_line(fd, "GET /never HTTP/1.1\r\n" H "\r\n");
        while (live_count == live)
            usleep((unsigned)i * 100);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(fd);
        wait_gone(before + 1);
    }
}

static void clients_that_leave(void)
{
    static const char *const requests[] = {"GET /events HTTP/1.1\r\n" H "\r\n",
                                           "GET /never HTTP/1.1\r\n" H "\r\n"};
    struct linger reset = {.l_onoff = 1};
    bool closed;
    for (int i = 0; i < 2; i++) {
        struct buf b = {0};
        int fd = dial(), before = gone_count;
        put_line(fd, requests[i]);
        if (i == 0)
            CHECK(!take(fd, "data: 1", &b));
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        usleep(100000);
        close(fd);
        wait_gone(before + 1);
        buf_fini(&b);
    }
    int before = gone_count;
    CHECK(ask("GET /never?soon HTTP/1.1\r\n" H "\r\n", NULL, &closed) == 504 && closed &&
          gone_count == before + 1);
    CHECK(ask("GET /refused HTTP/1.1\r\n" H "\r\n", "}", &closed) == 500);
}

static void slow_headers(void)
{
    bool closed = false;
    int fd = dial();
    put_line(fd, "GET / HTTP/1.1\r\n");
    for (int i = 0; i < 60 && !closed; i++) {
        char c;
        put_line(fd, "X: 1\r\n");
        usleep(100000);
        closed = recv(fd, &c, 1, MSG_DONTWAIT) == 0;
    }
    CHECK(closed);
    close(fd);
}

/* Answers of one shape are made once: each must still carry its own body, headers and request id. */
static void alike(void)
{
    enum { N = 40 };
    char ids[N][33];
    int fd = dial();
    for (int i = 0; i < N; i++) {
        char line[128], body[32], kind[32];
        struct buf b = {0};
        snprintf(body, sizeof body, "/alike/%02d", i % 7 ? i : 7);
        snprintf(kind, sizeof kind, "X-Kind: k%d\r\n", i % 3);
        snprintf(line, sizeof line, "GET %s?k%d HTTP/1.1\r\n" H "\r\n", body, i % 3);
        put_line(fd, line);
        CHECK(!take(fd, body, &b));
        CHECK(strstr(b.p, body) && strstr(b.p, kind));
        CHECK(strstr(b.p, "nosniff") && strstr(b.p, "Cache-Control: no-store\r\n"));
        CHECK((strstr(b.p, "Keep-Alive: timeout=") != NULL) !=
              (strstr(b.p, "Connection: close") != NULL));
        const char *id = strstr(b.p, "X-Request-Id: ");
        CHECK(id && strlen(id) > 46 && !strstr(id + 14, "X-Request-Id: "));
        snprintf(ids[i], sizeof ids[i], "%.32s", id + 14);
        for (int k = 0; k < i; k++)
            CHECK(strcmp(ids[k], ids[i]) != 0);
        buf_fini(&b);
    }
    close(fd);
}

static void stop(void *arg)
{
    (void)arg;
    loop_stop(loop);
}

static void *client(void *arg)
{
    smuggling();
    sizes();
    keep_alive();
    alike();
    early_answers();
    uploads();
    waits();
    hasty_clients();
    clients_that_leave();
    slow_headers();
    /* These are still there when the server is freed. */
    put_line(*(int *)arg = dial(), "GET /never HTTP/1.1\r\n" H "\r\n");
    put_line(dial(), "GET /events HTTP/1.1\r\n" H "\r\n");
    put_line(dial(), "POST /echo HTTP/1.1\r\n" H "Content-Length: 9\r\n\r\nabc");
    usleep(200000);
    loop_post(loop, stop, NULL);
    return NULL;
}

TEST(a_server_and_its_clients)
{
    char dir[] = "/tmp/ppv-http-XXXXXX";
    struct err e = {0};
    struct http_conf c;
    struct http_handler h = {NULL, on_start, on_gone};
    pthread_t id;
    int last = -1;
    log_init(LOG_ERROR, NULL, 0, "test");
    signal(SIGPIPE, SIG_IGN);
    CHECK(mkdtemp(dir) != NULL);
    upload_dir = open(dir, O_RDONLY | O_DIRECTORY);
    loop = loop_new();
    http_conf_init(&c);
    c.header_us = 2 * SECOND;
    c.threads = threads_new(loop, 2, 16);
    CHECK(http_server_new(loop, &c, &h, &server, &e) == 0);
    port = http_server_port(server);
    CHECK(pthread_create(&id, NULL, client, &last) == 0);
    loop_run(loop, NULL);
    pthread_join(id, NULL);
    http_server_quiesce(server);
    http_server_free(server);
    CHECK(live_count == 0);
    struct buf b = {0};
    CHECK(take(last, NULL, &b) && status_of(&b) == 503);
    buf_fini(&b);
    threads_free(c.threads);
    loop_free(loop);
    CHECK(rmdir(dir) == 0); /* no upload was left behind */
}
