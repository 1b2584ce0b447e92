/* SPDX-License-Identifier: Apache-2.0
 * Answers made once and sent again: making an MHD answer costs three allocations per header, and
 * short answers with the same headers and the same length come back all the time. One answer
 * serves one request at a time; only its body and its request id change. Loop thread. */
#ifndef HTTP_READY_H
#define HTTP_READY_H
#include <stdbool.h>
#include <stddef.h>
#include "http/msg.h"
struct MHD_Response;
struct ready_set;

enum { READY_BODY_MAX = 4096 };
struct ready {
    struct MHD_Response *m;
    bool made;     /* new: m has no headers yet */
    char *id;      /* where m keeps its X-Request-Id: the caller writes the next one there */
    unsigned turn; /* of ready_set_clear when it was made */
    size_t nkey, nbody;
    char *key, *body;
};

struct ready_set *ready_set_new(void);
void ready_set_free(struct ready_set *s); /* after every answer was given back */
/* Headers that every answer carries have changed: what is kept is forgotten, what is on its way is not kept. */
void ready_set_clear(struct ready_set *s);
/* An answer of these headers with this body, to be decorated when it is new; NULL when such an
 * answer is not kept (long, many or one-time headers). */
struct ready *ready_take(struct ready_set *s, const struct http_header *h, int nh, const void *body,
                         size_t n);
void ready_drop(struct ready *r); /* NULL is fine */
/* MHD no longer reads it. */
void ready_give(struct ready_set *s, struct ready *r);
#endif
