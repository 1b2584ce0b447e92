/* SPDX-License-Identifier: Apache-2.0 */
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "lua/gen.h"
#include "lua/vm.h"
#include "test.h"

/* What lives is a third of the cap: the collector must come before garbage has filled the rest. */
TEST(garbage_beside_much_that_lives)
{
    struct vm *v = vm_new(12 << 20, false);
    v->enforce = true;
    CHECK(luaL_loadstring(v->L, "keep = {} for i = 1, 50000 do keep[i] = {i} end "
                                "for i = 1, 1000000 do last = {i} end return #keep") == 0);
    CHECK(lua_pcall(v->L, 0, 1, 0) == 0 && lua_tointeger(v->L, -1) == 50000);
    CHECK(!v->oom && v->peak > 3 << 20);
    CHECK(luaL_loadstring(v->L, "for i = 1, 1e9 do keep[i] = {i} end") == 0);
    CHECK(lua_pcall(v->L, 0, 0, 0) != 0 && v->oom); /* and the cap is one */
    vm_free(v);
}

static void put_file(const char *root, const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s/scripts/%s", root, name);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* What every process gets is what was read; a part of it is nothing. */
TEST(bundles_travel_whole)
{
    char root[] = "/tmp/ppv-test-XXXXXX", dir[200], form[4096];
    struct err e = {0};
    struct bundle *a, *b;
    CHECK(mkdtemp(root) != NULL);
    snprintf(dir, sizeof dir, "%s/scripts", root);
    CHECK(mkdir(dir, 0700) == 0);
    put_file(root, "b.lua", "return 2");
    put_file(root, "a.lua", "");
    put_file(root, "skipped.c", "no");
    CHECK(bundle_read(root, &a, &e) == 0 && a->nfiles == 2);
    a->id = 7;
    bundle_set_disabled(a, "x,y");
    int fd = bundle_to_fd(a, &e);
    CHECK(fd >= 0 && bundle_to_fd(a, &e) == fd && bundle_from_fd(fd, &b, &e) == 0);
    CHECK(b->id == 7 && b->nfiles == 2 && strcmp(b->hash, a->hash) == 0 &&
          bundle_is_disabled(b, "y"));
    const struct bundle_file *f = bundle_find(b, "scripts/b.lua");
    CHECK(f && f->size == 8 && strcmp(f->data, "return 2") == 0);
    CHECK(memcmp(f->hash, bundle_find(a, "scripts/b.lua")->hash, sizeof f->hash) == 0);
    CHECK(bundle_find(b, "scripts/a.lua")->size == 0 && !bundle_find(b, "scripts/skipped.c"));
    ssize_t n = pread(fd, form, sizeof form, 0);
    CHECK(n > 100 && n < (ssize_t)sizeof form);
    int refused = 0, whole = 0;
    for (ssize_t cut = 1; cut < n; cut++) {
        int part = memfd_create("part", MFD_CLOEXEC);
        struct bundle *c = NULL;
        CHECK(part >= 0 && write(part, form, (size_t)cut) == cut);
        if (bundle_from_fd(part, &c, &e) < 0)
            refused++;
        else
            whole += c->nfiles < 2; /* cut between two files: fewer, and so another hash */
        bundle_unref(c);
        close(part);
    }
    CHECK(refused + whole == n - 1 && whole == 2);
    bundle_unref(b);
    bundle_unref(a);
    unlink(strcat(strcpy(form, dir), "/a.lua"));
    unlink(strcat(strcpy(form, dir), "/b.lua"));
    unlink(strcat(strcpy(form, dir), "/skipped.c"));
    CHECK(rmdir(dir) == 0 && rmdir(root) == 0);
}
