/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <stdint.h>

#include "base/money.h"

static uint64_t state = 0x9e3779b97f4a7c15u;
static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

TEST(split_never_makes_or_loses_money)
{
    for (int i = 0; i < 200000; i++) {
        int64_t price = (int64_t)(next() >> (1 + next() % 63));
        int fee = (int)(next() % 10001), pct = (int)(next() % 101);
        struct money_split s;
        struct err e;
        CHECK(money_split(price, fee, pct, &s, &e) == 0);
        CHECK(s.platform >= 0 && s.creator >= 0 && s.commission >= 0);
        CHECK((__int128)s.platform + s.creator + s.commission == price);
        int64_t gross = s.creator + s.commission;
        /* The creator is short of the exact share by less than one unit, and never over it. */
        __int128 exact = (__int128)price * (10000 - fee), given = (__int128)gross * 10000;
        CHECK(given <= exact && exact - given < 10000);
        CHECK((__int128)s.commission * 100 <= (__int128)price * pct);
    }
}

TEST(split_examples)
{
    struct money_split s;
    struct err e;
    CHECK(money_split(999, 1000, 10, &s, &e) == 0 && s.platform == 100 && s.commission == 99 &&
          s.creator == 800);
    CHECK(money_split(100, 1000, 100, &s, &e) == 0 && s.commission == 90 && s.creator == 0 &&
          s.platform == 10);
    CHECK(money_split(0, 1000, 10, &s, &e) == 0 && s.platform == 0);
    CHECK(money_split(-1, 1000, 10, &s, &e) == -1);
    CHECK(money_split(1, 10001, 10, &s, &e) == -1 && money_split(1, -1, 10, &s, &e) == -1);
    CHECK(money_split(1, 0, 101, &s, &e) == -1 && money_split(1, 0, -1, &s, &e) == -1);
}

TEST(arithmetic_reports_overflow)
{
    int64_t v;
    struct err e;
    CHECK(money_add(INT64_MAX, 1, &v, &e) == -1 && money_add(2, 3, &v, &e) == 0 && v == 5);
    CHECK(money_mul(INT64_MAX, 2, &v, &e) == -1 && money_mul(INT64_MIN, -1, &v, &e) == -1);
    CHECK(money_bp(INT64_MAX, 10000, &v, &e) == 0 && v == INT64_MAX);
    CHECK(money_bp(9999, 1, &v, &e) == 0 && v == 0 && money_bp(-1, 1, &v, &e) == -1);
}

TEST(text_round_trips_in_every_exponent)
{
    static const char *const currencies[] = {"USD", "JPY", "KWD", "IDR"};
    static const int exponents[] = {2, 0, 3, 2};
    for (int c = 0; c < 4; c++) {
        CHECK(money_exponent(currencies[c]) == exponents[c]);
        for (int i = 0; i < 5000; i++) {
            int64_t v = (int64_t)(next() >> (1 + next() % 63)), back;
            char text[40];
            struct err e;
            CHECK(money_format(v, currencies[c], text, &e) == 0);
            CHECK(money_parse(text, currencies[c], &back, &e) == 0 && back == v);
        }
    }
    char text[40];
    CHECK(money_format(INT64_MIN, "USD", text, NULL) == 0 &&
          strcmp(text, "-92233720368547758.08") == 0);
    CHECK(money_format(-5, "USD", text, NULL) == 0 && strcmp(text, "-0.05") == 0);
}

TEST(parse_refuses_everything_unusual)
{
    static const char *const bad[] = {"",
                                      "-1",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1.",
                                      ".5",
                                      "1.234",
                                      "1e2",
                                      "1,00",
                                      "1.2.3",
                                      "1.-2",
                                      "99999999999999999999",
                                      "92233720368547758.08",
                                      "0x10",
                                      "NaN"};
    int64_t v;
    struct err e;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(money_parse(bad[i], "USD", &v, &e) == -1);
    CHECK(money_parse("12.3", "USD", &v, &e) == 0 && v == 1230);
    CHECK(money_parse("1.0", "JPY", &v, &e) == -1 && money_parse("1", "XXX", &v, &e) == -1);
    CHECK(money_exponent("US") == -1 && money_exponent("SD ") == -1 && money_exponent("usd") == -1);
}
