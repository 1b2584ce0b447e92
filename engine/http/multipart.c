/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "http/multipart.h"

enum { BOUNDARY_MAX = 70 };
enum state {
    AT_DELIMITER, /* matching delim, in front of the first part */
    AT_TAIL,      /* two bytes behind a delimiter: CRLF or -- */
    AT_HEADERS,
    AT_DATA,
    AT_END,
    AT_ERROR
};
struct multipart {
    struct multipart_sink sink;
    enum state state;
    char delim[BOUNDARY_MAX +
               8]; /* CRLF--boundary; CR occurs only at its start, so matching never backs up */
    size_t delim_n, matched;
    char tail[2];
    int tail_n;
    struct buf head;
    int parts;
};

static bool is_boundary_byte(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != 0 && strchr("'()+_,-./:=? ", c));
}

/* Reads one `name=value` parameter of a header value; *pp moves behind it. 0 none left, 1 read, -1
 * malformed. */
static int next_param(const char **pp, struct str *name, struct buf *value)
{
    const char *p = *pp;
    p += strspn(p, " \t");
    if (!*p)
        return 0;
    if (*p++ != ';')
        return -1;
    p += strspn(p, " \t");
    size_t n = strcspn(p, "=; \t\"");
    if (n == 0)
        return *p ? -1 : 0;
    if (p[n] != '=')
        return -1;
    *name = (struct str){p, n};
    p += n + 1;
    buf_clear(value);
    buf_put(value, "", 0);
    if (*p != '"') {
        n = strcspn(p, "; \t\"");
        buf_put(value, p, n);
        *pp = p + n;
        return 1;
    }
    for (p++; *p && *p != '"'; p++) {
        if (*p == '\\' && p[1] == '"') /* other backslashes are part of old Windows paths */
            p++;
        buf_put(value, p, 1);
    }
    if (*p != '"')
        return -1;
    *pp = p + 1;
    return 1;
}

static int read_boundary(const char *content_type, struct buf *out)
{
    const char *p = content_type + strlen("multipart/form-data");
    struct str name;
    struct buf v = {0};
    int rc, seen = 0;
    while ((rc = next_param(&p, &name, &v)) == 1) {
        if (!str_caseeqz(name, "boundary"))
            continue;
        seen++;
        buf_clear(out);
        buf_put(out, v.p, v.n);
    }
    buf_fini(&v);
    if (rc < 0 || seen != 1 || out->n == 0 || out->n > BOUNDARY_MAX || out->p[out->n - 1] == ' ')
        return -1;
    for (size_t i = 0; i < out->n; i++)
        if (!is_boundary_byte(out->p[i]))
            return -1;
    return 0;
}

int multipart_new(const char *content_type, const struct multipart_sink *s, struct multipart **out,
                  struct err *e)
{
    const char *type = "multipart/form-data";
    if (!content_type || strncasecmp(content_type, type, strlen(type)) != 0 ||
        !(content_type[strlen(type)] == ';' || content_type[strlen(type)] == ' '))
        return ERR(e, ERR_UNSUPPORTED, "expected multipart/form-data");
    struct buf b = {0};
    if (read_boundary(content_type, &b) < 0) {
        buf_fini(&b);
        return ERR(e, ERR_BAD_REQUEST, "multipart boundary is missing or malformed");
    }
    struct multipart *m = calloc(1, sizeof *m);
    must(m);
    m->sink = *s;
    memcpy(m->delim, "\r\n--", 4);
    memcpy(m->delim + 4, b.p, b.n);
    m->delim_n = b.n + 4;
    m->matched = 2; /* the first delimiter has no line break in front */
    buf_fini(&b);
    *out = m;
    return 0;
}

void multipart_free(struct multipart *m)
{
    if (!m)
        return;
    buf_fini(&m->head);
    free(m);
}

static bool is_clean(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)p[i] < 32 || p[i] == 127)
            return false;
    return str_is_utf8((struct str){p, n});
}

struct head {
    struct buf name, filename, ctype, scratch;
    bool has_name, has_filename, has_disposition;
};

static void head_fini(struct head *h)
{
    buf_fini(&h->name);
    buf_fini(&h->filename);
    buf_fini(&h->ctype);
    buf_fini(&h->scratch);
}

static void copy_base_name(struct buf *out, const struct buf *v)
{
    size_t from = 0;
    for (size_t i = 0; i < v->n; i++)
        if (v->p[i] == '/' || v->p[i] == '\\')
            from = i + 1;
    buf_clear(out);
    buf_put(out, v->p + from, v->n - from);
}

/* filename*=UTF-8''%e2... : only used by clients that send no plain filename. */
static int copy_extended(struct head *h, struct buf *v)
{
    static const char prefix[] = "UTF-8''";
    if (h->has_filename || v->n < 7 || strncasecmp(v->p, prefix, 7) != 0)
        return 0;
    struct buf plain = {0};
    buf_put(&plain, v->p, v->n);
    long n = str_unpercent((struct str){v->p + 7, v->n - 7}, false, plain.p, plain.n);
    if (n >= 0) {
        plain.n = (size_t)n;
        copy_base_name(&h->filename, &plain);
        h->has_filename = true;
    }
    buf_fini(&plain);
    return n < 0 ? -1 : 0;
}

static int read_disposition(struct head *h, const char *v)
{
    struct str name;
    int rc;
    if (h->has_disposition || strncasecmp(v, "form-data", 9) != 0)
        return -1;
    h->has_disposition = true;
    v += 9;
    while ((rc = next_param(&v, &name, &h->scratch)) == 1) {
        if (str_caseeqz(name, "name")) {
            if (h->has_name)
                return -1;
            h->has_name = true;
            buf_put(&h->name, h->scratch.p, h->scratch.n);
        } else if (str_caseeqz(name, "filename")) {
            copy_base_name(&h->filename, &h->scratch);
            h->has_filename = true;
        } else if (str_caseeqz(name, "filename*") && copy_extended(h, &h->scratch) < 0) {
            return -1;
        }
    }
    return rc < 0 || !h->has_name || !is_clean(h->name.p, h->name.n) ? -1 : 0;
}

static int read_line(struct head *h, char *line, size_t n)
{
    if (!is_clean(line, n))
        return -1;
    char *colon = memchr(line, ':', n);
    if (!colon || colon == line || line[0] == ' ' || line[0] == '\t')
        return -1;
    struct str name = {line, (size_t)(colon - line)};
    const char *v = colon + 1;
    v += strspn(v, " \t");
    if (str_caseeqz(name, "content-disposition"))
        return read_disposition(h, v);
    if (str_caseeqz(name, "content-type")) {
        buf_clear(&h->ctype);
        buf_puts(&h->ctype, v);
    }
    if (str_caseeqz(name, "content-transfer-encoding") && strcasecmp(v, "binary") != 0 &&
        strcasecmp(v, "8bit") != 0 && strcasecmp(v, "7bit") != 0)
        return -1;
    return 0;
}

/* m->head holds whole lines, each with its CRLF, without the empty one. */
static int begin_part(struct multipart *m, struct err *e)
{
    struct head h = {0};
    int rc = 0;
    char *p = m->head.p, *end = m->head.p + m->head.n;
    buf_put(&h.filename, "", 0);
    buf_put(&h.ctype, "", 0);
    while (rc == 0 && p < end) {
        char *eol = memmem(p, (size_t)(end - p), "\r\n", 2);
        *eol = '\0';
        rc = read_line(&h, p, (size_t)(eol - p));
        p = eol + 2;
    }
    if (rc < 0 || !h.has_disposition || !is_clean(h.filename.p, h.filename.n)) {
        rc = ERR(e, ERR_BAD_REQUEST, "malformed part header in multipart body");
    } else if (++m->parts > MULTIPART_PARTS_MAX) {
        rc = ERR(e, ERR_TOO_LARGE, "more than %d parts", MULTIPART_PARTS_MAX);
    } else {
        struct multipart_part part = {h.name.p, h.has_filename ? h.filename.p : NULL, h.ctype.p};
        rc = m->sink.begin(m->sink.arg, &part, e);
    }
    head_fini(&h);
    buf_clear(&m->head);
    m->state = AT_DATA;
    m->matched = 0;
    return rc;
}

static int feed_headers(struct multipart *m, const char **pp, const char *end, struct err *e)
{
    while (*pp < end) {
        const char *nl = memchr(*pp, '\n', (size_t)(end - *pp));
        size_t n = (size_t)((nl ? nl + 1 : end) - *pp);
        if (m->head.n + n > MULTIPART_HEADERS_MAX)
            return ERR(e, ERR_TOO_LARGE, "part headers larger than %d bytes",
                       MULTIPART_HEADERS_MAX);
        buf_put(&m->head, *pp, n);
        *pp += n;
        if (!nl)
            return 0;
        if (m->head.n < 2 || m->head.p[m->head.n - 2] != '\r')
            return ERR(e, ERR_BAD_REQUEST, "bare line feed in part headers");
        bool empty = m->head.n == 2 || m->head.p[m->head.n - 3] == '\n';
        if (!empty)
            continue;
        m->head.n -= 2;
        if (m->head.n == 0)
            return ERR(e, ERR_BAD_REQUEST, "part without headers");
        return begin_part(m, e);
    }
    return 0;
}

/* Gives everything in front of the next possible delimiter to the sink. */
static int feed_data(struct multipart *m, const char **pp, const char *end, struct err *e)
{
    while (*pp < end) {
        const char *p = *pp;
        if (m->matched == 0) {
            const char *cr = memchr(p, '\r', (size_t)(end - p));
            size_t n = (size_t)((cr ? cr : end) - p);
            *pp += n;
            if (n && m->sink.data(m->sink.arg, p, n, e) < 0)
                return -1;
            if (!cr)
                return 0;
            p = *pp;
        }
        while (p < end && m->matched < m->delim_n && *p == m->delim[m->matched]) {
            p++;
            m->matched++;
        }
        *pp = p;
        if (m->matched == m->delim_n) {
            m->state = AT_TAIL;
            m->tail_n = 0;
            return m->sink.end(m->sink.arg, e);
        }
        if (p < end) {
            size_t n = m->matched;
            m->matched = 0;
            if (m->sink.data(m->sink.arg, m->delim, n, e) < 0)
                return -1;
        }
    }
    return 0;
}

static int feed_delimiter(struct multipart *m, const char **pp, const char *end, struct err *e)
{
    while (*pp < end && m->matched < m->delim_n) {
        if (**pp != m->delim[m->matched])
            return ERR(e, ERR_BAD_REQUEST, "multipart body does not begin with its boundary");
        ++*pp;
        m->matched++;
    }
    if (m->matched == m->delim_n)
        m->state = AT_TAIL;
    return 0;
}

static int feed_tail(struct multipart *m, const char **pp, const char *end, struct err *e)
{
    while (*pp < end && m->tail_n < 2)
        m->tail[m->tail_n++] = *(*pp)++;
    if (m->tail_n < 2)
        return 0;
    if (memcmp(m->tail, "\r\n", 2) == 0)
        m->state = AT_HEADERS;
    else if (memcmp(m->tail, "--", 2) == 0)
        m->state = AT_END;
    else
        return ERR(e, ERR_BAD_REQUEST, "malformed multipart boundary line");
    m->tail_n = 0;
    return 0;
}

static int feed_some(struct multipart *m, const char **pp, const char *end, struct err *e)
{
    switch (m->state) {
    case AT_DELIMITER: return feed_delimiter(m, pp, end, e);
    case AT_TAIL: return feed_tail(m, pp, end, e);
    case AT_HEADERS: return feed_headers(m, pp, end, e);
    case AT_DATA: return feed_data(m, pp, end, e);
    case AT_END: *pp = end; return 0; /* what follows the end is padding */
    case AT_ERROR: break;
    }
    return ERR(e, ERR_BAD_REQUEST, "multipart body was refused");
}

int multipart_feed(struct multipart *m, const char *p, size_t n, struct err *e)
{
    const char *end = p + n;
    while (p < end) {
        if (feed_some(m, &p, end, e) < 0) {
            m->state = AT_ERROR;
            return -1;
        }
    }
    return 0;
}

int multipart_finish(struct multipart *m, struct err *e)
{
    return m->state == AT_END ? 0 : ERR(e, ERR_BAD_REQUEST, "multipart body ends too early");
}
