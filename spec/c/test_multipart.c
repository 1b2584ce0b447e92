/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include "http/multipart.h"
#include "test.h"

/* The calls as text: "<name|filename|ctype>data</>" */
struct trace {
    struct buf text;
    int open, refuse_at, calls;
};

static int on_begin(void *arg, const struct multipart_part *p, struct err *e)
{
    struct trace *t = arg;
    if (++t->calls == t->refuse_at)
        return ERR(e, ERR_TOO_LARGE, "refused");
    CHECK(t->open == 0);
    t->open = 1;
    buf_printf(&t->text, "<%s|%s|%s>", p->name, p->filename ? p->filename : "-", p->ctype);
    return 0;
}

static int on_data(void *arg, const char *p, size_t n, struct err *e)
{
    struct trace *t = arg;
    (void)e;
    CHECK(t->open == 1 && n > 0);
    buf_put(&t->text, p, n);
    return 0;
}

static int on_end(void *arg, struct err *e)
{
    struct trace *t = arg;
    (void)e;
    CHECK(t->open == 1);
    t->open = 0;
    buf_puts(&t->text, "</>");
    return 0;
}

static enum err_code parse(const char *ctype, const char *p, size_t n, const size_t *cuts,
                           int ncuts, struct trace *t)
{
    struct multipart_sink s = {t, on_begin, on_data, on_end};
    struct multipart *m = NULL;
    struct err e = {0};
    size_t at = 0;
    int rc = multipart_new(ctype, &s, &m, &e);
    for (int i = 0; rc == 0 && i <= ncuts; i++) {
        size_t to = i < ncuts ? cuts[i] : n;
        /* A copy of exactly these bytes, so that the sanitizer sees a read past them. */
        char *piece = malloc(to - at + 1);
        CHECK(piece != NULL);
        memcpy(piece, p + at, to - at);
        rc = multipart_feed(m, piece, to - at, &e);
        free(piece);
        at = to;
    }
    if (rc == 0)
        rc = multipart_finish(m, &e);
    multipart_free(m);
    return rc == 0 ? ERR_NONE : e.code;
}

#define CT "multipart/form-data; boundary=B0"
#define PART(disposition, body) \
    "--B0\r\nContent-Disposition: form-data; " disposition "\r\n\r\n" body "\r\n"
#define END "--B0--\r\n"

static enum err_code whole(const char *body, char *out, size_t cap)
{
    struct trace t = {0};
    enum err_code c = parse(CT, body, strlen(body), NULL, 0, &t);
    snprintf(out, cap, "%s", t.text.p ? t.text.p : "");
    buf_fini(&t.text);
    return c;
}

static bool gives(const char *body, const char *want)
{
    char got[1024];
    return whole(body, got, sizeof got) == ERR_NONE && strcmp(got, want) == 0;
}

static enum err_code error_of(const char *body)
{
    char got[1024];
    return whole(body, got, sizeof got);
}

static const char tricky[] =
    PART("name=\"t\"",
         "one\r\n--B\r\n--B1\r\r\n-") "--B0\r\nContent-Type: video/mp4\r\ncontent-disposition: "
                                      "form-data; name=f; filename=\"a b.mp4\"\r\n\r\n"
                                      "\r\n\r\n--B\r--B0\n\r\n-\r\n" PART("name=\"e\"", "")
                                          PART("name=\"g\"; filename=\"\"", "") END;
static const char tricky_calls[] = "<t|-|>one\r\n--B\r\n--B1\r\r\n-</><f|a b.mp4|video/mp4>"
                                   "\r\n\r\n--B\r--B0\n\r\n-</><e|-|></><g||></>";

TEST(every_split_gives_the_same_calls)
{
    size_t n = sizeof tricky - 1, cuts[2];
    for (cuts[0] = 0; cuts[0] <= n; cuts[0]++) {
        for (cuts[1] = cuts[0]; cuts[1] <= n; cuts[1]++) {
            struct trace t = {0};
            CHECK(parse(CT, tricky, n, cuts, 2, &t) == ERR_NONE);
            CHECK(t.text.p && strcmp(t.text.p, tricky_calls) == 0);
            buf_fini(&t.text);
        }
    }
}

TEST(byte_by_byte)
{
    enum { N = sizeof tricky - 1 };
    static size_t cuts[N];
    struct trace t = {0};
    for (size_t i = 0; i < N; i++)
        cuts[i] = i;
    CHECK(parse(CT, tricky, N, cuts, N, &t) == ERR_NONE && strcmp(t.text.p, tricky_calls) == 0);
    buf_fini(&t.text);
}

TEST(a_body_cut_short_is_an_error)
{
    size_t n = sizeof tricky - 1;
    for (size_t to = 0; to < n - 2; to++) { /* the last line break may be missing */
        struct trace t = {0};
        CHECK(parse(CT, tricky, to, NULL, 0, &t) == ERR_BAD_REQUEST);
        buf_fini(&t.text);
    }
}

TEST(names)
{
    CHECK(gives(PART("name=\"a\\\"b\"", "1") END, "<a\"b|-|>1</>"));
    CHECK(gives(PART("name=a;filename=b.c", "1") END, "<a|b.c|>1</>"));
    CHECK(gives(PART("name=\"f\"; filename=\"C:\\dir\\x.mp4\"", "1") END, "<f|x.mp4|>1</>"));
    CHECK(gives(PART("name=\"f\"; filename=\"../../etc/passwd\"", "1") END, "<f|passwd|>1</>"));
    CHECK(gives(PART("name=\"f\"; filename*=UTF-8''%e2%82%ac.mp4", "1") END,
                "<f|\342\202\254.mp4|>1</>"));
    CHECK(gives(PART("name=\"f\"; filename=\"p\"; filename*=utf-8''q", "1") END, "<f|p|>1</>"));
    CHECK(gives(PART("name=\"\303\251\"", "1") END, "<\303\251|-|>1</>"));
    CHECK(gives(PART("name=\"a;b=c\"", "1") END, "<a;b=c|-|>1</>"));
}

TEST(malformed_bodies)
{
    static const char *const bad[] = {
        "",
        "x",
        "--B1\r\n",
        "--B0",
        "--B0x",
        "--B0 \r\n",
        "\r\n" PART("name=a", "1") END,
        "--B0\r\n\r\n1\r\n" END,
        "--B0\nContent-Disposition: form-data; name=a\n\n1\n--B0--\n",
        "--B0\r\nContent-Type: text/plain\r\n\r\n1\r\n" END,
        "--B0\r\nContent-Disposition: attachment; name=a\r\n\r\n1\r\n" END,
        "--B0\r\nContent-Disposition: form-data; name=a\r\nContent-Disposition: form-data; "
        "name=b\r\n\r\n1\r\n" END,
        "--B0\r\nContent-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: "
        "base64\r\n\r\n1\r\n" END,
        "--B0\r\nContent-Disposition: form-data; name=a\r\n folded: x\r\n\r\n1\r\n" END,
        "--B0\r\nnocolon\r\n\r\n1\r\n" END,
        PART("filename=a", "1") END,
        PART("name=\"a", "1") END,
        PART("name=a; name=b", "1") END,
        PART("name=\"a\tb\"", "1") END,
        PART("name=\"\377\"", "1") END,
        PART("name=f; filename*=UTF-8''%zz", "1") END,
        PART("name=f; filename=\"\177\"", "1") END,
        PART("name", "1") END,
        PART("name=a", "1") "--B0-x",
        PART("name=a", "1\r\n--B0x") END,
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(error_of(bad[i]) == ERR_BAD_REQUEST);
    CHECK(gives(END, "") || error_of(END) == ERR_NONE);
    CHECK(gives(PART("name=a", "1") "--B0--", "<a|-|>1</>"));
    CHECK(gives(PART("name=a", "1") END "anything\r\n--B0\r\n", "<a|-|>1</>"));
}

static enum err_code with_type(const char *ctype)
{
    struct trace t = {0};
    enum err_code c =
        parse(ctype, PART("name=a", "1") END, sizeof(PART("name=a", "1") END) - 1, NULL, 0, &t);
    buf_fini(&t.text);
    return c;
}

TEST(content_types)
{
    CHECK(with_type(CT) == ERR_NONE &&
          with_type("Multipart/Form-Data; Boundary=\"B0\"") == ERR_NONE);
    CHECK(with_type("multipart/form-data; charset=x; boundary=B0") == ERR_NONE);
    CHECK(with_type(NULL) == ERR_UNSUPPORTED && with_type("text/plain") == ERR_UNSUPPORTED);
    CHECK(with_type("multipart/form-database; boundary=B0") == ERR_UNSUPPORTED);
    CHECK(with_type("multipart/form-data; charset=x") == ERR_BAD_REQUEST);
    CHECK(with_type("multipart/form-data; boundary=") == ERR_BAD_REQUEST);
    CHECK(with_type("multipart/form-data; boundary=\"\"") == ERR_BAD_REQUEST);
    CHECK(with_type("multipart/form-data; boundary=B0; boundary=B1") == ERR_BAD_REQUEST);
    CHECK(with_type("multipart/form-data; boundary=\"B0") == ERR_BAD_REQUEST);
    CHECK(with_type("multipart/form-data; boundary=\"a ") == ERR_BAD_REQUEST);
    CHECK(with_type("multipart/form-data; boundary=\"a\rb\"") == ERR_BAD_REQUEST);
    CHECK(
        with_type("multipart/form-data; boundary="
                  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") ==
        ERR_BAD_REQUEST);
}

TEST(limits)
{
    struct buf b = {0};
    struct trace t = {0};
    for (int i = 0; i < MULTIPART_PARTS_MAX + 1; i++)
        buf_puts(&b, PART("name=a", ""));
    buf_puts(&b, END);
    CHECK(parse(CT, b.p, b.n, NULL, 0, &t) == ERR_TOO_LARGE);
    buf_fini(&t.text);
    buf_clear(&b);
    buf_puts(&b, "--B0\r\nContent-Disposition: form-data; name=a\r\nX: ");
    for (int i = 0; i < MULTIPART_HEADERS_MAX; i++)
        buf_puts(&b, "x");
    memset(&t, 0, sizeof t);
    CHECK(parse(CT, b.p, b.n, NULL, 0, &t) == ERR_TOO_LARGE);
    buf_fini(&t.text);
    buf_fini(&b);
}

TEST(the_sink_may_refuse)
{
    struct trace t = {.refuse_at = 2};
    static const char body[] = PART("name=a", "1") PART("name=b", "2") END;
    CHECK(parse(CT, body, sizeof body - 1, NULL, 0, &t) == ERR_TOO_LARGE);
    CHECK(strcmp(t.text.p, "<a|-|>1</>") == 0);
    buf_fini(&t.text);
}
