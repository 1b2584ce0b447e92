/* SPDX-License-Identifier: Apache-2.0
 * Key-value memory shared by all workers: one mapping made before fork, with a size cap and times to live.
 * It survives reloads and worker restarts, not a restart of the master. An entry may vanish at any time (space, or a worker
 * killed in the middle of an update): keep nothing here that the database does not know, except counters one may lose.
 * Any thread, any process forked after cache_init. Never blocks for longer than a copy. */
#ifndef RUN_CACHE_H
#define RUN_CACHE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

enum { CACHE_KEY_MAX = 512, CACHE_VALUE_MAX = 256 * 1024 };

/* Master, once, before fork. bytes is rounded up to 1 MiB at least. ERR_INTERNAL when there is no memory. */
int cache_init(size_t bytes, struct err *e);
/* Forgets everything and unmaps; tests only. */
void cache_fini(void);
/* Appends the value to out; false (out untouched) when absent or expired. */
bool cache_get(struct str key, struct buf *out);
/* ttl_us <= 0: no expiry. False when key or value is too long (nothing stored, an old value is removed) . */
bool cache_set(struct str key, struct str value, int64_t ttl_us);
/* Like cache_set, but only if the key is absent; false when it exists. For locks and "seen already". */
bool cache_add(struct str key, struct str value, int64_t ttl_us);
bool cache_del(struct str key); /* true when it was there */
/* Atomically adds n to a counter and returns the new value. A new or expired counter starts at 0 and lives ttl_us from
 * now; an existing one keeps its end. A value that is not a number counts as absent.
 * cache_get shows a counter as decimal text padded with spaces. */
int64_t cache_incr(struct str key, int64_t n, int64_t ttl_us);

/* Changes a value of n bytes (<= CACHE_SMALL) in place under the lock of its shard: fn gets it, or n zero bytes when it is
 * absent, expired or of another size, and must not call the cache. It lives ttl_us from now. False when the key is too long. */
enum { CACHE_SMALL = 128 };
bool cache_update(struct str key, size_t n, int64_t ttl_us, void (*fn)(void *value, void *arg),
                  void *arg);

struct cache_stats {
    int64_t hits, misses, sets, evicted, resets;
    size_t bytes, used;
};
void cache_stats(struct cache_stats *out);
#endif
