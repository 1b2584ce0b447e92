/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#endif
#include "app/control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "run/loop.h"

#define LINE_MAX_BYTES 4096
#define CLIENTS_MAX 16

struct client {
    struct watch watch;
    char line[LINE_MAX_BYTES];
    size_t n;
    bool used;
};

static struct {
    struct loop *loop;
    struct watch watch;
    char path[108];
    control_fn fn;
    void *user;
    struct client clients[CLIENTS_MAX];
} c = {.watch = {.fd = -1}};

static void drop(struct client *cl)
{
    loop_watch(c.loop, &cl->watch, 0);
    close(cl->watch.fd);
    cl->used = false;
}

/* The value of a flat string member; requests are our own and have no escapes beyond the backslash. */
static void member(const char *line, const char *key, char *out, size_t cap)
{
    char want[40];
    size_t n = 0;
    snprintf(want, sizeof want, "\"%s\"", key);
    const char *p = strstr(line, want);
    out[0] = 0;
    if (!p || !(p = strchr(p + strlen(want), '"')))
        return;
    for (p++; *p && *p != '"' && n + 1 < cap; p++) {
        if (*p == '\\' && p[1])
            p++;
        out[n++] = *p;
    }
    out[n] = 0;
}

static void send_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k < 0 && errno == EAGAIN) {
            struct pollfd pf = {.fd = fd, .events = POLLOUT};
            if (poll(&pf, 1, 1000) > 0)
                continue;
        }
        if (k <= 0)
            return;
        p += k;
        n -= (size_t)k;
    }
}

static void answer(struct client *cl, const char *line)
{
    char cmd[32], arg[256];
    struct buf reply = {0};
    member(line, "cmd", cmd, sizeof cmd);
    member(line, "arg", arg, sizeof arg);
    c.fn(c.user, cmd, arg, &reply);
    buf_puts(&reply, "\n");
    send_all(cl->watch.fd, reply.p, reply.n);
    buf_fini(&reply);
}

static void on_client(struct watch *w, uint32_t events)
{
    struct client *cl = w->arg;
    (void)events;
    ssize_t n = recv(w->fd, cl->line + cl->n, sizeof cl->line - 1 - cl->n, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        drop(cl);
        return;
    }
    cl->n += (size_t)n;
    cl->line[cl->n] = 0;
    char *nl;
    while ((nl = strchr(cl->line, '\n'))) {
        *nl = 0;
        answer(cl, cl->line);
        cl->n -= (size_t)(nl + 1 - cl->line);
        memmove(cl->line, nl + 1, cl->n + 1);
    }
    if (cl->n == sizeof cl->line - 1)
        drop(cl);
}

static void on_accept(struct watch *w, uint32_t events)
{
    (void)events;
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    for (int i = 0; i < CLIENTS_MAX; i++) {
        struct client *cl = &c.clients[i];
        if (cl->used)
            continue;
        memset(cl, 0, sizeof *cl);
        cl->used = true;
        cl->watch = (struct watch){.fd = fd, .fn = on_client, .arg = cl};
        loop_watch(c.loop, &cl->watch, EPOLLIN);
        return;
    }
    close(fd);
}

static int address(const char *path, struct sockaddr_un *a, struct err *e)
{
    memset(a, 0, sizeof *a);
    a->sun_family = AF_UNIX;
    if (snprintf(a->sun_path, sizeof a->sun_path, "%s", path) >= (int)sizeof a->sun_path)
        return ERR(e, ERR_CONFIG, "control socket path is too long: %s", path);
    return 0;
}

int control_listen(struct loop *l, const char *path, control_fn fn, void *user, struct err *e)
{
    struct sockaddr_un a;
    if (address(path, &a, e) < 0)
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(e, "control socket");
    unlink(path); /* the lock on var/ says nobody else owns it */
    mode_t old = umask(0177);
    int rc = bind(fd, (struct sockaddr *)&a, sizeof a);
    umask(old);
    if (rc < 0 || listen(fd, 16) < 0) {
        close(fd);
        return err_errno(e, path);
    }
    c.loop = l;
    c.fn = fn;
    c.user = user;
    snprintf(c.path, sizeof c.path, "%s", path);
    c.watch = (struct watch){.fd = fd, .fn = on_accept};
    loop_watch(l, &c.watch, EPOLLIN);
    return 0;
}

void control_close(void)
{
    if (c.watch.fd < 0)
        return;
    for (int i = 0; i < CLIENTS_MAX; i++)
        if (c.clients[i].used)
            drop(&c.clients[i]);
    loop_watch(c.loop, &c.watch, 0);
    close(c.watch.fd);
    c.watch.fd = -1;
    unlink(c.path);
}

static int read_line(int fd, struct buf *reply, struct err *e)
{
    char chunk[4096];
    for (;;) {
        struct pollfd pf = {.fd = fd, .events = POLLIN};
        if (poll(&pf, 1, 60000) <= 0)
            return ERR(e, ERR_TIMEOUT, "the engine did not answer");
        ssize_t n = recv(fd, chunk, sizeof chunk, 0);
        if (n <= 0)
            return ERR(e, ERR_IO, "the engine closed the connection");
        buf_put(reply, chunk, (size_t)n);
        if (memchr(chunk, '\n', (size_t)n))
            return 0;
    }
}

int control_call(const char *path, const char *cmd, const char *arg, struct buf *reply,
                 struct err *e)
{
    struct sockaddr_un a;
    struct buf req = {0};
    if (address(path, &a, e) < 0)
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(e, "control socket");
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        close(fd);
        return ERR(e, ERR_NET, "no engine is running here (%s)", path);
    }
    buf_puts(&req, "{\"cmd\":\"");
    buf_put_json(&req, str_from(cmd));
    buf_puts(&req, "\",\"arg\":\"");
    buf_put_json(&req, str_from(arg));
    buf_puts(&req, "\"}\n");
    send_all(fd, req.p, req.n);
    buf_fini(&req);
    int rc = read_line(fd, reply, e);
    close(fd);
    return rc;
}
