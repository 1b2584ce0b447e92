/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/burstfile.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include "base/conf.h"
#include "base/log.h"
#include "base/str.h"
#include "blob/blob.h"

enum { TOUCH_S = 600, PATH_MAX_BYTES = 200 };

static atomic_llong unswept = -1; /* bytes written since the last sweep; -1: never swept */
static atomic_flag sweeping = ATOMIC_FLAG_INIT;

bool burstfile_has(const char *path)
{
    struct stat st;
    struct err ignored;
    if (blob_stat("burst", path, &st, &ignored) < 0)
        return false;
    if (time(NULL) - st.st_mtime > TOUCH_S)
        utimensat(blob_dirfd("burst"), path, NULL, AT_SYMLINK_NOFOLLOW);
    return true;
}

struct entry {
    int64_t used, size;
    char path[PATH_MAX_BYTES];
};
struct list {
    struct entry *v;
    size_t n, cap;
    int64_t bytes;
    const char *dir;
};

static int add_file(void *arg, const char *name, const struct stat *st)
{
    struct list *l = arg;
    if (!S_ISREG(st->st_mode))
        return 0;
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 256;
        l->v = realloc(l->v, l->cap * sizeof *l->v);
        must(l->v);
    }
    struct entry *e = &l->v[l->n];
    int n = snprintf(e->path, sizeof e->path, "%s/%s", l->dir, name);
    if (n <= 0 || (size_t)n >= sizeof e->path)
        return 0;
    e->used = st->st_mtime;
    e->size = st->st_size;
    l->bytes += e->size;
    l->n++;
    return 0;
}

static int add_dir(void *arg, const char *name, const struct stat *st)
{
    struct list *l = arg;
    struct err ignored;
    l->dir = name;
    if (S_ISDIR(st->st_mode))
        blob_list("burst", name, add_file, l, &ignored);
    return 0;
}

static int by_use(const void *a, const void *b)
{
    int64_t x = ((const struct entry *)a)->used, y = ((const struct entry *)b)->used;
    return x < y ? -1 : x > y;
}

static void sweep(int64_t cap)
{
    struct list l = {0};
    struct err e = {0};
    int64_t gone = 0;
    if (blob_list("burst", "", add_dir, &l, &e) < 0)
        log_err(LOG_WARN, "burst.sweep", &e);
    if (l.bytes > cap) {
        qsort(l.v, l.n, sizeof *l.v, by_use);
        for (size_t i = 0; i < l.n && l.bytes - gone > cap / 10 * 9; i++) {
            if (blob_remove("burst", l.v[i].path, &e) < 0)
                log_err(LOG_WARN, "burst.sweep", &e);
            else
                gone += l.v[i].size;
        }
        log_event(LOG_INFO, "burst.swept", "ii", "bytes", gone, "left", l.bytes - gone);
    }
    free(l.v);
}

int burstfile_put(const char *path, const void *p, size_t n, struct err *e)
{
    int64_t cap = conf_int("burst_cache");
    char dir[PATH_MAX_BYTES];
    snprintf(dir, sizeof dir, "%.*s", (int)strcspn(path, "/"), path);
    if (blob_mkdirs("burst", dir, e) < 0 || blob_write("burst", path, p, n, e) < 0)
        return -1;
    long long before = atomic_fetch_add(&unswept, (long long)n);
    if ((before < 0 || before + (long long)n > cap / 16) && !atomic_flag_test_and_set(&sweeping)) {
        atomic_store(&unswept, 0);
        sweep(cap);
        atomic_flag_clear(&sweeping);
    }
    return 0;
}
