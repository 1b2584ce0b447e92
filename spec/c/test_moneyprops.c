/* SPDX-License-Identifier: Apache-2.0
 * Properties of the money rules over their whole domain: everything small, then samples of a seed. SEED=n repeats a run, ROUNDS=n
 * makes it longer. */
#include "test.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/money.h"

static uint64_t state;
static struct err e;

static uint64_t next(void) /* xorshift64* */
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 2685821657736338717ULL;
}

static int64_t number(const char *name, int64_t def)
{
    return getenv(name) ? strtoll(getenv(name), NULL, 10) : def;
}

static int64_t begin(void)
{
    state = (uint64_t)number("SEED", 20260619) | 1;
    return number("ROUNDS", 200000);
}

/* Total, no share below zero, nobody gets more than the exact share, the platform gets the remainder: under one unit more. */
static bool split_holds(int64_t price, int bp, int pct)
{
    struct money_split s;
    if (money_split(price, bp, pct, &s, &e))
        return false;
    __int128 gross = (__int128)s.creator + s.commission, exact = (__int128)price * (10000 - bp);
    return s.platform >= 0 && s.creator >= 0 && s.commission >= 0 && s.platform + gross == price &&
           gross * 10000 <= exact && (gross + 1) * 10000 > exact &&
           (__int128)s.commission * 100 <= (__int128)price * pct &&
           (s.commission == gross || ((__int128)s.commission + 1) * 100 > (__int128)price * pct);
}

TEST(split_small_prices_exhaustively)
{
    bool fine = true;
    for (int64_t price = 1; price <= 200; price++)
        for (int bp = 0; bp <= 10000; bp += 25)
            for (int pct = 0; pct <= 90; pct++)
                fine &= split_holds(price, bp, pct);
    CHECK(fine);
    for (int bp = 0; bp <= 10000; bp++)
        fine &= split_holds(9999999, bp, bp % 91) && split_holds(10000000, bp, 90 - bp % 91);
    CHECK(fine);
}

TEST(split_samples)
{
    int64_t rounds = begin();
    for (int64_t i = 0; i < rounds; i++) {
        int64_t price = 1 + (int64_t)(next() % 10000000);
        int bp = (int)(next() % 10001), pct = (int)(next() % 91);
        if (!split_holds(price, bp, pct)) {
            fprintf(stderr, "round %" PRId64 ": price %" PRId64 " fee %d pct %d\n", i, price, bp,
                    pct);
            CHECK(false);
            return;
        }
    }
}

static const char *const codes[] = {"USD", "IDR", "EUR", "JPY", "KWD", "KRW", "BHD"};
enum { CODES = sizeof codes / sizeof *codes };

TEST(format_and_parse_are_inverse)
{
    int64_t rounds = begin(), back;
    for (int64_t i = 0; i < rounds; i++) {
        const char *c = codes[next() % CODES];
        int64_t v = (int64_t)(next() >> (1 + next() % 62));
        char text[40];
        if (money_format(v, c, text, &e) || money_parse(text, c, &back, &e) || back != v) {
            fprintf(stderr, "round %" PRId64 ": %" PRId64 " %s\n", i, v, c);
            CHECK(false);
            return;
        }
    }
}

/* There and back by rates whose product is exactly one loses nothing; in general the error is at most half a unit. */
TEST(conversion_round_trips_and_is_nearest)
{
    static const char *const pairs[][2] = {
        {"2", "0.5"}, {"16000", "0.0000625"}, {"8", "0.125"}, {"1", "1"}};
    int64_t rounds = begin(), there, back;
    bool fine = true;
    for (int64_t i = 0; i < rounds && fine; i++) {
        int64_t v = (int64_t)(next() % 1000000000000);
        const char *const *p = pairs[next() % 4];
        fine = !money_convert(v, "USD", "IDR", p[0], &there, &e) &&
               !money_convert(there, "IDR", "USD", p[1], &back, &e) && back == v;
    }
    CHECK(fine);
    for (int64_t i = 0; i < rounds && fine; i++) {
        int64_t v = (int64_t)(next() % 1000000000), whole = (int64_t)(next() % 100000),
                part = (int64_t)(next() % 1000000);
        char rate[40];
        snprintf(rate, sizeof rate, "%" PRId64 ".%06" PRId64, whole, part);
        if (whole + part == 0)
            continue;
        fine = !money_convert(v, "USD", "JPY", rate, &there, &e);
        __int128 off = (__int128)there * 100 * 1000000 - (__int128)v * (whole * 1000000 + part);
        fine = fine && (off < 0 ? -off : off) * 2 <= 100000000;
    }
    CHECK(fine);
}

TEST(conversion_refuses)
{
    static const char *const bad[] = {"",   "0",   "0.0", "-1",    "1e3",
                                      ".5", "1,5", "NaN", "1.2.3", "1234567890123456789"};
    int64_t v;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(money_convert(100, "USD", "IDR", bad[i], &v, &e) == -1);
    CHECK(money_convert(-1, "USD", "IDR", "2", &v, &e) == -1);
    CHECK(money_convert(1, "USD", "XXX", "2", &v, &e) == -1);
    CHECK(money_convert(INT64_MAX, "USD", "IDR", "2", &v, &e) == -1);
    CHECK(money_convert(INT64_MAX, "JPY", "KWD", "999999999999999999", &v, &e) == -1);
    CHECK(money_convert(150, "USD", "JPY", "1", &v, &e) == 0 && v == 2); /* 1.5: the half goes up */
    CHECK(money_convert(1, "USD", "IDR", "16250.505", &v, &e) == 0 && v == 16251);
    CHECK(money_convert(INT64_MAX, "USD", "USD", "1", &v, &e) == 0 && v == INT64_MAX);
}
