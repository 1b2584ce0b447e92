// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/io.h"
#include "media/clip.h"
#include "media/fail.h"
#include "media/trace.h"

enum {
    PIXELS = TRACE_PROBE_W * TRACE_PROBE_H,
    MOVES = 14,
    SLIVER = 3,
    PLAIN = 6, /* luma levels that coding noise makes in a bar */
    MAX_PICTURES = CLIP_MAX_S * FP_RATE + 16
};
static const char magic[8] = "PPVCLIP2";

struct head {
    char magic[8];
    int32_t pictures, probes;
    double box[4], bars[4];
};
struct signer {
    const struct trace_job *job;
    struct buf t, cells;
    int n, stride, probes;
    double seconds, probe_t[TRACE_PROBES];
    uint8_t *probe;
};

static void thin(struct signer *s)
{
    for (int i = 0; i < TRACE_PROBES / 2; i++) {
        s->probe_t[i] = s->probe_t[2 * i];
        memcpy(s->probe + (size_t)i * PIXELS, s->probe + (size_t)i * 2 * PIXELS, PIXELS);
    }
    s->probes = TRACE_PROBES / 2;
    s->stride *= 2;
}

static int picture(void *arg, double t, const uint8_t *y, ptrdiff_t stride)
{
    struct signer *s = arg;
    uint8_t c[FP_CLIP_CELLS];
    fp_cells(y, stride, TRACE_PROBE_W, TRACE_PROBE_H, FP_CLIP_W, FP_CLIP_H, c);
    buf_put(&s->t, (const char *)&t, sizeof t);
    buf_put(&s->cells, (const char *)c, sizeof c);
    if (s->n++ % s->stride == 0) {
        if (s->probes == TRACE_PROBES)
            thin(s);
        s->probe_t[s->probes] = t;
        for (int i = 0; i < TRACE_PROBE_H; i++)
            memcpy(s->probe + (size_t)s->probes * PIXELS + (size_t)i * TRACE_PROBE_W,
                   y + i * stride, TRACE_PROBE_W);
        s->probes++;
    }
    if (s->seconds > 0)
        s->job->progress("look", fmin(0.99, t / s->seconds));
    return s->n >= MAX_PICTURES;
}

/* Whether most of a line of pixels ever changes. */
static bool moves(const uint8_t *range, int first, int step, int n)
{
    int moving = 0;
    for (int i = 0; i < n; i++)
        moving += range[first + i * step] >= MOVES;
    return moving * 4 > n; // a logo in a border is not the picture
}

/* Borders are what never moves. */
static void find_box(const struct signer *s, double box[4])
{
    uint8_t *range = calloc(1, PIXELS);
    must(range != NULL);
    for (int q = 0; q < PIXELS; q++) {
        uint8_t lo = 255, hi = 0;
        for (int i = 0; i < s->probes; i++) {
            uint8_t v = s->probe[(size_t)i * PIXELS + (size_t)q];
            lo = v < lo ? v : lo;
            hi = v > hi ? v : hi;
        }
        range[q] = (uint8_t)(hi - lo);
    }
    enum { W = TRACE_PROBE_W, H = TRACE_PROBE_H };
    int x0 = 0, x1 = W, y0 = 0, y1 = H;
    while (y0 < H && !moves(range, y0 * W, 1, W))
        y0++;
    while (y1 > y0 && !moves(range, (y1 - 1) * W, 1, W))
        y1--;
    while (x0 < W && !moves(range, x0, W, H))
        x0++;
    while (x1 > x0 && !moves(range, x1 - 1, W, H))
        x1--;
    free(range);
    bool all = (x1 - x0) * 3 < W || (y1 - y0) * 3 < H;
    box[0] = all ? 0 : (double)x0 / W;
    box[1] = all ? 0 : (double)y0 / H;
    box[2] = all ? 1 : (double)x1 / W;
    box[3] = all ? 1 : (double)y1 / H;
}

/* Whether a line of pixels is plain, but for a logo in it; *level gets its luma. */
static bool plain(const uint8_t *p, int step, int n, uint8_t *level)
{
    int count[256] = {0}, near = 0, seen = 0;
    for (int i = 0; i < n; i++)
        count[p[i * step]]++;
    for (*level = 0; (seen += count[*level]) * 2 < n;)
        ++*level;
    for (int i = 0; i < n; i++)
        near += abs(p[i * step] - *level) <= PLAIN;
    return near * 4 > n * 3;
}

/* Whether a line is plain and of the same luma in nearly all pictures: *level if that is not negative, which it gets. */
static bool bar_line(const uint8_t *probe, int probes, int first, int step, int n, int *level)
{
    int same = 0, now = *level;
    for (int i = 0; i < probes; i++) {
        uint8_t v;
        if (!plain(probe + (size_t)i * PIXELS + first, step, n, &v))
            continue;
        now = now < 0 ? v : now;
        same += abs(v - now) <= PLAIN;
    }
    if (same * 10 < probes * 9)
        return false;
    *level = now;
    return true;
}

/* Lines of a bar along an edge, at most a third of n. A sliver of picture may be left outside it, and coding noise may spoil a
 * few of its lines. */
static int bar(const uint8_t *probe, int probes, int first, int next, int step, int len, int n)
{
    int level = -1, good = 0, end = 0;
    for (int k = 0; k < n / 3 && k - end < SLIVER; k++)
        if (bar_line(probe, probes, first + k * next, step, len, &level)) {
            good++;
            end = k + 1;
        }
    return good >= SLIVER ? end : 0;
}

void trace_bars(const uint8_t *p, int n, double bars[4])
{
    enum { W = TRACE_PROBE_W, H = TRACE_PROBE_H };
    int y0 = bar(p, n, 0, W, 1, W, H), y1 = bar(p, n, (H - 1) * W, -W, 1, W, H), h = H - y0 - y1;
    int x0 = bar(p, n, y0 * W, 1, W, h, W), x1 = bar(p, n, y0 * W + W - 1, -1, W, h, W);
    bars[0] = (double)x0 / W;
    bars[1] = (double)y0 / H;
    bars[2] = 1 - (double)x1 / W;
    bars[3] = 1 - (double)y1 / H;
}

static int save(const struct signer *s, struct err *e)
{
    struct head h = {.pictures = s->n, .probes = s->probes};
    memcpy(h.magic, magic, sizeof magic);
    find_box(s, h.box);
    trace_bars(s->probe, s->probes, h.bars);
    int fd = openat(s->job->dirfd, "clip.fp", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, "create the signature");
    int rc = io_write_all(fd, &h, sizeof h) || io_write_all(fd, s->t.p, s->t.n) ||
             io_write_all(fd, s->probe_t, sizeof s->probe_t) ||
             io_write_all(fd, s->cells.p, s->cells.n) ||
             io_write_all(fd, s->probe, (size_t)s->probes * PIXELS);
    if (rc)
        err_errno(e, "write the signature");
    close(fd);
    return rc ? -1 : 0;
}

int trace_sign(const struct trace_job *j, struct buf *out, struct err *e)
{
    struct signer s = {.job = j, .stride = 2};
    struct clip_info info = {0};
    struct clip_sink sink = {.w = TRACE_PROBE_W,
                             .h = TRACE_PROBE_H,
                             .rate = FP_RATE,
                             .rough = true,
                             .cancel = j->cancel,
                             .picture = picture,
                             .arg = &s};
    s.probe = malloc((size_t)TRACE_PROBES * PIXELS);
    must(s.probe != NULL);
    int rc = clip_read(j->fd, j->ext, &sink, &info, e);
    if (!rc)
        rc = save(&s, e);
    if (!rc) {
        double last;
        memcpy(&last, s.t.p + s.t.n - sizeof last, sizeof last);
        buf_printf(out,
                   "{\"duration\":%.3f,\"width\":%d,\"height\":%d,\"fps\":%.3f,\"pictures\":%d}",
                   fmax(last, fmin(info.seconds, CLIP_MAX_S)), info.w, info.h, info.fps, s.n);
    }
    free(s.probe);
    buf_fini(&s.t);
    buf_fini(&s.cells);
    return rc;
}

/* ---- reading a signature ---- */

static int read_all(int fd, void *p, size_t n, off_t *at)
{
    for (char *c = p; n;) {
        ssize_t r = pread(fd, c, n, *at);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return -1;
        c += r;
        n -= (size_t)r;
        *at += r;
    }
    return 0;
}

int trace_clip_read(struct trace_clip *c, int fd, struct err *e)
{
    struct head h;
    off_t at = 0;
    memset(c, 0, sizeof *c);
    if (read_all(fd, &h, sizeof h, &at) || memcmp(h.magic, magic, sizeof magic) != 0 ||
        h.pictures < 1 || h.pictures > MAX_PICTURES || h.probes < 1 || h.probes > TRACE_PROBES)
        return fail_set(e, "media.internal", "The clip's signature is broken.");
    size_t n = (size_t)h.pictures;
    c->t = malloc(n * sizeof *c->t);
    c->cells = malloc(n * FP_CLIP_CELLS);
    c->probes = h.probes;
    c->probe = malloc((size_t)h.probes * PIXELS);
    must(c->t && c->cells && c->probe);
    int rc = read_all(fd, c->t, n * sizeof *c->t, &at) ||
             read_all(fd, c->probe_t, sizeof c->probe_t, &at) ||
             read_all(fd, c->cells, n * FP_CLIP_CELLS, &at) ||
             read_all(fd, c->probe, (size_t)h.probes * PIXELS, &at);
    for (size_t i = 0; !rc && i < n; i++)
        rc = !(c->t[i] >= (i ? c->t[i - 1] : 0) && c->t[i] <= CLIP_MAX_S + 1);
    for (int i = 0; !rc && i < h.probes; i++)
        rc = !(c->probe_t[i] >= 0 && c->probe_t[i] <= CLIP_MAX_S + 1);
    for (int i = 0; !rc && i < 4; i++)
        rc = !(h.box[i] >= 0 && h.box[i] <= 1 && h.bars[i] >= 0 && h.bars[i] <= 1);
    if (rc || h.box[2] - h.box[0] < 0.2 || h.box[3] - h.box[1] < 0.2 ||
        h.bars[2] - h.bars[0] < 0.3 || h.bars[3] - h.bars[1] < 0.3) {
        trace_clip_fini(c);
        return fail_set(e, "media.internal", "The clip's signature is broken.");
    }
    c->fp.n = h.pictures;
    c->fp.t = c->t;
    c->fp.cells = c->cells;
    memcpy(c->fp.box, h.box, sizeof h.box);
    memcpy(c->fp.bars, h.bars, sizeof h.bars);
    return 0;
}

void trace_clip_fini(struct trace_clip *c)
{
    free(c->t);
    free(c->cells);
    free(c->probe);
    memset(c, 0, sizeof *c);
}
