/* SPDX-License-Identifier: Apache-2.0
 * Immutable route table. Patterns: "/api/video/:id", or a trailing "/" + "*rest" for everything
 * below. More exact segments win: literal before parameter before rest. HEAD falls back to GET.
 * Matching is any thread, no allocation. */
#ifndef HTTP_ROUTER_H
#define HTTP_ROUTER_H
#include "base/err.h"
#include "base/str.h"
struct router;
struct router_entry {
    const char *method, *pattern;
    int id; /* >= 0, the caller's */
};
enum { ROUTER_PARAMS = 8 };
struct router_match {
    int status; /* 200, 404 or 405 */
    int id;     /* -1 unless 200 */
    int nparams;
    struct {
        const char *name; /* the table's */
        struct str value; /* view into path */
    } params[ROUTER_PARAMS];
    char allow[64]; /* for 405: "GET, HEAD, POST" */
};
/* Errors: ERR_CONFIG naming both patterns of a conflict or the malformed one. Copies entries. */
int router_build(const struct router_entry *v, int n, struct router **out, struct err *e);
void router_free(struct router *t);
void router_match(const struct router *t, const char *method, const char *path,
                  struct router_match *m);
#endif
