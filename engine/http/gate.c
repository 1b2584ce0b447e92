/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include "http/gate.h"

enum { URI_MAX = 2048, HEADERS_MAX = 100, HEADER_BYTES_MAX = 32768, LENGTH_DIGITS = 18 };

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};

static const bool token_bytes[256] = {
    ['0' ... '9'] = true, ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['!'] = true,  ['#'] = true,
    ['$'] = true,         ['%'] = true,         ['&'] = true,         ['\''] = true, ['*'] = true,
    ['+'] = true,         ['-'] = true,         ['.'] = true,         ['^'] = true,  ['_'] = true,
    ['`'] = true,         ['|'] = true,         ['~'] = true,
};

static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!token_bytes[(unsigned char)s.p[i]])
            return false;
    return s.n > 0;
}

static bool is_clean_value(struct str s)
{
    for (size_t i = str_plain(s.p, s.n); i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < 32 && c != '\t') || c == 127)
            return false;
    }
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *find_method(const char *m)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strcmp(methods[i], m) == 0)
            return methods[i];
    return NULL;
}

/* The segment that ends before out[o] must be a real name. */
static bool is_good_segment(const char *seg, size_t n, bool last)
{
    if (n == 0)
        return last;
    return !(n == 1 && seg[0] == '.') && !(n == 2 && seg[0] == '.' && seg[1] == '.');
}

long gate_path(struct str in, char *out)
{
    size_t o = 0, seg = 1;
    if (in.n == 0 || in.p[0] != '/')
        return -1;
    out[o++] = '/';
    for (size_t i = 1; i < in.n; i++) {
        char c = in.p[i];
        if (c == '/') {
            if (!is_good_segment(out + seg, o - seg, false))
                return -1;
            out[o++] = '/';
            seg = o;
            continue;
        }
        if (c == '%') {
            int hi = i + 2 < in.n ? hex_digit(in.p[i + 1]) : -1;
            int lo = i + 2 < in.n ? hex_digit(in.p[i + 2]) : -1;
            if (hi < 0 || lo < 0)
                return -1;
            c = (char)(hi * 16 + lo);
            i += 2;
            if (c == '/')
                return -1;
        }
        if ((unsigned char)c < 32 || c == 127 || c == '\\')
            return -1;
        out[o++] = c;
    }
    out[o] = '\0';
    if (!is_good_segment(out + seg, o - seg, true) || !str_is_utf8((struct str){out, o}))
        return -1;
    return (long)o;
}

static enum gate_reason check_uri(const char *uri, char *path_out, struct gate_result *out)
{
    size_t n = strnlen(uri, URI_MAX + 1);
    if (n == 0 || n > URI_MAX || uri[0] != '/')
        return GATE_URI;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)uri[i] <= 32 || (unsigned char)uri[i] >= 127 || uri[i] == '#')
            return GATE_URI;
    const char *q = memchr(uri, '?', n);
    size_t plen = q ? (size_t)(q - uri) : n;
    out->query = q ? q + 1 : "";
    return gate_path((struct str){uri, plen}, path_out) < 0 ? GATE_PATH : GATE_OK;
}

/* Splits "name:port" or "[v6]:port"; the name is what configuration lists. */
static bool split_host(struct str v, struct str *name)
{
    size_t n = 0;
    if (v.n == 0 || v.n > 255)
        return false;
    if (v.p[0] == '[') {
        const char *end = memchr(v.p, ']', v.n);
        if (!end || end == v.p + 1)
            return false;
        n = (size_t)(end - v.p) + 1;
        for (size_t i = 1; i + 1 < n; i++)
            if (hex_digit(v.p[i]) < 0 && v.p[i] != ':' && v.p[i] != '.')
                return false;
    } else {
        for (; n < v.n && v.p[n] != ':'; n++) {
            char c = v.p[n], l = (char)(c | 32);
            if (!(c >= '0' && c <= '9') && !(l >= 'a' && l <= 'z') && c != '.' && c != '-' &&
                c != '_')
                return false;
        }
    }
    *name = (struct str){v.p, n};
    if (n == 0)
        return false;
    if (n == v.n)
        return true;
    if (v.p[n] != ':' || v.n - n < 2 || v.n - n > 6)
        return false;
    for (size_t i = n + 1; i < v.n; i++)
        if (v.p[i] < '0' || v.p[i] > '9')
            return false;
    return true;
}

static bool is_listed(const char *hosts, struct str name)
{
    if (!hosts || !*hosts)
        return true;
    char want[260];
    size_t n = 0;
    want[n++] = ',';
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        want[n++] = c >= 'A' && c <= 'Z' ? (char)(c | 32) : c;
    }
    if (want[n - 1] == '.' && n > 2)
        n--;
    want[n++] = ',';
    want[n] = '\0';
    return strstr(hosts, want) != NULL;
}

static enum gate_reason check_length(struct str v, int64_t *out)
{
    int64_t x = 0;
    if (v.n == 0 || v.n > LENGTH_DIGITS)
        return GATE_LENGTH;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return GATE_LENGTH;
        x = x * 10 + (v.p[i] - '0');
    }
    *out = x;
    return GATE_OK;
}

struct seen {
    int hosts, lengths, codings;
};

static enum gate_reason check_header(const struct gate_request *g, const struct gate_header *h,
                                     struct seen *n, struct gate_result *out)
{
    if (!is_token(h->name))
        return GATE_NAME;
    if (!is_clean_value(h->value))
        return GATE_VALUE;
    if (str_caseeqz(h->name, "host")) {
        struct str name;
        out->host = h->value;
        if (++n->hosts > 1 || !split_host(h->value, &name) || !is_listed(g->hosts, name))
            return GATE_HOST;
    } else if (str_caseeqz(h->name, "content-length")) {
        return ++n->lengths > 1 ? GATE_LENGTH : check_length(h->value, &out->content_length);
    } else if (str_caseeqz(h->name, "transfer-encoding")) {
        if (++n->codings > 1 || !str_caseeqz(h->value, "chunked"))
            return GATE_CODING;
    }
    return GATE_OK;
}

static enum gate_reason check_headers(const struct gate_request *g, struct gate_result *out)
{
    struct seen n = {0};
    size_t bytes = 0;
    if (g->nheaders > HEADERS_MAX)
        return GATE_COUNT;
    for (int i = 0; i < g->nheaders; i++) {
        bytes += g->headers[i].name.n + g->headers[i].value.n + 4;
        enum gate_reason why = check_header(g, &g->headers[i], &n, out);
        if (why != GATE_OK)
            return why;
    }
    if (bytes > HEADER_BYTES_MAX)
        return GATE_SIZE;
    if (n.hosts != 1)
        return GATE_HOST;
    if (n.codings && (n.lengths || strcmp(g->version, "HTTP/1.1") != 0))
        return GATE_CODING;
    if (n.codings)
        out->content_length = -1;
    return GATE_OK;
}

enum gate_reason gate_check(const struct gate_request *g, char *path_out, struct gate_result *out)
{
    memset(out, 0, sizeof *out);
    out->method = find_method(g->method);
    if (!out->method)
        return GATE_METHOD;
    if (strcmp(g->version, "HTTP/1.1") != 0 && strcmp(g->version, "HTTP/1.0") != 0)
        return GATE_VERSION;
    enum gate_reason why = check_uri(g->uri, path_out, out);
    return why != GATE_OK ? why : check_headers(g, out);
}

const char *gate_reason_name(enum gate_reason r)
{
    static const char *const names[GATE_REASONS] = {
        "ok",    "method", "version", "uri",    "path",   "host", "name",
        "value", "count",  "size",    "length", "coding", "fold",
    };
    return (unsigned)r < GATE_REASONS ? names[r] : "?";
}
