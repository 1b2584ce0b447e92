// SPDX-License-Identifier: Apache-2.0
#include "media/audio.h"
#include <libavutil/opt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "media/fail.h"

enum {
    BITRATE = 128000,
    UNIT = 1024,             // samples of an AAC frame
    SLACK = AUDIO_RATE / 10, // jitter that is not a gap
    AHEAD = 30 * AUDIO_RATE, // sound this far beyond the picture is a damaged time line
    MAX_CHANNELS = 16,
    WARM_UP = 8, // frames that a new encoder gets before the first one that counts
};

static int open_encoder(struct audio *a, struct err *e)
{
    const AVCodec *x = avcodec_find_encoder(AV_CODEC_ID_AAC);
    AVCodecContext *c = a->codec = x ? avcodec_alloc_context3(x) : NULL;
    if (!c)
        return fail_av(e, AVERROR_ENCODER_NOT_FOUND, "sound encoder");
    c->sample_rate = AUDIO_RATE;
    c->sample_fmt = AV_SAMPLE_FMT_FLTP;
    c->bit_rate = BITRATE;
    c->time_base = (AVRational){1, AUDIO_RATE};
    c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_BITEXACT;
    c->thread_count = 1;
    av_channel_layout_default(&c->ch_layout, 2);
    int rc = avcodec_open2(c, x, NULL);
    if (rc < 0)
        return fail_av(e, rc, "open sound encoder");
    return c->frame_size == UNIT ? 0 : fail_av(e, AVERROR_EXTERNAL, "sound encoder frame size");
}

int audio_open(struct audio *a, const char *name, AVCodecContext *decoder, struct group *g,
               struct store *s, struct journal *j, struct err *e)
{
    struct buf init = {0};
    a->decoder = decoder;
    a->group = g;
    a->store = s;
    queue_init(&a->in, QUEUE_MAX);
    group_add(g, &a->in);
    track_init(&a->track, name, true, AUDIO_RATE);
    strcpy(a->track.codecs, "mp4a.40.2");
    a->frame = av_frame_alloc();
    a->out = av_frame_alloc();
    a->packet = av_packet_alloc();
    a->fifo = av_audio_fifo_alloc(AV_SAMPLE_FMT_FLTP, 2, 4 * UNIT);
    must(a->frame && a->out && a->packet && a->fifo);
    if (open_encoder(a, e))
        return -1;
    // The encoder emits `initial_padding` samples before the first real one. Instead of an edit list, which players disagree
    // about, that many samples are cut from the source: output time t is then source time t from the second frame on.
    a->skip = a->codec->initial_padding;
    frag_init_audio(&init, AUDIO_RATE, 2, BITRATE, a->codec->extradata,
                    (size_t)a->codec->extradata_size);
    int rc = 0;
    if (journal_take(j, &a->track, init.p, init.n, UNIT, false, s))
        a->kept = (int64_t)a->track.time / UNIT;
    else
        rc = track_put_init(&a->track, s, init.p, init.n, e);
    a->packets = a->kept > WARM_UP ? a->kept - WARM_UP : 0;
    buf_fini(&init);
    return rc;
}

static int64_t boundary(const struct audio *a, int64_t segment)
{
    return av_rescale(segment * a->gop * AUDIO_RATE, a->rate.den, a->rate.num);
}

static int seal(struct audio *a, int n, int last, struct err *e)
{
    size_t bytes = 0;
    struct frag_sample *s = calloc((size_t)n, sizeof *s);
    must(s != NULL);
    for (int i = 0; i < n; i++) {
        s[i] = (struct frag_sample){a->unit[i].size, UNIT, 0};
        bytes += a->unit[i].size;
    }
    if (last)
        s[n - 1].duration = (uint32_t)last;
    int rc = track_add(&a->track, a->store, 0, s, n, a->data.p, bytes, e);
    free(s);
    memmove(a->unit, a->unit + n, (size_t)(a->units - n) * sizeof *a->unit);
    a->units -= n;
    memmove(a->data.p, a->data.p + bytes, a->data.n - bytes);
    a->data.n -= bytes;
    return rc;
}

/* Seals complete segments that the picture has reached too; with total >= 0 everything up to it. */
static int seal_ready(struct audio *a, int64_t total, struct err *e)
{
    while (a->units) {
        int64_t start = (int64_t)a->track.time, to = boundary(a, a->track.count + 1);
        int64_t n = to <= start ? 0 : (to - start + UNIT - 1) / UNIT;
        bool rest = total >= 0 && n >= a->units;
        if (!n)
            return fail_set(e, "media.internal", "The sound left the segment grid.");
        if (!rest && (n >= a->units || (total < 0 && atomic_load(&a->video_pos) <= to)))
            return 0;
        if (rest)
            n = a->units;
        int last = rest ? (int)(total - start - (n - 1) * UNIT) : 0;
        if (seal(a, (int)n, last, e))
            return -1;
    }
    return 0;
}

static int drain_encoder(struct audio *a, struct err *e)
{
    for (;;) {
        int rc = avcodec_receive_packet(a->codec, a->packet);
        if (rc == AVERROR(EAGAIN) || rc == AVERROR_EOF)
            return 0;
        if (rc < 0)
            return fail_av(e, rc, "encode sound");
        if (a->packets < a->kept) {
            a->packets++;
            av_packet_unref(a->packet);
            continue;
        }
        if (a->units == a->units_cap) {
            a->units_cap = a->units_cap ? 2 * a->units_cap : 256;
            a->unit = realloc(a->unit, (size_t)a->units_cap * sizeof *a->unit);
            must(a->unit != NULL);
        }
        a->unit[a->units++].size = (uint32_t)a->packet->size;
        a->packets++;
        buf_put(&a->data, a->packet->data, (size_t)a->packet->size);
        av_packet_unref(a->packet);
        if (seal_ready(a, -1, e))
            return -1;
    }
}

static int encode_fifo(struct audio *a, struct err *e)
{
    while (av_audio_fifo_size(a->fifo) >= UNIT) {
        AVFrame *f = a->out;
        f->nb_samples = UNIT;
        f->format = AV_SAMPLE_FMT_FLTP;
        f->sample_rate = AUDIO_RATE;
        av_channel_layout_copy(&f->ch_layout, &a->codec->ch_layout);
        int rc = av_frame_get_buffer(f, 0);
        if (rc >= 0 && av_audio_fifo_read(a->fifo, (void **)f->data, UNIT) != UNIT)
            rc = AVERROR_EXTERNAL;
        f->pts = a->sent++ * UNIT;
        if (rc >= 0 && f->pts >= (a->kept - WARM_UP) * UNIT)
            rc = avcodec_send_frame(a->codec, f);
        av_frame_unref(f);
        if (rc < 0)
            return fail_av(e, rc, "encode sound");
        if (drain_encoder(a, e))
            return -1;
    }
    return 0;
}

/* The next n samples of the time line. */
static int lay(struct audio *a, uint8_t **plane, int n, struct err *e)
{
    int64_t drop = a->skip < n ? a->skip : n;
    uint8_t *from[2] = {plane[0] + 4 * drop, plane[1] + 4 * drop};
    a->skip -= drop;
    a->pos += n;
    if (n > drop && av_audio_fifo_write(a->fifo, (void **)from, n - (int)drop) < n - drop)
        return fail_av(e, AVERROR(ENOMEM), "sound");
    return encode_fifo(a, e);
}

static int silence(struct audio *a, int64_t n, struct err *e)
{
    static const float zero[UNIT];
    uint8_t *plane[2] = {(uint8_t *)zero, (uint8_t *)zero};
    for (; n > 0 && !group_failed(a->group); n -= UNIT)
        if (lay(a, plane, n < UNIT ? (int)n : UNIT, e))
            return -1;
    return 0;
}

static int open_resampler(struct audio *a, const AVFrame *f, struct err *e)
{
    AVChannelLayout in = {0};
    if (f->sample_rate < 1000)
        return fail_set(e, "media.unsupported_codec",
                        "The sound has only %d samples a second; please use 48000.",
                        f->sample_rate);
    if (f->ch_layout.nb_channels < 1 || f->ch_layout.nb_channels > MAX_CHANNELS)
        return fail_set(e, "media.unsupported_codec",
                        "The sound has an unusual number of channels; please use stereo.");
    if (f->ch_layout.order == AV_CHANNEL_ORDER_UNSPEC)
        av_channel_layout_default(&in, f->ch_layout.nb_channels);
    else
        av_channel_layout_copy(&in, &f->ch_layout);
    swr_free(&a->swr);
    int rc = swr_alloc_set_opts2(&a->swr, &a->codec->ch_layout, AV_SAMPLE_FMT_FLTP, AUDIO_RATE, &in,
                                 f->format, f->sample_rate, 0, NULL);
    av_channel_layout_uninit(&in);
    if (rc >= 0)
        av_opt_set_double(a->swr, "rematrix_maxval", 1.0,
                          0); // a loud 5.1 mix must not clip as stereo
    if (rc < 0 || (rc = swr_init(a->swr)) < 0)
        return fail_set(e, "media.unsupported_codec",
                        "The sound's channel layout cannot be converted to stereo.");
    av_channel_layout_copy(&a->from_layout, &f->ch_layout);
    a->from_format = f->format;
    a->from_rate = f->sample_rate;
    return 0;
}

/* f NULL = flush. cut = samples to throw away first. */
static int resample(struct audio *a, const AVFrame *f, int64_t *cut, struct err *e)
{
    int room = swr_get_out_samples(a->swr, f ? f->nb_samples : 0) + 64;
    if (room > a->convert_cap) {
        av_freep(&a->convert[0]);
        if (av_samples_alloc(a->convert, NULL, 2, room, AV_SAMPLE_FMT_FLTP, 0) < 0)
            return fail_av(e, AVERROR(ENOMEM), "sound");
        a->convert_cap = room;
    }
    int n = swr_convert(a->swr, a->convert, a->convert_cap,
                        f ? (const uint8_t **)f->extended_data : NULL, f ? f->nb_samples : 0);
    if (n < 0)
        return fail_av(e, n, "resample");
    // Damaged streams decode to NaN and infinities, which the encoder refuses.
    for (int c = 0; c < 2; c++) {
        float *v = (float *)(void *)a->convert[c];
        for (int i = 0; i < n; i++)
            v[i] = v[i] > -4 && v[i] < 4 ? v[i] : 0;
    }
    int64_t drop = *cut < n ? *cut : n;
    uint8_t *from[2] = {a->convert[0] + 4 * drop, a->convert[1] + 4 * drop};
    *cut -= drop;
    return n > drop ? lay(a, from, n - (int)drop, e) : 0;
}

static int place(struct audio *a, const AVFrame *f, struct err *e)
{
    int64_t cut = 0;
    if (a->swr && (f->format != a->from_format || f->sample_rate != a->from_rate ||
                   av_channel_layout_compare(&f->ch_layout, &a->from_layout))) {
        if (resample(a, NULL, &cut, e))
            return -1;
        swr_free(&a->swr);
    }
    if (!a->swr && open_resampler(a, f, e))
        return -1;
    if (f->best_effort_timestamp != AV_NOPTS_VALUE) {
        int64_t start = av_rescale_q(f->best_effort_timestamp, a->decoder->pkt_timebase,
                                     (AVRational){1, AUDIO_RATE}) -
                        a->origin;
        int64_t delta = start - (a->pos + swr_get_delay(a->swr, AUDIO_RATE));
        if (start > atomic_load(&a->video_pos) + AHEAD)
            return fail_set(e, "media.timestamps",
                            "The sound's time stamps jump; please export the video again.");
        if (!a->any || delta > SLACK || delta < -SLACK) {
            if (delta > 0 && silence(a, delta, e))
                return -1;
            cut = delta < 0 ? -delta : 0;
        }
        a->any = a->any || cut < f->nb_samples;
    }
    // A frame wholly before the first picture: nothing of it is laid out, and the next one is placed anew.
    return resample(a, f, &cut, e);
}

static int decode(struct audio *a, AVPacket *p, struct err *e)
{
    int rc = avcodec_send_packet(a->decoder, p);
    if (rc < 0 && rc != AVERROR_EOF)
        a->errors++;
    for (;;) {
        rc = avcodec_receive_frame(a->decoder, a->frame);
        if (rc == AVERROR(EAGAIN) || rc == AVERROR_EOF)
            return 0;
        if (rc < 0) {
            a->errors++;
            return 0;
        }
        rc = place(a, a->frame, e);
        av_frame_unref(a->frame);
        if (rc)
            return -1;
    }
}

static int wait_for(struct audio *a, const bool *flag)
{
    pthread_mutex_lock(&a->group->lock);
    while (!*flag && !group_failed(a->group))
        pthread_cond_wait(&a->group->change, &a->group->lock);
    bool ok = !group_failed(a->group);
    pthread_mutex_unlock(&a->group->lock);
    return ok ? 0 : -1;
}

static int finish(struct audio *a, struct err *e)
{
    int64_t cut = 0;
    if (decode(a, NULL, e) || (a->swr && resample(a, NULL, &cut, e)))
        return -1;
    if (!a->any && a->errors)
        return fail_set(e, "media.unsupported_codec",
                        "The sound could not be decoded; please use AAC.");
    pthread_mutex_lock(&a->group->lock);
    a->end = a->pos;
    a->decoded = true;
    pthread_cond_broadcast(&a->group->change);
    pthread_mutex_unlock(&a->group->lock);
    if (wait_for(a, &a->total_known))
        return -1;
    int64_t need = (a->total + UNIT - 1) / UNIT;
    if (silence(a, (need + 1) * UNIT - a->pos, e))
        return -1;
    // Flush with a padded last frame, then forget what lies beyond the picture.
    if (a->sent < need && silence(a, UNIT, e))
        return -1;
    int rc = avcodec_send_frame(a->codec, NULL);
    if (rc < 0)
        return fail_av(e, rc, "encode sound");
    if (drain_encoder(a, e))
        return -1;
    int64_t done = a->packets - a->units;
    if (a->packets < need || done > need)
        return fail_set(e, "media.internal", "The sound does not cover the picture.");
    a->units = (int)(need - done);
    return seal_ready(a, a->total, e);
}

static void *run(void *arg)
{
    struct audio *a = arg;
    struct err e = {0};
    void *item;
    int got;
    if (wait_for(a, &a->origin_known))
        return NULL;
    while ((got = queue_get(&a->in, &item)) > 0) {
        AVPacket *p = item;
        int rc = decode(a, p, &e);
        av_packet_free(&p);
        if (rc)
            goto fail;
    }
    if (got < 0)
        return NULL;
    if (!finish(a, &e))
        return NULL;
    if (e.code == ERR_NONE)
        return NULL; // another member failed first
fail:
    group_fail(a->group, &e);
    return NULL;
}

int audio_start(struct audio *a, struct err *e)
{
    if (group_thread(&a->thread, run, a, "audio", e))
        return -1;
    a->started = true;
    return 0;
}

int audio_feed(struct audio *a, AVPacket *p)
{
    if (!(a->origin_known ? queue_put(&a->in, p) : queue_try(&a->in, p)))
        return 0;
    av_packet_free(&p);
    return -1;
}

static void tell(struct audio *a, int64_t *to, int64_t v, bool *flag)
{
    pthread_mutex_lock(&a->group->lock);
    *to = v;
    *flag = true;
    pthread_cond_broadcast(&a->group->change);
    pthread_mutex_unlock(&a->group->lock);
}

void audio_origin(struct audio *a, int64_t samples)
{
    tell(a, &a->origin, samples, &a->origin_known);
}

int64_t audio_drain(struct audio *a)
{
    queue_end(&a->in);
    return wait_for(a, &a->decoded) ? -1 : a->end;
}

void audio_total(struct audio *a, int64_t samples)
{
    tell(a, &a->total, samples, &a->total_known);
}

void audio_join(struct audio *a)
{
    if (a->started)
        pthread_join(a->thread, NULL);
    a->started = false;
}

static void drop(void *item)
{
    AVPacket *p = item;
    av_packet_free(&p);
}

void audio_close(struct audio *a)
{
    if (!a->group)
        return;
    queue_fini(&a->in, drop);
    avcodec_free_context(&a->decoder);
    avcodec_free_context(&a->codec);
    swr_free(&a->swr);
    av_channel_layout_uninit(&a->from_layout);
    if (a->fifo)
        av_audio_fifo_free(a->fifo);
    av_frame_free(&a->frame);
    av_frame_free(&a->out);
    av_packet_free(&a->packet);
    av_freep(&a->convert[0]);
    track_fini(&a->track);
    free(a->unit);
    buf_fini(&a->data);
}
