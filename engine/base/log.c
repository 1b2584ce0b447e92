/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

/* POLLOUT on a pipe promises PIPE_BUF (4096) bytes, and such a write is one piece: longer lines would block or interleave. */
enum { LINE_MAX_BYTES = 4000, VALUE_MAX_BYTES = 1200 };

static struct {
    int fd;
    enum log_level min;
    bool human;
    char role[16];
} sink = {.fd = STDERR_FILENO, .min = LOG_INFO};

static _Atomic int64_t dropped;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_role(const char *role)
{
    snprintf(sink.role, sizeof sink.role, "%s", role ? role : "");
}

void log_init(enum log_level min, const char *path, int human, const char *role)
{
    sink.min = min;
    if (path && *path) {
        int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
        if (fd >= 0)
            sink.fd = fd;
        else
            fprintf(stderr, "log file %s cannot be opened, logging to stderr\n", path);
    }
    sink.human = human < 0 ? isatty(sink.fd) : human != 0;
    log_role(role);
}

int64_t log_dropped(void)
{
    return atomic_load(&dropped);
}

static bool is_secret(const char *key)
{
    static const char *const parts[] = {"passw",    "secret", "token",      "cookie",
                                        "authoriz", "apikey", "credential", "signature"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcasestr(key, parts[i]))
            return true;
    size_t n = strlen(key);
    return strcasecmp(key, "key") == 0 || (n > 4 && strcasecmp(key + n - 4, "_key") == 0);
}

static void put_value(struct buf *b, const char *v)
{
    struct str s = str_from(v);
    bool cut = s.n > VALUE_MAX_BYTES;
    if (cut)
        s.n = VALUE_MAX_BYTES;
    buf_put_json(b, s);
    if (cut)
        buf_puts(b, "...");
}

static void put_pair(struct buf *b, const char *key, char type, va_list *ap)
{
    const char *quote = sink.human ? "" : "\"";
    if (sink.human)
        buf_printf(b, " \033[2m%s=\033[0m", key);
    else
        buf_printf(b, ",\"%s\":", key);
    double d;
    switch (type) {
    case 's': {
        const char *v = va_arg(*ap, const char *);
        if (!v) {
            buf_puts(b, sink.human ? "-" : "null");
            break;
        }
        buf_puts(b, quote);
        put_value(b, is_secret(key) ? "***" : v);
        buf_puts(b, quote);
        break;
    }
    case 'i': buf_printf(b, "%" PRId64, va_arg(*ap, int64_t)); break;
    case 'd':
        d = va_arg(*ap, double);
        if (isfinite(d))
            buf_printf(b, "%.6g", d);
        else
            buf_puts(b, "null");
        break;
    case 'b': buf_puts(b, va_arg(*ap, int) ? "true" : "false"); break;
    default: must(!"log_event format letter");
    }
}

static void put_start(struct buf *b, enum log_level lv, const char *event)
{
    static const char *const colours[] = {"\033[2m", "\033[32m", "\033[33m", "\033[31m"};
    char when[32];
    clock_format(clock_wall(), when);
    if (sink.human) {
        buf_printf(b, "\033[2m%.8s\033[0m %s%-5s\033[0m %-7s %s", when + 11, colours[lv],
                   level_names[lv], sink.role, event);
        return;
    }
    buf_printf(b, "{\"ts\":\"%s\",\"level\":\"%s\",\"role\":\"%s\",\"pid\":%d,\"event\":\"", when,
               level_names[lv], sink.role, (int)getpid());
    put_value(b, event);
    buf_puts(b, "\"");
}

static void emit(struct buf *b)
{
    struct pollfd p = {.fd = sink.fd, .events = POLLOUT};
    if (poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) && write(sink.fd, b->p, b->n) == (ssize_t)b->n)
        return;
    atomic_fetch_add(&dropped, 1);
}

bool log_is_on(enum log_level lv)
{
    return lv >= sink.min;
}

void log_event(enum log_level lv, const char *event, const char *fmt, ...)
{
    if (lv < sink.min)
        return;
    struct buf b = {0};
    put_start(&b, lv, event);
    va_list ap;
    va_start(ap, fmt);
    for (const char *f = fmt; *f; f++) {
        const char *key = va_arg(ap, const char *);
        size_t before = b.n;
        put_pair(&b, key, *f, &ap);
        if (b.n > LINE_MAX_BYTES) { /* leave out the pair, keep the line whole */
            b.n = before;
            b.p[b.n] = 0;
        }
    }
    va_end(ap);
    buf_puts(&b, sink.human ? "\n" : "}\n");
    emit(&b);
    buf_fini(&b);
}

void log_err(enum log_level lv, const char *event, const struct err *e)
{
    if (!e->file || !*e->file)
        log_event(lv, event, "sss", "code", err_name(e->code), "message", e->msg, "detail",
                  e->detail);
    else
        log_event(lv, event, "ssssi", "code", err_name(e->code), "message", e->msg, "detail",
                  e->detail, "file", e->file, "line", (int64_t)e->line);
}
