/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "media/score.h"

enum { USERS = 1000, MAX = 400 };
static uint64_t state = 0x9e3779b97f4a7c15u;
static double uniform(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) / 9007199254740992.;
}
static double normal(void)
{
    return sqrt(-2 * log(uniform() + 1e-18)) * cos(2 * 3.14159265358979 * uniform());
}

/* A leak of n segments by c accounts (the first c); mean: averaged, else cut together. truth false: by nobody. */
static void leak(int n, int c, bool mean, enum code_kind kind, bool truth, double z,
                 struct score_result *out)
{
    static int64_t user[USERS];
    static struct score_segment seg[MAX];
    static char word[4][MAX];
    struct score_job j = {.kind = kind, .seg = seg, .n = n, .user = user, .users = USERS};
    for (int i = 0; i < USERS; i++)
        user[i] = 1000 + i;
    for (int i = 0; i < 32; i++)
        j.k_code[i] = (uint8_t)(uniform() * 256);
    for (int k = 0; k < c; k++)
        code_word(j.k_code, truth ? user[k] : 50 + k, kind, 0, n, word[k]);
    for (int i = 0; i < n; i++) {
        double x = 0;
        int pick = (int)(uniform() * c);
        for (int k = 0; k < c; k++)
            x += (mean || k == pick) * (word[k][i] == 'a' ? 1. : -1.) / (mean ? c : 1);
        double r = x * z + normal();
        seg[i] = (struct score_segment){i, 0.4 * r / z, r};
    }
    score_run(&j, out);
}

static bool names(const struct score_result *r, int c)
{
    bool any = false;
    for (int i = 0; i < r->n; i++)
        if (r->top[i].log10_bound < SCORE_ACCUSE) {
            CHECK(r->top[i].user >= 1000 && r->top[i].user < 1000 + c);
            any = true;
        }
    return any;
}

TEST(one_account_is_named_as_soon_as_coins_allow)
{
    struct score_result r;
    leak(31, 1, false, CODE_HALF, true, 15, &r); // 2^-31 * 1000 / .6 < 1e-6
    CHECK(names(&r, 1));
    CHECK(fabs(r.top[0].log10_bound - log10(exp2(-31) * USERS / 0.6)) < 0.1);
    CHECK(r.top[0].agree == 31 && r.top[0].read == 31);
    leak(29, 1, false, CODE_HALF, true, 15, &r);
    CHECK(!names(&r, 1) && r.top[0].user == 1000);
    leak(60, 1, false, CODE_NUIDA, true, 4, &r);
    CHECK(names(&r, 1));
}

TEST(colluders_are_named_and_nobody_else)
{
    struct score_result r;
    leak(180, 2, false, CODE_HALF, true, 10, &r);
    CHECK(names(&r, 2));
    leak(90, 2, true, CODE_HALF, true, 10, &r);
    CHECK(names(&r, 2));
    CHECK(r.averaged > 0.3);
}

TEST(strangers_accuse_nobody)
{
    for (int i = 0; i < 12; i++) {
        struct score_result r;
        leak(100, 1 + i % 2, i % 4 > 1, i & 1 ? CODE_NUIDA : CODE_HALF, false, i % 3 ? 10 : 0.1,
             &r);
        CHECK(!names(&r, 0));
    }
}

TEST(what_was_not_served_is_no_evidence)
{
    struct score_result r;
    int64_t user[1] = {7};
    struct score_segment seg[40];
    uint8_t none[5] = {0};
    const uint8_t *served[1] = {none};
    char word[40];
    struct score_job j = {.seg = seg, .n = 40, .user = user, .users = 1, .served = served};
    code_word(j.k_code, 7, CODE_HALF, 0, 40, word);
    for (int i = 0; i < 40; i++)
        seg[i] = (struct score_segment){i, word[i] == 'a' ? .5 : -.5, word[i] == 'a' ? 9 : -9};
    score_run(&j, &r);
    CHECK(r.n >= 1 && r.top[0].log10_bound > SCORE_ACCUSE && r.top[0].read == 0);
    j.served = NULL;
    score_run(&j, &r);
    CHECK(r.top[0].log10_bound < SCORE_ACCUSE);
}
