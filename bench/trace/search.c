/* SPDX-License-Identifier: Apache-2.0
 * What a search costs and whether it finds: search N TITLE.mp4... -- CLIP.mp4...
 * N titles of two hours are made up of the pictures of the real titles (shifted, turned and laid over each other, in shots of a few
 * seconds), and one more for every real title, which it holds in its middle. Per clip: CPU milliseconds of a title (unfolding its
 * fingerprint, matching it), the likeness and rank of the title whose name the clip's name begins with, the best of the others. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "media/clip.h"
#include "media/trace.h"

enum { MAX = 400, REAL = 16, SECONDS = 7200, MIDDLE = 3000 };
static volatile sig_atomic_t no;
static struct real {
    struct buf cells;
    int next;
    char name[64];
} real[REAL];
static struct fp_title title[MAX];
static unsigned seed;

static int dice(int n)
{
    seed = seed * 1664525 + 1013904223;
    return (int)((seed >> 8) % (unsigned)n);
}

static double cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static void quiet(const char *stage, double part)
{
    (void)stage;
    (void)part;
}

/* A picture a second. */
static int picture(void *arg, double t, const uint8_t *y, ptrdiff_t stride)
{
    struct real *r = arg;
    uint8_t c[FP_CELLS];
    if (t + 1e-6 < r->next)
        return 0;
    r->next++;
    fp_cells(y, stride, TRACE_PROBE_W, TRACE_PROBE_H, FP_W, FP_H, c);
    buf_put(&r->cells, (const char *)c, sizeof c);
    return 0;
}

static const char *base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int read_title(struct real *r, const char *path)
{
    struct err e = {0};
    struct clip_info info;
    struct clip_sink sink = {.w = TRACE_PROBE_W, .h = TRACE_PROBE_H, .cancel = &no, .picture = picture, .arg = r};
    int fd = open(path, O_RDONLY), rc = clip_read(fd, "mp4", &sink, &info, &e);
    close(fd);
    snprintf(r->name, sizeof r->name, "%.*s", (int)strcspn(base(path), "."), base(path));
    return rc;
}

static const uint8_t *any(int n, int not)
{
    int k = not < 0 ? dice(n) : (not + 1 + dice(n - 1)) % n;
    return (const uint8_t *)real[k].cells.p + dice((int)real[k].cells.n / FP_CELLS) * FP_CELLS;
}

/* right: the real title that it holds; -1 = none. Returns milliseconds of unfolding the fingerprint. */
static double make_up(struct fp_title *t, int n, int right)
{
    static uint8_t cells[SECONDS][FP_CELLS];
    for (int q = 0; q < SECONDS;) {
        const uint8_t *a = any(n, right), *b = any(n, right);
        int weight = 16 + dice(64), shift = dice(FP_CELLS);
        for (int end = q + 2 + dice(8); q < end && q < SECONDS; q++)
            for (int i = 0; i < FP_CELLS; i++)
                cells[q][i] = (uint8_t)((a[(i + shift) % FP_CELLS] * (95 - weight) + b[FP_CELLS - 1 - i] * weight) / 95);
    }
    if (right >= 0)
        memcpy(cells[MIDDLE], real[right].cells.p, real[right].cells.n);
    double began = cpu();
    fp_title_init(t, cells[0], sizeof cells, FP_COARSE);
    return cpu() - began;
}

static void search(const char *path, int titles, int made, double unfolding)
{
    char dir[] = "/tmp/search-XXXXXX";
    struct err e = {0};
    struct buf out = {0};
    struct trace_clip c;
    struct trace_job j = {.cancel = &no, .progress = quiet, .fd = open(path, O_RDONLY)};
    snprintf(j.ext, sizeof j.ext, "%s", strrchr(path, '.') + 1);
    j.dirfd = open(mkdtemp(dir), O_DIRECTORY | O_RDONLY);
    int bad = trace_sign(&j, &out, &e), fd = bad ? -1 : openat(j.dirfd, "clip.fp", O_RDONLY);
    if (bad || trace_clip_read(&c, fd, &e)) {
        printf("%s cannot be read\n", path);
        return;
    }
    unlinkat(j.dirfd, "clip.fp", 0);
    rmdir(dir);
    double score[MAX], right = -1, other = -1, began = cpu();
    for (int k = 0; k < titles; k++) {
        struct fp_view best[FP_BEST];
        score[k] = fp_match(&title[k], &c.fp, best);
    }
    double ms = (cpu() - began) / titles;
    for (int k = 0; k < titles; k++) {
        bool is = k >= made && !strncmp(base(path), real[k - made].name, strlen(real[k - made].name));
        *(is ? &right : &other) = score[k] > (is ? right : other) ? score[k] : is ? right : other;
    }
    int rank = 1;
    for (int k = 0; k < titles; k++)
        rank += score[k] > right;
    printf("%-44s %.1f + %.1f ms a title; right %.3f, rank %d; best other %.3f\n", base(path), unfolding, ms, right, rank, other);
    fflush(stdout);
    trace_clip_fini(&c);
    buf_fini(&out);
    close(fd);
    close(j.fd);
    close(j.dirfd);
}

int main(int argc, char **argv)
{
    int made = argc > 1 ? atoi(argv[1]) : 0, n = 0, i = 2;
    for (; i < argc && strcmp(argv[i], "--") != 0 && n < REAL; i++)
        if (read_title(&real[n++], argv[i]))
            return 1;
    if (made < 1 || made + n > MAX || n < 2 || i >= argc)
        return 2;
    double unfolding = 0;
    for (int k = 0; k < made + n; k++) {
        seed = (unsigned)k * 77 + 5;
        unfolding += make_up(&title[k], n, k < made ? -1 : k - made);
    }
    while (++i < argc)
        search(argv[i], made + n, made, unfolding / (made + n));
    return 0;
}
