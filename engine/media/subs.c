// SPDX-License-Identifier: Apache-2.0
#include "media/subs.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNKNOWN_MS = 5000 };

static const char *text_codec(enum AVCodecID id)
{
    switch (id) {
    case AV_CODEC_ID_MOV_TEXT: return "mov_text";
    case AV_CODEC_ID_SUBRIP: return "subrip";
    case AV_CODEC_ID_SSA:
    case AV_CODEC_ID_ASS: return "ass";
    case AV_CODEC_ID_WEBVTT: return "webvtt";
    case AV_CODEC_ID_TEXT: return "text";
    default: return NULL;
    }
}

void subs_open(struct subs *s, AVFormatContext *f)
{
    for (unsigned i = 0; i < f->nb_streams && s->n < SUBS_TRACKS; i++) {
        AVStream *st = f->streams[i];
        const char *codec = text_codec(st->codecpar->codec_id);
        if (st->codecpar->codec_type != AVMEDIA_TYPE_SUBTITLE || !codec)
            continue;
        struct subs_track *t = &s->track[s->n++];
        *t = (struct subs_track){.stream = (int)i,
                                 .codec = codec,
                                 .forced = st->disposition & AV_DISPOSITION_FORCED,
                                 .main = st->disposition & AV_DISPOSITION_DEFAULT};
        lang_tag(st->metadata, t->language);
        lang_label(st->metadata, t->label);
        st->discard = AVDISCARD_DEFAULT;
    }
}

/* The words of a packet; what else it holds (lengths, styles) is left out. */
static struct str words(const struct subs_track *t, const AVPacket *p)
{
    struct str s = {(const char *)p->data, (size_t)(p->size > 0 ? p->size : 0)};
    if (t->codec[0] == 'm') {
        size_t n = s.n >= 2 ? (size_t)p->data[0] << 8 | p->data[1] : 0;
        s = n && n <= s.n - 2 ? (struct str){s.p + 2, n} : (struct str){s.p, 0};
    }
    while (s.n && (s.p[s.n - 1] == '\0' || s.p[s.n - 1] == '\n' || s.p[s.n - 1] == '\r'))
        s.n--;
    return s;
}

void subs_feed(struct subs *s, const AVFormatContext *f, const AVPacket *p)
{
    static const AVRational ms = {1, 1000};
    int i = 0;
    while (i < s->n && s->track[i].stream != p->stream_index)
        i++;
    if (i == s->n || p->pts == AV_NOPTS_VALUE)
        return;
    struct subs_track *t = &s->track[i];
    struct str text = words(t, p);
    if (!text.n || text.n > SUBS_CUE_BYTES || t->ncues == SUBS_CUES ||
        t->text.n + text.n > SUBS_BYTES || !str_is_utf8(text))
        return;
    if (t->ncues == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 64;
        t->cue = realloc(t->cue, (size_t)t->cap * sizeof *t->cue);
        must(t->cue != NULL);
    }
    AVRational tb = f->streams[p->stream_index]->time_base;
    int64_t start = av_rescale_q(p->pts, tb, ms);
    int64_t length = p->duration > 0 ? av_rescale_q(p->duration, tb, ms) : 0;
    if (start < -(INT64_C(1) << 40) || start > INT64_C(1) << 40 || length > INT64_C(1) << 40)
        return;
    t->cue[t->ncues++] = (struct subs_cue){start, start + length, t->text.n, text.n};
    buf_put(&t->text, text.p, text.n);
}

static int by_start(const void *a, const void *b)
{
    const struct subs_cue *x = a, *y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* Moves cues to the film's clock; those outside it go. */
static void settle(struct subs_track *t, int64_t origin, int64_t length)
{
    int n = 0;
    if (t->ncues)
        qsort(t->cue, (size_t)t->ncues, sizeof *t->cue, by_start);
    for (int i = 0; i < t->ncues; i++) {
        struct subs_cue c = t->cue[i];
        if (c.end <= c.start) {
            c.end = c.start + UNKNOWN_MS;
            if (i + 1 < t->ncues && t->cue[i + 1].start < c.end)
                c.end = t->cue[i + 1].start;
        }
        c.start = c.start < origin ? 0 : c.start - origin;
        c.end = c.end - origin < length ? c.end - origin : length;
        if (c.start < c.end)
            t->cue[n++] = c;
    }
    t->ncues = n;
}

static void forget(struct subs_track *t)
{
    free(t->cue);
    buf_fini(&t->text);
}

int subs_write(struct subs *s, int64_t origin_ms, int64_t length_ms, struct store *st,
               struct err *e)
{
    int n = 0, rc = 0;
    for (int i = 0; i < s->n; i++) {
        settle(&s->track[i], origin_ms, length_ms);
        if (s->track[i].ncues)
            s->track[n++] = s->track[i];
        else
            forget(&s->track[i]);
    }
    s->n = n;
    for (int i = 0; i < n && !rc; i++) {
        const struct subs_track *t = &s->track[i];
        struct buf b = {0};
        char name[24];
        snprintf(name, sizeof name, "subs_%d.json", i + 1);
        buf_puts(&b, "[");
        for (int k = 0; k < t->ncues; k++) {
            const struct subs_cue *c = &t->cue[k];
            buf_printf(&b, "%s[%lld,%lld,\"", k ? "," : "", (long long)c->start, (long long)c->end);
            buf_put_json(&b, (struct str){t->text.p + c->at, c->n});
            buf_puts(&b, "\"]");
        }
        buf_puts(&b, "]");
        rc = store_put(st, name, NULL, b.p, b.n, e);
        buf_fini(&b);
    }
    return rc ? -1 : 0;
}

void subs_json(const struct subs *s, struct buf *out)
{
    buf_puts(out, "[");
    for (int i = 0; i < s->n; i++) {
        const struct subs_track *t = &s->track[i];
        buf_printf(out, "%s{\"file\":\"subs_%d.json\",\"codec\":\"%s\",\"language\":\"%s\",",
                   i ? "," : "", i + 1, t->codec, t->language);
        buf_puts(out, "\"label\":\"");
        buf_put_json(out, str_from(t->label));
        buf_printf(out, "\",\"forced\":%s,\"default\":%s,\"cues\":%d}",
                   t->forced ? "true" : "false", t->main ? "true" : "false", t->ncues);
    }
    buf_puts(out, "]");
}

void subs_fini(struct subs *s)
{
    for (int i = 0; i < s->n; i++)
        forget(&s->track[i]);
    s->n = 0;
}
