/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

#include "crypto/digest.h"
#include "crypto/token.h"
#include "domain/playkey.h"
#include "domain/playtoken.h"
#include "run/cache.h"

static const uint8_t session[16] = "a session's id..", video[16] = "a video's own id";
static const uint8_t secret[32] = "the secret of a title, 32 bytes.";
enum { FAR = 4000000000 };

static void set_up(void)
{
    static bool done;
    char path[64];
    struct err e;
    cache_fini();
    CHECK(cache_init(4 << 20, &e) == 0);
    if (done)
        return;
    snprintf(path, sizeof path, "/tmp/ppv-test-secret-%d", (int)getpid());
    CHECK(token_init(path, &e) == 0);
    unlink(path);
    done = true;
}

static struct playkey_lease lease(void)
{
    struct playkey_lease l = {
        .user_id = 7, .version = 3, .expires = FAR, .pace = {20000, 20000, 1}};
    memcpy(l.video, video, 16);
    return l;
}

static void know_title(int64_t version)
{
    struct playkey_title t = {.version = version, .segment_ms = 2000, .n = 2};
    memcpy(t.video, video, 16);
    memcpy(t.secret, secret, 32);
    t.v[0] = (struct playkey_rendition){"v360", 500, true, false};
    t.v[1] = (struct playkey_rendition){"audio", 3, false, true};
    CHECK(playkey_title_set(&t) == 0);
}

static const char *token(void)
{
    static char out[PLAYTOKEN_LEN + 1];
    struct playtoken t = {PLAYTOKEN_SESSION, {0}, FAR};
    memcpy(t.id, session, 16);
    playtoken_make(&t, out);
    return out;
}

static bool ask(const char *file, struct playkey_found *f)
{
    return playkey_find(str_from(token()), str_from(file), f);
}

TEST(a_kept_key_makes_the_same_mac)
{
    uint8_t key[100], text[150], want[32], got[32];
    for (int i = 0; i < 150; i++)
        text[i] = (uint8_t)(i * 7);
    memcpy(key, text, sizeof key);
    for (size_t klen = 0; klen <= sizeof key; klen += 4)
        for (size_t n = 0; n <= sizeof text; n += 3) {
            struct digest_key k;
            digest_key_init(&k, key, klen);
            digest_key_mac(&k, text, n, got);
            digest_hmac_sha256(key, klen, text, n, want);
            CHECK(memcmp(got, want, 32) == 0);
        }
}

TEST(a_token_reads_back_and_no_other_does)
{
    set_up();
    struct playtoken t;
    char bent[PLAYTOKEN_LEN + 1];
    CHECK(playtoken_read(str_from(token()), &t) == 0);
    CHECK(t.kind == PLAYTOKEN_SESSION && t.expires == FAR && memcmp(t.id, session, 16) == 0);
    for (int i = 0; i < PLAYTOKEN_LEN; i++)
        for (const char *c = "Ab9_-+/=.%"; *c; c++) {
            memcpy(bent, token(), sizeof bent);
            if (bent[i] == *c)
                continue;
            bent[i] = *c;
            CHECK(playtoken_read(str_from(bent), &t) < 0);
        }
    CHECK(playtoken_read((struct str){token(), PLAYTOKEN_LEN - 1}, &t) < 0);
}

TEST(a_lease_answers_the_viewers_own_key)
{
    set_up();
    struct playkey_lease l = lease();
    struct playkey_found f;
    uint8_t code[32], want[16];
    char word, info[32];
    know_title(3);
    CHECK(!ask("k-v360-5.key", &f)); /* no lease yet */
    CHECK(playkey_lease_set(session, &l, (struct str){"\x40", 1}));
    CHECK(code_key(secret, code) == 0);
    for (int i = 0; i < 5; i++) {
        snprintf(info, sizeof info, "k-v360-%d.key", i);
        CHECK(ask(info, &f));
        code_word(code, 7, CODE_HALF, i, 1, &word);
        int n = snprintf(info, sizeof info, "v1|v360|%c|%d", word, i);
        digest_hkdf_sha256(secret, 32, NULL, 0, info, (size_t)n, want, 16);
        CHECK(f.variant == word && f.seq == i && f.user_id == 7 && memcmp(f.key, want, 16) == 0);
    }
    CHECK(ask("k-audio-2.key", &f) && f.variant == 'a');
    CHECK(!ask("k-v360-6.key", &f)); /* mapped: Lua's */
    static const char *const others[] = {"k-audio-3.key", "k-v720-0.key",      "k-v360-500.key",
                                         "k-v360-.key",   "k--0.key",          "v360.m3u8",
                                         "k-v360-0.keyx", "k-v360-1234567.key"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        CHECK(!ask(others[i], &f));
}

TEST(nothing_is_answered_from_a_lease_that_is_over_or_of_another_preparation)
{
    set_up();
    struct playkey_lease l = lease();
    struct playkey_found f;
    know_title(3);
    l.over = true;
    CHECK(playkey_lease_set(session, &l, (struct str){NULL, 0}) && !ask("k-v360-0.key", &f));
    l = lease();
    l.expires = 1000;
    CHECK(playkey_lease_set(session, &l, (struct str){NULL, 0}) && !ask("k-v360-0.key", &f));
    l = lease();
    l.version = 4;
    CHECK(playkey_lease_set(session, &l, (struct str){NULL, 0}) && !ask("k-v360-0.key", &f));
    l = lease();
    CHECK(playkey_lease_set(session, &l, (struct str){NULL, 0}) && ask("k-v360-0.key", &f));
    playkey_lease_drop(session);
    CHECK(!ask("k-v360-0.key", &f));
}

TEST(the_pace_ends_a_run_through_the_film)
{
    set_up();
    struct playkey_lease l = lease();
    struct playkey_found f;
    char name[32];
    int got = 0;
    know_title(3);
    CHECK(playkey_lease_set(session, &l, (struct str){NULL, 0}));
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "k-v360-%d.key", i);
        got += ask(name, &f);
    }
    CHECK(got == 20);                /* 40 s of film in pieces of 2 s */
    CHECK(ask("k-audio-0.key", &f)); /* sound has its own allowance */
    CHECK(playkey_pace(7, video, false, 2000, &l.pace) > 1000);
    CHECK(playkey_pace(8, video, false, 2000, &l.pace) == 0); /* so has everybody else */
}
