// SPDX-License-Identifier: Apache-2.0
#include "media/track.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void track_init(struct track *t, const char *name, bool audio, uint32_t timescale)
{
    memset(t, 0, sizeof *t);
    snprintf(t->name, sizeof t->name, "%s", name);
    // A name of its own: viewers of an earlier encode keep theirs.
    uint32_t tag;
    must(getrandom(&tag, sizeof tag, 0) == sizeof tag);
    snprintf(t->init, sizeof t->init, "init_%s_%08x.mp4", t->name, tag);
    t->audio = audio;
    t->timescale = timescale;
    t->variants = 1;
}

void track_fini(struct track *t)
{
    for (int i = 0; i < t->nwaiting; i++)
        buf_fini(&t->waiting[i]);
    free(t->waiting);
    free(t->segment[0]);
    free(t->segment[1]);
    memset(t, 0, sizeof *t);
}

static void make_room(struct track *t)
{
    t->cap = t->cap ? t->cap * 2 : 64;
    for (int v = 0; v < t->variants; v++) {
        t->segment[v] = realloc(t->segment[v], (size_t)t->cap * sizeof *t->segment[v]);
        must(t->segment[v] != NULL);
    }
}

/* The next segment is complete in every variant. */
static void advance(struct track *t, uint64_t ticks)
{
    int64_t size = t->segment[0][t->count].size;
    double seconds = (double)ticks / t->timescale;
    t->count++;
    t->time += ticks;
    t->bytes += size;
    // A last segment of one frame would make a meaningless peak.
    if (seconds >= 0.5 || t->count == 1)
        t->peak = fmax(t->peak, 8 * (double)size / seconds);
}

static int seal(struct track *t, struct store *s, struct buf *half, uint64_t ticks, struct err *e)
{
    static const char *const name[] = {"a", "b"};
    double seconds = (double)ticks / t->timescale;
    if (t->count == t->cap)
        make_room(t);
    if (t->variants == 2) {
        // The length of a file must not tell which variant it is.
        size_t n = (half[0].n > half[1].n ? half[0].n : half[1].n) + 8;
        frag_pad(&half[0], n);
        frag_pad(&half[1], n);
    }
    for (int v = 0; v < t->variants; v++) {
        struct store_segment *seg = &t->segment[v][t->count];
        if (store_seal(s, t->name, name[v], t->count, ticks, half[v].p, half[v].n, seg, e))
            return -1;
        seg->seconds = seconds;
    }
    advance(t, ticks);
    return 0;
}

void track_keep(struct track *t, int variant, int number, const struct store_segment *file,
                uint64_t ticks)
{
    // Of a pair, a and b may come in any order: the segment counts when the second one is there.
    while (number >= t->cap)
        make_room(t);
    struct store_segment *seg = &t->segment[variant][number];
    *seg = *file;
    seg->seconds = (double)ticks / t->timescale;
    t->next[variant] += ticks;
    if (t->variants == 2 && t->next[!variant] < t->next[variant])
        return;
    advance(t, ticks);
    t->kept = t->count;
}

int track_put_init(const struct track *t, struct store *s, const void *p, size_t n, struct err *e)
{
    char note[192];
    snprintf(note, sizeof note, "init %s %s %u %d %d %s", t->name, t->init, t->timescale, t->w,
             t->h, t->codecs);
    return store_put(s, t->init, note, p, n, e);
}

int track_add(struct track *t, struct store *s, int variant, const struct frag_sample *sample,
              int count, const void *data, size_t n, struct err *e)
{
    struct buf half[2] = {0};
    uint64_t ticks = 0;
    bool waits = t->nwaiting && t->ahead == variant, partner = t->nwaiting && !waits;
    for (int i = 0; i < count; i++)
        ticks += sample[i].duration;
    frag_segment(&half[variant], (uint32_t)(t->count + (waits ? t->nwaiting : 0)) + 1,
                 t->next[variant], t->audio, sample, count, data, n);
    t->next[variant] += ticks;
    if (t->variants == 2 && !partner) {
        t->waiting = realloc(t->waiting, (size_t)(t->nwaiting + 1) * sizeof *t->waiting);
        must(t->waiting != NULL);
        t->waiting[t->nwaiting++] = half[variant];
        t->ahead = variant;
        return 0;
    }
    if (partner) {
        half[!variant] = t->waiting[0];
        memmove(t->waiting, t->waiting + 1, (size_t)--t->nwaiting * sizeof *t->waiting);
    }
    int rc = seal(t, s, half, ticks, e);
    buf_fini(&half[0]);
    buf_fini(&half[1]);
    return rc;
}

bool track_complete(const struct track *t)
{
    return !t->nwaiting && (t->variants == 1 || t->next[0] == t->next[1]);
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
    for (int v = 0; segments && v < t->variants; v++) {
        buf_puts(out, v ? ",\"segments_b\":[" : ",\"segments\":[");
        for (int i = 0; i < t->count; i++) {
            const struct store_segment *g = &t->segment[v][i];
            buf_printf(out, "%s\n{\"name\":\"%s\",\"dur\":%.6f,\"iv\":\"%s\",\"size\":%lld}",
                       i ? "," : "", g->name, g->seconds, g->iv, (long long)g->size);
        }
        buf_puts(out, "]");
    }
    buf_puts(out, "}");
}
