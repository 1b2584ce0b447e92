/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include "http/peer.h"

enum { BUCKETS = 1024 };
struct entry {
    struct entry *next;
    unsigned char a[16];
    int n;
};
struct peer_table {
    struct entry *b[BUCKETS];
};

static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

static bool parse_addr(const char *s, unsigned char out[16])
{
    memcpy(out, mapped, 12);
    if (inet_pton(AF_INET, s, out + 12) == 1)
        return true;
    return inet_pton(AF_INET6, s, out) == 1;
}

static bool is_v4(const unsigned char a[16])
{
    return memcmp(a, mapped, 12) == 0;
}

static int parse_net(struct str item, struct peer_net *out, struct err *e)
{
    char text[PEER_TEXT + 8];
    int64_t bits = 128;
    item = str_trim(item);
    if (item.n == 0 || item.n >= sizeof text)
        return ERR(e, ERR_CONFIG, "bad address in trusted_proxies");
    memcpy(text, item.p, item.n);
    text[item.n] = '\0';
    char *slash = strchr(text, '/');
    if (slash)
        *slash++ = '\0';
    if (!parse_addr(text, out->a))
        return ERR(e, ERR_CONFIG, "bad address %s in trusted_proxies", text);
    if (slash) {
        int64_t max = is_v4(out->a) ? 32 : 128;
        if (str_to_int64(str_from(slash), &bits) < 0 || bits < 0 || bits > max)
            return ERR(e, ERR_CONFIG, "bad prefix length in trusted_proxies");
        bits += 128 - max;
    }
    out->bits = (int)bits;
    return 0;
}

int peer_nets_parse(const char *list, struct peer_net **out, int *n, struct err *e)
{
    *out = NULL;
    *n = 0;
    for (const char *p = list ? list : ""; *p;) {
        size_t len = strcspn(p, ",");
        struct peer_net net;
        if (str_trim((struct str){p, len}).n) {
            if (parse_net((struct str){p, len}, &net, e) < 0) {
                free(*out);
                *out = NULL;
                return -1;
            }
            *out = realloc(*out, sizeof net * (size_t)(*n + 1));
            must(*out);
            (*out)[(*n)++] = net;
        }
        p += len + (p[len] == ',');
    }
    return 0;
}

bool peer_is_listed(const struct peer_net *v, int n, const unsigned char a[16])
{
    for (int i = 0; i < n; i++) {
        int bytes = v[i].bits / 8, rest = v[i].bits % 8;
        if (memcmp(v[i].a, a, (size_t)bytes) != 0)
            continue;
        if (rest == 0 || (v[i].a[bytes] ^ a[bytes]) >> (8 - rest) == 0)
            return true;
    }
    return false;
}

void peer_from_sockaddr(const struct sockaddr *sa, unsigned char out[16])
{
    memset(out, 0, 16);
    if (sa && sa->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, sa, sizeof v4);
        memcpy(out, mapped, 12);
        memcpy(out + 12, &v4.sin_addr, 4);
    } else if (sa && sa->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, sa, sizeof v6);
        memcpy(out, &v6.sin6_addr, 16);
    }
}

void peer_format(const unsigned char a[16], char out[PEER_TEXT])
{
    if (is_v4(a))
        inet_ntop(AF_INET, a + 12, out, PEER_TEXT);
    else
        inet_ntop(AF_INET6, a, out, PEER_TEXT);
}

/* Walks one header's list from the right. True = the answer was found (or the rest cannot be
 * trusted). */
static bool walk_list(const struct peer_net *v, int n, const char *value, unsigned char a[16])
{
    size_t end = strlen(value);
    while (end > 0) {
        size_t from = end;
        while (from > 0 && value[from - 1] != ',')
            from--;
        struct str item = str_trim((struct str){value + from, end - from});
        char text[PEER_TEXT];
        unsigned char addr[16];
        if (item.n == 0 || item.n >= sizeof text)
            return true;
        memcpy(text, item.p, item.n);
        text[item.n] = '\0';
        if (!parse_addr(text, addr))
            return true;
        memcpy(a, addr, 16);
        if (!peer_is_listed(v, n, addr))
            return true;
        end = from ? from - 1 : 0;
    }
    return false;
}

void peer_forwarded(const struct peer_net *v, int n, const struct http_header *h, int nh,
                    unsigned char a[16])
{
    for (int i = nh - 1; i >= 0; i--)
        if (strcmp(h[i].name, "x-forwarded-for") == 0 && walk_list(v, n, h[i].value, a))
            return;
}

/* IPv6 hosts own a whole /64. */
static void key_of(const unsigned char a[16], unsigned char out[16])
{
    memcpy(out, a, 16);
    if (!is_v4(a))
        memset(out + 8, 0, 8);
}

static unsigned bucket_of(const unsigned char k[16])
{
    uint32_t h = 2166136261u;
    for (int i = 0; i < 16; i++)
        h = (h ^ k[i]) * 16777619u;
    return h % BUCKETS;
}

struct peer_table *peer_table_new(void)
{
    struct peer_table *t = calloc(1, sizeof *t);
    must(t);
    return t;
}

void peer_table_free(struct peer_table *t)
{
    if (!t)
        return;
    for (int i = 0; i < BUCKETS; i++) {
        for (struct entry *e = t->b[i], *next; e; e = next) {
            next = e->next;
            free(e);
        }
    }
    free(t);
}

int peer_count(const struct peer_table *t, const unsigned char a[16])
{
    unsigned char k[16];
    key_of(a, k);
    for (const struct entry *e = t->b[bucket_of(k)]; e; e = e->next)
        if (memcmp(e->a, k, 16) == 0)
            return e->n;
    return 0;
}

void peer_add(struct peer_table *t, const unsigned char a[16], int delta)
{
    unsigned char k[16];
    key_of(a, k);
    struct entry **at = &t->b[bucket_of(k)];
    while (*at && memcmp((*at)->a, k, 16) != 0)
        at = &(*at)->next;
    if (!*at) {
        *at = calloc(1, sizeof **at);
        must(*at);
        memcpy((*at)->a, k, 16);
    }
    (*at)->n += delta;
    if ((*at)->n <= 0) {
        struct entry *e = *at;
        *at = e->next;
        free(e);
    }
}
