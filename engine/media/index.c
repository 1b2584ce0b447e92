// SPDX-License-Identifier: Apache-2.0
#include "media/index.h"
#include <math.h>
#include "media/chapters.h"
#include "media/code.h"

static int target(const struct index_info *x)
{
    double longest = 0;
    for (int i = 0; i < x->nvideo + x->naudio; i++) {
        const struct track *t = i < x->nvideo ? x->video[i] : x->audio[i - x->nvideo];
        for (int k = 0; k < t->count; k++)
            longest = fmax(longest, t->segment[0][k].seconds);
    }
    // RFC 8216 compares rounded durations.
    return longest < 1 ? 1 : (int)lround(longest);
}

void index_json(const struct index_info *x, bool segments, struct buf *out)
{
    buf_printf(
        out,
        "{\"version\":2,\"id\":\"%s\",\"duration\":%.6f,\"width\":%d,\"height\":%d,\"fps\":%.6g,",
        x->id, x->seconds, x->w, x->h, (double)x->rate.num / x->rate.den);
    buf_printf(out,
               "\"fps_num\":%d,\"fps_den\":%d,\"segment_s\":%d,\"target_duration\":%d,\"poster\":"
               "\"poster.jpg\",\"posters\":[",
               x->rate.num, x->rate.den, x->segment_s, target(x));
    for (int i = 1; i <= x->posters; i++)
        buf_printf(out, "%s\"poster_%d.jpg\"", i > 1 ? "," : "", i);
    buf_printf(out, "],\"has_audio\":%s,\"renditions\":[", x->naudio ? "true" : "false");
    for (int i = 0; i < x->nvideo; i++) {
        buf_puts(out, i ? "," : "");
        track_json(x->video[i], segments, out);
    }
    buf_puts(out, "],\"audio\":[");
    for (int i = 0; i < x->naudio; i++) {
        buf_puts(out, i ? "," : "");
        track_json(x->audio[i], segments, out);
    }
    buf_printf(out, "],\"strength\":%.3g,\"code\":\"%s\"", x->strength,
               code_name(code_kind_for(x->seconds)));
    for (int i = 0; i < 2; i++)
        buf_printf(out, "%s{\"name\":\"%s\",\"iv\":\"%s\",\"size\":%lld}%s",
                   i ? "," : ",\"fingerprint\":[", x->fp[i].name, x->fp[i].iv,
                   (long long)x->fp[i].size, i ? "]" : "");
    if (x->reference) {
        buf_puts(out, ",\"reference\":");
        track_json(x->reference, segments, out);
    }
    buf_puts(out, ",\"subtitles\":");
    subs_json(x->subs, out);
    buf_puts(out, ",\"chapters\":");
    chapters_json(x->format, x->origin_ms, llround(x->seconds * 1000), out);
    buf_puts(out, ",\"storyboard\":");
    sprite_json(x->sprite, x->gop_seconds, out);
    buf_puts(out, "}");
}
