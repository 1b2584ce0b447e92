/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "media/cadence.h"
#include "media/frag.h"
#include "media/ladder.h"
#include "media/probe.h"
#include "media/sandbox.h"

TEST(ladder_never_above_the_source)
{
    struct ladder_rung r[LADDER_MAX];
    for (int w = 16; w <= 4096; w += 31) {
        for (int h = 16; h <= 2304; h += 29) {
            int n = ladder_make(w, h, 1080, 30, r);
            CHECK(n >= 1 && n <= LADDER_MAX);
            for (int i = 0; i < n; i++) {
                CHECK(r[i].w <= w && r[i].h <= h && r[i].w >= 2 && r[i].h >= 2);
                CHECK(r[i].w % 2 == 0 && r[i].h % 2 == 0);
                CHECK(i == 0 || (r[i].w <= r[i - 1].w && r[i].h <= r[i - 1].h));
                CHECK((r[i].w <= r[i].h) == (w <= h) || abs(w - h) < 40);
            }
        }
    }
}

TEST(ladder_examples)
{
    struct ladder_rung r[LADDER_MAX];
    CHECK(ladder_make(1920, 1080, 1080, 25, r) == 5 && !strcmp(r[0].name, "1080") &&
          r[0].w == 1920);
    CHECK(ladder_make(1080, 1920, 480, 25, r) == 3 && r[0].w == 480 && r[0].h == 854);
    CHECK(ladder_make(1278, 718, 1080, 25, r) == 4 && r[0].w == 1278 && r[0].h == 718);
    CHECK(ladder_make(161, 121, 1080, 25, r) == 1 && r[0].w == 160 && !strcmp(r[0].name, "120"));
    CHECK(ladder_make(8, 8, 1080, 25, r) == 0);
}

TEST(ladder_rates)
{
    struct ladder_rate r = ladder_fps(29.97, 29.97);
    CHECK(r.num == 30000 && r.den == 1001);
    r = ladder_fps(30, 29.9);
    CHECK(r.num == 30 && r.den == 1);
    r = ladder_fps(90000, 23.1); // variable
    CHECK(r.num == 30 && r.den == 1);
    r = ladder_fps(120, 120);
    CHECK(r.num == 60 && r.den == 1);
    r = ladder_fps(0, 0);
    CHECK(r.num == 25);
    r = ladder_fps(1, 1);
    CHECK(r.num == 10);
}

TEST(cadence_fills_and_drops)
{
    struct cadence c = {.rate = {25, 1}, .max_gap = 10};
    int times, total = 0;
    static const double at[] = {0, 0.04, 0.05, 0.2, 0.19, 1.0};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        CHECK(cadence_push(&c, at[i], &times) == 0);
        total += times;
    }
    CHECK(total == 25);
    CHECK(cadence_end(&c, 1.04) == 1 && c.next == 26);
}

TEST(cadence_refuses_jumps)
{
    struct cadence c = {.rate = {25, 1}, .max_gap = 10};
    int times;
    CHECK(cadence_push(&c, 0, &times) == 0);
    CHECK(cadence_push(&c, 36000, &times) == -1);
    CHECK(cadence_push(&c, 9, &times) == 0);
    CHECK(cadence_push(&c, -9, &times) == -1);
    CHECK(cadence_push(&c, 0.0 / 0.0, &times) == -1);
}

static uint32_t be32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

TEST(frag_boxes_add_up)
{
    static const uint8_t headers[] = {0, 0, 0, 1, 0x67, 0x64, 0, 0x1e, 1, 0, 0, 1, 0x68, 2, 3};
    struct frag_color color = {1, 1, 1};
    struct buf b = {0}, au = {0};
    char codecs[24];
    CHECK(frag_init_video(&b, 640, 360, 12800, 1024, color, headers, sizeof headers, codecs) == 0);
    CHECK(!strcmp(codecs, "avc1.64001e"));
    size_t at = 0;
    while (at < b.n)
        at += be32(b.p + at);
    CHECK(at == b.n);
    CHECK(frag_init_video(&b, 640, 360, 12800, 0, color, headers, 8, codecs) == -1);
    // An access unit keeps its slice and loses delimiter, SEI and parameter sets.
    static const uint8_t unit[] = {0, 0, 0, 1, 9,    16, 0, 0, 1, 6,    5, 1,
                                   0, 0, 0, 1, 0x67, 1,  0, 0, 1, 0x65, 7, 8};
    frag_put_annexb(&au, unit, sizeof unit);
    CHECK(au.n == 7 && be32(au.p) == 3 && (uint8_t)au.p[4] == 0x65);
    buf_clear(&b);
    struct frag_sample s[2] = {{7, 512, 1024}, {0, 512, 0}};
    frag_segment(&b, 1, 51200, false, s, 2, au.p, au.n);
    uint32_t moof = be32(b.p);
    CHECK(be32(b.p + moof) == 8 + au.n && moof + 8 + au.n == b.n);
    CHECK(!memcmp(b.p + moof + 8, au.p, au.n));
    buf_fini(&b);
    buf_fini(&au);
}

TEST(decoder_lists_are_closed)
{
    struct err e;
    CHECK(probe_guard(&e) == 0);
}

/* Runs act in a sandboxed process; its exit code, or minus the signal that ended it. */
static int sandboxed(int dirfd, int (*act)(int dirfd))
{
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        char layers[64];
        struct err e;
        if (sandbox_enter(dirfd, false, false, layers, &e) || !strstr(layers, "seccomp"))
            _exit(99);
        _exit(act(dirfd));
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int act_socket(int d)
{
    return d + socket(AF_INET, SOCK_STREAM, 0);
}

static int act_exec(int d)
{
    return d + execl("/bin/true", "true", (char *)NULL);
}

static int act_files(int d)
{
    int bits = 0;
    bits |= open("/etc/passwd", O_RDONLY) >= 0 ? 1 : 0;
    bits |= openat(d, "/etc/passwd", O_RDONLY) >= 0 ? 2 : 0;
    bits |= openat(d, "old", O_RDONLY) >= 0 ? 4 : 0;
    bits |= openat(d, "new", O_WRONLY | O_CREAT | O_EXCL, 0600) < 0 ? 8 : 0;
    bits |= renameat(d, "new", d, "newer") ? 16 : 0;
    bits |= fork() >= 0 ? 32 : 0;
    return bits;
}

TEST(sandbox_holds)
{
#ifndef __SANITIZE_ADDRESS__
    char dir[] = "/tmp/ppv-sandbox-XXXXXX";
    CHECK(mkdtemp(dir) != NULL);
    int d = open(dir, O_RDONLY | O_DIRECTORY);
    close(openat(d, "old", O_WRONLY | O_CREAT, 0600));
    CHECK(sandboxed(d, act_socket) == -SIGSYS);
    CHECK(sandboxed(d, act_exec) == -SIGSYS);
    CHECK(sandboxed(d, act_files) == 0);
    unlinkat(d, "old", 0);
    unlinkat(d, "newer", 0);
    close(d);
    CHECK(rmdir(dir) == 0);
#endif
}
