/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_media.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/str.h"
#include "bind/bind_json.h"
#include "bind/bind_work.h"
#include "blob/blob.h"
#include "crypto/digest.h"
#include "domain/mediasums.h"
#include "lua/lx.h"

enum { READ_MAX = 32 << 20, PATH_BYTES = 1024, LIST_MAX = 20000 };

struct blob_work {
    struct bind_work w;
    const char *root, *path, *to_root, *to;
    int64_t n;
    struct buf out;
};

static const char *path_arg(lua_State *L, int i)
{
    struct str s = lx_str(L, i, 1, PATH_BYTES);
    luaL_argcheck(L, strlen(s.p) == s.n, i, "path with a NUL byte");
    return s.p;
}

static void fini(struct bind_work *w)
{
    buf_fini(&((struct blob_work *)w)->out);
}

static int push_true(lua_State *L, struct bind_work *w)
{
    (void)w;
    lua_pushboolean(L, 1);
    return 1;
}

static int push_size(lua_State *L, struct bind_work *w)
{
    lua_pushnumber(L, (lua_Number)((struct blob_work *)w)->n);
    return 1;
}

static int push_bytes(lua_State *L, struct bind_work *w)
{
    struct blob_work *b = (struct blob_work *)w;
    lua_pushlstring(L, b->out.p ? b->out.p : "", b->out.n);
    return 1;
}

/* Arguments 1 and 2 are checked by the caller. */
static struct blob_work *new_work(lua_State *L, struct task *t, void (*work)(struct bind_work *),
                                  int (*push)(lua_State *, struct bind_work *))
{
    struct blob_work *b = bind_work_new(t, sizeof *b);
    b->root = arena_strdup(b->w.arena, lua_tostring(L, 1));
    b->path = lua_isstring(L, 2) ? arena_strdup(b->w.arena, lua_tostring(L, 2)) : NULL;
    b->w.work = work;
    b->w.push = push;
    b->w.fini = fini;
    return b;
}

/* ppv.blob.exists(root: string, path: string) -> boolean
 * Roots: "upload", "media", "tmp", "static". Paths never leave their root. Phases: any. Since 1.0 */
static int l_exists(lua_State *L)
{
    const char *root = path_arg(L, 1), *path = path_arg(L, 2);
    lua_pushboolean(L, blob_exists(root, path));
    return 1;
}

static void size_work(struct bind_work *w)
{
    struct blob_work *b = (struct blob_work *)w;
    blob_size(b->root, b->path, &b->n, &w->err);
}

/* ppv.blob.size(root: string, path: string) -> bytes: integer | nil, err
 * Of a file, or of everything in a directory. Phases: request webhook job tick. Yields. Errors:
 * request.not_found auth.forbidden io.failed. Since 1.0 */
static int l_size(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    path_arg(L, 1);
    path_arg(L, 2);
    return bind_work_run(L, &new_work(L, t, size_work, push_size)->w);
}

static void remove_work(struct bind_work *w)
{
    struct blob_work *b = (struct blob_work *)w;
    blob_remove_tree(b->root, b->path, &w->err);
}

/* ppv.blob.remove_tree(root: string, path: string) -> true | nil, err
 * A file or a whole directory; missing is fine. Phases: request webhook job tick. Yields. Errors:
 * auth.forbidden io.failed. Since 1.0 */
static int l_remove_tree(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    path_arg(L, 1);
    path_arg(L, 2);
    return bind_work_run(L, &new_work(L, t, remove_work, push_true)->w);
}

static void rename_work(struct bind_work *w)
{
    struct blob_work *b = (struct blob_work *)w;
    blob_rename(b->root, b->path, b->to_root, b->to, &w->err);
}

/* ppv.blob.rename(root: string, from: string, to: string, to_root?: string) -> true | nil, err
 * Atomic and durable; replaces a file, makes the directories of to. Phases: request webhook job
 * tick. Yields. Errors: request.not_found request.conflict auth.forbidden io.failed. Since 1.0 */
static int l_rename(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    const char *root = path_arg(L, 1);
    path_arg(L, 2);
    const char *to = path_arg(L, 3), *to_root = lua_isnoneornil(L, 4) ? root : path_arg(L, 4);
    struct blob_work *b = new_work(L, t, rename_work, push_true);
    b->to = arena_strdup(b->w.arena, to);
    b->to_root = arena_strdup(b->w.arena, to_root);
    return bind_work_run(L, &b->w);
}

static void read_work(struct bind_work *w)
{
    struct blob_work *b = (struct blob_work *)w;
    int fd;
    if (blob_open(b->root, b->path, O_RDONLY | O_CLOEXEC, 0, &fd, &w->err) < 0)
        return;
    char tmp[65536];
    while ((int64_t)b->out.n < b->n) {
        size_t want = (size_t)b->n - b->out.n;
        ssize_t n = read(fd, tmp, want < sizeof tmp ? want : sizeof tmp);
        if (n < 0)
            err_errno(&w->err, "read");
        if (n <= 0)
            break;
        buf_put(&b->out, tmp, (size_t)n);
    }
    close(fd);
}

/* ppv.blob.read(root: string, path: string, max?: integer) -> string | nil, err
 * At most the first max bytes (default 1 MiB, at most 32 MiB): the head of a large file, or all of
 * a small one. Phases: request webhook job tick. Yields. Errors: request.not_found auth.forbidden
 * io.failed. Since 1.0 */
static int l_read(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    path_arg(L, 1);
    path_arg(L, 2);
    int64_t max = lx_opt_int(L, 3, 1, READ_MAX, 1 << 20);
    struct blob_work *b = new_work(L, t, read_work, push_bytes);
    b->n = max;
    return bind_work_run(L, &b->w);
}

static void write_work(struct bind_work *w)
{
    struct blob_work *b = (struct blob_work *)w;
    blob_write(b->root, b->path, b->out.p, b->out.n, &w->err);
}

/* ppv.blob.write(root: string, path: string, bytes: string) -> true | nil, err
 * Whole or not at all, durable; at most 32 MiB. Phases: request webhook job tick. Yields. Errors:
 * auth.forbidden io.failed io.disk_full. Since 1.0 */
static int l_write(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    path_arg(L, 1);
    path_arg(L, 2);
    struct str s = lx_str(L, 3, 0, READ_MAX);
    struct blob_work *b = new_work(L, t, write_work, push_true);
    buf_put(&b->out, s.p, s.n);
    return bind_work_run(L, &b->w);
}

struct entry {
    int64_t size, mtime_us;
    bool dir;
    char name[256];
};

static int take_entry(void *arg, const char *name, const struct stat *st)
{
    struct blob_work *b = arg;
    size_t n = strlen(name), k = strlen(b->to);
    if (n < k || strcmp(name + n - k, b->to) != 0)
        return 0;
    struct entry x = {.size = st->st_size, .dir = S_ISDIR(st->st_mode)};
    x.mtime_us = st->st_mtim.tv_sec * INT64_C(1000000) + st->st_mtim.tv_nsec / 1000;
    snprintf(x.name, sizeof x.name, "%s", name);
    buf_put(&b->out, (const char *)&x, sizeof x);
    return --b->n > 0 ? 0 : -1;
}

static void list_work(struct bind_work *w)
{
    struct blob_work *b = (struct blob_work *)w;
    blob_list(b->root, b->path, take_entry, b, &w->err);
}

static int push_entries(lua_State *L, struct bind_work *w)
{
    const struct buf *out = &((struct blob_work *)w)->out;
    lua_newtable(L);
    bind_json_mark_array(L);
    for (size_t i = 0; (i + 1) * sizeof(struct entry) <= out->n; i++) {
        struct entry x;
        memcpy(&x, out->p + i * sizeof x, sizeof x);
        lua_createtable(L, 0, 4);
        lua_pushstring(L, x.name);
        lua_setfield(L, -2, "name");
        lua_pushboolean(L, x.dir);
        lua_setfield(L, -2, "dir");
        lua_pushnumber(L, (lua_Number)x.size);
        lua_setfield(L, -2, "size");
        lua_pushnumber(L, (lua_Number)x.mtime_us / 1e6);
        lua_setfield(L, -2, "mtime");
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

/* ppv.blob.list(root: string, path: string, suffix?: string) -> entries: table | nil, err
 * {name, dir, size, mtime} of what lies in a directory ("" is the root itself) and ends with
 * suffix, in no order; at most 20000. Phases: request webhook job tick. Yields. Errors:
 * request.not_found auth.forbidden io.failed. Since 1.0 */
static int l_list(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    path_arg(L, 1);
    struct str rel = lx_str(L, 2, 0, PATH_BYTES);
    luaL_argcheck(L, strlen(rel.p) == rel.n, 2, "path with a NUL byte");
    const char *suffix = lua_isnoneornil(L, 3) ? "" : path_arg(L, 3);
    struct blob_work *b = new_work(L, t, list_work, push_entries);
    b->to = arena_strdup(b->w.arena, suffix);
    b->n = LIST_MAX;
    return bind_work_run(L, &b->w);
}

static void merge_work(struct bind_work *w)
{
    struct blob_work *b = (struct blob_work *)w;
    blob_merge(b->root, b->path, b->to, b->to_root, &w->err);
}

/* ppv.blob.merge(root: string, from: string, into: string, last: string) -> true | nil, err
 * Moves all files of a directory into another one, the file named last when the others are durable; then the directory is
 * gone. Phases: request webhook job tick. Yields. Errors: request.not_found request.conflict auth.forbidden io.failed.
 * Since 1.0 */
static int l_merge(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    for (int i = 1; i <= 4; i++)
        path_arg(L, i);
    struct blob_work *b = new_work(L, t, merge_work, push_true);
    b->to = arena_strdup(b->w.arena, lua_tostring(L, 3));
    b->to_root = arena_strdup(b->w.arena, lua_tostring(L, 4));
    return bind_work_run(L, &b->w);
}

struct sums_work {
    struct bind_work w;
    const char *dir;
    struct mediasums sums;
};

static void sums_work(struct bind_work *w)
{
    struct sums_work *s = (struct sums_work *)w;
    mediasums_check(s->dir, &s->sums, &w->err);
}

static void sums_fini(struct bind_work *w)
{
    buf_fini(&((struct sums_work *)w)->sums.report);
}

static int push_sums(lua_State *L, struct bind_work *w)
{
    const struct mediasums *s = &((struct sums_work *)w)->sums;
    lua_createtable(L, 0, 4);
    lua_pushnumber(L, (lua_Number)s->files);
    lua_setfield(L, -2, "files");
    lua_pushnumber(L, (lua_Number)s->bytes);
    lua_setfield(L, -2, "bytes");
    lua_pushinteger(L, s->problems);
    lua_setfield(L, -2, "problems");
    lua_pushlstring(L, s->report.p ? s->report.p : "", s->report.n);
    lua_setfield(L, -2, "report");
    return 1;
}

/* ppv.blob.verify(dir: string) -> {files, bytes, problems, report} | nil, err
 * Compares a film's directory below "media" with its SHA256SUMS. files and bytes: those that are right; report: a line
 * "damaged|missing|extra <name>" for each of the first 1000 problems. Phases: request webhook job tick. Yields. Errors:
 * request.not_found (no SHA256SUMS) input.invalid io.failed. Since 1.0 */
static int l_verify(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    const char *dir = path_arg(L, 1);
    struct sums_work *s = bind_work_new(t, sizeof *s);
    s->dir = arena_strdup(s->w.arena, dir);
    s->w.work = sums_work;
    s->w.push = push_sums;
    s->w.fini = sums_fini;
    return bind_work_run(L, &s->w);
}

static void hash_work(struct bind_work *w)
{
    struct blob_work *b = (struct blob_work *)w;
    int fd;
    if (blob_open(b->root, b->path, O_RDONLY | O_CLOEXEC, 0, &fd, &w->err) < 0)
        return;
    struct digest *d = digest_new();
    char tmp[65536];
    ssize_t n;
    while ((n = read(fd, tmp, sizeof tmp)) > 0)
        digest_update(d, tmp, (size_t)n);
    if (n < 0)
        err_errno(&w->err, "read");
    uint8_t sum[32];
    digest_final(d, sum);
    digest_free(d);
    close(fd);
    buf_put_hex(&b->out, sum, sizeof sum);
}

/* ppv.blob.sha256(root: string, path: string) -> hex: string | nil, err
 * Of a file of any size. Phases: request webhook job tick. Yields. Errors: request.not_found
 * auth.forbidden io.failed. Since 1.0 */
static int l_sha256(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    path_arg(L, 1);
    path_arg(L, 2);
    return bind_work_run(L, &new_work(L, t, hash_work, push_bytes)->w);
}

/* ppv.blob.free(root: string) -> bytes: integer | nil, err
 * Space left on the root's file system. Phases: any. Errors: request.not_found io.failed. Since
 * 1.0 */
static int l_free(lua_State *L)
{
    struct err e = {0};
    int64_t n;
    if (blob_free_bytes(path_arg(L, 1), &n, &e) < 0)
        return lx_fail(L, &e);
    lua_pushnumber(L, (lua_Number)n);
    return 1;
}

int bind_media_blob(lua_State *L)
{
    static const luaL_Reg reg[] = {
        {"exists", l_exists}, {"size", l_size},     {"remove_tree", l_remove_tree},
        {"rename", l_rename}, {"read", l_read},     {"write", l_write},
        {"free", l_free},     {"list", l_list},     {"merge", l_merge},
        {"verify", l_verify}, {"sha256", l_sha256}, {NULL, NULL}};
    return lx_module(L, reg);
}
