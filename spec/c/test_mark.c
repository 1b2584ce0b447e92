/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <math.h>
#include <stdlib.h>

#include "media/code.h"
#include "media/key.h"
#include "media/mark.h"
#include "media/motion.h"

static uint8_t secret[32], k_code[32], k_pattern[32];

__attribute__((constructor)) static void keys(void)
{
    for (int i = 0; i < 32; i++)
        secret[i] = (uint8_t)i;
    CHECK(code_key(secret, k_code) == 0 && mark_key(secret, k_pattern) == 0);
}

/* Known answers: computed with Python's hmac. */
TEST(keys_as_specified)
{
    static const uint8_t code[] = {0xda, 0xff, 0x2c, 0xec}, pattern[] = {0xc8, 0x39, 0x3b, 0x97},
                         segment[] = {0x73, 0xcc, 0x9d, 0x2c};
    char info[64];
    uint8_t key[16];
    CHECK(!memcmp(k_code, code, 4) && !memcmp(k_pattern, pattern, 4));
    key_info(info, "480", "b", 3);
    CHECK(!strcmp(info, "v1|480|b|3"));
    CHECK(key_derive(secret, info, key, 16) == 0 && !memcmp(key, segment, 4));
}

static int word_is(int64_t user, enum code_kind kind, int from, const char *want)
{
    char got[64] = "";
    code_word(k_code, user, kind, from, (int)strlen(want), got);
    return !strcmp(got, want);
}

TEST(code_words_as_specified)
{
    CHECK(word_is(42, CODE_HALF, 0, "babbbbbaaaabbabaababaaababbbbbabaaabbbaa"));
    CHECK(word_is(42, CODE_NUIDA, 250, "abaabababaaabbabbabbbbbbaabaaabbbbabaaba"));
    CHECK(word_is(9007199254740993, CODE_HALF, 1799, "bbabaaabbaababaaabaaabaa"));
}

/* Any window of a word equals that part of the whole. */
TEST(code_windows_agree)
{
    char whole[1200], part[1200];
    code_word(k_code, 7, CODE_NUIDA, 0, 1200, whole);
    for (int from = 0; from < 600; from += 37) {
        code_word(k_code, 7, CODE_NUIDA, from, 600, part);
        CHECK(!memcmp(part, whole + from, 600));
    }
}

TEST(code_shares_follow_the_bias)
{
    enum { N = 4000, USERS = 50 };
    static double p[N];
    static char word[N];
    int low = 0, bits[2] = {0}, as[2] = {0};
    code_biases(k_code, CODE_NUIDA, 0, N, p);
    for (int i = 0; i < N; i++) {
        low += p[i] == 0.211;
        CHECK(p[i] == 0.211 || p[i] == 0.789);
        CHECK(p[i] == code_bias(k_code, CODE_NUIDA, i));
    }
    CHECK(abs(low - N / 2) < 200);
    for (int u = 1; u <= USERS; u++) {
        code_word(k_code, u, CODE_NUIDA, 0, N, word);
        for (int i = 0; i < N; i++) {
            int high = p[i] > 0.5;
            bits[high]++;
            as[high] += word[i] == 'a';
        }
    }
    CHECK(fabs((double)as[0] / bits[0] - 0.211) < 0.01);
    CHECK(fabs((double)as[1] / bits[1] - 0.789) < 0.01);
    CHECK(code_kind_for(1199.9) == CODE_HALF && code_kind_for(1200) == CODE_NUIDA);
    CHECK(code_from_name("half") == CODE_HALF && code_from_name("nuida") == CODE_NUIDA);
    CHECK(code_from_name("x") == -1 && code_from_name(NULL) == -1);
}

TEST(grid_as_specified)
{
    static const char want[] = "+----+++++-++--++--+-----+-+++-++-+--+++";
    struct mark_grid g, t;
    mark_grid(k_pattern, 7, 1280, 720, &g);
    mark_grid(k_pattern, 7, 720, 1280, &t);
    CHECK(g.cols == 40 && g.rows == 22 && t.cols == 22 && t.rows == 40);
    CHECK(!memcmp(g.cell, t.cell, sizeof g.cell));
    for (int i = 0; i < 40; i++)
        CHECK(g.cell[i] == (want[i] == '+' ? 1 : -1));
}

/* Nothing at a segment's ends, all of it but in its first and its last two twelfths; every picture of a short segment counts. */
TEST(mark_fades_at_borders)
{
    static const int pictures[] = {20, 48, 50, 60, 100, 120};
    for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++) {
        int n = pictures[i], ramp = (int)lround(n / 12.);
        CHECK(mark_fade(0, n) == 0 && mark_fade(n - 1, n) == 0);
        for (int k = 0; k < n; k++) {
            CHECK(k > n / 2 - 1 || mark_fade(k, n) == mark_fade(n - 1 - ramp - k, n));
            CHECK(k < ramp || k > n - 1 - 2 * ramp || mark_fade(k, n) == 1);
            CHECK(k < n - 1 - ramp || mark_fade(k, n) == 0);
            CHECK(k == 0 || k > n / 2 - 1 || mark_fade(k, n) >= mark_fade(k - 1, n));
        }
        CHECK(mark_fade(1, n) > 0 && mark_fade(1, n) < 1);
    }
    for (int k = 0; k < 5; k++)
        CHECK(mark_fade(k, 5) == 1);
}

/* A still segment spends on its first picture, its border and what draws the mark, and saves on the rest. */
TEST(quantisers_guard_borders)
{
    for (int n = 20; n <= 120; n += 5) {
        int last = n - 1, mid = n / 2;
        CHECK(mark_quantiser(0, n, false) == 0 && mark_quantiser(mid, n, false) == 0);
        CHECK(mark_quantiser(last, n, false) < 0 && mark_quantiser(last, n, true) < 0);
        CHECK(mark_quantiser(0, n, true) < mark_quantiser(1, n, true));
        CHECK(mark_quantiser(1, n, true) < mark_quantiser(mid, n, true));
    }
}

TEST(motion_tells_screens_from_cameras)
{
    enum { W = 64, H = 48, STRIDE = 80 };
    static uint8_t y[STRIDE * H];
    struct motion m;
    int falls = 0;
    motion_init(&m, W, H);
    motion_add(&m, y, STRIDE);
    CHECK(m.recent >= MOTION_STILL); // the first picture
    for (int n = 0; n < 20; n++) {
        y[STRIDE * 4 + n] = 255; // somebody writes
        motion_add(&m, y, STRIDE);
    }
    CHECK(m.recent < MOTION_STILL);
    CHECK(m.cols == 4 && m.rows == 3 && m.fresh[1] && !m.fresh[0]); // where that was
    for (int k = 2; k < 12; k++)
        CHECK(!m.fresh[k]);
    for (int n = 0; n < 20; n++) { // repeated pictures of a film whose grain changes
        for (int i = 0; n % 2 == 0 && i < STRIDE * H; i++)
            y[i] ^= i % 8 ? 0 : 2;
        motion_add(&m, y, STRIDE);
        CHECK(m.recent >= MOTION_STILL);
    }
    for (; m.recent >= MOTION_STILL; falls++)
        motion_add(&m, y, STRIDE);
    CHECK(falls > 2 && falls < 30);
    for (int n = 0; n < 10; n++)
        motion_add(&m, y, STRIDE);
    for (int k = 0; k < 12; k++)
        CHECK(!m.fresh[k]);
    memset(y, 200, sizeof y);
    motion_add(&m, y, STRIDE);
    CHECK(m.recent == 1); // all of it, whatever the stride
    motion_fini(&m);
}

/* ---- drawing ---- */
enum { GUARD = 0xA5 };
struct plane {
    int w, h, stride;
    uint8_t *p; /* rows with GUARD bytes behind each */
};

static struct plane plane_new(int w, int h, int luma, int noise)
{
    struct plane v = {w, h, w + 5, malloc((size_t)(w + 5) * (size_t)h)};
    unsigned s = 1;
    memset(v.p, GUARD, (size_t)v.stride * (size_t)h);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            s = s * 1664525 + 1013904223;
            int n = noise ? (int)(s >> 16) % (2 * noise + 1) - noise : 0;
            v.p[y * v.stride + x] = (uint8_t)(luma + n);
        }
    return v;
}

static int guards_whole(const struct plane *v)
{
    for (int y = 0; y < v->h; y++)
        for (int x = v->w; x < v->stride; x++)
            if (v->p[y * v->stride + x] != GUARD)
                return 0;
    return 1;
}

/* Correlation of (v - w) with the grid, over cell centres' neighbourhoods. */
static double correlate(const struct plane *v, const struct plane *w, const struct mark_grid *g)
{
    double s = 0;
    for (int y = 0; y < v->h; y++)
        for (int x = 0; x < v->w; x++)
            s += (v->p[y * v->stride + x] - w->p[y * w->stride + x]) *
                 g->cell[y * g->rows / v->h * g->cols + x * g->cols / v->w];
    return s / v->w / v->h;
}

static void draw(int w, int h, int luma, int noise, float strength, double *mean, int *peak)
{
    struct plane src = plane_new(w, h, luma, noise), a = plane_new(w, h, 0, 0),
                 b = plane_new(w, h, 0, 0);
    struct mark_pen *pen = mark_pen_new(w, h);
    struct mark_grid g;
    mark_grid(k_pattern, 3, w, h, &g);
    mark_draw(pen, &g, strength, src.p, src.stride, a.p, a.stride, b.p, b.stride);
    CHECK(guards_whole(&src) && guards_whole(&a) && guards_whole(&b));
    *mean = correlate(&a, &b, &g) / 2;
    *peak = 0;
    int odd = 0;
    for (int i = 0; i < h * src.stride; i++) {
        int up = a.p[i] - src.p[i], down = src.p[i] - b.p[i];
        *peak = abs(up) > *peak ? abs(up) : *peak;
        odd += abs(up - down) > 1;
    }
    CHECK(luma - noise < 6 || luma + noise > 249 || odd == 0);
    mark_pen_free(pen);
    free(src.p);
    free(a.p);
    free(b.p);
}

TEST(mark_is_drawn_at_any_size)
{
    static const int size[][2] = {{1920, 1080}, {426, 240}, {427, 239}, {161, 121},
                                  {240, 426},   {16, 16},   {64, 2304}, {4096, 64}};
    double mean;
    int peak;
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        draw(size[i][0], size[i][1], 120, 12, MARK_STRENGTH, &mean, &peak);
        CHECK(peak <= 3);
        CHECK(size[i][0] < 100 || size[i][1] < 100 || (peak >= 1 && mean > 0.3));
    }
}

/* Flat and dark: nothing is drawn that would show; saturated: no wrap-around. */
TEST(mark_spares_flat_and_dark)
{
    double mean;
    int peak;
    draw(640, 360, 20, 0, MARK_STRENGTH_MAX, &mean, &peak);
    CHECK(peak == 0);
    draw(640, 360, 30, 1, MARK_STRENGTH, &mean, &peak);
    CHECK(peak == 0);
    draw(640, 360, 120, 0, MARK_STRENGTH, &mean, &peak);
    CHECK(peak <= 1);
    draw(640, 360, 250, 5, MARK_STRENGTH_MAX, &mean, &peak);
    CHECK(peak <= 4);
    draw(640, 360, 5, 5, MARK_STRENGTH_MAX, &mean, &peak);
    CHECK(peak <= 4);
    draw(640, 360, 120, 12, 0, &mean, &peak);
    CHECK(peak == 0);
}

/* The tracer's weights: of the same order for every size of a picture, and 0 where nothing is drawn. */
TEST(gain_follows_the_picture)
{
    static float gain[MARK_CELLS];
    struct plane v = plane_new(320, 180, 110, 0);
    for (int y = 0; y < v.h; y++)
        for (int x = 0; x < v.w; x++)
            v.p[y * v.stride + x] = (uint8_t)(x < 160 ? 18 : 90 + (x * 7 + y * 13) % 40);
    mark_gain(v.p, v.stride, v.w, v.h, gain);
    for (int c = 0; c < MARK_CELLS; c++) {
        CHECK(gain[c] >= 0 && gain[c] <= 3.4f);
        CHECK(c % 40 >= 18 || gain[c] == 0);
        CHECK(c % 40 < 21 || gain[c] > 0.6);
    }
    free(v.p);
}
