/* SPDX-License-Identifier: Apache-2.0
 * Input: a request head, loosely split at spaces, line feeds and colons, as hostile parsing in
 * front of the gate might do. What passes must hold the promises of gate.h. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "http/gate.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

enum { HEADERS = 110 };

static void check_path(const char *path)
{
    must(path[0] == '/' && str_is_utf8(str_from(path)));
    must(!strstr(path, "//") && !strstr(path, "/../") && !strstr(path, "/./") &&
         !strchr(path, '\\'));
    size_t n = strlen(path);
    must(n < 2 || strcmp(path + n - 2, "/.") != 0);
    must(n < 3 || strcmp(path + n - 3, "/..") != 0);
    for (const char *p = path; *p; p++)
        must((unsigned char)*p >= 32 && *p != 127);
}

static void check_passed(const struct gate_request *g, const struct gate_result *r,
                         const char *path)
{
    int hosts = 0, lengths = 0, codings = 0;
    check_path(path);
    must(strcmp(r->method, g->method) == 0 && r->content_length >= -1 && g->nheaders <= 100);
    for (int i = 0; i < g->nheaders; i++) {
        struct str n = g->headers[i].name;
        hosts += str_caseeqz(n, "host");
        lengths += str_caseeqz(n, "content-length");
        codings += str_caseeqz(n, "transfer-encoding");
        must(n.n > 0 && !memchr(n.p, ' ', n.n) &&
             !memchr(g->headers[i].value.p, '\n', g->headers[i].value.n));
    }
    must(hosts == 1 && lengths + codings <= 1);
    must((codings == 1) == (r->content_length == -1));
}

static char *word(char **p, char end)
{
    char *s = *p, *e = strchr(s, end);
    if (e)
        *e++ = '\0';
    *p = e ? e : s + strlen(s);
    return s;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct gate_header v[HEADERS];
    struct gate_result r;
    int n = 0;
    char *text = malloc(size + 1), *out, *p = text;
    must(text);
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    char *line = word(&p, '\n');
    struct gate_request g = {.hosts = "", .headers = v};
    g.method = word(&line, ' ');
    g.uri = word(&line, ' ');
    g.version = line;
    while (*p && n < HEADERS) {
        char *value = word(&p, '\n');
        v[n].name = str_from(word(&value, ':'));
        v[n++].value = str_from(value);
    }
    g.nheaders = n;
    out = malloc(strlen(g.uri) + 1);
    must(out);
    if (gate_check(&g, out, &r) == GATE_OK)
        check_passed(&g, &r, out);
    free(out);
    char *dec = malloc(size + 1);
    must(dec);
    if (gate_path((struct str){(const char *)data, size}, dec) >= 0)
        check_path(dec);
    free(dec);
    free(text);
    return 0;
}
