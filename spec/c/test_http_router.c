/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include "http/router.h"
#include "test.h"

static struct router *build(const struct router_entry *v, int n)
{
    struct router *t = NULL;
    struct err e = {0};
    CHECK(router_build(v, n, &t, &e) == 0);
    return t;
}

static int match(const struct router *t, const char *method, const char *path)
{
    struct router_match m;
    router_match(t, method, path, &m);
    return m.status == 200 ? m.id : -m.status;
}

static bool is_param(const struct router_match *m, int i, const char *name, const char *value)
{
    return i < m->nparams && strcmp(m->params[i].name, name) == 0 &&
           str_eqz(m->params[i].value, value);
}

static const struct router_entry table[] = {
    {"GET", "/", 1},
    {"GET", "/api/me", 2},
    {"POST", "/api/me", 3},
    {"GET", "/api/video/:id", 4},
    {"GET", "/api/video/new", 5},
    {"GET", "/api/video/:id/comments/:n", 6},
    {"DELETE", "/api/video/:vid", 7},
    {"GET", "/media/*path", 8},
    {"GET", "/api/", 9},
    {"GET", "/a/:x/c", 10},
    {"GET", "/a/b/d", 11},
    {"HEAD", "/head", 12},
    {"GET", "/head", 13},
};
enum { N = sizeof table / sizeof *table };

TEST(literal_before_parameter_before_rest)
{
    struct router *t = build(table, N);
    CHECK(match(t, "GET", "/") == 1);
    CHECK(match(t, "GET", "/api/me") == 2);
    CHECK(match(t, "POST", "/api/me") == 3);
    CHECK(match(t, "GET", "/api/video/new") == 5);
    CHECK(match(t, "GET", "/api/video/newer") == 4);
    CHECK(match(t, "GET", "/api/") == 9);
    CHECK(match(t, "GET", "/api") == -404);
    CHECK(match(t, "GET", "/api/me/") == -404);
    CHECK(match(t, "GET", "/media") == -404);
    CHECK(match(t, "GET", "/media/") == -404);
    CHECK(match(t, "GET", "/media/x/y.m4s") == 8);
    CHECK(match(t, "GET", "") == -404);
    router_free(t);
}

TEST(a_literal_that_leads_nowhere_is_left_again)
{
    struct router *t = build(table, N);
    CHECK(match(t, "GET", "/a/b/c") == 10);
    CHECK(match(t, "GET", "/a/b/d") == 11);
    CHECK(match(t, "GET", "/a/z/d") == -404);
    router_free(t);
}

TEST(parameters_have_the_names_of_their_method)
{
    struct router *t = build(table, N);
    struct router_match m;
    router_match(t, "GET", "/api/video/17/comments/3", &m);
    CHECK(m.id == 6 && m.nparams == 2 && is_param(&m, 0, "id", "17") && is_param(&m, 1, "n", "3"));
    router_match(t, "DELETE", "/api/video/17", &m);
    CHECK(m.id == 7 && is_param(&m, 0, "vid", "17"));
    router_match(t, "GET", "/media/a/b", &m);
    CHECK(m.id == 8 && is_param(&m, 0, "path", "a/b"));
    router_match(t, "GET", "/api/video//comments/3", &m);
    CHECK(m.status == 404 && m.id == -1);
    router_free(t);
}

TEST(wrong_method_tells_the_right_ones)
{
    struct router *t = build(table, N);
    struct router_match m;
    router_match(t, "PUT", "/api/me", &m);
    CHECK(m.status == 405 && strcmp(m.allow, "GET, HEAD, POST") == 0);
    router_match(t, "POST", "/api/video/new", &m);
    CHECK(m.status == 405 && strcmp(m.allow, "GET, HEAD, DELETE") == 0);
    CHECK(match(t, "DELETE", "/api/video/new") == 7);
    router_match(t, "BREW", "/api/me", &m);
    CHECK(m.status == 405);
    router_match(t, "PUT", "/nowhere", &m);
    CHECK(m.status == 404 && m.allow[0] == '\0');
    router_free(t);
}

TEST(head_falls_back_to_get)
{
    struct router *t = build(table, N);
    CHECK(match(t, "HEAD", "/api/me") == 2);
    CHECK(match(t, "HEAD", "/head") == 12);
    CHECK(match(t, "GET", "/head") == 13);
    router_free(t);
}

static bool refuses(const char *m1, const char *p1, const char *m2, const char *p2)
{
    struct router_entry v[] = {{m1, p1, 1}, {m2, p2, 2}};
    struct router *t = NULL;
    struct err e = {0};
    bool no = router_build(v, m2 ? 2 : 1, &t, &e) < 0 && e.code == ERR_CONFIG;
    if (no && m2)
        no = strstr(e.msg, p1) && strstr(e.msg, p2);
    router_free(t);
    return no;
}

TEST(conflicts_name_both_patterns)
{
    CHECK(refuses("GET", "/x/:a", "GET", "/x/:b"));
    CHECK(refuses("GET", "/x/*a", "GET", "/x/*b"));
    CHECK(refuses("GET", "/x", "GET", "/x"));
    CHECK(!refuses("GET", "/x", "POST", "/x"));
    CHECK(!refuses("GET", "/x/:a", "GET", "/x/*b"));
}

TEST(malformed_patterns_are_refused)
{
    static const char *const bad[] = {"",
                                      "x",
                                      "/a//b",
                                      "/:",
                                      "/:a-b",
                                      "/*",
                                      "/*a/b",
                                      "/a/*x/",
                                      "/:a/:b/:c/:d/:e/:f/:g/:h/:i",
                                      "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(refuses("GET", bad[i], NULL, NULL));
    CHECK(refuses("BREW", "/x", NULL, NULL));
}

TEST(many_routes)
{
    enum { MANY = 2000 };
    static char names[MANY][32];
    struct router_entry *v = calloc(MANY, sizeof *v);
    CHECK(v != NULL);
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "/r/%d/x", (i * 7919) % MANY);
        v[i] = (struct router_entry){"GET", names[i], i};
    }
    struct router *t = build(v, MANY);
    for (int i = 0; i < MANY; i++)
        CHECK(match(t, "GET", names[i]) == i);
    router_free(t);
    free(v);
}
