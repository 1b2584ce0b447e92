/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#endif
#include "app/spec.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "app/master.h"
#include "app/tool.h"
#include "base/conf.h"
#include "crypto/token.h"
#include "lua/gen.h"
#include "run/board.h"
#include "run/cache.h"

int spec_scratch(char *out, struct err *e)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(out, 512, "%s/ppv-spec-XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
    if (!mkdtemp(out))
        return err_errno(e, out);
    if (chmod(out, 0755) < 0) /* the database server runs as another user */
        return err_errno(e, out);
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    remove(path);
    return 0;
}

static int start(const char *root, struct bundle **b, struct err *e)
{
    if (cache_init((size_t)16 << 20, e) < 0 || board_init(1, e) < 0)
        return -1;
    board_use(0);
    if (token_init(conf_str("secret_file"), e) < 0)
        return -1;
    if (master_open_db(e) < 0 || master_migrate(root, e) < 0)
        return -1;
    return bundle_read(root, b, e);
}

int spec_run(const char *root, const char *scratch, int argc, char *const *argv)
{
    struct err e = {0};
    struct bundle *b = NULL;
    int status = 1;
    static char *def[] = {"spec"};
    if (start(root, &b, &e) < 0) {
        fprintf(stderr, "ppv spec: %s\n", e.msg);
    } else {
        b->id = 1;
        struct tool t = {.root = root,
                         .conninfo = master_conninfo(false),
                         .bundle = b,
                         .spec = true,
                         .full = true,
                         .argc = argc ? argc : 1,
                         .argv = argc ? argv : def};
        status = tool_run(&t);
    }
    master_close_db();
    nftw(scratch, remove_entry, 32, FTW_DEPTH | FTW_PHYS);
    return status;
}
