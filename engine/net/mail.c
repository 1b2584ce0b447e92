/* SPDX-License-Identifier: Apache-2.0 */
#include "net/mail.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/conf.h"
#include "net/fetch.h"
#include "run/loop.h"

enum { QP_LINE = 73, WORD_BYTES = 39, BODY_MAX = 1 << 20 };

struct mail_op {
    CURL *easy; /* NULL: written to a file */
    struct fetch_easy *running;
    struct curl_slist *to;
    struct buf message;
    size_t sent;
    char reply[CURL_ERROR_SIZE];
    bool failed;
    struct err err;
    void (*done)(void *arg, const struct err *e); /* NULL = cancelled */
    void *arg;
};

/* ---- the message ---- */

static bool is_address(struct str a)
{
    size_t at = 0, ats = 0;
    for (size_t i = 0; i < a.n; i++) {
        unsigned char c = (unsigned char)a.p[i];
        if (c <= ' ' || c >= 0x7f || strchr("<>()[],;:\\\"", c))
            return false;
        if (c == '@') {
            at = i;
            ats++;
        }
    }
    return ats == 1 && at > 0 && at + 1 < a.n && a.n <= 254;
}

/* "Name <a@b.c>" or "a@b.c" */
static int split_address(const char *s, struct str *name, struct str *address, struct err *e)
{
    struct str all = str_trim(str_from(s));
    const char *open = all.n ? memchr(all.p, '<', all.n) : NULL;
    *name = (struct str){all.p, 0};
    *address = all;
    if (open && all.p[all.n - 1] == '>') {
        *name = str_trim((struct str){all.p, (size_t)(open - all.p)});
        *address = (struct str){open + 1, (size_t)(all.p + all.n - open) - 2};
    }
    if (!is_address(*address) || !str_is_utf8(*name) || memchr(name->p, '\r', name->n) ||
        memchr(name->p, '\n', name->n))
        return ERR(e, ERR_INVALID, "not a mail address");
    return 0;
}

/* RFC 2047 words, folded. */
static void put_words(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n;) {
        size_t n = s.n - i < WORD_BYTES ? s.n - i : WORD_BYTES;
        while (n > 1 && i + n < s.n && (s.p[i + n] & 0xc0) == 0x80)
            n--; /* never in the middle of a character */
        buf_puts(b, i ? "\r\n =?UTF-8?B?" : "=?UTF-8?B?");
        buf_put_base64(b, s.p + i, n);
        buf_puts(b, "?=");
        i += n;
    }
}

static void put_text(struct buf *b, struct str s)
{
    bool plain = s.n <= 60 && !memmem(s.p, s.n, "=?", 2);
    for (size_t i = 0; i < s.n && plain; i++)
        plain = s.p[i] >= ' ' && s.p[i] < 0x7f;
    if (plain)
        buf_put(b, s.p, s.n);
    else
        put_words(b, s);
}

static void put_address(struct buf *b, struct str name, struct str address)
{
    bool quote = false;
    for (size_t i = 0; i < name.n; i++)
        quote = quote || strchr("()<>[]:;@\\,.\"", name.p[i]);
    if (quote)
        put_words(b, name); /* inside a quoted string they would need escapes */
    else
        put_text(b, name);
    buf_printf(b, name.n ? " <%.*s>" : "%.*s", (int)address.n, address.p);
}

static void put_date(struct buf *b, int64_t wall_us)
{
    static const char days[] = "SunMonTueWedThuFriSat",
                      months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t t = (time_t)(wall_us / 1000000);
    struct tm tm;
    gmtime_r(&t, &tm);
    buf_printf(b, "Date: %.3s, %d %.3s %d %02d:%02d:%02d +0000\r\n", days + 3 * tm.tm_wday,
               tm.tm_mday, months + 3 * tm.tm_mon, tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
               tm.tm_sec);
}

static void put_quoted(struct buf *b, const char *text)
{
    size_t column = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p == '\n' || *p == '\r') {
            if (*p == '\r' && p[1] == '\n')
                p++;
            buf_puts(b, "\r\n");
            column = 0;
            continue;
        }
        if (column >= QP_LINE) {
            buf_puts(b, "=\r\n");
            column = 0;
        }
        bool last = p[1] == 0 || p[1] == '\n' || p[1] == '\r';
        bool plain = *p > ' ' && *p < 0x7f && *p != '=';
        plain = plain || ((*p == ' ' || *p == '\t') && !last);
        /* A dot that starts a line would need stuffing, "From " is mangled on the way. */
        plain = plain && !(column == 0 && (*p == '.' || *p == 'F'));
        if (plain) {
            buf_put(b, p, 1);
            column++;
        } else {
            buf_printf(b, "=%02X", *p);
            column += 3;
        }
    }
    buf_puts(b, "\r\n");
}

static void put_part(struct buf *b, const char *type, const char *text)
{
    buf_printf(
        b, "Content-Type: %s; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
        type);
    put_quoted(b, text);
}

static int check(const struct mail_msg *m, struct err *e)
{
    if ((!m->text || !*m->text) && (!m->html || !*m->html))
        return ERR(e, ERR_INVALID, "a mail needs a text");
    struct str subject = str_from(m->subject);
    if (subject.n > 500 || !str_is_utf8(subject) || strpbrk(subject.p, "\r\n"))
        return ERR(e, ERR_INVALID, "malformed subject");
    struct str text = str_from(m->text), html = str_from(m->html);
    if (text.n + html.n > BODY_MAX || !str_is_utf8(text) || !str_is_utf8(html))
        return ERR(e, ERR_INVALID, "malformed mail text");
    return 0;
}

int mail_build(const struct mail_msg *m, int64_t wall_us, const char *message_id, struct buf *out,
               struct err *e)
{
    struct str from_name, from, to_name, to;
    if (check(m, e) ||
        split_address(m->from ? m->from : conf_str("mail_from"), &from_name, &from, e) ||
        split_address(m->to, &to_name, &to, e))
        return -1;
    buf_puts(out, "From: ");
    put_address(out, from_name, from);
    buf_puts(out, "\r\nTo: ");
    put_address(out, to_name, to);
    buf_puts(out, "\r\nSubject: ");
    put_text(out, str_from(m->subject));
    buf_puts(out, "\r\n");
    put_date(out, wall_us);
    buf_printf(out, "Message-ID: <%s>\r\nMIME-Version: 1.0\r\nAuto-Submitted: auto-generated\r\n",
               message_id);
    bool text = m->text && *m->text, html = m->html && *m->html;
    if (!text || !html) {
        put_part(out, text ? "text/plain" : "text/html", text ? m->text : m->html);
        return 0;
    }
    /* "=_" cannot occur in quoted-printable text, so the boundary needs no search. */
    buf_puts(out, "Content-Type: multipart/alternative; boundary=\"=_ppv\"\r\n\r\n--=_ppv\r\n");
    put_part(out, "text/plain", m->text);
    buf_puts(out, "--=_ppv\r\n");
    put_part(out, "text/html", m->html);
    buf_puts(out, "--=_ppv--\r\n");
    return 0;
}

/* ---- delivery ---- */

static void op_free(struct mail_op *op)
{
    if (op->easy)
        curl_easy_cleanup(op->easy);
    curl_slist_free_all(op->to);
    buf_fini(&op->message);
    free(op);
}

static void finish(void *arg)
{
    struct mail_op *op = arg;
    if (op->done)
        op->done(op->arg, op->failed ? &op->err : NULL);
    op_free(op);
}

static int write_file(const char *dir, const char *name, struct str text, struct err *e)
{
    char tmp[600], path[600];
    snprintf(path, sizeof path, "%.480s/%.100s.eml", dir, name);
    snprintf(tmp, sizeof tmp, "%.480s/.%.100s.tmp", dir, name);
    if (mkdir(dir, 0750) && errno != EEXIST)
        return err_errno(e, dir);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0)
        return err_errno(e, tmp);
    int rc = write(fd, text.p, text.n) == (ssize_t)text.n && rename(tmp, path) == 0
                 ? 0
                 : err_errno(e, path);
    close(fd);
    if (rc)
        unlink(tmp);
    return rc;
}

static size_t on_read(char *p, size_t size, size_t n, void *arg)
{
    struct mail_op *op = arg;
    size_t left = op->message.n - op->sent;
    n = n * size < left ? n * size : left;
    memcpy(p, op->message.p + op->sent, n);
    op->sent += n;
    return n;
}

static void on_sent(void *arg, int code)
{
    struct mail_op *op = arg;
    if (code < 0) { /* the engine is going away */
        op_free(op);
        return;
    }
    long status = 0;
    curl_easy_getinfo(op->easy, CURLINFO_RESPONSE_CODE, &status);
    op->failed = code != CURLE_OK;
    const char *why = *op->reply ? op->reply : curl_easy_strerror((CURLcode)code);
    if (code == CURLE_OPERATION_TIMEDOUT)
        ERR(&op->err, ERR_TIMEOUT, "mail server: %s", why);
    else if (op->failed && status / 100 == 5 && code != CURLE_LOGIN_DENIED)
        ERR(&op->err, ERR_INVALID, "mail server refused (%ld): %s", status, why);
    else if (op->failed)
        ERR(&op->err, ERR_NET, "mail server: %s", why);
    finish(op);
}

static bool is_loopback(const char *url)
{
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    return strncmp(host, "localhost", 9) == 0 || strncmp(host, "127.", 4) == 0 ||
           strncmp(host, "[::1]", 5) == 0;
}

static void set_smtp(struct mail_op *op, const struct mail_server *server, const char *from,
                     const char *to)
{
    CURL *c = op->easy = curl_easy_init();
    must(c);
    bool secret = server->user && *server->user, local = is_loopback(server->url);
    op->to = curl_slist_append(NULL, to);
    must(op->to);
    curl_easy_setopt(c, CURLOPT_URL, server->url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    curl_easy_setopt(c, CURLOPT_MAIL_FROM, from);
    curl_easy_setopt(c, CURLOPT_MAIL_RCPT, op->to);
    curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)op->message.n);
    curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(c, CURLOPT_READDATA, op);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, op->reply);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, 10000L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, 60000L);
    if (secret) {
        curl_easy_setopt(c, CURLOPT_USERNAME, server->user);
        curl_easy_setopt(c, CURLOPT_PASSWORD, server->password ? server->password : "");
    }
    /* A password never travels in the clear, except inside this machine, where certificates prove nothing either. */
    bool must_tls = server->tls || (secret && !local);
    curl_easy_setopt(c, CURLOPT_USE_SSL, (long)(must_tls ? CURLUSESSL_ALL : CURLUSESSL_TRY));
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, local ? 0L : 1L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, local ? 0L : 2L);
}

int mail_send(struct fetch *f, const struct mail_msg *m,
              void (*done)(void *arg, const struct err *e), void *arg, struct mail_op **out,
              struct err *e)
{
    struct str name, from, to;
    uint8_t rnd[8];
    if (split_address(m->from ? m->from : conf_str("mail_from"), &name, &from, e) ||
        split_address(m->to, &name, &to, e))
        return -1;
    must(getrandom(rnd, sizeof rnd, 0) == sizeof rnd);
    int64_t now = clock_wall();
    const char *domain = memchr(from.p, '@', from.n);
    char id[64], message_id[400], bare_from[256], bare_to[256];
    snprintf(id, sizeof id, "%" PRId64 "-%02x%02x%02x%02x%02x%02x%02x%02x", now, rnd[0], rnd[1],
             rnd[2], rnd[3], rnd[4], rnd[5], rnd[6], rnd[7]);
    snprintf(message_id, sizeof message_id, "%s%.*s", id, (int)(from.p + from.n - domain), domain);
    snprintf(bare_from, sizeof bare_from, "%.*s", (int)from.n, from.p);
    snprintf(bare_to, sizeof bare_to, "%.*s", (int)to.n, to.p);
    struct mail_op *op = calloc(1, sizeof *op);
    must(op);
    op->done = done;
    op->arg = arg;
    if (mail_build(m, now, message_id, &op->message, e)) {
        op_free(op);
        return -1;
    }
    struct mail_server conf = {conf_str("smtp_url"), conf_str("smtp_user"),
                               conf_str("smtp_password"), false};
    const struct mail_server *server = m->server ? m->server : &conf;
    if (*server->url) {
        set_smtp(op, server, bare_from, bare_to);
        op->running = fetch_easy_start(f, op->easy, on_sent, op);
    } else {
        op->failed = write_file(conf_str("mail_outbox"), id,
                                (struct str){op->message.p, op->message.n}, &op->err) != 0;
        loop_post(fetch_loop(f), finish, op);
    }
    if (out)
        *out = op;
    return 0;
}

void mail_cancel(struct mail_op *op)
{
    if (op->easy) {
        fetch_easy_stop(op->running);
        op_free(op);
    } else {
        op->done = NULL; /* its post is on the way */
    }
}
