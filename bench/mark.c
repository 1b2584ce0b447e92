/* SPDX-License-Identifier: Apache-2.0
 * Draws the invisible mark into raw pictures: mark W H FRAMES_PER_SEGMENT STRENGTH a|b <in.yuv >out.yuv (yuv420p).
 * Keys are those of the media specs: the title secret is bytes 0 .. 31. On stderr: microseconds per picture. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "media/mark.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    int w = atoi(argv[1]), h = atoi(argv[2]), gop = atoi(argv[3]), n = 0;
    float strength = (float)atof(argv[4]);
    size_t luma = (size_t)w * (size_t)h, all = luma * 3 / 2;
    uint8_t secret[32], key[32], *p = malloc(all), *spare = malloc(luma);
    struct mark_pen *pen = mark_pen_new(w, h);
    struct mark_grid g;
    double used = 0;
    for (int i = 0; i < 32; i++)
        secret[i] = (uint8_t)i;
    if (!p || !spare || mark_key(secret, key))
        return 1;
    for (; fread(p, 1, all, stdin) == all; n++) {
        double t = now();
        mark_grid(key, n / gop, w, h, &g);
        int b = argv[5][0] == 'b';
        mark_draw(pen, &g, strength * mark_fade(n % gop, gop), p, w, b ? spare : p, w, b ? p : spare, w);
        used += now() - t;
        if (fwrite(p, 1, all, stdout) != all)
            return 1;
    }
    fprintf(stderr, "%.0f\n", n ? used / n : 0);
    return 0;
}
