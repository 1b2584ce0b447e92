/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

static char order[8];
static void *token;

static void note(void *arg)
{
    strcat(order, arg);
}

TEST(arena_runs_cleanups_backwards_and_leaves_out_undeferred)
{
    struct arena *a = arena_new();
    static char one[] = "1", two[] = "2", three[] = "3";
    order[0] = 0;
    arena_defer(a, note, one);
    token = arena_defer(a, note, two);
    arena_defer(a, note, three);
    arena_undefer(a, token);
    arena_free(a);
    CHECK(strcmp(order, "31") == 0);
    arena_free(NULL);
}

TEST(arena_memory_is_zeroed_aligned_and_apart)
{
    struct arena *a = arena_new();
    unsigned char *before = NULL;
    size_t before_n = 0, total = 0;
    for (size_t n = 0; n < 10000; n = n * 3 / 2 + 1) {
        unsigned char *p = arena_alloc(a, n);
        CHECK((uintptr_t)p % 16 == 0);
        for (size_t i = 0; i < n; i++)
            CHECK(p[i] == 0);
        memset(p, 0xab, n);
        for (size_t i = 0; i < before_n; i++)
            CHECK(before[i] == 0xab);
        before = p;
        before_n = n;
        total += n;
    }
    CHECK(arena_used(a) >= total);
    CHECK(strcmp(arena_printf(a, "%d-%s", 7, "x"), "7-x") == 0);
    CHECK(strcmp(arena_strndup(a, "abcdef", 3), "abc") == 0);
    arena_free(a);
}

TEST(err_keeps_code_text_and_retry)
{
    struct err e = {0};
    CHECK(ERR(&e, ERR_DB_RETRY, "dead%s", "lock") == -1);
    CHECK(e.code == ERR_DB_RETRY && e.retry && strcmp(e.msg, "deadlock") == 0 && e.line > 0);
    ERR(&e, ERR_IO, "again: %s", e.msg); /* an argument inside the target */
    CHECK(strcmp(e.msg, "again: deadlock") == 0 && !e.retry);
    CHECK(ERR(NULL, ERR_IO, "nobody listens") == -1);
    for (int c = 0; c < ERR_CODE_COUNT; c++)
        CHECK(err_name(c) && *err_sentence(c) && err_status(c) >= 200);
}

static struct str S(const char *s) {
    return str_from(s);
}

TEST(str_views)
{
    CHECK(str_eqz(str_trim(S(" \t a b\r\n")), "a b"));
    CHECK(str_trim(S("   ")).n == 0 && str_from(NULL).n == 0);
    CHECK(str_caseeqz(S("Content-Type"), "content-type") && !str_caseeqz(S("a"), "ab"));
    CHECK(str_starts(S("/api/x"), "/api/") && !str_starts(S("/ap"), "/api/"));
}

TEST(str_utf8_refuses_overlong_surrogate_and_cut)
{
    CHECK(str_is_utf8(S("h\xc3\xa4\xe2\x82\xac\xf0\x9f\x8e\xac")));
    static const char *const bad[] = {
        "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3",
        "\xe2\x82", "\xff",         "\x80",         "\xf0\x80\x80\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!str_is_utf8(S(bad[i])));
}

TEST(str_int64_is_strict)
{
    int64_t v;
    CHECK(str_to_int64(S("9223372036854775807"), &v) == 0 && v == INT64_MAX);
    CHECK(str_to_int64(S("-9223372036854775808"), &v) == 0 && v == INT64_MIN);
    static const char *const bad[] = {
        "", "-", "+1", " 1", "1 ", "0x1", "1e3", "9223372036854775808", "-9223372036854775809"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(str_to_int64(S(bad[i]), &v) == -1);
}

TEST(str_codecs_round_trip)
{
    unsigned char in[64], out[64];
    for (size_t n = 0; n <= sizeof in; n++) {
        for (size_t i = 0; i < n; i++)
            in[i] = (unsigned char)(rand() >> 7);
        struct buf hex = {0}, url = {0}, std = {0};
        buf_put_hex(&hex, in, n);
        buf_put_base64url(&url, in, n);
        buf_put_base64(&std, in, n);
        CHECK(std.n % 4 == 0 && !strpbrk(url.p, "+/="));
        CHECK(str_unhex((struct str){hex.p, hex.n}, out, sizeof out) == (long)n &&
              memcmp(in, out, n) == 0);
        CHECK(str_unbase64((struct str){url.p, url.n}, out, sizeof out) == (long)n &&
              memcmp(in, out, n) == 0);
        CHECK(str_unbase64((struct str){std.p, std.n}, out, sizeof out) == (long)n &&
              memcmp(in, out, n) == 0);
        CHECK(n == 0 || str_unbase64((struct str){std.p, std.n}, out, n - 1) == -1);
        buf_fini(&hex);
        buf_fini(&url);
        buf_fini(&std);
    }
    CHECK(str_unbase64(S("QQ"), out, 9) == 1 &&
          str_unbase64(S("QR"), out, 9) == -1); /* one spelling only */
    CHECK(str_unbase64(S("A"), out, 9) == -1 && str_unbase64(S("Q=Q="), out, 9) == -1);
    CHECK(str_unhex(S("0g"), out, 9) == -1 && str_unhex(S("abc"), out, 9) == -1);
}

TEST(str_percent)
{
    char out[32];
    CHECK(str_unpercent(S("a%20b+c"), false, out, 32) == 5 && memcmp(out, "a b+c", 5) == 0);
    CHECK(str_unpercent(S("a+b%2B"), true, out, 32) == 4 && memcmp(out, "a b+", 4) == 0);
    CHECK(str_unpercent(S("%41"), true, out, 1) == 1 && out[0] == 'A');
    CHECK(str_unpercent(S("%00"), false, out, 32) == -1);
    CHECK(str_unpercent(S("%4"), false, out, 32) == -1 &&
          str_unpercent(S("%"), false, out, 32) == -1);
    CHECK(str_unpercent(S("%zz"), false, out, 32) == -1 &&
          str_unpercent(S("abc"), false, out, 2) == -1);
}

TEST(buf_json_escapes_and_repairs)
{
    struct buf b = {0};
    buf_put_json(&b, (struct str){"a\"\\\n\x01\0\xff\xc3\xa4", 9});
    CHECK(strcmp(b.p, "a\\\"\\\\\\n\\u0001\\u0000\xef\xbf\xbd\xc3\xa4") == 0);
    buf_clear(&b);
    CHECK(b.n == 0 && b.p[0] == 0);
    buf_printf(&b, "%0500d", 1);
    CHECK(b.n == 500 && b.p[500] == 0);
    buf_fini(&b);
    CHECK(b.p == NULL);
}

/* Every byte at every place of texts of every length to 24, against the definition. */
TEST(plain_text_ends_at_the_first_special_byte)
{
    char text[24];
    for (size_t n = 0; n <= sizeof text; n++)
        for (size_t at = 0; at < n; at++)
            for (int c = 0; c < 256; c++) {
                bool plain = c >= 32 && c <= 126 && c != '"' && c != '\\';
                memset(text, c % 2 ? '~' : ' ', sizeof text);
                text[at] = (char)c;
                CHECK(str_plain(text, n) == (plain ? n : at));
            }
}

TEST(json_texts_and_integers)
{
    struct buf b = {0};
    const int64_t all[] = {0, -1, 10, 9007199254740992, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char want[32];
        snprintf(want, sizeof want, "%lld", (long long)all[i]);
        buf_put_int(&b, all[i]);
        CHECK(strcmp(b.p, want) == 0);
        buf_clear(&b);
    }
    buf_put_json_text(&b, S("plain and long enough"));
    buf_put_json_text(&b, S(""));
    buf_put_json_text(&b, S("plain and \n not"));
    CHECK(strcmp(b.p, "\"plain and long enough\"\"\"\"plain and \\n not\"") == 0);
    buf_fini(&b);
    for (size_t i = 0; i < 200; i++)
        buf_putc(&b, 'x');
    CHECK(b.n == 200 && strlen(b.p) == 200);
    buf_fini(&b);
}

TEST(clock_formats_and_shifts_the_wall_only)
{
    char out[32];
    clock_format(1795593600123456, out);
    CHECK(strcmp(out, "2026-11-25T08:00:00.123Z") == 0);
    clock_format(-1, out);
    CHECK(strcmp(out, "1969-12-31T23:59:59.999Z") == 0);
    int64_t wall = clock_wall(), mono = clock_mono();
    clock_shift(3600000000);
    CHECK(clock_wall() - wall >= 3600000000 && clock_mono() - mono < 1000000000);
    clock_shift(-3600000000);
}
