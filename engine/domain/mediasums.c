// SPDX-License-Identifier: Apache-2.0
#include "domain/mediasums.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "blob/blob.h"
#include "crypto/digest.h"

enum { SUMS_MAX = 64 << 20, FILE_MAX = 256 << 20, LINE_MIN = 67, NAME_MAX_ = 200 };

struct check {
    const char *dir;
    struct mediasums *out;
    char **name; /* sorted before it is searched */
    size_t n;
};

static void problem(struct mediasums *out, const char *kind, const char *name)
{
    if (out->problems++ < MEDIASUMS_MAX)
        buf_printf(&out->report, "%s %s\n", kind, name);
}

static int check_file(struct check *c, const char *want, const char *name, struct err *e)
{
    char path[512];
    uint8_t sum[32];
    struct buf b = {0}, got = {0};
    snprintf(path, sizeof path, "%.255s/%.255s", c->dir, name);
    if (blob_read("media", path, FILE_MAX, &b, e)) {
        buf_fini(&b);
        if (e->code != ERR_NOT_FOUND)
            return -1;
        *e = (struct err){0};
        problem(c->out, "missing", name);
        return 0;
    }
    digest_sha256(b.p ? b.p : "", b.n, sum);
    buf_put_hex(&got, sum, sizeof sum);
    if (memcmp(got.p, want, 64) == 0) {
        c->out->files++;
        c->out->bytes += (int64_t)b.n;
    } else {
        problem(c->out, "damaged", name);
    }
    buf_fini(&b);
    buf_fini(&got);
    return 0;
}

/* Checks every line of the list and remembers its name. Lines point into the list, which is cut up. */
static int check_list(struct check *c, char *list, struct err *e)
{
    size_t cap = 0;
    for (char *line = list, *end; *line; line = end + 1) {
        if (!(end = strchr(line, '\n')) || end - line < LINE_MIN ||
            end - line > LINE_MIN + NAME_MAX_ || memchr(line, '/', (size_t)(end - line)))
            return ERR(e, ERR_INVALID, "SHA256SUMS of %s is not readable", c->dir);
        *end = 0;
        if (c->n == cap) {
            cap = cap ? 2 * cap : 256;
            c->name = realloc(c->name, cap * sizeof *c->name);
            must(c->name);
        }
        c->name[c->n++] = line + 66;
        if (check_file(c, line, line + 66, e))
            return -1;
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int look_for_extra(void *arg, const char *name, const struct stat *st)
{
    struct check *c = arg;
    (void)st;
    if (strcmp(name, "SHA256SUMS") != 0 && !bsearch(&name, c->name, c->n, sizeof *c->name, by_name))
        problem(c->out, "extra", name);
    return 0;
}

int mediasums_check(const char *dir, struct mediasums *out, struct err *e)
{
    struct check c = {.dir = dir, .out = out};
    struct buf list = {0};
    char path[300];
    int rc = -1;
    *out = (struct mediasums){0};
    snprintf(path, sizeof path, "%.255s/SHA256SUMS", dir);
    if (blob_read("media", path, SUMS_MAX, &list, e))
        goto out;
    buf_put(&list, "", 1);
    if (check_list(&c, list.p, e))
        goto out;
    qsort(c.name, c.n, sizeof *c.name, by_name);
    rc = blob_list("media", dir, look_for_extra, &c, e);
out:
    free(c.name);
    buf_fini(&list);
    return rc;
}
