// SPDX-License-Identifier: Apache-2.0
#include "media/frag.h"
#include <stdio.h>
#include <string.h>

static void u8(struct buf *b, unsigned v)
{
    buf_put(b, &(uint8_t){(uint8_t)v}, 1);
}

static void u16(struct buf *b, unsigned v)
{
    buf_put(b, (uint8_t[]){(uint8_t)(v >> 8), (uint8_t)v}, 2);
}

static void u32(struct buf *b, uint32_t v)
{
    buf_put(b, (uint8_t[]){(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v},
            4);
}

static void u64(struct buf *b, uint64_t v)
{
    u32(b, (uint32_t)(v >> 32));
    u32(b, (uint32_t)v);
}

static void zeros(struct buf *b, size_t n)
{
    static const char z[64];
    for (; n > sizeof z; n -= sizeof z)
        buf_put(b, z, sizeof z);
    buf_put(b, z, n);
}

static size_t box(struct buf *b, const char *type)
{
    size_t at = b->n;
    u32(b, 0);
    buf_put(b, type, 4);
    return at;
}

static size_t full(struct buf *b, const char *type, unsigned version, uint32_t flags)
{
    size_t at = box(b, type);
    u32(b, version << 24 | flags);
    return at;
}

static void patch(struct buf *b, size_t at, uint32_t v)
{
    uint8_t be[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    memcpy(b->p + at, be, 4);
}

static void end(struct buf *b, size_t at)
{
    patch(b, at, (uint32_t)(b->n - at));
}

static void matrix(struct buf *b)
{
    const uint32_t m[9] = {0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000};
    for (int i = 0; i < 9; i++)
        u32(b, m[i]);
}

static void put_ftyp(struct buf *b)
{
    size_t at = box(b, "ftyp");
    buf_puts(b, "iso6");
    u32(b, 1);
    buf_puts(b, "iso6cmfcmp41");
    end(b, at);
}

static void put_mvhd(struct buf *b, uint32_t timescale)
{
    size_t at = full(b, "mvhd", 0, 0);
    u32(b, 0);
    u32(b, 0);
    u32(b, timescale);
    u32(b, 0);
    u32(b, 0x10000);
    u16(b, 0x100);
    zeros(b, 10);
    matrix(b);
    zeros(b, 24);
    u32(b, 2);
    end(b, at);
}

static void put_tkhd(struct buf *b, int w, int h)
{
    size_t at = full(b, "tkhd", 0, 7);
    u32(b, 0);
    u32(b, 0);
    u32(b, 1);
    u32(b, 0);
    u32(b, 0);
    zeros(b, 8);
    u16(b, 0);
    u16(b, 0);
    u16(b, w ? 0 : 0x100);
    u16(b, 0);
    matrix(b);
    u32(b, (uint32_t)w << 16);
    u32(b, (uint32_t)h << 16);
    end(b, at);
}

static void put_edts(struct buf *b, uint32_t delay)
{
    if (!delay)
        return;
    size_t edts = box(b, "edts"), at = full(b, "elst", 0, 0);
    u32(b, 1);
    u32(b, 0); // all of it
    u32(b, delay);
    u32(b, 0x10000);
    end(b, at);
    end(b, edts);
}

static void put_mdia_head(struct buf *b, uint32_t timescale, bool video)
{
    size_t at = full(b, "mdhd", 0, 0);
    u32(b, 0);
    u32(b, 0);
    u32(b, timescale);
    u32(b, 0);
    u16(b, 0x55c4); // "und"
    u16(b, 0);
    end(b, at);
    at = full(b, "hdlr", 0, 0);
    u32(b, 0);
    buf_puts(b, video ? "vide" : "soun");
    zeros(b, 12);
    buf_puts(b, video ? "video" : "audio");
    u8(b, 0);
    end(b, at);
}

static void put_dinf(struct buf *b)
{
    size_t dinf = box(b, "dinf"), dref = full(b, "dref", 0, 0);
    u32(b, 1);
    size_t url = full(b, "url ", 0, 1);
    end(b, url);
    end(b, dref);
    end(b, dinf);
}

static void put_empty_tables(struct buf *b)
{
    size_t at = full(b, "stts", 0, 0);
    u32(b, 0);
    end(b, at);
    at = full(b, "stsc", 0, 0);
    u32(b, 0);
    end(b, at);
    at = full(b, "stsz", 0, 0);
    u32(b, 0);
    u32(b, 0);
    end(b, at);
    at = full(b, "stco", 0, 0);
    u32(b, 0);
    end(b, at);
}

static void put_mvex(struct buf *b)
{
    size_t mvex = box(b, "mvex"), at = full(b, "trex", 0, 0);
    u32(b, 1);
    u32(b, 1);
    zeros(b, 12);
    end(b, at);
    end(b, mvex);
}

/* Everything of moov around the sample entry, which `entry` writes. */
struct moov_entry {
    uint32_t timescale, delay;
    int w, h; /* 0 for audio */
    void (*put)(struct buf *b, const struct moov_entry *m);
    const void *arg;
};

static void put_moov(struct buf *b, const struct moov_entry *m)
{
    size_t moov = box(b, "moov");
    put_mvhd(b, m->timescale);
    size_t trak = box(b, "trak");
    put_tkhd(b, m->w, m->h);
    put_edts(b, m->delay);
    size_t mdia = box(b, "mdia");
    put_mdia_head(b, m->timescale, m->w > 0);
    size_t minf = box(b, "minf");
    size_t at = m->w ? full(b, "vmhd", 0, 1) : full(b, "smhd", 0, 0);
    zeros(b, m->w ? 8 : 4);
    end(b, at);
    put_dinf(b);
    size_t stbl = box(b, "stbl"), stsd = full(b, "stsd", 0, 0);
    u32(b, 1);
    m->put(b, m);
    end(b, stsd);
    put_empty_tables(b);
    end(b, stbl);
    end(b, minf);
    end(b, mdia);
    end(b, trak);
    put_mvex(b);
    end(b, moov);
}

/* Next NAL unit of an Annex B stream from *pos; false at the end. */
static bool next_nal(const uint8_t *p, size_t n, size_t *pos, const uint8_t **nal, size_t *len)
{
    size_t i = *pos;
    while (i + 3 <= n && !(p[i] == 0 && p[i + 1] == 0 && p[i + 2] == 1))
        i++;
    if (i + 3 >= n)
        return false;
    size_t start = i + 3, stop = n;
    for (size_t k = start; k + 3 <= n; k++) {
        if (p[k] == 0 && p[k + 1] == 0 && p[k + 2] <= 1) {
            stop = k;
            break;
        }
    }
    *nal = p + start;
    *len = stop - start;
    *pos = stop;
    return true;
}

void frag_put_annexb(struct buf *out, const uint8_t *p, size_t n)
{
    size_t pos = 0, len;
    const uint8_t *nal;
    while (next_nal(p, n, &pos, &nal, &len)) {
        int type = len ? nal[0] & 31 : 0;
        if (type < 1 || type > 5)
            continue;
        u32(out, (uint32_t)len);
        buf_put(out, nal, len);
    }
}

struct avc_entry {
    const uint8_t *sps, *pps;
    size_t sps_n, pps_n;
    struct frag_color color;
};

static void put_avc1(struct buf *b, const struct moov_entry *m)
{
    const struct avc_entry *a = m->arg;
    size_t avc1 = box(b, "avc1");
    zeros(b, 6);
    u16(b, 1);
    zeros(b, 16);
    u16(b, (unsigned)m->w);
    u16(b, (unsigned)m->h);
    u32(b, 0x480000);
    u32(b, 0x480000);
    u32(b, 0);
    u16(b, 1);
    zeros(b, 32);
    u16(b, 0x18);
    u16(b, 0xffff);
    size_t at = box(b, "avcC");
    u8(b, 1);
    buf_put(b, a->sps + 1, 3);
    u8(b, 0xff);
    u8(b, 0xe1);
    u16(b, (unsigned)a->sps_n);
    buf_put(b, a->sps, a->sps_n);
    u8(b, 1);
    u16(b, (unsigned)a->pps_n);
    buf_put(b, a->pps, a->pps_n);
    if (a->sps[1] >= 100) {
        u8(b, 0xfd); // 4:2:0
        u8(b, 0xf8); // 8 bits
        u8(b, 0xf8);
        u8(b, 0);
    }
    end(b, at);
    at = box(b, "colr");
    buf_puts(b, "nclx");
    u16(b, (unsigned)a->color.primaries);
    u16(b, (unsigned)a->color.transfer);
    u16(b, (unsigned)a->color.matrix);
    u8(b, 0);
    end(b, at);
    at = box(b, "pasp");
    u32(b, 1);
    u32(b, 1);
    end(b, at);
    end(b, avc1);
}

int frag_init_video(struct buf *out, int w, int h, uint32_t timescale, uint32_t delay,
                    struct frag_color color, const uint8_t *headers, size_t n, char codecs[24])
{
    struct avc_entry a = {.color = color};
    size_t pos = 0, len;
    const uint8_t *nal;
    while (next_nal(headers, n, &pos, &nal, &len)) {
        int type = len ? nal[0] & 31 : 0;
        if (type == 7 && !a.sps) {
            a.sps = nal;
            a.sps_n = len;
        } else if (type == 8 && !a.pps) {
            a.pps = nal;
            a.pps_n = len;
        }
    }
    if (!a.sps || !a.pps || a.sps_n < 4 || a.sps_n > 0xffff || a.pps_n > 0xffff)
        return -1;
    snprintf(codecs, 24, "avc1.%02x%02x%02x", a.sps[1], a.sps[2], a.sps[3]);
    put_ftyp(out);
    put_moov(out, &(struct moov_entry){timescale, delay, w, h, put_avc1, &a});
    return 0;
}

struct aac_entry {
    int channels;
    uint32_t rate, bitrate;
    const uint8_t *config;
    size_t n;
};

static void put_mp4a(struct buf *b, const struct moov_entry *m)
{
    const struct aac_entry *a = m->arg;
    size_t mp4a = box(b, "mp4a");
    zeros(b, 6);
    u16(b, 1);
    zeros(b, 8);
    u16(b, (unsigned)a->channels);
    u16(b, 16);
    zeros(b, 4);
    u32(b, a->rate << 16);
    size_t at = full(b, "esds", 0, 0);
    // MPEG-4 descriptors with one-byte lengths: ES{ DecoderConfig{ DecoderSpecificInfo }, SLConfig }.
    u8(b, 3);
    u8(b, (unsigned)(3 + 2 + 13 + 2 + a->n + 3));
    u16(b, 1);
    u8(b, 0);
    u8(b, 4);
    u8(b, (unsigned)(13 + 2 + a->n));
    u8(b, 0x40);
    u8(b, 0x15);
    u8(b, 0);
    u16(b, 0);
    u32(b, a->bitrate);
    u32(b, a->bitrate);
    u8(b, 5);
    u8(b, (unsigned)a->n);
    buf_put(b, a->config, a->n);
    u8(b, 6);
    u8(b, 1);
    u8(b, 2);
    end(b, at);
    end(b, mp4a);
}

void frag_init_audio(struct buf *out, uint32_t rate, int channels, uint32_t bitrate,
                     const uint8_t *config, size_t n)
{
    struct aac_entry a = {channels, rate, bitrate, config, n > 64 ? 64 : n};
    put_ftyp(out);
    put_moov(out, &(struct moov_entry){rate, 0, 0, 0, put_mp4a, &a});
}

void frag_segment(struct buf *out, uint32_t seq, uint64_t decode_time, bool audio,
                  const struct frag_sample *s, int count, const void *data, size_t n)
{
    enum { SYNC = 0x02000000, NOT_SYNC = 0x01010000 };
    bool even = true;
    for (int i = 1; i < count; i++)
        even = even && s[i].duration == s[0].duration;
    size_t moof = box(out, "moof"), at = full(out, "mfhd", 0, 0);
    u32(out, seq);
    end(out, at);
    size_t traf = box(out, "traf");
    at = full(out, "tfhd", 0, 0x020000 | 0x8 | 0x20);
    u32(out, 1);
    u32(out, s[0].duration);
    u32(out, audio ? SYNC : NOT_SYNC);
    end(out, at);
    at = full(out, "tfdt", 1, 0);
    u64(out, decode_time);
    end(out, at);
    uint32_t flags = 0x1 | 0x200 | (audio ? 0 : 0x4 | 0x800) | (even ? 0 : 0x100);
    at = full(out, "trun", 1, flags);
    u32(out, (uint32_t)count);
    size_t offset_at = out->n;
    u32(out, 0);
    if (!audio)
        u32(out, SYNC);
    for (int i = 0; i < count; i++) {
        if (!even)
            u32(out, s[i].duration);
        u32(out, s[i].size);
        if (!audio)
            u32(out, (uint32_t)s[i].cts);
    }
    end(out, at);
    end(out, traf);
    end(out, moof);
    patch(out, offset_at, (uint32_t)(out->n - moof + 8));
    at = box(out, "mdat");
    buf_put(out, data, n);
    end(out, at);
}

void frag_pad(struct buf *out, size_t n)
{
    size_t at = box(out, "free");
    zeros(out, n - out->n);
    end(out, at);
}
