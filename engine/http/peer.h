/* SPDX-License-Identifier: Apache-2.0
 * Client addresses as 16 bytes (IPv4 mapped): trusted proxies, X-Forwarded-For, connections per
 * address. Loop thread. */
#ifndef HTTP_PEER_H
#define HTTP_PEER_H
#include <stdbool.h>
#include <sys/socket.h>
#include "base/err.h"
#include "http/msg.h"
struct peer_net {
    unsigned char a[16];
    int bits;
};
struct peer_table;
enum { PEER_TEXT = 46 };

/* "10.0.0.0/8, ::1"; the array is the caller's to free(). */
int peer_nets_parse(const char *list, struct peer_net **out, int *n, struct err *e);
bool peer_is_listed(const struct peer_net *v, int n, const unsigned char a[16]);
void peer_from_sockaddr(const struct sockaddr *sa, unsigned char out[16]);
void peer_format(const unsigned char a[16], char out[PEER_TEXT]);
/* Right-most address of the X-Forwarded-For headers that is not a trusted proxy; a stays as it is
 * when there is none. */
void peer_forwarded(const struct peer_net *v, int n, const struct http_header *h, int nh,
                    unsigned char a[16]);

struct peer_table *peer_table_new(void);
void peer_table_free(struct peer_table *t);
int peer_count(const struct peer_table *t, const unsigned char a[16]);
void peer_add(struct peer_table *t, const unsigned char a[16], int delta);
#endif
