/* SPDX-License-Identifier: Apache-2.0
 * Closing politely in the middle of an upload: the answer has been sent, the rest is read and
 * dropped for a few seconds, else the kernel's reset would take the answer from the client. Inside
 * of http/. Loop thread. */
#ifndef HTTP_LINGER_H
#define HTTP_LINGER_H
struct loop;
struct linger_set;
struct linger_set *linger_new(struct loop *l);
/* Keeps a duplicate of fd; the caller goes on to close its own. */
void linger_add(struct linger_set *s, int fd);
void linger_free(struct linger_set *s);
#endif
