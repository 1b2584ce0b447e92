// SPDX-License-Identifier: Apache-2.0
#include "media/probe.h"
#include <libavutil/avstring.h>
#include <libavutil/display.h>
#include <libavutil/dovi_meta.h>
#include <libavutil/opt.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "media/fail.h"

enum { IO_SIZE = 128 << 10, MAX_ALLOC = 512 << 20 };

static const char formats[] = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,avi,ogg,mpeg";
// Decoder names; libavcodec compares these. magicyuv, and everything else nobody needs, stays out.
static const char decoders[] = "h264,hevc,vp8,vp9,libdav1d,mpeg4,mpeg2video,mpeg1video,theora,aac,"
                               "mp3float,mp3,mp2float,mp2,opus,vorbis,ac3,eac3,flac,alac,"
                               "pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_u8,"
                               "pcm_s8,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,"
                               "pcm_alaw,pcm_mulaw,pcm_dvd,pcm_bluray";

bool probe_is_hdr(enum AVColorTransferCharacteristic trc)
{
    return trc == AVCOL_TRC_SMPTE2084 || trc == AVCOL_TRC_ARIB_STD_B67;
}

static const AVCodec *allowed_decoder(enum AVCodecID id)
{
    const AVCodec *c = avcodec_find_decoder(id);
    return c && av_match_list(c->name, decoders, ',') > 0 ? c : NULL;
}

int probe_guard(struct err *e)
{
    static const enum AVCodecID banned_codecs[] = {AV_CODEC_ID_MAGICYUV, AV_CODEC_ID_ANSI,
                                                   AV_CODEC_ID_TEXT,     AV_CODEC_ID_EXR,
                                                   AV_CODEC_ID_TIFF,     AV_CODEC_ID_PNG};
    static const char *const banned_formats[] = {"hls", "concat",     "dash",       "image2",
                                                 "tty", "image2pipe", "lavfi",      "applehttp",
                                                 "sdp", "rtsp",       "ffmetadata", "imf"};
    for (unsigned i = 0; i < sizeof banned_codecs / sizeof *banned_codecs; i++)
        if (allowed_decoder(banned_codecs[i]))
            return fail_set(e, "media.internal", "The decoder list lets %s in.",
                            avcodec_get_name(banned_codecs[i]));
    for (unsigned i = 0; i < sizeof banned_formats / sizeof *banned_formats; i++)
        if (av_match_list(banned_formats[i], formats, ',') > 0)
            return fail_set(e, "media.internal", "The container list lets %s in.",
                            banned_formats[i]);
    av_max_alloc(MAX_ALLOC);
    return 0;
}

static int io_read(void *arg, uint8_t *buf, int n)
{
    struct probe *p = arg;
    if (*p->cancel)
        return AVERROR_EXIT;
    ssize_t r = pread(p->fd, buf, (size_t)n, p->pos);
    if (r < 0)
        return AVERROR(errno);
    p->pos += r;
    return r ? (int)r : AVERROR_EOF;
}

static int64_t io_seek(void *arg, int64_t off, int whence)
{
    struct probe *p = arg;
    whence &= ~AVSEEK_FORCE;
    if (whence == AVSEEK_SIZE)
        return p->size;
    int64_t to = whence == SEEK_SET   ? off
                 : whence == SEEK_CUR ? p->pos + off
                 : whence == SEEK_END ? p->size + off
                                      : -1;
    if (to < 0)
        return AVERROR(EINVAL);
    return p->pos = to;
}

static int interrupted(void *arg)
{
    const struct probe *p = arg;
    return *p->cancel != 0;
}

// Nothing inside a file may open another one.
static int no_open(struct AVFormatContext *s, AVIOContext **pb, const char *url, int flags,
                   AVDictionary **options)
{
    (void)s, (void)pb, (void)url, (void)flags, (void)options;
    return AVERROR(EPERM);
}

static int open_container(struct probe *p, const char *ext, struct err *e)
{
    static const char *advice = "please upload MP4, MOV, MKV, WebM, MPEG-TS, AVI, OGG or MPEG";
    const AVInputFormat *in = NULL;
    int rc = av_probe_input_buffer2(p->io, &in, "", NULL, 0, 1 << 20);
    if (*p->cancel)
        return fail_set(e, "media.cancelled", "The job was cancelled.");
    if (rc < 0 || !in)
        return fail_set(e, "media.unsupported_container",
                        "This file is not a video that we know; %s.", advice);
    if (av_match_list(in->name, formats, ',') <= 0)
        return fail_set(e, "media.unsupported_container",
                        "This%s%.12s file is of the kind \"%s\", which cannot be uploaded; %s.",
                        *ext ? " ." : "", ext, in->long_name ? in->long_name : in->name, advice);
    AVFormatContext *f = avformat_alloc_context();
    if (!f)
        return fail_av(e, AVERROR(ENOMEM), "open");
    f->pb = p->io;
    f->flags |= AVFMT_FLAG_CUSTOM_IO;
    f->io_open = no_open;
    f->interrupt_callback = (AVIOInterruptCB){interrupted, p};
    f->format_whitelist = av_strdup(formats);
    f->codec_whitelist = av_strdup(decoders);
    f->protocol_whitelist = av_strdup("none");
    f->max_streams = PROBE_MAX_STREAMS;
    f->probesize = 5 << 20;
    f->max_analyze_duration = 5 * AV_TIME_BASE;
    AVDictionary *o = NULL;
    av_dict_set(&o, "enable_drefs", "0", 0);
    av_dict_set(&o, "use_absolute_path", "0", 0);
    rc = avformat_open_input(&f, "", in, &o); // frees f on failure
    av_dict_free(&o);
    if (*p->cancel)
        rc = AVERROR_EXIT;
    p->format = f;
    if (rc == AVERROR_EXIT)
        return fail_set(e, "media.cancelled", "The job was cancelled.");
    if (rc == AVERROR(ENOMEM)) // this is how too many tracks look, too
        return fail_set(e, "media.unsupported_container",
                        "The file has more than %d tracks or needs too much memory to be read; "
                        "please upload one with picture and sound alone.",
                        PROBE_MAX_STREAMS);
    if (rc < 0)
        return fail_set(e, "media.truncated",
                        "The file is damaged or incomplete (its table of contents is missing); "
                        "please upload it again.");
    return 0;
}

static int find_streams(struct probe *p, struct err *e)
{
    AVFormatContext *f = p->format;
    AVDictionary **o = NULL;
    unsigned n = f->nb_streams;
    // Size bombs are cheapest to refuse before any decoder is asked.
    for (unsigned i = 0; i < n; i++)
        if ((int64_t)f->streams[i]->codecpar->width * f->streams[i]->codecpar->height >
            PROBE_MAX_PIXELS)
            goto pixels;
    if (n) {
        o = av_calloc(n, sizeof *o);
        for (unsigned i = 0; o && i < n; i++) {
            av_dict_set(&o[i], "threads", "1", 0);
            av_dict_set_int(&o[i], "max_pixels", PROBE_MAX_PIXELS, 0);
        }
    }
    int rc = avformat_find_stream_info(f, o);
    for (unsigned i = 0; o && i < n; i++)
        av_dict_free(&o[i]);
    av_free(o);
    if (*p->cancel)
        return fail_set(e, "media.cancelled", "The job was cancelled.");
    if (rc < 0)
        return fail_set(e, "media.truncated",
                        "The file is damaged or incomplete; please upload it again.");
    if (f->nb_streams > PROBE_MAX_STREAMS)
        return fail_set(e, "media.unsupported_container", "The file has more than %d tracks.",
                        PROBE_MAX_STREAMS);
    for (unsigned i = 0; i < f->nb_streams; i++)
        if ((int64_t)f->streams[i]->codecpar->width * f->streams[i]->codecpar->height >
            PROBE_MAX_PIXELS)
            goto pixels;
    return 0;
pixels:
    return fail_set(
        e, "media.too_many_pixels",
        "The picture is larger than 4096 x 2160 pixels; please upload a smaller version.");
}

/* The sound the film begins with must be readable; others that are not are left out. */
static void choose_sounds(struct probe *p, int first)
{
    AVFormatContext *f = p->format;
    int others = first < 0 ? 0 : PROBE_MAX_AUDIO - 1;
    for (int i = 0; i < (int)f->nb_streams; i++) {
        const AVCodecParameters *c = f->streams[i]->codecpar;
        if (i != first && (c->codec_type != AVMEDIA_TYPE_AUDIO || c->sample_rate <= 0 ||
                           !allowed_decoder(c->codec_id) || others-- <= 0))
            continue;
        f->streams[i]->discard = AVDISCARD_DEFAULT;
        if (i == first)
            p->main_audio = p->naudio;
        p->audio[p->naudio++] = i;
    }
}

static int choose(struct probe *p, struct err *e)
{
    AVFormatContext *f = p->format;
    int sound = -1;
    bool chosen = false;
    p->video = -1;
    for (unsigned i = 0; i < f->nb_streams; i++) {
        AVStream *s = f->streams[i];
        bool cover =
            s->disposition & (AV_DISPOSITION_ATTACHED_PIC | AV_DISPOSITION_TIMED_THUMBNAILS);
        s->discard = AVDISCARD_ALL;
        if (s->codecpar->codec_type == AVMEDIA_TYPE_VIDEO && !cover && p->video < 0)
            p->video = (int)i;
        if (s->codecpar->codec_type == AVMEDIA_TYPE_AUDIO && s->codecpar->sample_rate > 0 &&
            (sound < 0 || (s->disposition & AV_DISPOSITION_DEFAULT && !chosen))) {
            sound = (int)i;
            chosen = s->disposition & AV_DISPOSITION_DEFAULT;
        }
    }
    if (p->video < 0)
        return fail_set(e, "media.no_video",
                        "The file has no picture track; only videos can be uploaded.");
    for (int k = 0; k < 2; k++) {
        int i = k ? sound : p->video;
        if (i < 0)
            continue;
        enum AVCodecID id = f->streams[i]->codecpar->codec_id;
        if (!allowed_decoder(id))
            return fail_set(
                e, "media.unsupported_codec",
                "The %s is coded as \"%s\", which we cannot read; please use H.264 and AAC.",
                k ? "sound" : "picture", id == AV_CODEC_ID_NONE ? "unknown" : avcodec_get_name(id));
        f->streams[i]->discard = AVDISCARD_DEFAULT;
    }
    choose_sounds(p, sound);
    return 0;
}

void probe_turn(const int32_t *m, bool *swap, bool *flip_x, bool *flip_y)
{
    double a = m[0], b = m[1], c = m[3], d = m[4]; // shown x = a x + c y, shown y = b x + d y
    *swap = fabs(b) + fabs(c) > fabs(a) + fabs(d);
    *flip_x = *swap ? c < 0 : a < 0;
    *flip_y = *swap ? b < 0 : d < 0;
}

static void read_orientation(struct probe *p, const AVStream *s)
{
    size_t n = 0;
    const int32_t *m =
        (const int32_t *)(const void *)av_stream_get_side_data(s, AV_PKT_DATA_DISPLAYMATRIX, &n);
    if (m && n >= 9 * sizeof *m)
        probe_turn(m, &p->swap, &p->flip_x, &p->flip_y);
}

static void read_picture(struct probe *p)
{
    AVStream *s = p->format->streams[p->video];
    p->coded_w = s->codecpar->width;
    p->coded_h = s->codecpar->height;
    AVRational sar = av_guess_sample_aspect_ratio(p->format, s, NULL);
    double k = sar.num > 0 && sar.den > 0 ? av_q2d(sar) : 1;
    if (k < 0.125 || k > 8)
        k = 1;
    int w = (int)lround(p->coded_w * k), h = p->coded_h;
    read_orientation(p, s);
    p->w = p->swap ? h : w;
    p->h = p->swap ? w : h;
    size_t n = 0;
    const AVDOVIDecoderConfigurationRecord *dv =
        (const void *)av_stream_get_side_data(s, AV_PKT_DATA_DOVI_CONF, &n);
    p->dolby = dv && n >= sizeof *dv && dv->dv_profile == 5;
    p->hdr = probe_is_hdr(s->codecpar->color_trc);
    AVRational base = av_guess_frame_rate(p->format, s, NULL), avg = s->avg_frame_rate;
    p->rate_base = base.num > 0 && base.den > 0 ? av_q2d(base) : 0;
    p->rate_avg = avg.num > 0 && avg.den > 0 ? av_q2d(avg) : 0;
    // A grid of fields, or a finer grid than the pictures: 50 for 25, 60 for 29.97 ...
    if (p->rate_base > 0 && p->rate_avg > 0) {
        double times = round(p->rate_base / p->rate_avg);
        if (times >= 2 && times <= 8 &&
            fabs(p->rate_base / times - p->rate_avg) < 0.02 * p->rate_avg)
            p->rate_base /= times;
    }
    if (p->format->duration > 0)
        p->seconds = (double)p->format->duration / AV_TIME_BASE;
}

int probe_open(struct probe *p, int fd, const volatile sig_atomic_t *cancel, const char *ext,
               struct err *e)
{
    struct stat st;
    memset(p, 0, sizeof *p);
    p->fd = fd;
    p->cancel = cancel;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        return fail_set(e, "media.bad_job", "The input is not a file.");
    if (!st.st_size)
        return fail_set(e, "media.truncated", "The file is empty; please upload it again.");
    p->size = st.st_size;
    uint8_t *buf = av_malloc(IO_SIZE);
    p->io = buf ? avio_alloc_context(buf, IO_SIZE, 0, p, io_read, NULL, io_seek) : NULL;
    if (!p->io) {
        av_free(buf);
        return fail_av(e, AVERROR(ENOMEM), "open");
    }
    if (open_container(p, ext, e) || find_streams(p, e) || choose(p, e))
        return -1;
    read_picture(p);
    if (p->dolby)
        return fail_set(
            e, "media.hdr",
            "The video is Dolby Vision without a base layer (profile 5); please export it "
            "as HDR10, HLG or SDR.");
    if (p->coded_w < 16 || p->coded_h < 16 || p->w < 16 || p->h < 16)
        return fail_set(e, "media.no_video",
                        "The picture is smaller than 16 x 16 pixels or its size is unknown.");
    return 0;
}

int probe_decoder(const struct probe *p, int stream, int threads, AVCodecContext **out,
                  struct err *e)
{
    AVStream *s = p->format->streams[stream];
    const AVCodec *codec = allowed_decoder(s->codecpar->codec_id);
    AVCodecContext *c = codec ? avcodec_alloc_context3(codec) : NULL;
    if (!c)
        return fail_av(e, AVERROR_DECODER_NOT_FOUND, "decoder");
    int rc = avcodec_parameters_to_context(c, s->codecpar);
    c->pkt_timebase = s->time_base;
    c->max_pixels = PROBE_MAX_PIXELS;
    c->thread_count = threads;
    c->thread_type = FF_THREAD_FRAME | FF_THREAD_SLICE;
    c->codec_whitelist = av_strdup(decoders);
    if (rc >= 0)
        rc = avcodec_open2(c, codec, NULL);
    if (rc < 0) {
        avcodec_free_context(&c);
        return fail_set(
            e, "media.unsupported_codec",
            "The %s is coded in a way of \"%s\" that we cannot read; please use H.264 and AAC-LC.",
            s->codecpar->codec_type == AVMEDIA_TYPE_VIDEO ? "picture" : "sound",
            avcodec_get_name(codec->id));
    }
    *out = c;
    return 0;
}

void probe_close(struct probe *p)
{
    avformat_close_input(&p->format);
    if (p->io) {
        av_freep(&p->io->buffer);
        avio_context_free(&p->io);
    }
}

void probe_json(const struct probe *p, struct buf *out)
{
    const AVStream *v = p->format->streams[p->video];
    double fps = p->rate_avg > 0 ? p->rate_avg : p->rate_base;
    // Demuxers have names like "mov,mp4,m4a": the first is enough for people.
    const char *name = p->format->iformat->name;
    buf_printf(out,
               "{\"duration\":%.3f,\"width\":%d,\"height\":%d,\"fps\":%.3f,\"rotated\":%s,"
               "\"container\":\"%.*s\",",
               p->seconds, p->w, p->h, fps, p->swap || p->flip_x || p->flip_y ? "true" : "false",
               (int)strcspn(name, ","), name);
    buf_printf(out, "\"video\":\"%s\",\"audio\":", avcodec_get_name(v->codecpar->codec_id));
    if (p->naudio)
        buf_printf(
            out, "\"%s\"",
            avcodec_get_name(p->format->streams[p->audio[p->main_audio]]->codecpar->codec_id));
    else
        buf_puts(out, "null");
    buf_printf(out, ",\"audio_tracks\":%d", p->naudio);
    buf_printf(out, ",\"hdr\":%s,\"size\":%lld}", p->hdr ? "true" : "false", (long long)p->size);
}
