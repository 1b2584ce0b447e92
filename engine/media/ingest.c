// SPDX-License-Identifier: Apache-2.0
#include "media/ingest.h"
#include <libavutil/cpu.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "media/audio.h"
#include "media/cadence.h"
#include "media/encode.h"
#include "media/fail.h"
#include "media/index.h"
#include "media/ladder.h"
#include "media/mark.h"
#include "media/probe.h"
#include "media/store.h"
#include "media/subs.h"

enum { MAX_SOURCE_FPS = 250, POSTER_SIDE = 720 };

struct ingest {
    const struct ingest_job *job;
    struct probe src;
    AVCodecContext *decoder;
    struct group group;
    struct store *store;
    struct encode encode[LADDER_MAX + 1]; /* largest first; the last may be the reference */
    int n;
    struct encode *reference; /* NULL without a mark */
    uint8_t k_pattern[32];
    struct audio audio[PROBE_MAX_AUDIO];
    int naudio, sound[PROBE_MAX_AUDIO]; /* opened; their streams */
    struct poster poster;
    struct tone *tone; /* NULL = SDR */
    struct subs subs;
    struct sprite sprite;
    struct fp_maker fp;
    struct cadence cadence;
    AVFrame *held;
    int64_t origin; /* of the first picture, in the video stream's time base */
    double held_s;  /* how long the held picture says it is shown */
    int64_t pictures, packets, errors;
    int cores;
};

static int cancelled(struct err *e)
{
    return fail_set(e, "media.cancelled", "The job was cancelled.");
}

static int group_error(struct ingest *in, struct err *e)
{
    pthread_mutex_lock(&in->group.lock);
    *e = in->group.err;
    pthread_mutex_unlock(&in->group.lock);
    return -1;
}

/* Renditions are scaled from the smallest one that is at least half as large again: nearer ones would blur them twice. */
static void adopt(struct ingest *in, const struct ladder_rung *rung, int i)
{
    int from = i - 1;
    while (from > 0 && 2 * rung[from].h < 3 * rung[i].h - 4)
        from--;
    struct encode *parent = &in->encode[from];
    parent->child[parent->nchildren++] = &in->encode[i];
}

static int open_output(struct ingest *in, const struct ladder_rung *rung, int i,
                       struct encode_plan plan, struct err *e)
{
    struct encode *v = &in->encode[i];
    bool reference = !rung[i].maxrate;
    // Pairs double the work of one thread; small renditions need a second core only where there are many.
    int share = in->cores * (in->job->strength > 0 ? 2 : 1) / (4 * (i ? i : 1));
    plan.threads = !i ? in->cores : reference || share < 1 ? 1 : share;
    plan.tone = i ? NULL : in->tone;
    plan.swap = !i && in->src.swap;
    plan.flip_x = !i && in->src.flip_x;
    plan.flip_y = !i && in->src.flip_y;
    plan.preset = reference ? "superfast" : "veryfast";
    plan.strength = reference ? 0 : (float)in->job->strength;
    // The reference's own noise hides marks. A mark that comes and goes costs bits, and so do the borders of segments (see
    // mark_quantiser); a slightly coarser picture gives them back.
    plan.crf = reference ? 16 : plan.strength > 0 ? 23.9 : 23;
    plan.k_pattern = in->k_pattern;
    plan.encoder = in->job->encoder;
    if (reference)
        in->reference = v;
    return encode_open(v, &rung[i], &plan, &in->group, in->store, in->job->journal, e);
}

/* Everything that depends on what the first decoded picture really is. */
static int start_outputs(struct ingest *in, const AVFrame *f, struct err *e)
{
    const struct ingest_job *job = in->job;
    struct ladder_rung rung[LADDER_MAX + 1];
    struct encode_plan plan = {.rate = ladder_fps(in->src.rate_base, in->src.rate_avg),
                               .color = pixels_color(f)};
    double fps = (double)plan.rate.num / plan.rate.den;
    if (in->src.hdr || probe_is_hdr(f->color_trc)) {
        enum AVColorTransferCharacteristic own = in->decoder->color_trc;
        in->tone = tone_new(probe_is_hdr(f->color_trc) ? f->color_trc : own, tone_peak(f));
    }
    plan.gop = (int)lround(fps * job->segment_s);
    in->cadence = (struct cadence){.rate = plan.rate, .max_gap = PROBE_MAX_GAP_S};
    in->n = ladder_make(in->src.w, in->src.h, job->max_height, fps, rung);
    if (!in->n)
        return fail_set(e, "media.too_many_pixels",
                        "The picture is too small or too long to be shown (%d x %d).", in->src.w,
                        in->src.h);
    if (job->strength > 0)
        ladder_reference(in->src.w, in->src.h, &rung[in->n++]);
    poster_init(&in->poster, in->src.seconds);
    bool poster_placed = false;
    for (int i = 0; i < in->n; i++) {
        struct encode *v = &in->encode[i];
        if (open_output(in, rung, i, plan, e))
            return -1;
        if (i)
            adopt(in, rung, i);
        int side = rung[i].w < rung[i].h ? rung[i].w : rung[i].h;
        if (!poster_placed && (side <= POSTER_SIDE || i == in->n - 1)) {
            v->poster = &in->poster;
            poster_placed = true;
        }
    }
    in->encode[in->n - 1].sprite = &in->sprite;
    in->encode[in->n - 1].fp = &in->fp;
    for (int i = in->n - 1; i >= 0; i--)
        if (encode_start(&in->encode[i], e))
            return -1;
    for (int i = 0; i < in->naudio; i++) {
        in->audio[i].rate = plan.rate;
        in->audio[i].gop = plan.gop;
        audio_origin(&in->audio[i], av_rescale_q(in->origin, in->decoder->pkt_timebase,
                                                 (AVRational){1, AUDIO_RATE}));
    }
    return 0;
}

static int emit(struct ingest *in, int times, struct err *e)
{
    AVFrame *f = in->held;
    in->held = NULL;
    if (!times) {
        av_frame_free(&f);
        return 0;
    }
    if (encode_feed(&in->encode[0].in, f, times))
        return group_error(in, e);
    for (int i = 0; i < in->naudio; i++)
        atomic_store(&in->audio[i].video_pos,
                     (long long)(cadence_seconds(&in->cadence) * AUDIO_RATE));
    return 0;
}

static int jumps(struct err *e)
{
    return fail_set(
        e, "media.timestamps",
        "The picture's time stamps jump by more than %d seconds; please export the video again.",
        PROBE_MAX_GAP_S);
}

static int picture(struct ingest *in, AVFrame *f, struct err *e)
{
    AVRational tb = in->decoder->pkt_timebase;
    int64_t pts = f->best_effort_timestamp;
    int times;
    if (!in->pictures++) {
        in->origin = pts == AV_NOPTS_VALUE ? 0 : pts;
        if (start_outputs(in, f, e))
            return -1;
    }
    double step = (double)in->cadence.rate.den / in->cadence.rate.num;
    double t =
        pts == AV_NOPTS_VALUE ? in->cadence.last + step : (double)(pts - in->origin) * av_q2d(tb);
    if (cadence_push(&in->cadence, t, &times))
        return jumps(e);
    if (in->cadence.last > in->job->max_duration_s)
        return fail_set(e, "media.too_long",
                        "The video is longer than the %d minutes allowed here.",
                        in->job->max_duration_s / 60);
    // Many pictures in no time: work without output, so bounded by its own rule.
    if ((double)in->pictures > MAX_SOURCE_FPS * (in->cadence.last + PROBE_MAX_GAP_S))
        return fail_set(e, "media.timestamps",
                        "The video has more than %d pictures in a second; please export it with "
                        "60 at most.",
                        MAX_SOURCE_FPS);
    if (in->held && emit(in, times, e))
        return -1;
    in->held = av_frame_alloc();
    if (!in->held)
        return fail_av(e, AVERROR(ENOMEM), "decode");
    in->held_s = f->pkt_duration > 0 ? (double)f->pkt_duration * av_q2d(tb) : step;
    av_frame_move_ref(in->held, f);
    return 0;
}

static int decode(struct ingest *in, const AVPacket *p, AVFrame *f, struct err *e)
{
    int rc = avcodec_send_packet(in->decoder, p);
    if (rc == AVERROR(ENOMEM))
        return fail_av(e, rc, "decode");
    in->errors += rc < 0 && rc != AVERROR_EOF;
    for (;;) {
        rc = avcodec_receive_frame(in->decoder, f);
        if (rc == AVERROR(EAGAIN) || rc == AVERROR_EOF)
            return 0;
        if (rc < 0) {
            in->errors++;
            if (p)
                return 0;
            if (in->errors > 1000000)
                break;
            continue; // flushing: later pictures may still be whole
        }
        rc = picture(in, f, e);
        av_frame_unref(f);
        if (rc)
            return -1;
    }
    return 0;
}

static void report(struct ingest *in)
{
    double part = in->src.seconds > 0 ? in->cadence.last / in->src.seconds
                                      : (double)in->src.pos / (double)in->src.size;
    in->job->progress("encode", fmin(0.99, fmax(0, part)));
}

/* Everything that is no picture. */
static int feed_other(struct ingest *in, AVPacket *p, struct err *e)
{
    int i = 0;
    while (i < in->naudio && p->stream_index != in->sound[i])
        i++;
    if (i == in->naudio) {
        subs_feed(&in->subs, in->src.format, p);
        return 0;
    }
    AVPacket *q = av_packet_alloc();
    if (!q)
        return fail_av(e, AVERROR(ENOMEM), "demux");
    av_packet_move_ref(q, p);
    if (!audio_feed(&in->audio[i], q))
        return 0;
    return group_failed(&in->group) ? group_error(in, e) : jumps(e);
}

static int demux(struct ingest *in, AVPacket *p, AVFrame *f, struct err *e)
{
    int rc;
    while ((rc = av_read_frame(in->src.format, p)) >= 0) {
        int fail = 0;
        if (*in->job->cancel)
            fail = cancelled(e);
        else if (group_failed(&in->group))
            fail = group_error(in, e);
        else if (p->stream_index == in->src.video) {
            in->packets++;
            fail = decode(in, p, f, e);
            if (in->errors > 50 + in->packets / 20)
                fail = fail_set(
                    e, "media.truncated",
                    "The picture is damaged in too many places; please upload the file again.");
            report(in);
        } else
            fail = feed_other(in, p, e);
        av_packet_unref(p);
        if (fail)
            return -1;
    }
    if (*in->job->cancel)
        return cancelled(e);
    return decode(in, NULL, f, e);
}

/* A file cut off in transfer decodes without complaint up to the cut. */
static int check_complete(struct ingest *in, double end, double sound_end, struct err *e)
{
    const AVStream *s = in->src.format->streams[in->src.video];
    double want = 0;
    if (s->duration > 0) {
        want = (double)s->duration * av_q2d(s->time_base);
        // Durations of transport streams and edit lists may count from zero.
        double start = s->start_time != AV_NOPTS_VALUE && s->start_time > 0
                           ? (double)s->start_time * av_q2d(s->time_base)
                           : 0;
        if (in->src.format->iformat && !strncmp(in->src.format->iformat->name, "mov", 3))
            want -= start;
    } else if (in->src.format->duration_estimation_method != AVFMT_DURATION_FROM_BITRATE) {
        want = in->src.seconds;
        end = fmax(end, sound_end);
    }
    if (end + fmax(1, 0.05 * want) >= want)
        return 0;
    return fail_set(
        e, "media.truncated",
        "The file is incomplete: it ends after %.0f of %.0f seconds; please upload it again.", end,
        want);
}

/* Ends picture and sound together. */
static int finish(struct ingest *in, struct err *e)
{
    double end = in->cadence.last + fmin(in->held_s, PROBE_MAX_GAP_S), sound_end = 0;
    if (!in->pictures)
        return fail_set(e, "media.truncated",
                        "No picture could be decoded; the file is damaged or incomplete.");
    for (int i = 0; i < in->naudio; i++) {
        int64_t samples = audio_drain(&in->audio[i]);
        if (samples < 0)
            return group_error(in, e);
        sound_end = fmax(sound_end, (double)samples / AUDIO_RATE);
    }
    if (check_complete(in, end, sound_end, e))
        return -1;
    // Sound that outlives the picture keeps the last picture for a while; a few hundredths are only its framing.
    if (sound_end > end + 0.5)
        end = fmin(sound_end, in->cadence.last + PROBE_MAX_GAP_S);
    int times = cadence_end(&in->cadence, end);
    if (in->held && emit(in, times, e))
        return -1;
    queue_end(&in->encode[0].in);
    for (int i = 0; i < in->naudio; i++)
        audio_total(&in->audio[i], llround(cadence_seconds(&in->cadence) * AUDIO_RATE));
    for (int i = 0; i < in->n; i++)
        encode_join(&in->encode[i]);
    for (int i = 0; i < in->naudio; i++)
        audio_join(&in->audio[i]);
    return group_failed(&in->group) ? group_error(in, e) : 0;
}

/* The whole fingerprint, and the part of it that a search through all titles reads. */
static int seal_fingerprint(struct ingest *in, struct store_segment out[2], struct err *e)
{
    struct buf coarse = {0};
    const struct buf *all = &in->fp.cells;
    for (size_t i = 0; i + FP_CELLS <= all->n; i += FP_COARSE * FP_CELLS)
        buf_put(&coarse, all->p + i, FP_CELLS);
    int rc = store_seal(in->store, "fp", "a", 0, 0, all->p, all->n, &out[0], e) ||
             store_seal(in->store, "fp", "a", 1, 0, coarse.p, coarse.n, &out[1], e);
    buf_fini(&coarse);
    return rc ? -1 : 0;
}

static void report_kept(const struct ingest *in, struct buf *out)
{
    int kept = 0, all = 0;
    for (int i = 0; i < in->n + in->naudio; i++) {
        const struct track *t = i < in->n ? &in->encode[i].track : &in->audio[i - in->n].track;
        kept += t->kept * t->variants;
        all += t->count * t->variants;
    }
    out->n--; // the closing brace
    const char *encoder = in->encode[0].coder[0].spec.encoder, *why = in->job->fallback;
    if (!encoder && in->job->encoder)
        why = "the hardware encoder does not take pictures of this size";
    buf_printf(out, ",\"kept\":%d,\"encoded\":%d,\"encoder\":\"%s\"", kept, all - kept,
               encoder ? encoder : "libx264");
    if (why)
        buf_printf(out, ",\"fallback\":\"%s\"", why);
    buf_puts(out, "}");
}

static int publish(struct ingest *in, struct buf *out, struct err *e)
{
    struct buf file = {0};
    struct index_info x = {.id = in->job->id,
                           .w = in->src.w,
                           .h = in->src.h,
                           .segment_s = in->job->segment_s,
                           .seconds = cadence_seconds(&in->cadence),
                           .rate = in->cadence.rate};
    in->job->progress("finish", 0.99);
    if (poster_write(&in->poster, in->store, e) || sprite_write(&in->sprite, in->store, e))
        return -1;
    int64_t origin = av_rescale_q(in->origin, in->decoder->pkt_timebase, (AVRational){1, 1000});
    if (subs_write(&in->subs, origin, llround(x.seconds * 1000), in->store, e))
        return -1;
    x.subs = &in->subs;
    x.format = in->src.format;
    x.origin_ms = origin;
    x.sprite = &in->sprite;
    x.gop_seconds = in->encode[0].plan.gop * (double)x.rate.den / x.rate.num;
    x.posters = in->poster.written;
    if (seal_fingerprint(in, x.fp, e))
        return -1;
    for (int i = in->n - 1; i >= 0; i--)
        if (&in->encode[i] != in->reference)
            x.video[x.nvideo++] = &in->encode[i].track;
    x.strength = in->job->strength;
    x.reference = in->reference ? &in->reference->track : NULL;
    for (int i = 0; i < in->naudio; i++)
        x.audio[x.naudio++] = &in->audio[i].track;
    index_json(&x, true, &file);
    index_json(&x, false, out);
    report_kept(in, out);
    // The index is the promise that all the rest is there.
    int rc = store_finish(in->store, "index.json", file.p, file.n, e);
    buf_fini(&file);
    return rc;
}

static int open_sound(struct ingest *in, int i, struct err *e)
{
    AVCodecContext *decoder = NULL;
    const AVStream *s = in->src.format->streams[in->src.audio[i]];
    char name[12] = "audio";
    if (i)
        snprintf(name, sizeof name, "audio_%d", i + 1);
    bool main = i == in->src.main_audio;
    if (probe_decoder(&in->src, in->src.audio[i], 1, &decoder, e))
        return main ? -1 : 0;
    in->sound[in->naudio] = in->src.audio[i];
    struct audio *a = &in->audio[in->naudio++];
    if (audio_open(a, name, decoder, &in->group, in->store, in->job->journal, e))
        return -1;
    a->track.main = main;
    lang_tag(s->metadata, a->track.language);
    lang_label(s->metadata, a->track.label);
    return audio_start(a, e);
}

static int open_all(struct ingest *in, struct err *e)
{
    const struct ingest_job *job = in->job;
    in->job->progress("open", 0);
    if (probe_open(&in->src, job->fd, job->cancel, job->ext, e))
        return -1;
    if (in->src.seconds > job->max_duration_s &&
        in->src.format->duration_estimation_method != AVFMT_DURATION_FROM_BITRATE)
        return fail_set(e, "media.too_long",
                        "The video is longer than the %d minutes allowed here.",
                        job->max_duration_s / 60);
    if (probe_decoder(&in->src, in->src.video, in->cores < 8 ? in->cores : 8, &in->decoder, e))
        return -1;
    if (!(in->store = store_new(job->dirfd, job->secret, e)))
        return -1;
    store_journal(in->store, job->journal->fd);
    if (mark_key(job->secret, in->k_pattern))
        return fail_set(e, "media.internal", "The server's crypto library does not work.");
    subs_open(&in->subs, in->src.format);
    for (int i = 0; i < in->src.naudio; i++)
        if (open_sound(in, i, e))
            return -1;
    return 0;
}

static void close_all(struct ingest *in)
{
    // Harmless after success; after a failure it frees whoever still waits.
    group_fail(&in->group, &(struct err){.code = ERR_CANCELLED});
    for (int i = 0; i < in->n; i++)
        encode_join(&in->encode[i]);
    for (int i = 0; i < in->naudio; i++)
        audio_join(&in->audio[i]);
    for (int i = 0; i < in->n; i++)
        if (in->encode[i].group)
            encode_close(&in->encode[i]);
    for (int i = 0; i < in->naudio; i++)
        audio_close(&in->audio[i]);
    poster_fini(&in->poster);
    tone_free(in->tone);
    subs_fini(&in->subs);
    sprite_fini(&in->sprite);
    buf_fini(&in->fp.cells);
    av_frame_free(&in->held);
    avcodec_free_context(&in->decoder);
    store_free(in->store);
    probe_close(&in->src);
    group_fini(&in->group);
}

int ingest_run(const struct ingest_job *job, struct buf *out, struct err *e)
{
    struct ingest *in = calloc(1, sizeof *in);
    AVPacket *p = av_packet_alloc();
    AVFrame *f = av_frame_alloc();
    must(in && p && f);
    in->job = job;
    in->cores = job->threads > 0 ? job->threads : av_cpu_count();
    group_init(&in->group);
    int rc = open_all(in, e) || demux(in, p, f, e) || finish(in, e) || publish(in, out, e) ? -1 : 0;
    av_frame_free(&f);
    av_packet_free(&p);
    close_all(in);
    free(in);
    return rc;
}
