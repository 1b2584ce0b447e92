// SPDX-License-Identifier: Apache-2.0
#include "media/burstjob.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "media/fail.h"

static void put_hex(struct buf *out, struct str s)
{
    size_t n = s.n < BURSTJOB_TEXT ? s.n : BURSTJOB_TEXT;
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%02x", (unsigned char)s.p[i]);
    if (!n)
        buf_puts(out, "-");
}

void burstjob_line(struct buf *out, size_t init, size_t segment, const struct burst_place *place,
                   struct str name, struct str tail)
{
    buf_printf(out, "%zu %zu %u %u %u %u %u ", init, segment, place->x1, place->y1, place->x2,
               place->y2, place->turn);
    put_hex(out, name);
    buf_puts(out, " ");
    put_hex(out, tail);
    buf_puts(out, "\n");
}

struct job {
    size_t init, segment;
    struct burst_place place;
    uint32_t text[LABEL_GLYPHS];
    int text_n;
};

static int parse(struct job *j, const char *line)
{
    char name[2 * BURSTJOB_TEXT + 1], tail[2 * BURSTJOB_TEXT + 1], end;
    uint8_t a[BURSTJOB_TEXT], b[BURSTJOB_TEXT];
    struct burst_place *p = &j->place;
    if (sscanf(line,
               "%zu %zu %" SCNu16 " %" SCNu16 " %" SCNu16 " %" SCNu16 " %" SCNu16 " %400s %400s%c",
               &j->init, &j->segment, &p->x1, &p->y1, &p->x2, &p->y2, &p->turn, name, tail,
               &end) != 9)
        return -1;
    if (j->init > BURSTJOB_WINDOW || j->segment > BURSTJOB_WINDOW - j->init)
        return -1;
    long n = str_unhex(str_from(name), a, sizeof a);
    long m = strcmp(tail, "-") == 0 ? 0 : str_unhex(str_from(tail), b, sizeof b);
    if (n < 0 || m < 0)
        return -1;
    j->text_n = label_text((char *)a, (size_t)n, (char *)b, (size_t)m, j->text);
    return 0;
}

void burstjob_do(char *window, const char *line, const struct label_font *font, struct buf *out)
{
    struct job j = {0};
    struct err e = {0};
    struct buf got = {0};
    if (parse(&j, line)) {
        buf_puts(out, "no media.bad_job\n");
        return;
    }
    int rc = burst_encode((struct str){window, j.init}, (struct str){window + j.init, j.segment},
                          font, j.text, j.text_n, j.place, &got, &e);
    if (!rc && got.n > BURSTJOB_WINDOW)
        rc = fail_set(&e, "media.burst_input", "The marked segment is too large.");
    if (!rc) {
        memcpy(window, got.p, got.n);
        buf_printf(out, "ok %zu\n", got.n);
    } else {
        buf_printf(out, "no %s\n", fail_code(&e));
    }
    buf_fini(&got);
}
