// SPDX-License-Identifier: Apache-2.0
#include "media/ts.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "media/fail.h"
#include "media/unfrag.h"

enum {
    PACKET = 188,
    BODY = 184,
    PCR_ROOM = 8, /* of an adaptation field with a clock reference */
    PID_PMT = 0x1000,
    PID_VIDEO = 0x100,
    PID_AUDIO = 0x101,
    PID_NULL = 0x1fff,
    PES_FRAMES = 4,  /* of sound in one PES packet: a clock reference at least every 0.1 s */
    VIDEO_HEAD = 19, /* PES header with both times */
    AUDIO_HEAD = 14, /* with one */
    DELIMITER = 6,   /* an access unit delimiter with its start code */
    ADTS = 7,
    ADTS_MAX = 8191,
    PCR_LEAD = 45000, /* half a second between a byte's arrival and its use */
};

struct mux {
    struct unfrag u;
    struct buf *out;
    struct buf pes; /* the packet being made */
    int pid;
    size_t packets; /* with payload, of pid */
    struct str sps, pps;
    uint8_t adts[ADTS];
};

static void put(struct buf *b, const uint8_t *p, size_t n)
{
    buf_put(b, p, n);
}

/* ---- the clock ---- */

/* Of a moment on the decoding clock plus shift, at 90 kHz. */
static uint64_t clock90(const struct unfrag *u, uint64_t decode, int64_t shift)
{
    uint64_t t = decode + (uint64_t)TS_BASE_S * u->timescale - u->delay + (uint64_t)shift;
    return t / u->timescale * 90000 + (t % u->timescale * 90000 + u->timescale / 2) / u->timescale;
}

/* The 33 bits of a PTS or DTS behind a marker of 4 bits. */
static void put_time(struct buf *b, unsigned marker, uint64_t t)
{
    put(b,
        (uint8_t[]){(uint8_t)(marker << 4 | (t >> 29 & 0x0e) | 1), (uint8_t)(t >> 22),
                    (uint8_t)((t >> 14 & 0xfe) | 1), (uint8_t)(t >> 7),
                    (uint8_t)((t << 1 & 0xfe) | 1)},
        5);
}

/* ---- tables ---- */

static uint32_t crc(const uint8_t *p, size_t n)
{
    uint32_t c = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        c ^= (uint32_t)p[i] << 24;
        for (int k = 0; k < 8; k++)
            c = c << 1 ^ (c >> 31 ? 0x04c11db7 : 0);
    }
    return c;
}

static void head(struct buf *b, int pid, bool first, unsigned control, unsigned counter)
{
    put(b,
        (uint8_t[]){0x47, (uint8_t)((first ? 0x40 : 0) | pid >> 8), (uint8_t)pid,
                    (uint8_t)(control << 4 | (counter & 15))},
        4);
}

/* One packet with one table, without its checksum. There is one of each in every segment, which is why the segment's number
 * is their counter. */
static void put_table(const struct mux *m, int pid, const uint8_t *table, size_t n)
{
    uint8_t body[BODY];
    uint32_t c = crc(table, n);
    memset(body, 0xff, sizeof body);
    body[0] = 0; // the table begins at once
    memcpy(body + 1, table, n);
    for (int i = 0; i < 4; i++)
        body[1 + n + (size_t)i] = (uint8_t)(c >> (24 - 8 * i));
    head(m->out, pid, true, 1, m->u.seq - 1);
    put(m->out, body, sizeof body);
}

static void put_tables(const struct mux *m)
{
    const uint8_t pat[] = {
        0, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xe0 | PID_PMT >> 8, PID_PMT & 0xff};
    const uint8_t pid_high = (uint8_t)(0xe0 | m->pid >> 8), pid_low = (uint8_t)m->pid;
    const uint8_t pmt[] = {2,
                           0xb0,
                           18,
                           0,
                           1,
                           0xc1,
                           0,
                           0,
                           pid_high,
                           pid_low,
                           0xf0,
                           0,
                           m->u.audio ? 0x0f : 0x1b,
                           pid_high,
                           pid_low,
                           0xf0,
                           0};
    put_table(m, 0, pat, sizeof pat);
    put_table(m, PID_PMT, pmt, sizeof pmt);
}

/* ---- packets ---- */

static void put_adaptation(struct buf *b, size_t n, bool clock, bool key, uint64_t pcr)
{
    static const uint8_t stuffing[BODY] = {[0 ... BODY - 1] = 0xff};
    if (!n)
        return;
    put(b, (uint8_t[]){(uint8_t)(n - 1)}, 1);
    if (n == 1)
        return;
    put(b, (uint8_t[]){(uint8_t)((clock ? 0x10 : 0) | (key ? 0x40 : 0))}, 1);
    if (clock)
        put(b,
            (uint8_t[]){(uint8_t)(pcr >> 25), (uint8_t)(pcr >> 17), (uint8_t)(pcr >> 9),
                        (uint8_t)(pcr >> 1), (uint8_t)(pcr << 7 | 0x7e), 0},
            6);
    put(b, stuffing, n - (clock ? PCR_ROOM : 2));
}

/* Sends m->pes. last: it is the segment's last one and is spread over as many packets as it takes to end where the next
 * segment's counter, which is 0, goes on. */
static void flush(struct mux *m, bool key, bool last, uint64_t pcr)
{
    size_t left = m->pes.n, at = 0, n = 1;
    if (left > BODY - PCR_ROOM)
        n += (left - (BODY - PCR_ROOM) + BODY - 1) / BODY;
    if (last)
        n += (16 - (m->packets + n) % 16) % 16;
    for (size_t i = 0; i < n; i++) {
        size_t room = i ? BODY : BODY - PCR_ROOM, later = n - 1 - i;
        size_t take = left - later < room ? left - later : room, field = BODY - take;
        head(m->out, m->pid, i == 0, field ? 3 : 1, (unsigned)m->packets++);
        put_adaptation(m->out, field, i == 0, key && i == 0, pcr);
        buf_put(m->out, m->pes.p + at, take);
        at += take;
        left -= take;
    }
    buf_clear(&m->pes);
}

/* Null packets up to a number of packets that depends on the fMP4 segment's size and number of samples alone. */
static void pad(struct mux *m, size_t segment)
{
    static const uint8_t nothing[BODY];
    size_t frames = (size_t)m->u.count,
           bytes = segment + frames * (VIDEO_HEAD + DELIMITER) + m->sps.n + m->pps.n + 8;
    // A sample of n bytes takes at most (n + 7) / BODY + 1 packets, all of them up to 15 more.
    size_t most = (bytes / BODY + frames + frames / 16 + 17) / 16 * 16;
    for (size_t i = m->packets; i < most; i++) {
        head(m->out, PID_NULL, false, 1, 0);
        put(m->out, nothing, sizeof nothing);
    }
}

/* ---- pictures ---- */

static const uint8_t start_code[4] = {0, 0, 0, 1};

static int bad(struct err *e)
{
    return fail_set(e, "media.bad_segment", "This is not a segment of ours.");
}

/* One SPS and one PPS, as frag.c puts them into avcC. */
static int read_avcc(struct mux *m)
{
    const uint8_t *p = (const uint8_t *)m->u.config.p;
    size_t n = m->u.config.n, at = 6;
    if (p[4] != 0xff || p[5] != 0xe1)
        return -1;
    for (int i = 0; i < 2; i++) {
        if (i && (at >= n || p[at++] != 1))
            return -1;
        if (n - at < 2)
            return -1;
        size_t k = (size_t)p[at] << 8 | p[at + 1];
        at += 2;
        if (k < 1 || k > n - at)
            return -1;
        *(i ? &m->pps : &m->sps) = (struct str){(const char *)p + at, k};
        at += k;
    }
    return 0;
}

static void put_nal(struct buf *b, struct str nal)
{
    put(b, start_code, sizeof start_code);
    buf_put(b, nal.p, nal.n);
}

/* NAL units behind 4-byte lengths -> behind start codes. */
static int put_nals(struct buf *b, struct str sample)
{
    while (sample.n) {
        if (sample.n < 4)
            return -1;
        const uint8_t *p = (const uint8_t *)sample.p;
        size_t n = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        if (n < 1 || n > sample.n - 4)
            return -1;
        put_nal(b, (struct str){sample.p + 4, n});
        sample = (struct str){sample.p + 4 + n, sample.n - 4 - n};
    }
    return 0;
}

static int put_pictures(struct mux *m)
{
    static const uint8_t delimiter[DELIMITER] = {0, 0, 0, 1, 9, 0xf0};
    const struct unfrag *u = &m->u;
    uint64_t decode = u->decode_time;
    size_t at = 0;
    for (int i = 0; i < u->count; i++) {
        uint64_t dts = clock90(u, decode, 0), pts = clock90(u, decode, u->sample[i].cts);
        put(&m->pes, (uint8_t[]){0, 0, 1, 0xe0, 0, 0, 0x84, 0xc0, 10}, 9);
        put_time(&m->pes, 3, pts);
        put_time(&m->pes, 1, dts);
        put(&m->pes, delimiter, sizeof delimiter);
        if (i == 0) {
            put_nal(&m->pes, m->sps);
            put_nal(&m->pes, m->pps);
        }
        if (put_nals(&m->pes, (struct str){u->data.p + at, u->sample[i].size}))
            return -1;
        if (m->pes.n - 6 <= 0xffff) { // else it is unbounded
            m->pes.p[4] = (char)((m->pes.n - 6) >> 8);
            m->pes.p[5] = (char)(m->pes.n - 6);
        }
        flush(m, i == 0, i == u->count - 1, dts - PCR_LEAD);
        at += u->sample[i].size;
        decode += u->sample[i].duration;
    }
    return 0;
}

/* ---- sound ---- */

/* The fixed part of an ADTS header from the first two bytes of the AudioSpecificConfig: AAC Main, LC, SSR or LTP. */
static int read_aac(struct mux *m)
{
    const uint8_t *p = (const uint8_t *)m->u.config.p;
    unsigned type = p[0] >> 3, rate = (p[0] & 7u) << 1 | p[1] >> 7, channels = p[1] >> 3 & 15;
    if (type < 1 || type > 4 || rate > 12 || channels < 1 || channels > 7)
        return -1;
    const uint8_t h[ADTS] = {0xff,
                             0xf1,
                             (uint8_t)((type - 1) << 6 | rate << 2 | channels >> 2),
                             (uint8_t)(channels << 6),
                             0,
                             0x1f,
                             0xfc};
    memcpy(m->adts, h, sizeof h);
    return 0;
}

static int put_aac(struct mux *m, struct str frame)
{
    size_t n = frame.n + ADTS;
    uint8_t h[ADTS];
    if (frame.n < 1 || n > ADTS_MAX)
        return -1;
    memcpy(h, m->adts, sizeof h);
    h[3] |= (uint8_t)(n >> 11);
    h[4] = (uint8_t)(n >> 3);
    h[5] |= (uint8_t)(n << 5);
    put(&m->pes, h, sizeof h);
    buf_put(&m->pes, frame.p, frame.n);
    return 0;
}

static int put_sound(struct mux *m)
{
    const struct unfrag *u = &m->u;
    uint64_t decode = u->decode_time;
    size_t at = 0;
    for (int i = 0; i < u->count;) {
        uint64_t pts = clock90(u, decode, 0);
        put(&m->pes, (uint8_t[]){0, 0, 1, 0xc0, 0, 0, 0x84, 0x80, 5}, 9);
        put_time(&m->pes, 2, pts);
        for (int k = 0; k < PES_FRAMES && i < u->count; k++, i++) {
            if (put_aac(m, (struct str){u->data.p + at, u->sample[i].size}))
                return -1;
            at += u->sample[i].size;
            decode += u->sample[i].duration;
        }
        m->pes.p[4] = (char)((m->pes.n - 6) >> 8);
        m->pes.p[5] = (char)(m->pes.n - 6);
        flush(m, true, i == u->count, pts - PCR_LEAD);
    }
    return 0;
}

/* No header is so far behind the clock that its times would be before 0. */
static int open_mux(struct mux *m, struct str init, struct str segment)
{
    struct unfrag *u = &m->u;
    if (unfrag_init(u, init) || unfrag_segment(u, segment) ||
        u->delay > (uint64_t)u->timescale * (TS_BASE_S - 1))
        return -1;
    m->pid = u->audio ? PID_AUDIO : PID_VIDEO;
    return u->audio ? read_aac(m) : read_avcc(m);
}

int ts_segment(struct str init, struct str segment, struct buf *out, struct err *e)
{
    struct mux *m = calloc(1, sizeof *m);
    must(m != NULL);
    size_t before = out->n;
    m->out = out;
    int rc = open_mux(m, init, segment);
    if (!rc) {
        put_tables(m);
        rc = m->u.audio ? put_sound(m) : put_pictures(m);
    }
    if (!rc && !m->u.audio)
        pad(m, segment.n);
    if (rc) {
        out->n = before;
        bad(e);
    }
    buf_fini(&m->pes);
    free(m);
    return rc;
}
