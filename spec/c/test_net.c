/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/conf.h"
#include "net/fetch.h"
#include "net/mail.h"
#include "run/loop.h"

static struct loop *loop;
static struct fetch *f;
static struct err e;
static char received[65536]; /* what the fake server read, all of it */

/* ---- a peer in a thread: answers every connection by what its first line asks for ---- */

static void say(int fd, const char *s)
{
    CHECK(send(fd, s, strlen(s), MSG_NOSIGNAL) >= 0 || 1);
}

static void serve_http(int fd)
{
    static char big[70000];
    size_t n = 0;
    ssize_t k;
    while ((k = recv(fd, received + n, sizeof received - 1 - n, 0)) > 0) {
        n += (size_t)k;
        received[n] = 0;
        char *end = strstr(received, "\r\n\r\n"), *len = strstr(received, "Content-Length: ");
        if (end &&
            (size_t)(end + 4 - received) + (len && len < end ? strtoul(len + 16, NULL, 10) : 0) <=
                n)
            break;
    }
    if (strstr(received, " /slow "))
        usleep(700000);
    else if (strstr(received, " /redirect "))
        say(fd, "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\nConnection: "
                "close\r\n\r\n");
    else if (strstr(received, " /big ")) {
        memset(big, 'x', sizeof big - 1);
        say(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        say(fd, big);
    } else
        say(fd, "HTTP/1.1 200 OK\r\nX-One: 1\r\nX-Two:  two words \r\nContent-Length: "
                "5\r\nConnection: close\r\n\r\nhello");
}

static void serve_smtp(int fd)
{
    char line[2048];
    size_t n = 0, total = 0;
    bool data = false;
    say(fd, "220 fake\r\n");
    received[0] = 0;
    while (n < sizeof line - 1 && recv(fd, line + n, 1, 0) == 1) {
        if (line[n++] != '\n')
            continue;
        line[n] = 0;
        if (total + n < sizeof received) {
            memcpy(received + total, line, n + 1);
            total += n;
        }
        n = 0;
        if (data && strcmp(line, ".\r\n") != 0)
            continue;
        bool quit = strncmp(line, "QUIT", 4) == 0;
        bool bad = strstr(line, "RCPT") && strstr(line, "nobody@");
        say(fd, data                            ? "250 taken\r\n"
                : bad                           ? "550 no such user\r\n"
                : strncmp(line, "DATA", 4) == 0 ? "354 go\r\n"
                                                : "250 ok\r\n");
        data = !data && strncmp(line, "DATA", 4) == 0;
        if (quit)
            break;
    }
}

struct peer {
    int fd, port;
    void (*serve)(int fd);
    pthread_t thread;
};

static void *peer_main(void *arg)
{
    struct peer *p = arg;
    int fd;
    while ((fd = accept(p->fd, NULL, NULL)) >= 0) {
        p->serve(fd);
        close(fd);
    }
    return NULL;
}

static void peer_start(struct peer *p, void (*serve)(int))
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    p->fd = socket(AF_INET, SOCK_STREAM, 0);
    p->serve = serve;
    CHECK(bind(p->fd, (void *)&a, n) == 0 && listen(p->fd, 16) == 0 &&
          getsockname(p->fd, (void *)&a, &n) == 0);
    p->port = ntohs(a.sin_port);
    pthread_create(&p->thread, NULL, peer_main, p);
}

static void peer_stop(struct peer *p)
{
    shutdown(p->fd, SHUT_RDWR);
    pthread_join(p->thread, NULL);
    close(p->fd);
}

static void begin(char *const *sets)
{
    CHECK(conf_load(NULL, sets, &e) == 0);
    loop = loop_new();
    f = fetch_new(loop);
}

static void finish(void)
{
    fetch_free(f);
    loop_free(loop);
}

static void done(struct fetch_req *r)
{
    (void)r;
    loop_stop(loop);
}

/* Runs one request to the end. */
static struct fetch_req get(int port, const char *path, struct fetch_req r)
{
    char url[200];
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", port, path);
    r.url = url;
    r.done = done;
    CHECK(fetch_start(f, &r, &e) == 0);
    loop_run(loop, NULL);
    return r;
}

TEST(addresses_that_are_public)
{
    static const char *const yes[] = {"8.8.8.8",     "172.32.0.1",      "192.167.1.1",
                                      "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"};
    static const char *const no[] = {"127.0.0.1",
                                     "10.1.2.3",
                                     "172.16.0.1",
                                     "172.31.255.255",
                                     "192.168.0.1",
                                     "169.254.169.254",
                                     "0.0.0.0",
                                     "100.64.0.1",
                                     "224.0.0.1",
                                     "255.255.255.255",
                                     "198.18.0.1",
                                     "192.0.2.1",
                                     "::1",
                                     "::",
                                     "fe80::1",
                                     "fd00::1",
                                     "ff02::1",
                                     "::ffff:127.0.0.1",
                                     "::ffff:10.0.0.1",
                                     "64:ff9b::7f00:1",
                                     "2001:db8::1",
                                     "2002:7f00:1::",
                                     "2001::1",
                                     "::127.0.0.1",
                                     "localhost",
                                     ""};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        CHECK(fetch_is_public(yes[i]));
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        CHECK(!fetch_is_public(no[i]));
}

TEST(requests_to_private_addresses_are_refused_unless_allowed)
{
    struct peer p;
    peer_start(&p, serve_http);
    begin(NULL);
    struct fetch_req r = get(p.port, "/ok", (struct fetch_req){0});
    CHECK(r.err.code == ERR_NET_REFUSED && r.status == 0);
    fetch_req_fini(&r);
    r = get(p.port, "/ok", (struct fetch_req){.allow_private = true});
    CHECK(r.err.code == ERR_NONE && r.status == 200 && strcmp(r.body_out.p, "hello") == 0);
    CHECK(str_eqz(fetch_header(&r, "x-two"), "two words") && fetch_header(&r, "x-three").n == 0);
    fetch_req_fini(&r);
    r = get(p.port, "/ok", (struct fetch_req){0});
    CHECK(r.err.code == ERR_NET_REFUSED);
    fetch_req_fini(&r);
    finish();
    peer_stop(&p);
}

TEST(limits_and_methods)
{
    struct peer p;
    char *sets[] = {"fetch_allow_private=true", NULL};
    peer_start(&p, serve_http);
    begin(sets);
    struct fetch_req r = get(p.port, "/redirect", (struct fetch_req){0});
    CHECK(r.status == 302 && r.body_out.n == 0);
    fetch_req_fini(&r);
    r = get(p.port, "/big", (struct fetch_req){.max_body = 1000});
    CHECK(r.err.code == ERR_TOO_LARGE);
    fetch_req_fini(&r);
    r = get(p.port, "/big", (struct fetch_req){0});
    CHECK(r.err.code == ERR_NONE && r.body_out.n == 69999);
    fetch_req_fini(&r);
    r = get(p.port, "/slow", (struct fetch_req){.timeout_us = 200000});
    CHECK(r.err.code == ERR_TIMEOUT && r.err.retry);
    fetch_req_fini(&r);
    static const char *const headers[] = {"X-A: b", "Content-Type: application/json",
                                          "Content-Length: 999", "X-Empty:", NULL};
    r = get(
        p.port, "/post",
        (struct fetch_req){.method = "PATCH", .headers = headers, .body = STR_LIT("{\"a\":1}")});
    CHECK(r.status == 200 && strstr(received, "PATCH /post HTTP/1.1\r\n") &&
          strstr(received, "\r\n\r\n{\"a\":1}"));
    CHECK(strstr(received, "X-A: b\r\n") && strstr(received, "X-Empty:") &&
          strstr(received, "Content-Length: 7\r\n"));
    CHECK(strstr(received, "application/json") && !strstr(received, "urlencoded") &&
          !strstr(received, "Expect"));
    fetch_req_fini(&r);
    r = get(p.port, "/a/../b", (struct fetch_req){.method = "HEAD"});
    CHECK(r.status == 200 && r.body_out.n == 0 && strstr(received, "HEAD /a/../b "));
    fetch_req_fini(&r);
    finish();
    peer_stop(&p);
}

TEST(files_go_up_and_come_down)
{
    struct peer p;
    char *sets[] = {"fetch_allow_private=true", NULL}, path[] = "/tmp/ppv-net-XXXXXX",
         text[16] = "";
    int fd = mkstemp(path);
    CHECK(write(fd, "0123456789", 10) == 10);
    peer_start(&p, serve_http);
    begin(sets);
    struct fetch_file up = {.fd = fd, .off = 2, .size = 5}, down = {.fd = fd, .off = 5, .size = 5},
                      small = {.fd = fd, .size = 4};
    struct fetch_req r = get(p.port, "/put", (struct fetch_req){.upload = &up});
    CHECK(r.status == 200 && strstr(received, "PUT /put ") && strstr(received, "\r\n\r\n23456"));
    fetch_req_fini(&r);
    r = get(p.port, "/get", (struct fetch_req){.download = &down});
    CHECK(r.status == 200 && r.downloaded == 5 && r.body_out.n == 0);
    CHECK(pread(fd, text, 10, 0) == 10 && strcmp(text, "01234hello") == 0);
    fetch_req_fini(&r);
    r = get(p.port, "/get", (struct fetch_req){.download = &small});
    CHECK(r.err.code == ERR_TOO_LARGE);
    fetch_req_fini(&r);
    finish();
    peer_stop(&p);
    close(fd);
    unlink(path);
}

static void never(struct fetch_req *r)
{
    (void)r;
    CHECK(!"called");
}

static void stop(struct timer *t)
{
    (void)t;
    loop_stop(loop);
}

TEST(cancelled_and_malformed_requests)
{
    struct peer p;
    char *sets[] = {"fetch_allow_private=true", NULL}, url[100];
    peer_start(&p, serve_http);
    begin(sets);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/slow", p.port);
    struct fetch_req a = {.url = url, .done = never}, b = {.url = url, .done = never};
    CHECK(fetch_start(f, &a, &e) == 0 && fetch_start(f, &b, &e) == 0);
    struct timer t = {.fn = stop};
    loop_timer_set(loop, &t, 50000);
    loop_run(loop, NULL);
    fetch_cancel(f, &a);
    fetch_cancel(f, &a);
    finish(); /* with b in flight */
    fetch_req_fini(&a);
    fetch_req_fini(&b);
    peer_stop(&p);

    begin(NULL);
    static const char *const evil[] = {"X: a\r\nY: b", NULL}, *const nocolon[] = {"X", NULL};
    struct fetch_req r = {.url = "http://example.com/", .headers = evil, .done = never};
    CHECK(fetch_start(f, &r, &e) == -1 && e.code == ERR_INVALID);
    r.headers = nocolon;
    CHECK(fetch_start(f, &r, &e) == -1);
    r = (struct fetch_req){.url = "file:///etc/passwd", .done = never};
    CHECK(fetch_start(f, &r, &e) == -1 && e.code == ERR_NET_REFUSED);
    r.url = "http://user:secret@example.com/";
    CHECK(fetch_start(f, &r, &e) == -1 && e.code == ERR_INVALID);
    r.url = "not a url";
    CHECK(fetch_start(f, &r, &e) == -1 && e.code == ERR_INVALID);
    r = (struct fetch_req){.url = "http://example.com/", .method = "GET /x", .done = never};
    CHECK(fetch_start(f, &r, &e) == -1 && e.code == ERR_INVALID);
    finish();
}

TEST(mail_text)
{
    struct buf b = {0};
    CHECK(conf_load(NULL, NULL, &e) == 0);
    struct mail_msg m = {.from = "J\xc3\xbcrgen <a@b.c>",
                         .to = "x@y.z",
                         .subject = "Gr\xc3\xbc\xc3\x9f"
                                    "e",
                         .text = ".dot\nFrom here = there \n\xe2\x82\xac",
                         .html = "<p>hi"};
    CHECK(mail_build(&m, 1795593600123456, "1@b.c", &b, &e) == 0);
    CHECK(strstr(b.p, "From: =?UTF-8?B?SsO8cmdlbg==?= <a@b.c>\r\nTo: x@y.z\r\nSubject: "
                      "=?UTF-8?B?R3LDvMOfZQ==?=\r\n"));
    CHECK(strstr(b.p, "Date: Wed, 25 Nov 2026 08:00:00 +0000\r\n") &&
          strstr(b.p, "multipart/alternative"));
    CHECK(strstr(b.p, "\r\n=2Edot\r\n=46rom here =3D there=20\r\n=E2=82=AC\r\n") &&
          strstr(b.p, "\r\n<p>hi\r\n"));
    for (const char *p = b.p; (p = strchr(p, '\n')) != NULL; p++)
        CHECK(p[-1] == '\r' && p[1] != '.');
    buf_clear(&b);
    char text[1000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    m = (struct mail_msg){.from = "a@b.c", .to = "x@y.z", .subject = text + 600, .text = text};
    CHECK(mail_build(&m, 0, "1@b.c", &b, &e) == 0);
    for (const char *p = b.p, *next; (next = strstr(p, "\r\n")) != NULL; p = next + 2)
        CHECK(next - p <= 76);
    buf_fini(&b);
    static const char *const bad[] = {"",
                                      "a",
                                      "a@",
                                      "@b",
                                      "a@b@c",
                                      "a b@c",
                                      "a@b\r\nBcc: x@y",
                                      "<a@b",
                                      "N\r\nBcc: q@r <a@b.c>",
                                      "a@b,c@d"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        m = (struct mail_msg){.to = bad[i], .subject = "s", .text = "t"};
        CHECK(mail_build(&m, 0, "1@b", &b, &e) == -1 && e.code == ERR_INVALID);
    }
    m = (struct mail_msg){.to = "a@b.c", .subject = "s\r\nBcc: x@y.z", .text = "t"};
    CHECK(mail_build(&m, 0, "1@b", &b, &e) == -1);
    buf_fini(&b);
}

static struct err mail_err;
static int mails;

static void mailed(void *arg, const struct err *why)
{
    (void)arg;
    mails++;
    mail_err = why ? *why : (struct err){0};
    loop_stop(loop);
}

TEST(mail_goes_to_the_outbox)
{
    char dir[] = "/tmp/ppv-mail-XXXXXX", set[80];
    CHECK(mkdtemp(dir) != NULL);
    snprintf(set, sizeof set, "mail_outbox=%s/new", dir);
    char *sets[] = {set, NULL};
    begin(sets);
    struct mail_msg m = {.to = "x@y.z", .subject = "s", .text = "hello"};
    struct mail_op *op;
    mails = 0;
    CHECK(mail_send(f, &m, mailed, NULL, &op, &e) == 0 && mails == 0);
    CHECK(mail_send(f, &m, mailed, NULL, &op, &e) == 0);
    mail_cancel(op);
    loop_run(loop, NULL);
    CHECK(mails == 1 && mail_err.code == ERR_NONE);
    DIR *d = opendir(set + 12);
    int files = 0;
    for (struct dirent *x; (x = readdir(d)) != NULL;) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", set + 12, x->d_name);
        files += strstr(path, ".eml") != NULL && unlink(path) == 0;
    }
    closedir(d);
    CHECK(files == 2);
    rmdir(set + 12);
    rmdir(dir);
    finish();
}

TEST(mail_goes_to_a_server)
{
    struct peer p;
    char set[80];
    peer_start(&p, serve_smtp);
    snprintf(set, sizeof set, "smtp_url=smtp://127.0.0.1:%d", p.port);
    char *sets[] = {set, "mail_from=Shop <shop@example.org>", NULL};
    begin(sets);
    struct mail_msg m = {.to = "x@y.z", .subject = "s", .text = "hello\n.\nbye"};
    CHECK(mail_send(f, &m, mailed, NULL, NULL, &e) == 0);
    loop_run(loop, NULL);
    CHECK(mail_err.code == ERR_NONE && strstr(received, "MAIL FROM:<shop@example.org>") &&
          strstr(received, "RCPT TO:<x@y.z>"));
    CHECK(strstr(received, "\r\nhello\r\n=2E\r\nbye\r\n"));
    m.to = "nobody@y.z";
    CHECK(mail_send(f, &m, mailed, NULL, NULL, &e) == 0);
    loop_run(loop, NULL);
    CHECK(mail_err.code == ERR_INVALID && strstr(mail_err.msg, "550"));
    finish();
    peer_stop(&p);
}
