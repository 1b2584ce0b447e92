/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "http/router.h"

enum { METHODS = 7, DEPTH_MAX = 16 };
static const char *const method_names[METHODS] = {"GET",   "HEAD",   "POST",   "PUT",
                                                  "PATCH", "DELETE", "OPTIONS"};

/* What a path means once its segments are walked. */
struct leaf {
    int id[METHODS]; /* -1 = none */
    const char *pattern[METHODS];
    const char *names[METHODS][ROUTER_PARAMS];
    int nnames[METHODS];
};
struct node {
    struct node **kids; /* literal children, sorted by text */
    int nkids;
    const char *text;
    size_t len;
    struct node *param;
    struct leaf *here, *rest;
};
struct router {
    struct arena *arena;
    struct node root;
};

static int method_index(const char *m)
{
    for (int i = 0; i < METHODS; i++)
        if (strcmp(method_names[i], m) == 0)
            return i;
    return -1;
}

static int compare_text(struct str a, const char *p, size_t n)
{
    size_t min = a.n < n ? a.n : n;
    int c = min ? memcmp(a.p, p, min) : 0;
    return c ? c : (a.n > n) - (a.n < n);
}

/* Position of the child, or where it would go (found tells). */
static int kid_index(const struct node *n, struct str seg, bool *found)
{
    int lo = 0, hi = n->nkids;
    while (lo < hi) {
        int mid = (lo + hi) / 2, c = compare_text(seg, n->kids[mid]->text, n->kids[mid]->len);
        if (c == 0) {
            *found = true;
            return mid;
        }
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    *found = false;
    return lo;
}

static struct node *kid_get(struct arena *a, struct node *n, struct str seg)
{
    bool found;
    int at = kid_index(n, seg, &found);
    if (found)
        return n->kids[at];
    struct node **v = arena_alloc(a, sizeof *v * (size_t)(n->nkids + 1));
    struct node *k = arena_alloc(a, sizeof *k);
    if (at)
        memcpy(v, n->kids, sizeof *v * (size_t)at);
    if (n->nkids > at)
        memcpy(v + at + 1, n->kids + at, sizeof *v * (size_t)(n->nkids - at));
    k->text = arena_strndup(a, seg.p, seg.n);
    k->len = seg.n;
    v[at] = k;
    n->kids = v;
    n->nkids++;
    return k;
}

static struct leaf *leaf_get(struct arena *a, struct leaf **at)
{
    if (!*at) {
        *at = arena_alloc(a, sizeof **at);
        for (int i = 0; i < METHODS; i++)
            (*at)->id[i] = -1;
    }
    return *at;
}

static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            c != '_')
            return false;
    }
    return s.n > 0;
}

struct walk {
    const char *names[ROUTER_PARAMS];
    int n;
};

static int add_name(struct router *t, struct walk *w, const char *pattern, struct str name,
                    struct err *e)
{
    if (!is_name(name))
        return ERR(e, ERR_CONFIG, "route %s: bad parameter name", pattern);
    if (w->n == ROUTER_PARAMS)
        return ERR(e, ERR_CONFIG, "route %s: more than %d parameters", pattern, ROUTER_PARAMS);
    w->names[w->n++] = arena_strndup(t->arena, name.p, name.n);
    return 0;
}

/* Walks one pattern, making nodes; the place its methods belong comes back in *out. */
static int place(struct router *t, const char *pattern, struct walk *w, struct leaf **out,
                 struct err *e)
{
    struct node *n = &t->root;
    const char *p = pattern;
    int depth = 0;
    if (*p != '/')
        return ERR(e, ERR_CONFIG, "route %s: must begin with /", pattern);
    while (*p == '/') {
        const char *end = strchrnul(++p, '/');
        struct str seg = {p, (size_t)(end - p)};
        if (++depth > DEPTH_MAX)
            return ERR(e, ERR_CONFIG, "route %s: more than %d segments", pattern, DEPTH_MAX);
        if (seg.n && *p == '*') {
            if (*end || add_name(t, w, pattern, (struct str){p + 1, seg.n - 1}, e) < 0)
                return *end ? ERR(e, ERR_CONFIG, "route %s: *rest must be last", pattern) : -1;
            *out = leaf_get(t->arena, &n->rest);
            return 0;
        }
        if (seg.n && *p == ':') {
            if (add_name(t, w, pattern, (struct str){p + 1, seg.n - 1}, e) < 0)
                return -1;
            if (!n->param)
                n->param = arena_alloc(t->arena, sizeof *n->param);
            n = n->param;
        } else {
            if (!seg.n && *end)
                return ERR(e, ERR_CONFIG, "route %s: empty segment", pattern);
            n = kid_get(t->arena, n, seg);
        }
        p = end;
    }
    *out = leaf_get(t->arena, &n->here);
    return 0;
}

static int add(struct router *t, const struct router_entry *v, struct err *e)
{
    struct walk w = {0};
    struct leaf *l = NULL;
    int m = v->method ? method_index(v->method) : -1;
    if (!v->pattern || v->id < 0 || m < 0)
        return ERR(e, ERR_CONFIG, "route %s: unknown method or bad id",
                   v->pattern ? v->pattern : "?");
    if (place(t, v->pattern, &w, &l, e) < 0)
        return -1;
    if (l->id[m] >= 0)
        return ERR(e, ERR_CONFIG, "routes %s %s and %s answer the same paths", v->method,
                   l->pattern[m], v->pattern);
    l->id[m] = v->id;
    l->pattern[m] = arena_strdup(t->arena, v->pattern);
    l->nnames[m] = w.n;
    memcpy(l->names[m], w.names, sizeof w.names);
    return 0;
}

int router_build(const struct router_entry *v, int n, struct router **out, struct err *e)
{
    struct arena *a = arena_new();
    struct router *t = arena_alloc(a, sizeof *t);
    t->arena = a;
    for (int i = 0; i < n; i++) {
        if (add(t, &v[i], e) < 0) {
            arena_free(a);
            return -1;
        }
    }
    *out = t;
    return 0;
}

void router_free(struct router *t)
{
    if (t)
        arena_free(t->arena);
}

struct search {
    int method;
    struct str values[ROUTER_PARAMS];
    int n;
    const struct leaf *found;
    int found_n;    /* values that belong to it */
    unsigned allow; /* methods of leaves that fit the path but not the method */
};

static int leaf_method(const struct leaf *l, int m)
{
    if (l->id[m] < 0 && m == 1 && l->id[0] >= 0)
        return 0;
    return m;
}

static bool try_leaf(struct search *s, const struct leaf *l)
{
    if (!l)
        return false;
    if (s->method >= 0 && l->id[leaf_method(l, s->method)] >= 0) {
        s->found = l;
        s->found_n = s->n;
        return true;
    }
    for (int i = 0; i < METHODS; i++)
        if (l->id[i] >= 0)
            s->allow |= 1u << i;
    if (l->id[0] >= 0)
        s->allow |= 2u;
    return false;
}

/* p points behind a '/'. Depth is bounded by the table's, so recursion is. */
static bool descend(struct search *s, const struct node *n, const char *p)
{
    const char *end = strchrnul(p, '/');
    struct str seg = {p, (size_t)(end - p)};
    bool found;
    int at = kid_index(n, seg, &found);
    if (found) {
        const struct node *k = n->kids[at];
        if (*end ? descend(s, k, end + 1) : try_leaf(s, k->here))
            return true;
    }
    if (n->param && seg.n && s->n < ROUTER_PARAMS) {
        s->values[s->n++] = seg;
        if (*end ? descend(s, n->param, end + 1) : try_leaf(s, n->param->here))
            return true;
        s->n--;
    }
    if (n->rest && *p && s->n < ROUTER_PARAMS) {
        s->values[s->n++] = (struct str){p, strlen(p)};
        if (try_leaf(s, n->rest))
            return true;
        s->n--;
    }
    return false;
}

static void put_allow(unsigned allow, char out[64])
{
    size_t n = 0;
    out[0] = '\0';
    for (int i = 0; i < METHODS; i++)
        if (allow & (1u << i))
            n += (size_t)snprintf(out + n, 64 - n, "%s%s", n ? ", " : "", method_names[i]);
}

void router_match(const struct router *t, const char *method, const char *path,
                  struct router_match *m)
{
    struct search s = {.method = method_index(method)};
    m->id = -1;
    m->nparams = 0;
    m->allow[0] = '\0';
    if (*path == '/' && descend(&s, &t->root, path + 1)) {
        int k = leaf_method(s.found, s.method);
        m->status = 200;
        m->id = s.found->id[k];
        m->nparams = s.found_n;
        for (int i = 0; i < s.found_n; i++) {
            m->params[i].name = s.found->names[k][i];
            m->params[i].value = s.values[i];
        }
        return;
    }
    m->status = s.allow ? 405 : 404;
    put_allow(s.allow, m->allow);
}
