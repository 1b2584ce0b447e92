// SPDX-License-Identifier: Apache-2.0
#include "media/chapters.h"
#include <stdlib.h>
#include "base/err.h"
#include "media/lang.h"

struct mark {
    int64_t at;
    const AVDictionary *meta;
};

static int by_time(const void *a, const void *b)
{
    int64_t x = ((const struct mark *)a)->at, y = ((const struct mark *)b)->at;
    return (x > y) - (x < y);
}

static int collect(const AVFormatContext *f, int64_t origin_ms, int64_t length_ms, struct mark *out)
{
    int n = 0;
    for (unsigned i = 0; i < f->nb_chapters; i++) {
        const AVChapter *c = f->chapters[i];
        if (c->start == AV_NOPTS_VALUE || c->time_base.num <= 0 || c->time_base.den <= 0)
            continue;
        int64_t at = av_rescale_q(c->start, c->time_base, (AVRational){1, 1000}) - origin_ms;
        if (at < 0)
            at = 0;
        if (at < length_ms)
            out[n++] = (struct mark){at, c->metadata};
    }
    return n;
}

void chapters_json(const AVFormatContext *f, int64_t origin_ms, int64_t length_ms, struct buf *out)
{
    struct mark *mark = calloc((size_t)f->nb_chapters + 1, sizeof *mark);
    must(mark != NULL);
    int n = collect(f, origin_ms, length_ms, mark), said = 0;
    qsort(mark, (size_t)n, sizeof *mark, by_time);
    if (n == 1 && !mark[0].at)
        n = 0;
    buf_puts(out, "[");
    for (int i = 0; i < n && said < CHAPTERS_MAX; i++) {
        char title[CHAPTERS_TITLE];
        if (i && mark[i].at == mark[i - 1].at)
            continue;
        const AVDictionaryEntry *t = av_dict_get(mark[i].meta, "title", NULL, 0);
        lang_clean(t ? t->value : "", title, sizeof title);
        buf_printf(out, "%s[%lld,\"", said++ ? "," : "", (long long)mark[i].at);
        buf_put_json(out, str_from(title));
        buf_puts(out, "\"]");
    }
    buf_puts(out, "]");
    free(mark);
}
