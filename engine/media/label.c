// SPDX-License-Identifier: Apache-2.0
#include "media/label.h"
#include <ft2build.h>
#include FT_FREETYPE_H
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/str.h"
#include "media/fail.h"

static const char DEFAULT_FONT[] = "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf";
enum { FONT_MAX = 8 << 20, PX_MIN = 8, MISSING = 0x25a1, ELLIPSIS = 0x2026 };
enum { BLACK = 16, WHITE = 235, GREY = 128 };

/* ---- the font ---- */

static int read_file(const char *path, void **data, size_t *n, struct err *e)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = -1;
    if (fd < 0 || fstat(fd, &st))
        goto out;
    if (st.st_size <= 0 || st.st_size > FONT_MAX)
        goto out;
    *n = (size_t)st.st_size;
    *data = malloc(*n);
    must(*data != NULL);
    rc = read(fd, *data, *n) == (ssize_t)*n ? 0 : -1;
out:
    if (fd >= 0)
        close(fd);
    return rc ? fail_set(e, "media.internal", "The font %s cannot be read.", path) : 0;
}

int label_font_open(struct label_font *f, const char *path, struct err *e)
{
    size_t n = 0;
    FT_Library library = NULL;
    FT_Face face = NULL;
    *f = (struct label_font){0};
    if (read_file(path ? path : DEFAULT_FONT, &f->file, &n, e))
        return -1;
    if (FT_Init_FreeType(&library) || FT_New_Memory_Face(library, f->file, (FT_Long)n, 0, &face)) {
        FT_Done_FreeType(library);
        free(f->file);
        *f = (struct label_font){0};
        return fail_set(e, "media.internal", "The font of the visible mark cannot be used.");
    }
    f->library = library;
    f->face = face;
    return 0;
}

void label_font_close(struct label_font *f)
{
    if (f->library)
        FT_Done_FreeType(f->library); // faces too
    free(f->file);
    *f = (struct label_font){0};
}

/* ---- the text ---- */

/* Next code point; '?' for what is no UTF-8. */
static uint32_t next_char(const uint8_t **p, const uint8_t *end)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t c = *(*p)++;
    int more = c < 0x80 ? 0 : c >> 5 == 6 ? 1 : c >> 4 == 14 ? 2 : c >> 3 == 30 ? 3 : -1;
    if (more <= 0)
        return more ? '?' : c;
    if (end - *p < more)
        return '?';
    uint32_t v = c & (0x3f >> more);
    for (int i = 0; i < more; i++) {
        if (((*p)[i] & 0xc0) != 0x80)
            return '?';
        v = v << 6 | ((*p)[i] & 0x3f);
    }
    if (v < least[more + 1] || v > 0x10ffff || v >> 11 == 0x1b)
        return '?';
    *p += more;
    return v;
}

struct range {
    uint32_t from, to;
};

static bool in_ranges(uint32_t c, const struct range *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (c >= r[i].from && c <= r[i].to)
            return true;
    return false;
}

/* Nothing to see, or a stroke on the letter before. */
static bool is_dropped(uint32_t c)
{
    static const struct range r[] = {
        {0, 0x1f},          {0x7f, 0xa0},     {0xad, 0xad},     {0x300, 0x36f},
        {0x483, 0x489},     {0x591, 0x5bd},   {0x5bf, 0x5bf},   {0x5c1, 0x5c7},
        {0x610, 0x61c},     {0x64b, 0x65f},   {0x670, 0x670},   {0x6d6, 0x6ed},
        {0x1ab0, 0x1aff},   {0x1dc0, 0x1dff}, {0x200b, 0x200f}, {0x2028, 0x202f},
        {0x2060, 0x206f},   {0x20d0, 0x20ff}, {0xd800, 0xf8ff}, {0xfe00, 0xfe0f},
        {0xfe20, 0xfe2f},   {0xfeff, 0xfeff}, {0xfff0, 0xffff}, {0x1f3fb, 0x1f3ff},
        {0xe0000, 0x10ffff}};
    return in_ranges(c, r, sizeof r / sizeof *r);
}

static bool is_right_to_left(uint32_t c)
{
    static const struct range r[] = {{0x590, 0x8ff}, {0xfb1d, 0xfdff}, {0xfe70, 0xfefc}};
    return in_ranges(c, r, sizeof r / sizeof *r);
}

static int take(const char *s, size_t n, uint32_t *out, int max)
{
    const uint8_t *p = (const uint8_t *)s, *end = p + n;
    int count = 0;
    while (p < end && count < max) {
        uint32_t c = next_char(&p, end);
        if (!is_dropped(c))
            out[count++] = c;
    }
    return count;
}

/* Runs of right-to-left letters and what stands between them; not the rest of the line. */
static void turn_around(uint32_t *t, int n)
{
    for (int i = 0; i < n; i++) {
        int last = i;
        for (int k = i; k < n && is_right_to_left(t[i]); k++) {
            if (is_right_to_left(t[k]))
                last = k;
            else if (t[k] != ' ' && t[k] != '-')
                break;
        }
        for (int a = i, b = last; a < b; a++, b--) {
            uint32_t c = t[a];
            t[a] = t[b];
            t[b] = c;
        }
        i = last;
    }
}

int label_text(const char *name, size_t n, const char *tail, size_t tail_n,
               uint32_t out[LABEL_GLYPHS])
{
    int count = take(name, n, out, LABEL_NAME_GLYPHS + 1);
    if (count > LABEL_NAME_GLYPHS)
        out[(count = LABEL_NAME_GLYPHS) - 1] = ELLIPSIS;
    turn_around(out, count);
    if (count && tail_n)
        out[count++] = ' ';
    return count + take(tail, tail_n, out + count, LABEL_GLYPHS - count);
}

/* ---- the picture ---- */

static FT_GlyphSlot glyph(FT_Face face, uint32_t c, int flags)
{
    FT_UInt i = FT_Get_Char_Index(face, c);
    if (!i)
        i = FT_Get_Char_Index(face, MISSING);
    return FT_Load_Glyph(face, i, flags) ? NULL : face->glyph;
}

static int measure(FT_Face face, const uint32_t *text, int n)
{
    long w = 0;
    for (int i = 0; i < n; i++) {
        FT_GlyphSlot g = glyph(face, text[i], FT_LOAD_DEFAULT);
        w += g ? g->advance.x >> 6 : 0;
    }
    return (int)w;
}

static void stamp(struct label *l, const FT_Bitmap *b, int left, int top)
{
    for (int j = 0; j < (int)b->rows; j++) {
        for (int i = 0; i < (int)b->width; i++) {
            int x = left + i, y = top + j;
            if (x < 0 || y < 0 || x >= l->w || y >= l->h)
                continue;
            uint8_t v = b->buffer[j * b->pitch + i], *to = &l->fill[y * l->w + x];
            *to = v > *to ? v : *to;
        }
    }
}

/* The letters grown by r in every direction. */
static void outline(struct label *l, int r)
{
    for (int y = 0; y < l->h; y++) {
        for (int x = 0; x < l->w; x++) {
            uint8_t most = 0;
            for (int j = y - r < 0 ? -y : -r; j <= r && y + j < l->h; j++)
                for (int i = x - r < 0 ? -x : -r; i <= r && x + i < l->w; i++) {
                    uint8_t v = l->fill[(y + j) * l->w + x + i];
                    if (i * i + j * j <= r * r + 1 && v > most)
                        most = v;
                }
            l->edge[y * l->w + x] = most;
        }
    }
}

int label_make(struct label *l, const struct label_font *f, const uint32_t *text, int n, int px,
               int max_w, struct err *e)
{
    FT_Face face = f->face;
    px = px < PX_MIN ? PX_MIN : px;
    FT_Set_Pixel_Sizes(face, 0, (FT_UInt)px);
    int w = measure(face, text, n);
    if (w > max_w && px > PX_MIN) {
        px = px * max_w / w < PX_MIN ? PX_MIN : px * max_w / w;
        FT_Set_Pixel_Sizes(face, 0, (FT_UInt)px);
        w = measure(face, text, n);
    }
    int r = px / 16 + 1;
    w = (w > max_w ? max_w : w) + 2 * r;
    *l = (struct label){.w = w, .h = px * 5 / 4 + 2 * r};
    size_t size = (size_t)l->w * (size_t)l->h;
    l->fill = calloc(size, 1);
    l->edge = calloc(size, 1);
    if (!l->fill || !l->edge)
        return fail_set(e, "media.internal", "There is no memory for the visible mark.");
    int x = r;
    for (int i = 0; i < n; i++) {
        FT_GlyphSlot g = glyph(face, text[i], FT_LOAD_RENDER);
        if (!g)
            continue;
        stamp(l, &g->bitmap, x + g->bitmap_left, px + r - g->bitmap_top);
        x += (int)(g->advance.x >> 6);
    }
    outline(l, r);
    return 0;
}

void label_fini(struct label *l)
{
    free(l->fill);
    free(l->edge);
    *l = (struct label){0};
}

static uint8_t mix(int from, int to, int coverage)
{
    return (uint8_t)(from + (to - from) * coverage * LABEL_OPACITY / (255 * 256));
}

void label_blend(const struct label *l, AVFrame *frame, int x, int y)
{
    x = x < 0 ? 0 : x;
    y = y < 0 ? 0 : y;
    int w = x + l->w > frame->width ? frame->width - x : l->w;
    int h = y + l->h > frame->height ? frame->height - y : l->h;
    for (int j = 0; j < h; j++) {
        const uint8_t *fill = l->fill + j * l->w, *edge = l->edge + j * l->w;
        uint8_t *to = frame->data[0] + (y + j) * frame->linesize[0] + x;
        for (int i = 0; i < w; i++)
            if (edge[i])
                to[i] = mix(mix(to[i], BLACK, edge[i] - fill[i]), WHITE, fill[i]);
    }
    for (int j = 0; j < h; j += 2) {
        const uint8_t *edge = l->edge + j * l->w;
        ptrdiff_t at = (ptrdiff_t)(y + j) / 2;
        uint8_t *u = frame->data[1] + at * frame->linesize[1] + x / 2;
        uint8_t *v = frame->data[2] + at * frame->linesize[2] + x / 2;
        for (int i = 0; i < w; i += 2) {
            u[i / 2] = mix(u[i / 2], GREY, edge[i]);
            v[i / 2] = mix(v[i / 2], GREY, edge[i]);
        }
    }
}
