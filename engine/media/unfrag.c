// SPDX-License-Identifier: Apache-2.0
#include "media/unfrag.h"
#include <string.h>

static uint32_t be32(const char *p)
{
    const uint8_t *u = (const uint8_t *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

/* The inside of the first box of that type, empty when there is none. */
static struct str find(struct str in, const char *type)
{
    size_t at = 0;
    while (at + 8 <= in.n) {
        size_t size = be32(in.p + at);
        if (size < 8 || size > in.n - at)
            break;
        if (!memcmp(in.p + at + 4, type, 4))
            return (struct str){in.p + at + 8, size - 8};
        at += size;
    }
    return (struct str){"", 0};
}

static struct str skip(struct str s, size_t n)
{
    return s.n < n ? (struct str){"", 0} : (struct str){s.p + n, s.n - n};
}

static int read_avc1(struct unfrag *u, struct str avc1)
{
    u->config = find(skip(avc1, 78), "avcC");
    if (u->config.n < 7)
        return -1;
    u->w = (int)(be32(avc1.p + 24) >> 16);
    u->h = (int)(be32(avc1.p + 24) & 0xffff);
    return u->w > 0 && u->h > 0 && !((u->w | u->h) & 1) ? 0 : -1;
}

/* The three descriptors that frag.c nests, each with a length of one byte. */
static int read_mp4a(struct unfrag *u, struct str mp4a)
{
    struct str esds = skip(find(skip(mp4a, 28), "esds"), 4);
    const uint8_t *p = (const uint8_t *)esds.p;
    if (esds.n < 27 || p[0] != 3 || p[5] != 4 || p[7] != 0x40 || p[20] != 5 || p[21] < 2 ||
        p[21] > esds.n - 22)
        return -1;
    u->config = (struct str){esds.p + 22, p[21]};
    return 0;
}

int unfrag_init(struct unfrag *u, struct str init)
{
    struct str trak = find(find(init, "moov"), "trak"), mdia = find(trak, "mdia");
    struct str mdhd = find(mdia, "mdhd"), elst = find(find(trak, "edts"), "elst");
    struct str stsd = skip(find(find(find(mdia, "minf"), "stbl"), "stsd"), 8);
    struct str mp4a = find(stsd, "mp4a");
    u->w = u->h = 0;
    u->audio = mp4a.n > 0;
    if (mdhd.n < 24 || (u->audio ? read_mp4a(u, mp4a) : read_avc1(u, find(stsd, "avc1"))))
        return -1;
    u->timescale = be32(mdhd.p + 12);
    u->delay = elst.n >= 20 ? be32(elst.p + 12) : 0;
    return u->timescale ? 0 : -1;
}

enum { TRUN_VIDEO = 0x1 | 0x4 | 0x200 | 0x800, TRUN_AUDIO = 0x1 | 0x200, TRUN_TICKS = 0x100 };

static int read_trun(struct unfrag *u, struct str trun)
{
    if (trun.n < 16)
        return -1;
    uint32_t flags = be32(trun.p) & 0xffffff, n = be32(trun.p + 4);
    bool ticks = flags & TRUN_TICKS;
    if ((flags & ~(uint32_t)TRUN_TICKS) != (u->audio ? TRUN_AUDIO : TRUN_VIDEO))
        return -1;
    size_t head = u->audio ? 12 : 16, entry = 4 + (ticks ? 4 : 0) + (u->audio ? 0 : 4), total = 0;
    if (n < 1 || n > UNFRAG_SAMPLES || trun.n < head + entry * n)
        return -1;
    const char *p = trun.p + head;
    for (uint32_t i = 0; i < n; i++, p += entry) {
        const char *size = p + (ticks ? 4 : 0);
        u->sample[i] = (struct frag_sample){be32(size), ticks ? be32(p) : u->ticks,
                                            u->audio ? 0 : (int32_t)be32(size + 4)};
        total += u->sample[i].size;
    }
    u->count = (int)n;
    return total <= u->data.n ? 0 : -1;
}

int unfrag_segment(struct unfrag *u, struct str segment)
{
    struct str moof = find(segment, "moof"), traf = find(moof, "traf");
    struct str mfhd = find(moof, "mfhd"), tfhd = find(traf, "tfhd"), tfdt = find(traf, "tfdt");
    u->data = find(segment, "mdat");
    if (mfhd.n < 8 || tfhd.n < 16 || (be32(tfhd.p) & 0xffffff) != (0x020000 | 0x8 | 0x20) ||
        tfdt.n < 12 || tfdt.p[0] != 1)
        return -1;
    u->seq = be32(mfhd.p + 4);
    u->ticks = be32(tfhd.p + 8);
    u->decode_time = (uint64_t)be32(tfdt.p + 4) << 32 | be32(tfdt.p + 8);
    return u->ticks ? read_trun(u, find(traf, "trun")) : -1;
}
