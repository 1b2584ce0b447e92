/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "blob/blob.h"
#include "http/files.h"
#include "test.h"

static int64_t off, len;

static enum files_range range(const char *v, int64_t size)
{
    off = len = -1;
    return files_range_parse(v, size, &off, &len);
}

TEST(one_range)
{
    CHECK(range("bytes=0-0", 10) == FILES_RANGE_OK && off == 0 && len == 1);
    CHECK(range("bytes=3-", 10) == FILES_RANGE_OK && off == 3 && len == 7);
    CHECK(range("bytes=3-99", 10) == FILES_RANGE_OK && off == 3 && len == 7);
    CHECK(range("bytes=-4", 10) == FILES_RANGE_OK && off == 6 && len == 4);
    CHECK(range("bytes=-40", 10) == FILES_RANGE_OK && off == 0 && len == 10);
    CHECK(range("bytes=9-9", 10) == FILES_RANGE_OK && off == 9 && len == 1);
}

TEST(ranges_that_cannot_be)
{
    CHECK(range("bytes=10-", 10) == FILES_RANGE_UNSATISFIABLE);
    CHECK(range("bytes=10-20", 10) == FILES_RANGE_UNSATISFIABLE);
    CHECK(range("bytes=-0", 10) == FILES_RANGE_UNSATISFIABLE);
    CHECK(range("bytes=0-", 0) == FILES_RANGE_UNSATISFIABLE);
    CHECK(range("bytes=-5", 0) == FILES_RANGE_UNSATISFIABLE);
}

TEST(ranges_that_are_ignored)
{
    static const char *const v[] = {"",           "bytes",         "bytes=",
                                    "bytes=-",    "bytes=a-b",     "items=0-1",
                                    "bytes=5-3",  "bytes=0-1,3-4", "bytes=0 - 1",
                                    "bytes=+1-2", "bytes=1-2x",    "bytes=99999999999999999999-",
                                    "bytes=1"};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        CHECK(range(v[i], 10) == FILES_RANGE_NONE);
    CHECK(range(NULL, 10) == FILES_RANGE_NONE);
}

TEST(entity_tags)
{
    CHECK(files_etag_matches("\"a\"", "\"a\"", false) &&
          files_etag_matches("\"b\", \"a\"", "\"a\"", false));
    CHECK(files_etag_matches("*", "\"a\"", false) && files_etag_matches("W/\"a\"", "\"a\"", true));
    CHECK(!files_etag_matches("W/\"a\"", "\"a\"", false) &&
          !files_etag_matches("\"aa\"", "\"a\"", true));
    CHECK(!files_etag_matches("", "\"a\"", true) && !files_etag_matches("a", "\"a\"", true));
    CHECK(!files_etag_matches("\"a", "\"a\"", true));
}

TEST(dates)
{
    char s[32];
    files_date_format(784111777, s);
    CHECK(strcmp(s, "Sun, 06 Nov 1994 08:49:37 GMT") == 0 && files_date_parse(s) == 784111777);
    CHECK(files_date_parse("yesterday") == -1 &&
          files_date_parse("Sun, 06 Nov 1994 08:49:37 GMT+1") == -1);
}

TEST(content_types)
{
    CHECK(strcmp(files_ctype("a/b.CSS"), "text/css; charset=utf-8") == 0);
    CHECK(strcmp(files_ctype("x.m4s"), "video/iso.segment") == 0);
    CHECK(strcmp(files_ctype("a.js/b"), "application/octet-stream") == 0);
    CHECK(strcmp(files_ctype(""), "application/octet-stream") == 0);
}

static char dir[64];

static void set_up(void)
{
    struct err e = {0};
    snprintf(dir, sizeof dir, "/tmp/ppv-blob-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
    char p[96];
    snprintf(p, sizeof p, "%s/deep/root", dir);
    CHECK(blob_root("media", p, &e) == 0 && blob_dirfd("media") >= 0 &&
          blob_dirfd("nothing") == -1);
    CHECK(strcmp(blob_path("media"), p) == 0);
}

static void tear_down(void)
{
    struct err e = {0};
    CHECK(blob_root("all", dir, &e) == 0 && blob_remove_tree("all", "deep", &e) == 0);
    blob_fini();
    CHECK(rmdir(dir) == 0);
}

static enum err_code code_of_read(const char *rel)
{
    struct buf b = {0};
    struct err e = {0};
    int rc = blob_read("media", rel, 100, &b, &e);
    buf_fini(&b);
    return rc == 0 ? ERR_NONE : e.code;
}

TEST(blob_writes_and_reads)
{
    struct err e = {0};
    struct buf b = {0};
    int64_t n = 0;
    set_up();
    CHECK(blob_write("media", "a/b/c.txt", "hello", 5, &e) == 0 &&
          blob_exists("media", "a/b/c.txt"));
    CHECK(blob_write("media", "a/b/c.txt", "second", 6, &e) == 0);
    CHECK(blob_read("media", "a/b/c.txt", 6, &b, &e) == 0 && strcmp(b.p, "second") == 0);
    CHECK(blob_read("media", "a/b/c.txt", 5, &b, &e) < 0 && e.code == ERR_TOO_LARGE);
    CHECK(blob_size("media", "a/b/c.txt", &n, &e) == 0 && n == 6);
    CHECK(blob_write("media", "a/d", "123", 3, &e) == 0 && blob_size("media", "a", &n, &e) == 0 &&
          n == 9);
    CHECK(blob_rename("media", "a/b/c.txt", "media", "z/y", &e) == 0 &&
          blob_exists("media", "z/y"));
    CHECK(blob_rename("media", "a/b/c.txt", "media", "q", &e) < 0 && e.code == ERR_NOT_FOUND);
    CHECK(code_of_read("a/b") == ERR_NOT_FOUND && code_of_read("nope") == ERR_NOT_FOUND);
    CHECK(blob_free_bytes("media", &n, &e) == 0 && n > 0);
    CHECK(blob_remove("media", "z/y", &e) == 0 && blob_remove("media", "z/y", &e) == 0 &&
          !blob_exists("media", "z/y"));
    CHECK(blob_remove_tree("media", "a", &e) == 0 && !blob_exists("media", "a"));
    CHECK(blob_remove_tree("media", "a", &e) == 0);
    buf_fini(&b);
    tear_down();
}

TEST(blob_names_stay_beneath_their_root)
{
    static const char *const bad[] = {"",  "/etc/passwd", "../x", "a/../../x", "a//b", "a/",
                                      ".", "./a",         "a/.",  "..",        "a\nb"};
    struct err e = {0};
    char p[128];
    set_up();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK(code_of_read(bad[i]) == ERR_FORBIDDEN);
        CHECK(blob_write("media", bad[i], "x", 1, &e) < 0 && e.code == ERR_FORBIDDEN);
        CHECK(blob_remove_tree("media", bad[i], &e) < 0 && e.code == ERR_FORBIDDEN);
    }
    CHECK(blob_write("media", "real/f", "x", 1, &e) == 0);
    snprintf(p, sizeof p, "%s/deep/root/link", dir);
    CHECK(symlink("/etc", p) == 0 && code_of_read("link/passwd") == ERR_FORBIDDEN);
    CHECK(blob_write("media", "link/x", "x", 1, &e) < 0 && e.code == ERR_FORBIDDEN);
    snprintf(p, sizeof p, "%s/deep/root/inside", dir);
    CHECK(symlink("real", p) == 0 && code_of_read("inside/f") == ERR_FORBIDDEN);
    /* The link goes, not what it points at. */
    CHECK(blob_remove_tree("media", "inside", &e) == 0 && blob_exists("media", "real/f"));
    CHECK(blob_remove_tree("media", "link", &e) == 0 && access("/etc/passwd", R_OK) == 0);
    tear_down();
}

static int count_entry(void *arg, const char *name, const struct stat *st)
{
    int *n = arg;
    *n += S_ISDIR(st->st_mode) ? 10 : 1;
    return *name ? 0 : -1;
}

TEST(blob_lists)
{
    struct err e = {0};
    int n = 0;
    set_up();
    CHECK(blob_write("media", "one", "1", 1, &e) == 0 &&
          blob_mkdirs("media", "two/three", &e) == 0);
    CHECK(blob_list("media", "", count_entry, &n, &e) == 0 && n == 11);
    CHECK(blob_list("media", "none", count_entry, &n, &e) < 0 && e.code == ERR_NOT_FOUND);
    tear_down();
}

/* ---- ready answers of large files ---- */

enum { LARGE = 100000, MANY = 100, OPEN_MAX_WANTED = 64 };

static int open_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    CHECK(d != NULL);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void make_large(int i, char fill, size_t n)
{
    struct err e = {0};
    char *p = malloc(n), rel[32];
    memset(p, fill, n);
    snprintf(rel, sizeof rel, "f%d.bin", i);
    CHECK(blob_write("media", rel, p, n, &e) == 0);
    free(p);
}

static void undecorated(void *arg, struct MHD_Response *m, const struct http_header *h, int nh,
                        bool ready)
{
    (void)arg;
    (void)m;
    (void)h;
    (void)nh;
    (void)ready;
}

/* The status; *got as the caller would queue it. */
static int ask(struct files *f, int i, const char *name, const char *value, struct files_reply *got)
{
    char rel[32];
    struct http_header h = {name, value};
    struct http_req r = {.method = "GET", .headers = &h, .nheaders = name ? 1 : 0};
    snprintf(rel, sizeof rel, "f%d.bin", i);
    struct http_file file = {.dirfd = blob_dirfd("media"), .rel = rel, .shared = true};
    struct files_answer a = {.req = &r, .file = &file, .status = 200, .decorate = undecorated};
    return files_answer(f, &a, got);
}

static int status_of(struct files *f, int i, const char *name, const char *value, int64_t *bytes)
{
    struct files_reply got;
    int status = ask(f, i, name, value, &got);
    *bytes = got.bytes;
    files_release(&got);
    return status;
}

TEST(large_shared_files_stay_open_but_not_for_ever)
{
    struct files_reply one, two;
    int64_t n;
    set_up();
    struct files *f = files_new();
    make_large(0, 'a', LARGE);
    int before = open_fds();
    CHECK(ask(f, 0, NULL, NULL, &one) == 200 && ask(f, 0, NULL, NULL, &two) == 200);
    CHECK(one.m == two.m && one.bytes == LARGE && open_fds() == before + 1);
    CHECK(status_of(f, 0, "range", "bytes=5-14", &n) == 206 && n == 10);
    CHECK(status_of(f, 0, "range", "bytes=100000-", &n) == 416 && n == 0);
    CHECK(status_of(f, 0, "if-none-match", "*", &n) == 304 && n == 0);
    CHECK(open_fds() == before + 1);

    make_large(0, 'b', LARGE + 1);
    for (int i = 0; i < 1000 && status_of(f, 0, NULL, NULL, &n) == 200 && n == LARGE; i++)
        usleep(10000);
    CHECK(n == LARGE + 1 && open_fds() == before + 2);
    files_release(&one); /* two answers on their way still read the old one */
    CHECK(open_fds() == before + 2);
    files_release(&two);
    CHECK(open_fds() == before + 1);

    for (int i = 1; i <= MANY; i++) {
        make_large(i, 'c', LARGE);
        CHECK(status_of(f, i, NULL, NULL, &n) == 200 && n == LARGE);
        CHECK(open_fds() <= before + OPEN_MAX_WANTED);
    }
    for (int i = 0; i < 1000 && open_fds() > before; i++) {
        files_sweep(f);
        usleep(10000);
    }
    CHECK(status_of(f, 1, NULL, NULL, &n) == 200 && open_fds() == before + 1);
    files_free(f);
    CHECK(open_fds() == before);
    tear_down();
}
