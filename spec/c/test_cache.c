/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run/cache.h"

static struct str S(const char *s) {
    return str_from(s);
}

static int
holds(const char *key, const char *value)
{
    struct buf b = {0};
    int ok = cache_get(S(key), &b) && str_eqz((struct str){b.p, b.n}, value);
    buf_fini(&b);
    return ok;
}

static int has(const char *key)
{
    struct buf b = {0};
    int ok = cache_get(S(key), &b);
    buf_fini(&b);
    return ok;
}

static void fresh(size_t bytes)
{
    struct err e;
    cache_fini();
    CHECK(cache_init(bytes, &e) == 0);
}

TEST(set_get_replace_delete)
{
    fresh(1 << 20);
    CHECK(!has("a"));
    CHECK(cache_set(S("a"), S("1"), 0) && holds("a", "1"));
    CHECK(cache_set(S("a"), S("2"), 0) && holds("a", "2"));
    CHECK(cache_set(S("a"), S("longer"), 0) && holds("a", "longer"));
    CHECK(cache_set(S("e"), S(""), 0) && holds("e", ""));
    CHECK(!cache_add(S("a"), S("3"), 0) && holds("a", "longer") && cache_add(S("b"), S("3"), 0));
    CHECK(cache_del(S("a")) && !cache_del(S("a")) && !has("a") && holds("b", "3"));
}

TEST(entries_expire)
{
    fresh(1 << 20);
    cache_set(S("a"), S("1"), 20000);
    cache_incr(S("n"), 5, 20000);
    CHECK(has("a") && cache_incr(S("n"), 1, 1000000000) == 6); /* keeps its end */
    usleep(30000);
    CHECK(!has("a") && cache_incr(S("n"), 1, 20000) == 1);
    CHECK(cache_add(S("a"), S("2"), 0));
}

TEST(counters)
{
    fresh(1 << 20);
    for (int i = 1; i <= 100; i++)
        CHECK(cache_incr(S("n"), 2, 0) == 2 * i);
    CHECK(cache_incr(S("n"), -200, 0) == 0 && cache_incr(S("n"), INT64_MAX, 0) == INT64_MAX);
    CHECK(cache_incr(S("n"), 1, 0) == INT64_MAX);
    cache_set(S("t"), S("text"), 0);
    CHECK(cache_incr(S("t"), 3, 0) == 3 && cache_incr(S("t"), 3, 0) == 6);
    cache_set(S("d"), S("41"), 0);
    CHECK(cache_incr(S("d"), 1, 0) == 42);
}

TEST(too_long_is_refused_and_forgets_the_old)
{
    fresh(8 << 20);
    static char big[CACHE_VALUE_MAX + 2];
    memset(big, 'x', CACHE_VALUE_MAX + 1);
    cache_set(S("a"), S("1"), 0);
    CHECK(!cache_set(S("a"), S(big), 0) && !has("a"));
    big[CACHE_VALUE_MAX] = 0;
    CHECK(cache_set(S("a"), S(big), 0) && has("a"));
    big[CACHE_KEY_MAX + 1] = 0;
    CHECK(!cache_set(S(big), S("1"), 0));
}

/* Far more than fits, of all sizes, against a plain model: what is found is right. */
TEST(eviction_never_returns_a_wrong_value)
{
    enum { KEYS = 4000 };
    static unsigned version[KEYS];
    fresh(1 << 20);
    static char value[9000];
    char key[32];
    int found = 0;
    for (int i = 0; i < 200000; i++) {
        int k = rand() % (rand() % 2 ? KEYS : 50); /* some keys are hot */
        snprintf(key, sizeof key, "key-%d", k);
        struct buf b = {0};
        if (cache_get(S(key), &b)) {
            unsigned v = 0, n = 0;
            CHECK(sscanf(b.p, "%u %u", &v, &n) == 2 && v == version[k] && b.n == n);
            found++;
        }
        buf_fini(&b);
        if (rand() % 3 == 0) {
            unsigned n = rand() % 10 ? 20 + (unsigned)rand() % 300 : 20 + (unsigned)rand() % 8900;
            memset(value, '.', n);
            int head = snprintf(value, 20, "%u %u", ++version[k], n);
            value[head] = ' ';
            CHECK(cache_set(S(key), (struct str){value, n}, rand() % 20 ? 0 : 1));
            if (rand() % 50 == 0)
                cache_del(S(key));
        }
    }
    struct cache_stats s;
    cache_stats(&s);
    CHECK(found > 1000 && s.evicted > 1000 && s.used <= s.bytes);
}

TEST(hot_entries_outlive_a_flood)
{
    fresh(1 << 20);
    char key[32];
    cache_set(S("hot"), S("value"), 0);
    for (int i = 0; i < 100000; i++) {
        snprintf(key, sizeof key, "flood-%d", i);
        cache_set(S(key), S("0123456789"), 0);
        if (i % 100 == 0)
            CHECK(holds("hot", "value"));
    }
}

TEST(processes_share_and_survive_a_killed_one)
{
    fresh(1 << 20);
    pid_t pid[4];
    for (int p = 0; p < 4; p++) {
        if ((pid[p] = fork()) == 0) {
            char key[32];
            for (int i = 0; p == 3 || i < 20000; i++) { /* the last one works until it is killed */
                snprintf(key, sizeof key, "p%d-%d", p, i % 3000);
                cache_set(S(key), S(key), 0);
                if (p < 3)
                    cache_incr(S("sum"), 1, 0);
            }
            _exit(0);
        }
    }
    for (int p = 0; p < 3; p++)
        waitpid(pid[p], NULL, 0);
    kill(pid[3], SIGKILL);
    waitpid(pid[3], NULL, 0);
    CHECK(cache_set(S("after"), S("1"), 0) && holds("after", "1"));
    CHECK(cache_incr(S("sum2"), 1, 0) == 1);
    cache_fini();
}
