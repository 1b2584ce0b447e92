/* SPDX-License-Identifier: Apache-2.0 */
#include "blob/blob.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/io.h"

enum { ROOTS = 16, PATH_BYTES = 1024, DEPTH_MAX = 32 };

struct root {
    char *name, *path;
    int fd;
};
static struct root roots[ROOTS];
static int nroots;

static int fail(struct err *e, const char *what, const char *rel)
{
    int no = errno;
    if (no == ENOENT || no == ENOTDIR)
        return ERR(e, ERR_NOT_FOUND, "%s %s: not there", what, rel);
    if (no == EXDEV || no == ELOOP)
        return ERR(e, ERR_FORBIDDEN, "%s %s: leaves its root", what, rel);
    if (no == EEXIST || no == ENOTEMPTY)
        return ERR(e, ERR_CONFLICT, "%s %s: exists", what, rel);
    char text[PATH_BYTES / 4];
    snprintf(text, sizeof text, "%s %.200s", what, rel);
    errno = no;
    return err_errno(e, text);
}

/* ---- roots ---- */

static int make_path(const char *path, struct err *e)
{
    char p[PATH_BYTES];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof p)
        return ERR(e, ERR_CONFIG, "bad directory name");
    memcpy(p, path, n + 1);
    for (char *s = p + 1;; s++) {
        if (*s != '/' && *s != '\0')
            continue;
        char c = *s;
        *s = '\0';
        if (mkdir(p, 0750) < 0 && errno != EEXIST)
            return fail(e, "making directory", p);
        *s = c;
        if (c == '\0')
            return 0;
    }
}

static struct root *find(const char *name)
{
    for (int i = 0; i < nroots; i++)
        if (strcmp(roots[i].name, name) == 0)
            return &roots[i];
    return NULL;
}

int blob_root(const char *name, const char *path, struct err *e)
{
    if (make_path(path, e) < 0)
        return -1;
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(e, "opening directory", path);
    /* O_PATH cannot be fsynced or listed; open it for reading beneath itself. */
    int rfd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    close(fd);
    if (rfd < 0)
        return fail(e, "opening directory", path);
    struct root *r = find(name);
    if (r) {
        close(r->fd);
        free(r->path);
    } else {
        must(nroots < ROOTS);
        r = &roots[nroots++];
        r->name = strdup(name);
    }
    r->path = strdup(path);
    must(r->name && r->path);
    r->fd = rfd;
    return 0;
}

void blob_fini(void)
{
    for (int i = 0; i < nroots; i++) {
        close(roots[i].fd);
        free(roots[i].name);
        free(roots[i].path);
    }
    nroots = 0;
}

int blob_dirfd(const char *root)
{
    const struct root *r = find(root);
    return r ? r->fd : -1;
}

const char *blob_path(const char *root)
{
    const struct root *r = find(root);
    return r ? r->path : NULL;
}

/* ---- names ---- */

static bool is_good_rel(const char *rel)
{
    const char *p = rel;
    if (!*p || strlen(p) >= PATH_BYTES)
        return false;
    for (;;) {
        size_t n = strcspn(p, "/");
        if (n == 0 || n > 255 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return false;
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)p[i] < 32 || p[i] == 127)
                return false;
        if (p[n] == '\0')
            return true;
        p += n + 1;
    }
}

static int check(const char *root, const char *rel, int *dirfd, struct err *e)
{
    *dirfd = blob_dirfd(root);
    if (*dirfd < 0)
        return ERR(e, ERR_NOT_FOUND, "no root named %s", root);
    if (!is_good_rel(rel))
        return ERR(e, ERR_FORBIDDEN, "bad name beneath %s", root);
    return 0;
}

static int open_beneath(int dirfd, const char *rel, int flags, unsigned mode)
{
    struct open_how how = {
        .flags = (unsigned)(flags | O_CLOEXEC),
        .mode = flags & (O_CREAT | O_TMPFILE) & ~O_DIRECTORY ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    int fd;
    do
        fd = (int)syscall(SYS_openat2, dirfd, rel, &how, sizeof how);
    while (fd < 0 && (errno == EINTR || errno == EAGAIN));
    return fd;
}

/* Opens the directory that holds rel; *leaf is the last segment (a view into rel). */
static int open_parent(int dirfd, const char *rel, const char **leaf)
{
    const char *slash = strrchr(rel, '/');
    *leaf = slash ? slash + 1 : rel;
    if (!slash)
        return fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
    char dir[PATH_BYTES];
    memcpy(dir, rel, (size_t)(slash - rel));
    dir[slash - rel] = '\0';
    return open_beneath(dirfd, dir, O_RDONLY | O_DIRECTORY, 0);
}

/* ---- operations ---- */

int blob_open(const char *root, const char *rel, int flags, unsigned mode, int *fd, struct err *e)
{
    int d;
    if (check(root, rel, &d, e) < 0)
        return -1;
    *fd = open_beneath(d, rel, flags, mode);
    return *fd < 0 ? fail(e, "opening", rel) : 0;
}

int blob_stat(const char *root, const char *rel, struct stat *st, struct err *e)
{
    int fd;
    if (blob_open(root, rel, O_PATH, 0, &fd, e) < 0)
        return -1;
    int rc = fstat(fd, st) < 0 ? fail(e, "stat of", rel) : 0;
    close(fd);
    return rc;
}

bool blob_exists(const char *root, const char *rel)
{
    struct stat st;
    return blob_stat(root, rel, &st, NULL) == 0;
}

static int mkdirs_at(int dirfd, const char *rel, struct err *e)
{
    char p[PATH_BYTES];
    snprintf(p, sizeof p, "%s", rel);
    for (char *s = p;; s++) {
        if (*s != '/' && *s != '\0')
            continue;
        char c = *s;
        const char *leaf;
        *s = '\0';
        int parent = open_parent(dirfd, p, &leaf);
        if (parent < 0)
            return fail(e, "opening the parent of", p);
        int rc =
            mkdirat(parent, leaf, 0750) < 0 && errno != EEXIST ? fail(e, "making directory", p) : 0;
        close(parent);
        if (rc < 0)
            return -1;
        *s = c;
        if (c == '\0')
            return 0;
    }
}

int blob_mkdirs(const char *root, const char *rel, struct err *e)
{
    int d;
    return check(root, rel, &d, e) < 0 ? -1 : mkdirs_at(d, rel, e);
}

static int open_made_parent(int dirfd, const char *rel, const char **leaf, struct err *e)
{
    const char *slash = strrchr(rel, '/');
    if (slash) {
        char dir[PATH_BYTES];
        snprintf(dir, sizeof dir, "%.*s", (int)(slash - rel), rel);
        if (mkdirs_at(dirfd, dir, e) < 0)
            return -1;
    }
    int fd = open_parent(dirfd, rel, leaf);
    return fd < 0 ? fail(e, "opening the parent of", rel) : fd;
}

int blob_rename(const char *root, const char *from, const char *to_root, const char *to,
                struct err *e)
{
    int d1, d2, p1 = -1, p2 = -1, rc = -1;
    const char *leaf1, *leaf2;
    if (check(root, from, &d1, e) < 0 || check(to_root, to, &d2, e) < 0)
        return -1;
    p1 = open_parent(d1, from, &leaf1);
    if (p1 < 0) {
        rc = fail(e, "opening the parent of", from);
        goto out;
    }
    p2 = open_made_parent(d2, to, &leaf2, e);
    if (p2 < 0)
        goto out;
    if (renameat(p1, leaf1, p2, leaf2) < 0)
        rc = fail(e, "renaming", from);
    else
        rc = fsync(p2) < 0 || fsync(p1) < 0 ? fail(e, "fsync of the directory of", to) : 0;
out:
    if (p1 >= 0)
        close(p1);
    if (p2 >= 0)
        close(p2);
    return rc;
}

int blob_remove(const char *root, const char *rel, struct err *e)
{
    int d;
    const char *leaf;
    if (check(root, rel, &d, e) < 0)
        return -1;
    int parent = open_parent(d, rel, &leaf);
    if (parent < 0)
        return errno == ENOENT ? 0 : fail(e, "opening the parent of", rel);
    int rc = unlinkat(parent, leaf, 0) < 0 && errno != ENOENT ? fail(e, "removing", rel) : 0;
    close(parent);
    return rc;
}

static int remove_in(int parent, const char *name, int depth, struct err *e);

static int empty_dir(int fd, int depth, struct err *e)
{
    DIR *d = fdopendir(fd);
    int rc = 0;
    if (!d) {
        rc = fail(e, "listing", "directory");
        close(fd);
        return rc;
    }
    for (struct dirent *x; rc == 0 && (x = readdir(d));)
        if (strcmp(x->d_name, ".") != 0 && strcmp(x->d_name, "..") != 0)
            rc = remove_in(dirfd(d), x->d_name, depth + 1, e);
    closedir(d);
    return rc;
}

static int remove_in(int parent, const char *name, int depth, struct err *e)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return fail(e, "removing", name);
    if (depth > DEPTH_MAX)
        return ERR(e, ERR_IO, "directory tree deeper than %d", DEPTH_MAX);
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return fail(e, "opening", name);
    if (empty_dir(fd, depth, e) < 0)
        return -1;
    return unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT
               ? fail(e, "removing directory", name)
               : 0;
}

int blob_remove_tree(const char *root, const char *rel, struct err *e)
{
    int d;
    const char *leaf;
    if (check(root, rel, &d, e) < 0)
        return -1;
    int parent = open_parent(d, rel, &leaf);
    if (parent < 0)
        return errno == ENOENT ? 0 : fail(e, "opening the parent of", rel);
    int rc = remove_in(parent, leaf, 0, e);
    close(parent);
    return rc;
}

int blob_write(const char *root, const char *rel, const void *p, size_t n, struct err *e)
{
    static _Atomic unsigned serial;
    int d, rc = -1;
    const char *leaf;
    char tmp[300];
    if (check(root, rel, &d, e) < 0)
        return -1;
    int parent = open_made_parent(d, rel, &leaf, e);
    if (parent < 0)
        return -1;
    snprintf(tmp, sizeof tmp, ".%d-%u.tmp", (int)getpid(), ++serial);
    int fd = openat(parent, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (fd < 0) {
        rc = fail(e, "creating", rel);
        goto out;
    }
    if (io_write_all(fd, p, n) < 0 || fsync(fd) < 0 || renameat(parent, tmp, parent, leaf) < 0 ||
        fsync(parent) < 0) {
        rc = fail(e, "writing", rel);
        unlinkat(parent, tmp, 0);
    } else {
        rc = 0;
    }
    close(fd);
out:
    close(parent);
    return rc;
}

int blob_read(const char *root, const char *rel, size_t max, struct buf *out, struct err *e)
{
    int fd, rc = 0;
    struct stat st;
    char chunk[16384];
    size_t got = 0;
    if (blob_open(root, rel, O_RDONLY | O_NONBLOCK, 0, &fd, e) < 0)
        return -1;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        rc = ERR(e, ERR_NOT_FOUND, "%s is not a file", rel);
    while (rc == 0) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = fail(e, "reading", rel);
        if (n <= 0)
            break;
        got += (size_t)n;
        if (got > max)
            rc = ERR(e, ERR_TOO_LARGE, "%s is larger than %zu bytes", rel, max);
        else
            buf_put(out, chunk, (size_t)n);
    }
    close(fd);
    return rc;
}

static DIR *open_dir(const char *root, const char *rel, struct err *e)
{
    int fd, top = blob_dirfd(root);
    if (*rel == '\0' && top >= 0)
        fd = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    else if (blob_open(root, rel, O_RDONLY | O_DIRECTORY, 0, &fd, e) < 0)
        return NULL;
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        fail(e, "listing", rel);
        if (fd >= 0)
            close(fd);
    }
    return d;
}

int blob_list(const char *root, const char *rel,
              int (*fn)(void *arg, const char *name, const struct stat *st), void *arg,
              struct err *e)
{
    DIR *d = open_dir(root, rel, e);
    if (!d)
        return -1;
    for (struct dirent *x; (x = readdir(d));) {
        struct stat st;
        if (strcmp(x->d_name, ".") == 0 || strcmp(x->d_name, "..") == 0 ||
            fstatat(dirfd(d), x->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (fn(arg, x->d_name, &st) < 0)
            break;
    }
    closedir(d);
    return 0;
}

/* One pass over the directory is enough: a file that is moved away does not come again. */
static int move_files(int from, int into, const char *last, struct err *e)
{
    int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        if (fd >= 0)
            close(fd);
        return fail(e, "listing", "a directory to merge");
    }
    for (struct dirent *x; !rc && (x = readdir(d));) {
        struct stat st;
        if (strcmp(x->d_name, ".") == 0 || strcmp(x->d_name, "..") == 0 ||
            strcmp(x->d_name, last) == 0)
            continue;
        if (fstatat(from, x->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
            rc = ERR(e, ERR_CONFLICT, "not a plain file: %s", x->d_name);
        else if (renameat(from, x->d_name, into, x->d_name) < 0)
            rc = fail(e, "moving", x->d_name);
    }
    closedir(d);
    if (rc)
        return -1;
    if (fsync(into) < 0)
        return fail(e, "fsync of", "a merged directory");
    if (renameat(from, last, into, last) < 0 || fsync(into) < 0)
        return fail(e, "moving", last);
    return 0;
}

int blob_merge(const char *root, const char *from, const char *into, const char *last,
               struct err *e)
{
    int a = -1, b = -1, rc = -1;
    if (blob_mkdirs(root, into, e) || blob_open(root, from, O_RDONLY | O_DIRECTORY, 0, &a, e) ||
        blob_open(root, into, O_RDONLY | O_DIRECTORY, 0, &b, e))
        goto out;
    rc = move_files(a, b, last, e);
out:
    if (a >= 0)
        close(a);
    if (b >= 0)
        close(b);
    return rc ? -1 : blob_remove_tree(root, from, e);
}

static int64_t tree_size(int fd, int depth)
{
    DIR *d = fdopendir(fd);
    int64_t sum = 0;
    if (!d) {
        close(fd);
        return 0;
    }
    for (struct dirent *x; (x = readdir(d));) {
        struct stat st;
        if (strcmp(x->d_name, ".") == 0 || strcmp(x->d_name, "..") == 0 ||
            fstatat(dirfd(d), x->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISREG(st.st_mode))
            sum += st.st_size;
        int sub = S_ISDIR(st.st_mode) && depth < DEPTH_MAX
                      ? openat(dirfd(d), x->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                      : -1;
        if (sub >= 0)
            sum += tree_size(sub, depth + 1);
    }
    closedir(d);
    return sum;
}

int blob_size(const char *root, const char *rel, int64_t *size, struct err *e)
{
    struct stat st;
    if (blob_stat(root, rel, &st, e) < 0)
        return -1;
    *size = st.st_size;
    if (!S_ISDIR(st.st_mode))
        return 0;
    int fd;
    if (blob_open(root, rel, O_RDONLY | O_DIRECTORY, 0, &fd, e) < 0)
        return -1;
    *size = tree_size(fd, 0);
    return 0;
}

int blob_free_bytes(const char *root, int64_t *bytes, struct err *e)
{
    struct statvfs v;
    int d = blob_dirfd(root);
    if (d < 0)
        return ERR(e, ERR_NOT_FOUND, "no root named %s", root);
    if (fstatvfs(d, &v) < 0)
        return fail(e, "statvfs of", root);
    *bytes = (int64_t)v.f_bavail * (int64_t)v.f_frsize;
    return 0;
}
