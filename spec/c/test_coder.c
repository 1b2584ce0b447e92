/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <libavutil/log.h>

#include "media/coder.h"
#include "media/store.h"
#include "media/track.h"

static const struct frag_color bt709 = {1, 1, 1};

/* SPS and PPS of an opened encoder. */
static size_t headers(const struct coder_spec *spec, char out[512], int *level)
{
    struct coder c;
    struct err e;
    struct buf init = {0};
    char codecs[24] = "";
    size_t n = 0;
    if (!coder_open(&c, spec, &e) &&
        !frag_init_video(&init, spec->w, spec->h, 25, 0, spec->color, c.codec->extradata,
                         (size_t)c.codec->extradata_size, codecs)) {
        char *avcc = memmem(init.p, init.n, "avcC", 4);
        n = (size_t)(init.p + init.n - avcc) < 120 ? (size_t)(init.p + init.n - avcc) : 120;
        memcpy(out, avcc, n);
        *level = (uint8_t)avcc[7];
    }
    coder_close(&c);
    buf_fini(&init);
    return n;
}

/* A later, quicker encode of a segment must fit the init segment made at ingest. */
TEST(parameter_sets_do_not_depend_on_the_preset)
{
    static const struct ladder_rate rates[] = {{25, 1}, {30000, 1001}, {60, 1}, {5, 1}};
    static const char *const presets[] = {"ultrafast", "superfast", "veryfast"};
    char want[512], got[512];
    struct ladder_rung rung[LADDER_MAX];
    av_log_set_level(AV_LOG_QUIET);
    for (size_t r = 0; r < sizeof rates / sizeof *rates; r++) {
        int n = ladder_make(1920, 1080, 1080, (double)rates[r].num / rates[r].den, rung);
        for (int i = 0; i < n; i++) {
            struct coder_spec spec = {.w = rung[i].w,
                                      .h = rung[i].h,
                                      .rate = rates[r],
                                      .gop = 2 * rates[r].num / rates[r].den,
                                      .color = bt709,
                                      .maxrate = rung[i].maxrate,
                                      .preset = "veryfast",
                                      .crf = 23,
                                      .threads = i ? 1 : 4};
            int level = 0, ignored;
            size_t len = headers(&spec, want, &level);
            CHECK(len > 40 && level >= 10);
            spec.level = level;
            spec.maxrate = 0;
            spec.threads = 1;
            spec.crf = 18;
            spec.gop = spec.gop / 2 + 1; // the last segment of a title
            for (size_t k = 0; k < sizeof presets / sizeof *presets; k++) {
                spec.preset = presets[k];
                CHECK(headers(&spec, got, &ignored) == len && !memcmp(want, got, len));
            }
        }
    }
}

/* The size of every file of a pair is the same, however far one encoder runs ahead of the other. */
TEST(pairs_have_equal_lengths)
{
    char dir[] = "/tmp/ppv-track-XXXXXX", data[4096] = {0};
    uint8_t secret[32] = {1};
    struct err e;
    struct track t;
    CHECK(mkdtemp(dir) != NULL);
    int d = open(dir, O_RDONLY | O_DIRECTORY);
    struct store *s = store_new(d, secret, &e);
    track_init(&t, "480", false, 25);
    t.variants = 2;
    struct frag_sample a = {100, 50, 0}, b = {3000, 50, 0};
    for (int i = 0; i < 3; i++)
        CHECK(track_add(&t, s, 1, &b, 1, data, b.size, &e) == 0);
    CHECK(t.count == 0 && !track_complete(&t));
    for (int i = 0; i < 3; i++) {
        a.size += (uint32_t)i;
        CHECK(track_add(&t, s, 0, &a, 1, data, a.size, &e) == 0);
    }
    CHECK(t.count == 3 && track_complete(&t) && t.time == 150);
    CHECK(track_add(&t, s, 0, &a, 1, data, 90, &e) == 0 && !track_complete(&t));
    CHECK(store_sync(s, &e) == 0);
    for (int i = 0; i < t.count; i++) {
        CHECK(t.segment[0][i].size == t.segment[1][i].size && t.segment[0][i].size > 3000);
        CHECK(strcmp(t.segment[0][i].name, t.segment[1][i].name) != 0);
        CHECK(strcmp(t.segment[0][i].iv, t.segment[1][i].iv) != 0);
        CHECK(unlinkat(d, t.segment[0][i].name, 0) == 0);
        CHECK(unlinkat(d, t.segment[1][i].name, 0) == 0);
    }
    track_fini(&t);
    store_free(s);
    close(d);
    CHECK(rmdir(dir) == 0);
}
