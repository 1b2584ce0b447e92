/* SPDX-License-Identifier: Apache-2.0
 * Each shard is a ring of entries in the order of writing, found through hash chains of offsets. Space is made at the
 * tail; an entry that was read since it was written gets one more round. Offsets, not pointers, and one robust lock per
 * shard: a worker killed in the middle costs the shard's content, never the others' progress. */
#include "run/cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"

enum { MAX_SHARDS = 16, UNIT = 32, SECOND_ROUND_MAX = 8192 };

/* All entries start at multiples of 32, the size of this header, so that even the smallest gap has room for one. size covers
 * header, key, value and padding. */
struct entry {
    uint32_t size;
    uint32_t next; /* offset of the next entry of the bucket, 0 = end */
    uint32_t hash;
    uint32_t vlen;
    int64_t expires; /* clock_mono, 0 = never */
    uint16_t klen;
    uint8_t live; /* 0: replaced, deleted, or padding at the end of the ring */
    uint8_t read;
    uint32_t unused;
    char data[];
};
_Static_assert(sizeof(struct entry) == UNIT, "entry header");

struct shard {
    pthread_mutex_t lock;
    uint32_t head, tail; /* offsets in ring; the ring is [tail, head), wrapping */
    uint32_t used;       /* bytes in it */
    uint32_t nbuckets, ring_bytes;
    int64_t hits, misses, sets, evicted, resets;
    uint32_t bucket[]; /* then the ring, at ring_at */
};

static struct {
    char *base;
    size_t bytes, shard_bytes;
    uint32_t nshards, nbuckets, ring_at, ring_bytes;
} map;

static uint32_t hash_of(struct str key)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a, then mixed: FNV's low bits are weak */
    for (size_t i = 0; i < key.n; i++)
        h = (h ^ (unsigned char)key.p[i]) * 0x100000001b3u;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    return (uint32_t)(h ^ h >> 32);
}

static struct shard *shard_at(uint32_t i)
{
    return (struct shard *)(void *)(map.base + (size_t)i * map.shard_bytes);
}

static struct entry *entry_at(struct shard *s, uint32_t off)
{
    return (struct entry *)(void *)((char *)s + map.ring_at + off);
}

static void shard_reset(struct shard *s)
{
    memset(s->bucket, 0, sizeof(uint32_t) * map.nbuckets);
    s->nbuckets = map.nbuckets;
    s->ring_bytes = map.ring_bytes;
    s->head = s->tail = UNIT; /* offset 0 means "none" */
    s->used = 0;
}

static struct shard *shard_lock(uint32_t hash)
{
    struct shard *s = shard_at(hash % map.nshards);
    int rc = pthread_mutex_lock(&s->lock);
    if (rc == EOWNERDEAD) {
        shard_reset(s);
        s->resets++;
        pthread_mutex_consistent(&s->lock);
    } else {
        must(rc == 0);
    }
    return s;
}

int cache_init(size_t bytes, struct err *e)
{
    if (bytes < 1 << 20)
        bytes = 1 << 20;
    map.nshards = bytes >= (16u << 20) ? MAX_SHARDS : bytes >= (4u << 20) ? 4 : 1;
    map.shard_bytes = bytes / map.nshards & ~(size_t)4095;
    must(map.shard_bytes < UINT32_MAX);
    map.nbuckets = (uint32_t)(map.shard_bytes / 256);
    map.ring_at =
        (uint32_t)((sizeof(struct shard) + sizeof(uint32_t) * map.nbuckets + 63) & ~(size_t)63);
    map.ring_bytes = (uint32_t)(map.shard_bytes - map.ring_at) & ~(uint32_t)(UNIT - 1);
    map.bytes = map.shard_bytes * map.nshards;
    map.base = mmap(NULL, map.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (map.base == MAP_FAILED) {
        map.base = NULL;
        return ERR(e, ERR_INTERNAL, "no memory for the shared cache: %s", strerror(errno));
    }
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    for (uint32_t i = 0; i < map.nshards; i++) {
        pthread_mutex_init(&shard_at(i)->lock, &attr);
        shard_reset(shard_at(i));
    }
    pthread_mutexattr_destroy(&attr);
    return 0;
}

void cache_fini(void)
{
    if (map.base)
        munmap(map.base, map.bytes);
    map.base = NULL;
}

static uint32_t *bucket_of(struct shard *s, uint32_t hash)
{
    return &s->bucket[hash / map.nshards % s->nbuckets];
}

static void kill_entry(struct shard *s, uint32_t off)
{
    struct entry *x = entry_at(s, off);
    for (uint32_t *p = bucket_of(s, x->hash); *p; p = &entry_at(s, *p)->next) {
        if (*p == off) {
            *p = x->next;
            break;
        }
    }
    x->live = 0;
}

/* Offset of the live entry, or 0. An expired one dies here. */
static uint32_t lookup(struct shard *s, struct str key, uint32_t hash)
{
    for (uint32_t off = *bucket_of(s, hash); off;) {
        struct entry *x = entry_at(s, off);
        if (x->hash == hash && x->klen == key.n && memcmp(x->data, key.p, key.n) == 0) {
            if (x->expires == 0 || x->expires > clock_mono())
                return off;
            kill_entry(s, off);
            return 0;
        }
        off = x->next;
    }
    return 0;
}

static void drop_tail(struct shard *s)
{
    struct entry *x = entry_at(s, s->tail);
    if (x->live) {
        kill_entry(s, s->tail);
        s->evicted++;
    }
    s->used -= x->size;
    s->tail += x->size;
    if (s->tail >= s->ring_bytes)
        s->tail = UNIT;
    if (s->used == 0)
        s->head = s->tail = UNIT;
}

static bool is_room(const struct shard *s, uint32_t size)
{
    if (s->used == 0 || s->head > s->tail)
        return s->ring_bytes - s->head >= size;
    return s->head < s->tail && s->tail - s->head >= size;
}

/* Space for size bytes at the head, evicting without mercy. */
static struct entry *claim(struct shard *s, uint32_t size)
{
    while (!is_room(s, size)) {
        uint32_t left = s->ring_bytes - s->head;
        if (s->used && s->head > s->tail && left < size && s->tail > UNIT) {
            if (left) { /* padding, so that the ring can be walked */
                struct entry *pad = entry_at(s, s->head);
                pad->size = left;
                pad->live = 0;
                s->used += left;
            }
            s->head = UNIT;
        } else {
            drop_tail(s);
        }
    }
    struct entry *x = entry_at(s, s->head);
    s->head += size;
    s->used += size;
    x->size = size;
    return x;
}

static void link_entry(struct shard *s, struct entry *x)
{
    uint32_t *b = bucket_of(s, x->hash);
    x->next = *b;
    *b = (uint32_t)((char *)x - ((char *)s + map.ring_at));
}

/* Frees at least one entry at the tail; one that was read since moves to the head, marked unread. */
static void make_room(struct shard *s, uint32_t size)
{
    char copy[SECOND_ROUND_MAX];
    int64_t now = clock_mono();
    for (int moved = 0; s->used && !is_room(s, size) && moved < 8;) {
        struct entry *x = entry_at(s, s->tail);
        bool again =
            x->live && x->read && x->size <= sizeof copy && (x->expires == 0 || x->expires > now);
        if (!again) {
            if (s->head > s->tail && s->tail > UNIT)
                return; /* claim wraps first */
            drop_tail(s);
            continue;
        }
        uint32_t n = x->size;
        memcpy(copy, x, n);
        drop_tail(s);
        s->evicted--;
        x = claim(s, n);
        memcpy(x, copy, n);
        x->read = 0;
        link_entry(s, x);
        moved++;
    }
}

static void store(struct shard *s, struct str key, uint32_t hash, struct str value, int64_t ttl_us)
{
    uint32_t size =
        (uint32_t)((sizeof(struct entry) + key.n + value.n + UNIT - 1) & ~(size_t)(UNIT - 1));
    make_room(s, size);
    struct entry *x = claim(s, size);
    *x = (struct entry){
        .size = size, .hash = hash, .vlen = (uint32_t)value.n, .klen = (uint16_t)key.n, .live = 1};
    x->expires = ttl_us > 0 ? clock_mono() + ttl_us : 0;
    memcpy(x->data, key.p, key.n);
    if (value.n)
        memcpy(x->data + key.n, value.p, value.n);
    link_entry(s, x);
    s->sets++;
}

static bool fits(struct str key, struct str value)
{
    return key.n <= CACHE_KEY_MAX && value.n <= CACHE_VALUE_MAX &&
           sizeof(struct entry) + key.n + value.n <= map.ring_bytes / 4;
}

bool cache_get(struct str key, struct buf *out)
{
    must(map.base);
    uint32_t hash = hash_of(key);
    struct shard *s = shard_lock(hash);
    uint32_t off = lookup(s, key, hash);
    if (off) {
        struct entry *x = entry_at(s, off);
        x->read = 1;
        buf_put(out, x->data + x->klen, x->vlen);
        s->hits++;
    } else {
        s->misses++;
    }
    pthread_mutex_unlock(&s->lock);
    return off != 0;
}

static bool put(struct str key, struct str value, int64_t ttl_us, bool only_new)
{
    must(map.base);
    uint32_t hash = hash_of(key);
    struct shard *s = shard_lock(hash);
    uint32_t off = lookup(s, key, hash);
    bool ok = fits(key, value) && !(only_new && off);
    if (off && !only_new) {
        struct entry *x = entry_at(s, off);
        if (ok && x->vlen == value.n) { /* in place: hot values do not churn the ring */
            if (value.n)
                memcpy(x->data + x->klen, value.p, value.n);
            x->expires = ttl_us > 0 ? clock_mono() + ttl_us : 0;
            s->sets++;
            pthread_mutex_unlock(&s->lock);
            return true;
        }
        kill_entry(s, off);
    }
    if (ok)
        store(s, key, hash, value, ttl_us);
    pthread_mutex_unlock(&s->lock);
    return ok;
}

bool cache_set(struct str key, struct str value, int64_t ttl_us)
{
    return put(key, value, ttl_us, false);
}

bool cache_add(struct str key, struct str value, int64_t ttl_us)
{
    return put(key, value, ttl_us, true);
}

bool cache_del(struct str key)
{
    must(map.base);
    uint32_t hash = hash_of(key);
    struct shard *s = shard_lock(hash);
    uint32_t off = lookup(s, key, hash);
    if (off)
        kill_entry(s, off);
    pthread_mutex_unlock(&s->lock);
    return off != 0;
}

/* Counters are text of fixed width, so that cache_get reads them and an update is in place. */
int64_t cache_incr(struct str key, int64_t n, int64_t ttl_us)
{
    must(map.base);
    uint32_t hash = hash_of(key);
    struct shard *s = shard_lock(hash);
    uint32_t off = lookup(s, key, hash);
    int64_t value = 0, expires = 0;
    char text[24];
    if (off) {
        struct entry *x = entry_at(s, off);
        if (str_to_int64(str_trim((struct str){x->data + x->klen, x->vlen}), &value))
            value = 0;
        else
            expires = x->expires ? x->expires : -1;
        x->read = 1;
    }
    if (__builtin_add_overflow(value, n, &value))
        value = n > 0 ? INT64_MAX : INT64_MIN;
    int len = snprintf(text, sizeof text, "%-20lld", (long long)value);
    struct entry *x = off ? entry_at(s, off) : NULL;
    if (x && expires && x->vlen == (uint32_t)len) {
        memcpy(x->data + x->klen, text, (size_t)len);
    } else if (fits(key, (struct str){text, (size_t)len})) {
        int64_t left = expires > 0 ? expires - clock_mono() : expires < 0 ? 0 : ttl_us;
        if (off)
            kill_entry(s, off);
        store(s, key, hash, (struct str){text, (size_t)len}, left);
    }
    pthread_mutex_unlock(&s->lock);
    return value;
}

bool cache_update(struct str key, size_t n, int64_t ttl_us, void (*fn)(void *value, void *arg),
                  void *arg)
{
    must(map.base && n <= CACHE_SMALL);
    _Alignas(16) char value[CACHE_SMALL] = {0};
    uint32_t hash = hash_of(key);
    struct shard *s = shard_lock(hash);
    uint32_t off = lookup(s, key, hash);
    struct entry *x = off ? entry_at(s, off) : NULL;
    bool same = x && x->vlen == n, ok = fits(key, (struct str){value, n});
    if (same)
        memcpy(value, x->data + x->klen, n);
    if (ok)
        fn(value, arg);
    if (ok && same) {
        memcpy(x->data + x->klen, value, n);
        x->expires = ttl_us > 0 ? clock_mono() + ttl_us : 0;
        x->read = 1;
    } else if (ok) {
        if (off)
            kill_entry(s, off);
        store(s, key, hash, (struct str){value, n}, ttl_us);
    }
    pthread_mutex_unlock(&s->lock);
    return ok;
}

void cache_stats(struct cache_stats *out)
{
    *out = (struct cache_stats){.bytes = map.base ? (size_t)map.nshards * map.ring_bytes : 0};
    for (uint32_t i = 0; map.base && i < map.nshards; i++) {
        struct shard *s = shard_lock(i);
        out->hits += s->hits;
        out->misses += s->misses;
        out->sets += s->sets;
        out->evicted += s->evicted;
        out->resets += s->resets;
        out->used += s->used;
        pthread_mutex_unlock(&s->lock);
    }
}
