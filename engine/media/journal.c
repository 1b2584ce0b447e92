// SPDX-License-Identifier: Apache-2.0
#include "media/journal.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/str.h"
#include "media/fail.h"
#include "media/key.h"
#include "media/track.h"

enum { JOURNAL_MAX = 64 << 20, NAMES = 16, CHUNK = 1 << 16 };

static bool is_word(const char *s, const char *extra)
{
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr(extra, *s))
            return false;
    return true;
}

/* The file may have been written by a child that a hostile film had taken over. */
static bool parse(const char *line, struct journal_entry *x)
{
    char variant[2] = "", codecs[24];
    unsigned a, b, c;
    memset(x, 0, sizeof *x);
    x->variant = -1;
    if (sscanf(line, "init %11s %39s %u %u %u %23s %64s", x->rendition, x->file.name, &a, &b, &c,
               codecs, x->sum) != 7) {
        if (sscanf(line, "seg %11s %1[ab] %d %39s %32s %" SCNd64 " %" SCNu64 " %64s", x->rendition,
                   variant, &x->number, x->file.name, x->file.iv, &x->file.size, &x->ticks,
                   x->sum) != 8)
            return false;
        x->variant = variant[0] == 'b';
    }
    return is_word(x->rendition, "_") && x->file.name[0] != '.' && is_word(x->file.name, "_.") &&
           is_word(x->file.iv, "") && x->number >= 0 && strlen(x->sum) == 64;
}

static bool is_intact(int dirfd, const struct journal_entry *x)
{
    uint8_t part[CHUNK], sum[32];
    struct buf hex = {0};
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    struct stat st;
    int fd = openat(dirfd, x->file.name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    bool ok = fd >= 0 && c && !fstat(fd, &st) && S_ISREG(st.st_mode) &&
              (x->variant < 0 || st.st_size == x->file.size) &&
              EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1;
    for (ssize_t n = 1; ok && n > 0;) {
        n = read(fd, part, sizeof part);
        ok = n >= 0 && EVP_DigestUpdate(c, part, (size_t)n) == 1;
    }
    ok = ok && EVP_DigestFinal_ex(c, sum, NULL) == 1;
    if (ok)
        buf_put_hex(&hex, sum, sizeof sum);
    ok = ok && !memcmp(hex.p, x->sum, 64);
    if (fd >= 0)
        close(fd);
    EVP_MD_CTX_free(c);
    buf_fini(&hex);
    return ok;
}

static int read_all(int fd, struct buf *b, struct err *e)
{
    char part[4096];
    for (ssize_t n = 1; n > 0 && b->n < JOURNAL_MAX;) {
        n = read(fd, part, sizeof part);
        if (n < 0)
            return err_errno(e, "read the journal");
        buf_put(b, part, (size_t)n);
    }
    buf_put(b, "", 1);
    return 0;
}

static void add(struct journal *j, const struct journal_entry *x)
{
    if (j->n == j->cap) {
        j->cap = j->cap ? 2 * j->cap : 256;
        j->entry = realloc(j->entry, (size_t)j->cap * sizeof *j->entry);
        must(j->entry != NULL);
    }
    j->entry[j->n++] = *x;
}

static int slot(char name[NAMES][12], const char *rendition)
{
    for (int i = 0; i < NAMES; i++) {
        if (!name[i][0])
            strcpy(name[i], rendition);
        if (!strcmp(name[i], rendition))
            return i;
    }
    return -1;
}

/* Segments without a gap from the first one, of both variants where there are two. */
static void keep_prefixes(struct journal *j, bool pairs)
{
    char name[NAMES][12] = {{0}};
    int have[NAMES][2] = {{0}}, n = 0;
    for (int i = 0; i < j->n; i++) {
        const struct journal_entry *x = &j->entry[i];
        int at = slot(name, x->rendition);
        if (at >= 0 && x->variant >= 0 && x->number == have[at][x->variant])
            have[at][x->variant]++;
    }
    for (int i = 0; i < j->n; i++) {
        const struct journal_entry *x = &j->entry[i];
        int at = slot(name, x->rendition), most = at < 0 ? 0 : have[at][0];
        if (at >= 0 && pairs && isdigit((unsigned char)x->rendition[0]) && have[at][1] < most)
            most = have[at][1];
        if (x->variant < 0 || x->number < most)
            j->entry[n++] = *x;
    }
    j->n = n;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int remove_others(const struct journal *j, struct err *e)
{
    const char **keep = calloc((size_t)j->n + 1, sizeof *keep);
    must(keep != NULL);
    for (int i = 0; i < j->n; i++)
        keep[i] = j->entry[i].file.name;
    qsort(keep, (size_t)j->n, sizeof *keep, by_name);
    int fd = openat(j->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    int rc = d ? 0 : err_errno(e, "read the output directory");
    for (struct dirent *x; !rc && (x = readdir(d));) {
        const char *name = x->d_name;
        if (!strcmp(name, ".") || !strcmp(name, "..") || !strcmp(name, JOURNAL_NAME) ||
            bsearch(&name, keep, (size_t)j->n, sizeof *keep, by_name))
            continue;
        if (unlinkat(j->dirfd, name, 0))
            rc = err_errno(e, "clear the output directory");
    }
    if (d)
        closedir(d);
    else if (fd >= 0)
        close(fd);
    free(keep);
    return rc;
}

/* The file again, without what was not kept. */
static int rewrite(struct journal *j, const char *head, struct buf *old, struct err *e)
{
    struct buf b = {0};
    int i = 0;
    buf_puts(&b, head);
    for (char *line = old->p, *end; i < j->n && (end = strchr(line, '\n')); line = end + 1) {
        struct journal_entry x;
        *end = '\0';
        if (!parse(line, &x) || strcmp(x.file.name, j->entry[i].file.name))
            continue;
        buf_printf(&b, "%s\n", line);
        i++;
    }
    bool ok = !ftruncate(j->fd, 0) && write(j->fd, b.p, b.n) == (ssize_t)b.n;
    buf_fini(&b);
    return ok ? 0 : err_errno(e, "write the journal");
}

static void load(struct journal *j, const char *text, bool pairs)
{
    for (const char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        struct journal_entry x;
        char copy[512];
        if ((size_t)(end - line) >= sizeof copy)
            continue;
        memcpy(copy, line, (size_t)(end - line));
        copy[end - line] = '\0';
        if (parse(copy, &x) && is_intact(j->dirfd, &x))
            add(j, &x);
    }
    keep_prefixes(j, pairs);
}

int journal_open(struct journal *j, int dirfd, const uint8_t secret[32], const char *what,
                 bool pairs, struct err *e)
{
    struct buf old = {0}, head = {0};
    uint8_t mac[32];
    *j = (struct journal){.dirfd = dirfd};
    j->fd = openat(dirfd, JOURNAL_NAME, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (j->fd < 0)
        return err_errno(e, "open the journal");
    if (flock(j->fd, LOCK_EX | LOCK_NB))
        return fail_set(e, "media.internal", "Another process is encoding this video.");
    key_mac(secret, what, mac);
    buf_puts(&head, "ppv-journal 1 ");
    buf_put_hex(&head, mac, sizeof mac);
    buf_puts(&head, "\n");
    int rc = read_all(j->fd, &old, e);
    if (!rc && old.n > head.n && !memcmp(old.p, head.p, head.n))
        load(j, old.p + head.n, pairs);
    buf_put(&head, "", 1);
    rc = rc || remove_others(j, e) || rewrite(j, head.p, &old, e);
    buf_fini(&old);
    buf_fini(&head);
    return rc ? -1 : 0;
}

static bool matches(const struct journal *j, const struct track *t, const void *init, size_t n,
                    uint64_t unit, bool whole, struct journal_entry *found)
{
    uint8_t sum[32];
    struct buf hex = {0};
    bool same = false, fit = true;
    if (EVP_Digest(init, n, sum, NULL, EVP_sha256(), NULL) != 1)
        return false;
    buf_put_hex(&hex, sum, sizeof sum);
    for (int i = 0; i < j->n; i++) {
        const struct journal_entry *x = &j->entry[i];
        if (strcmp(x->rendition, t->name))
            continue;
        if (x->variant < 0 && !memcmp(hex.p, x->sum, 64)) {
            same = true;
            *found = *x;
        }
        fit = fit && (x->variant < 0 || (whole ? x->ticks == unit : x->ticks % unit == 0));
    }
    buf_fini(&hex);
    return same && fit;
}

bool journal_take(struct journal *j, struct track *t, const void *init, size_t n, uint64_t unit,
                  bool whole, struct store *s)
{
    struct journal_entry head = {0};
    bool take = matches(j, t, init, n, unit, whole, &head);
    if (take)
        snprintf(t->init, sizeof t->init, "%s", head.file.name);
    for (int i = 0; i < j->n; i++) {
        struct journal_entry *x = &j->entry[i];
        if (strcmp(x->rendition, t->name))
            continue;
        if (!take || (x->variant < 0 && strcmp(x->file.name, t->init))) {
            unlinkat(j->dirfd, x->file.name, 0);
            continue;
        }
        store_keep(s, x->file.name, x->sum);
        if (x->variant >= 0)
            track_keep(t, x->variant, x->number, &x->file, x->ticks);
    }
    return take;
}

void journal_close(struct journal *j)
{
    if (j->fd > 0)
        close(j->fd);
    free(j->entry);
    *j = (struct journal){0};
}
