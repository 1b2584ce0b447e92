/* SPDX-License-Identifier: Apache-2.0 */
#include "http/gate.h"
#include "test.h"

enum { MAX = 128 };
static char path[4096];
static struct gate_result result;

/* headers: "Name:value" lines, split at the first colon, ended by NULL. */
static enum gate_reason check(const char *method, const char *uri, const char *version,
                              const char *const *headers, const char *hosts)
{
    static struct gate_header v[MAX];
    int n = 0;
    for (; headers[n]; n++) {
        const char *colon = strchr(headers[n], ':');
        v[n].name = (struct str){headers[n], (size_t)(colon - headers[n])};
        v[n].value = str_from(colon + 1);
    }
    struct gate_request g = {method, version, uri, v, n, hosts};
    return gate_check(&g, path, &result);
}

static enum gate_reason get(const char *uri)
{
    static const char *const h[] = {"Host:a", NULL};
    return check("GET", uri, "HTTP/1.1", h, "");
}

#define WITH(method, version, ...) \
    check(method, "/x", version, (const char *const[]){__VA_ARGS__, NULL}, "")

TEST(a_plain_request_passes)
{
    CHECK(get("/api/x?a=%41") == GATE_OK);
    CHECK(strcmp(path, "/api/x") == 0 && strcmp(result.query, "a=%41") == 0);
    CHECK(strcmp(result.method, "GET") == 0 && result.content_length == 0 &&
          str_eqz(result.host, "a"));
    CHECK(get("/") == GATE_OK && strcmp(result.query, "") == 0);
    CHECK(get("/dir/") == GATE_OK && strcmp(path, "/dir/") == 0);
}

TEST(paths_are_decoded_once)
{
    CHECK(get("/a%20b%C3%A9") == GATE_OK && strcmp(path, "/a b\303\251") == 0);
    CHECK(get("/%252e%252e/x") == GATE_OK && strcmp(path, "/%2e%2e/x") == 0);
    CHECK(get("/a+b") == GATE_OK && strcmp(path, "/a+b") == 0);
    CHECK(get("/...") == GATE_OK && get("/.well-known/x") == GATE_OK && get("/a..b") == GATE_OK);
}

TEST(dirty_paths_are_refused)
{
    static const char *const bad[] = {
        "/../x",        "/a/../b",       "/a/..",  "/.",     "/a/./b", "/%2e%2e/x", "/%2E%2e",
        "/.%2e/x",      "/a%2fb",        "/a%2Fb", "/a%5cb", "/a\\b",  "/a%00",     "/a%00.jpg",
        "/%0d%0a",      "/%7f",          "/%",     "/%4",    "/%zz",   "/%ff",      "/%c0%ae",
        "/%ed%a0%80",   "/%f5%80%80%80", "//",     "//a",    "/a//b",  "/a/%2e",    "/%c3",
        "/a/%2e%2e%2f", "/x/..?q",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(get(bad[i]) == GATE_PATH);
}

TEST(only_origin_form_is_taken)
{
    char lengthy[3000];
    memset(lengthy, 'a', sizeof lengthy);
    lengthy[0] = '/';
    lengthy[2048] = '\0';
    CHECK(get(lengthy) == GATE_OK);
    lengthy[2048] = 'a';
    lengthy[2049] = '\0';
    CHECK(get(lengthy) == GATE_URI);
    CHECK(get("") == GATE_URI && get("*") == GATE_URI && get("x") == GATE_URI);
    CHECK(get("http://a/x") == GATE_URI && get("/a#b") == GATE_URI && get("/a b") == GATE_URI);
    CHECK(get("/a\tb") == GATE_URI && get("/\303\251") == GATE_URI && get("/x?\177") == GATE_URI);
}

TEST(methods_and_versions)
{
    static const char *const good[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
    static const char *const bad[] = {"", "get", "TRACE", "CONNECT", "PURGE", "G@T", "GETX", "PRI"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(WITH(good[i], "HTTP/1.1", "Host:a") == GATE_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(WITH(bad[i], "HTTP/1.1", "Host:a") == GATE_METHOD);
    CHECK(WITH("GET", "HTTP/1.0", "Host:a") == GATE_OK);
    CHECK(WITH("GET", "HTTP/0.9", "Host:a") == GATE_VERSION);
    CHECK(WITH("GET", "HTTP/1.2", "Host:a") == GATE_VERSION);
    CHECK(WITH("GET", "HTTP/2.0", "Host:a") == GATE_VERSION);
    CHECK(WITH("GET", "http/1.1", "Host:a") == GATE_VERSION);
}

TEST(one_host_and_a_good_one)
{
    CHECK(WITH("GET", "HTTP/1.1", "X:1") == GATE_HOST);
    CHECK(WITH("GET", "HTTP/1.0", "X:1") == GATE_HOST);
    CHECK(WITH("GET", "HTTP/1.1", "Host:a", "host:a") == GATE_HOST);
    static const char *const bad[] = {"Host:",     "Host:a b", "Host:a/b", "Host:u@a",
                                      "Host:a:",   "Host:a:x", "Host::80", "Host:a:123456",
                                      "Host:[::1", "Host:[]",  "Host:[x]", "Host:a,b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(WITH("GET", "HTTP/1.1", bad[i]) == GATE_HOST);
    CHECK(WITH("GET", "HTTP/1.1", "Host:A.Example:8080") == GATE_OK);
    CHECK(WITH("GET", "HTTP/1.1", "Host:[::1]:80") == GATE_OK);
}

TEST(host_must_be_ours)
{
    static const char *const ours[] = {"Host:Shop.example:443", NULL},
                             *const dot[] = {"Host:shop.example.", NULL},
                             *const other[] = {"Host:hop.example", NULL},
                             *const comma[] = {"Host:,", NULL};
    CHECK(check("GET", "/", "HTTP/1.1", ours, ",shop.example,b,") == GATE_OK);
    CHECK(check("GET", "/", "HTTP/1.1", dot, ",shop.example,b,") == GATE_OK);
    CHECK(check("GET", "/", "HTTP/1.1", other, ",shop.example,b,") == GATE_HOST);
    CHECK(check("GET", "/", "HTTP/1.1", comma, ",shop.example,b,") == GATE_HOST);
}

TEST(body_length_is_never_ambiguous)
{
#define POST(...) WITH("POST", "HTTP/1.1", "Host:a", __VA_ARGS__)
    CHECK(POST("Content-Length:5") == GATE_OK && result.content_length == 5);
    CHECK(POST("Content-Length:0") == GATE_OK && result.content_length == 0);
    CHECK(POST("Transfer-Encoding:chunked") == GATE_OK && result.content_length == -1);
    CHECK(POST("Transfer-Encoding:Chunked") == GATE_OK);
    CHECK(POST("Content-Length:5", "Content-Length:5") == GATE_LENGTH);
    CHECK(POST("Content-Length:5", "content-length:0") == GATE_LENGTH);
    CHECK(POST("Content-Length:") == GATE_LENGTH && POST("Content-Length:5,5") == GATE_LENGTH);
    CHECK(POST("Content-Length:+5") == GATE_LENGTH && POST("Content-Length:-1") == GATE_LENGTH);
    CHECK(POST("Content-Length:0x5") == GATE_LENGTH && POST("Content-Length: 5") == GATE_LENGTH);
    CHECK(POST("Content-Length:9999999999999999999") == GATE_LENGTH);
    CHECK(POST("Content-Length:5", "Transfer-Encoding:chunked") == GATE_CODING);
    CHECK(POST("Transfer-Encoding:chunked", "Content-Length:5") == GATE_CODING);
    CHECK(POST("Transfer-Encoding:chunked", "Transfer-Encoding:chunked") == GATE_CODING);
    CHECK(POST("Transfer-Encoding:gzip, chunked") == GATE_CODING);
    CHECK(POST("Transfer-Encoding:identity") == GATE_CODING &&
          POST("Transfer-Encoding:") == GATE_CODING);
    CHECK(POST("Transfer-Encoding:chunked,") == GATE_CODING &&
          POST("Transfer-Encoding:\vchunked") == GATE_VALUE);
    CHECK(WITH("POST", "HTTP/1.0", "Host:a", "Transfer-Encoding:chunked") == GATE_CODING);
#undef POST
}

TEST(header_names_and_values)
{
    CHECK(WITH("GET", "HTTP/1.1", "Host:a", "X-A_b.c!:\ttext \303\251") == GATE_OK);
    CHECK(WITH("GET", "HTTP/1.1", "Host :a") == GATE_NAME);
    CHECK(WITH("GET", "HTTP/1.1", "Host:a", ":x") == GATE_NAME);
    CHECK(WITH("GET", "HTTP/1.1", "Host:a", "X(:x") == GATE_NAME);
    CHECK(WITH("GET", "HTTP/1.1", "Host:a", " X:x") == GATE_NAME);
    CHECK(WITH("GET", "HTTP/1.1", "Host:a", "X\303\251:x") == GATE_NAME);
    CHECK(WITH("GET", "HTTP/1.1", "Host:a", "X:a\rb") == GATE_VALUE);
    CHECK(WITH("GET", "HTTP/1.1", "Host:a", "X:a\nb") == GATE_VALUE);
    CHECK(WITH("GET", "HTTP/1.1", "Host:a", "X:\177") == GATE_VALUE);
    struct gate_header nul = {STR_LIT("X"), {"a\0b", 3}};
    struct gate_request g = {"GET", "HTTP/1.1", "/", &nul, 1, ""};
    CHECK(gate_check(&g, path, &result) == GATE_VALUE);
}

TEST(headers_are_bounded)
{
    static struct gate_header v[MAX];
    static char big[33000];
    memset(big, 'a', sizeof big);
    v[0] = (struct gate_header){STR_LIT("Host"), STR_LIT("a")};
    for (int i = 1; i < MAX; i++)
        v[i] = (struct gate_header){STR_LIT("X"), STR_LIT("1")};
    struct gate_request g = {"GET", "HTTP/1.1", "/", v, 100, ""};
    CHECK(gate_check(&g, path, &result) == GATE_OK);
    g.nheaders = 101;
    CHECK(gate_check(&g, path, &result) == GATE_COUNT);
    v[1].value = (struct str){big, sizeof big};
    g.nheaders = 2;
    CHECK(gate_check(&g, path, &result) == GATE_SIZE);
}

TEST(every_reason_has_a_name)
{
    for (int i = 0; i < GATE_REASONS; i++)
        CHECK(strlen(gate_reason_name((enum gate_reason)i)) > 1);
}
