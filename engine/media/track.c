// SPDX-License-Identifier: Apache-2.0
#include "media/track.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void track_init(struct track *t, const char *name, bool audio, uint32_t timescale)
{
    memset(t, 0, sizeof *t);
    snprintf(t->name, sizeof t->name, "%s", name);
    snprintf(t->init, sizeof t->init, "init_%s.mp4", t->name);
    t->audio = audio;
    t->timescale = timescale;
}

void track_fini(struct track *t)
{
    free(t->segment);
    buf_fini(&t->scratch);
    memset(t, 0, sizeof *t);
}

int track_add(struct track *t, struct store *s, const struct frag_sample *sample, int count,
              const void *data, size_t n, struct err *e)
{
    if (t->count == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 64;
        t->segment = realloc(t->segment, (size_t)t->cap * sizeof *t->segment);
        must(t->segment != NULL);
    }
    struct store_segment *seg = &t->segment[t->count];
    uint64_t ticks = 0;
    for (int i = 0; i < count; i++)
        ticks += sample[i].duration;
    buf_clear(&t->scratch);
    frag_segment(&t->scratch, (uint32_t)t->count + 1, t->time, t->audio, sample, count, data, n);
    if (store_seal(s, t->name, t->count, t->scratch.p, t->scratch.n, seg, e))
        return -1;
    seg->seconds = (double)ticks / t->timescale;
    t->time += ticks;
    t->count++;
    t->bytes += seg->size;
    // A last segment of one frame would make a meaningless peak.
    if (seg->seconds >= 0.5 || t->count == 1)
        t->peak = fmax(t->peak, 8 * (double)seg->size / seg->seconds);
    return 0;
}

double track_seconds(const struct track *t)
{
    return (double)t->time / t->timescale;
}

static void put_sound(const struct track *t, struct buf *out)
{
    buf_printf(out,
               "\"channels\":2,\"sample_rate\":%u,\"default\":%s,\"language\":\"%s\",\"label\":\"",
               t->timescale, t->main ? "true" : "false", t->language);
    buf_put_json(out, str_from(t->label));
    buf_puts(out, "\",");
}

void track_json(const struct track *t, bool segments, struct buf *out)
{
    double avg = t->time ? 8 * (double)t->bytes / track_seconds(t) : 0;
    buf_printf(out, "{\"name\":\"%s\",", t->name);
    if (t->audio)
        put_sound(t, out);
    else
        buf_printf(out, "\"w\":%d,\"h\":%d,", t->w, t->h);
    buf_printf(out, "\"bandwidth\":%.0f,\"avg_bandwidth\":%.0f,\"codecs\":\"%s\",\"init\":\"%s\",",
               fmax(t->peak, avg), avg, t->codecs, t->init);
    buf_printf(out, "\"bytes\":%lld,\"duration\":%.6f,\"segment_count\":%d", (long long)t->bytes,
               track_seconds(t), t->count);
    if (segments) {
        buf_puts(out, ",\"segments\":[");
        for (int i = 0; i < t->count; i++) {
            const struct store_segment *g = &t->segment[i];
            buf_printf(out, "%s\n{\"name\":\"%s\",\"dur\":%.6f,\"iv\":\"%s\",\"size\":%lld}",
                       i ? "," : "", g->name, g->seconds, g->iv, (long long)g->size);
        }
        buf_puts(out, "]");
    }
    buf_puts(out, "}");
}
