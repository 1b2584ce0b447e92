/* SPDX-License-Identifier: Apache-2.0
 * What a request must look like before anything else sees it: reject, never repair. Pure
 * functions, any thread. */
#ifndef HTTP_GATE_H
#define HTTP_GATE_H
#include <stdbool.h>
#include "base/str.h"
enum gate_reason {
    GATE_OK,
    GATE_METHOD,  /* not GET HEAD POST PUT PATCH DELETE OPTIONS */
    GATE_VERSION, /* not HTTP/1.0 or HTTP/1.1 */
    GATE_URI,     /* not origin form, longer than 2 KiB, bytes outside visible ASCII, '#' */
    GATE_PATH,    /* bad escape, %00 %2f %5c, control byte, dot segment, empty segment, not UTF-8 */
    GATE_HOST,    /* not exactly one, malformed, or not ours */
    GATE_NAME,    /* header name empty or not a token (also a space before the colon) */
    GATE_VALUE,   /* control byte in a header value */
    GATE_COUNT,   /* more than 100 headers */
    GATE_SIZE,    /* more than 32 KiB of headers */
    GATE_LENGTH,  /* Content-Length repeated or not a plain number */
    GATE_CODING,  /* Transfer-Encoding repeated, not "chunked", with a length, in 1.0 */
    GATE_FOLD,    /* folded header line or bare line feed */
    GATE_REASONS
};
struct gate_header {
    struct str name, value;
};
struct gate_request {
    const char *method, *version, *uri; /* uri as it was on the wire */
    const struct gate_header *headers;
    int nheaders;
    const char *hosts; /* ",name,name," in lower case, "" = any */
};
struct gate_result {
    struct str host;        /* view of the Host value */
    int64_t content_length; /* -1 chunked, 0 none */
    const char *method;     /* static string */
    const char *query;      /* view into uri, "" when none */
};
/* path_out: at least strlen(uri) + 1 bytes; gets the decoded path. */
enum gate_reason gate_check(const struct gate_request *g, char *path_out, struct gate_result *out);
/* Decodes and checks one path (no query). -1 = refused. out holds at least in.n + 1 bytes. */
long gate_path(struct str in, char *out);
const char *gate_reason_name(enum gate_reason r);
#endif
