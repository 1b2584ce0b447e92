/* SPDX-License-Identifier: Apache-2.0
 * Mail: builds an RFC 5322 message and hands it to SMTP (conf smtp_url) or, without one, writes it as a .eml file into
 * mail_outbox. Loop thread only. */
#ifndef NET_MAIL_H
#define NET_MAIL_H
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"
struct fetch;
struct mail_op;

struct mail_msg {
    const char *from;    /* NULL = conf mail_from; "a@b.c" or "Name <a@b.c>" */
    const char *to;      /* one address, same forms */
    const char *subject; /* UTF-8 */
    const char *text;    /* UTF-8, any line ends; at least one of text and html */
    const char *html;
    const struct mail_server *server; /* NULL = the configuration's */
};
struct mail_server {
    const char *url;             /* smtp://host:port or smtps://host:port */
    const char *user, *password; /* NULL or "" = without signing in */
    bool
        tls; /* smtp: STARTTLS or nothing is sent; off: TLS when the server offers it and nothing secret is sent */
};

/* Everything is copied. done(arg, NULL) = accepted by the server (or written); done(arg, err) else: ERR_NET and ERR_TIMEOUT may
 * be tried again, ERR_INVALID (refused for good, SMTP 5xx) not. Never called inside mail_send. -1: ERR_INVALID. */
int mail_send(struct fetch *f, const struct mail_msg *m,
              void (*done)(void *arg, const struct err *e), void *arg, struct mail_op **out,
              struct err *e);
/* Before done only; done will not be called. The mail may still arrive. */
void mail_cancel(struct mail_op *op);
/* Appends the message: CRLF, headers encoded, quoted-printable bodies without lines that start with a dot.
 * For mail_send and tests. */
int mail_build(const struct mail_msg *m, int64_t wall_us, const char *message_id, struct buf *out,
               struct err *e);
#endif
