/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#endif
#include "app/drop.h"

#include <errno.h>
#include <ftw.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/conf.h"
#include "base/log.h"

static struct {
    char name[64];
    uid_t uid;
    gid_t gid;
    dev_t dev;
} d;

static int find_user(struct err *e)
{
    const char *run = conf_str("run_user"), *pg = conf_str("pg_user");
    const char *names[] = {run[0] ? run : pg[0] ? pg : "ppv", run[0] || pg[0] ? "" : "postgres"};
    if (strcmp(run, "root") == 0)
        return 0;
    if (run[0] && pg[0] && strcmp(run, pg) != 0 && !conf_str("database_url")[0])
        return ERR(e, ERR_CONFIG,
                   "run_user and pg_user must be the same: the private database trusts one user");
    for (int i = 0; i < 2; i++) {
        struct passwd *pw = names[i][0] ? getpwnam(names[i]) : NULL;
        if (!pw || pw->pw_uid == 0)
            continue;
        snprintf(d.name, sizeof d.name, "%s", names[i]);
        d.uid = pw->pw_uid;
        d.gid = pw->pw_gid;
        return 0;
    }
    return ERR(e, ERR_CONFIG, "no system user '%s' for the workers; name one in run_user",
               names[names[1][0] != 0]);
}

static int make_path(const char *path, struct err *e)
{
    char p[PATH_MAX];
    snprintf(p, sizeof p, "%s", path);
    for (char *s = p + 1;; s++) {
        char c = *s;
        if (c != '/' && c != 0)
            continue;
        *s = 0;
        /* what lies above must be passable for the user */
        if (mkdir(p, c ? 0755 : 0750) < 0 && errno != EEXIST)
            return err_errno(e, p);
        *s = c;
        if (c == 0)
            return 0;
    }
}

/* Hard links could point at files of others: those stay what they are. */
static int give_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)ftw;
    if (type == FTW_NS || st->st_dev != d.dev || (S_ISREG(st->st_mode) && st->st_nlink > 1))
        return 0;
    return lchown(path, d.uid, d.gid) == 0 || errno == ENOENT ? 0 : -1;
}

/* The top directory is changed last, so that an interrupted walk is done again. Staying root marks it
 * as root's: what root writes now is given away when there is a user again. */
static int give_tree(const char *path, struct err *e)
{
    struct stat st;
    if (make_path(path, e) < 0)
        return -1;
    if (stat(path, &st) < 0)
        return err_errno(e, path);
    if (st.st_uid == d.uid)
        return 0;
    d.dev = st.st_dev;
    if ((d.uid && nftw(path, give_one, 32, FTW_DEPTH | FTW_PHYS) != 0) ||
        chown(path, d.uid, d.gid) < 0)
        return err_errno(e, path);
    log_event(LOG_INFO, "drop.given", "ss", "path", path, "user", d.uid ? d.name : "root");
    return 0;
}

/* Asks the kernel, as the user: groups, ACLs and whatever else decides. */
static bool user_reaches(const char *dir)
{
    int status = 1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(initgroups(d.name, d.gid) < 0 || setgid(d.gid) < 0 || setuid(d.uid) < 0 ||
              chdir(dir) < 0);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

int drop_home(struct err *e)
{
    char above[PATH_MAX], home[PATH_MAX];
    const char *var = conf_str("var_dir"), *slash = strrchr(var, '/');
    struct stat st;
    if (geteuid() != 0 || lstat(var, &st) == 0)
        return 0;
    if (find_user(e) < 0)
        return -1;
    snprintf(home, sizeof home, "%.*s", slash ? (int)(slash - var) + 1 : 1, slash ? var : ".");
    if (!d.name[0] || realpath(home, above) == NULL || user_reaches(above))
        return 0;
    snprintf(home, sizeof home, "/var/lib/ppv%.400s", above);
    for (char *s = home + strlen("/var/lib/ppv/"); *s; s++)
        if (*s == '/')
            *s = '-';
    if (make_path(home, e) < 0 || chmod(home, 0755) < 0 || symlink(home, var) < 0)
        return err_errno(e, home);
    log_event(LOG_INFO, "drop.home", "sss", "path", var, "is", home, "user", d.name);
    return 0;
}

int drop_prepare(struct err *e)
{
    char tmp[PATH_MAX], burst[PATH_MAX], keys[PATH_MAX];
    if (geteuid() != 0)
        return 0;
    if (find_user(e) < 0)
        return -1;
    if (!d.name[0])
        log_event(LOG_WARN, "drop.root", "");
    snprintf(tmp, sizeof tmp, "%s/tmp", conf_str("var_dir"));
    snprintf(burst, sizeof burst, "%s/burst", conf_str("var_dir"));
    snprintf(keys, sizeof keys, "%s/keys", conf_str("var_dir"));
    const char *const trees[] = {conf_str("upload_dir"),
                                 conf_str("media_dir"),
                                 tmp,
                                 burst,
                                 keys,
                                 conf_str("smtp_url")[0] ? "" : conf_str("mail_outbox")};
    for (size_t i = 0; i < sizeof trees / sizeof *trees; i++)
        if (trees[i][0] && give_tree(trees[i], e) < 0)
            return -1;
    return 0;
}

int drop_give(const char *path, struct err *e)
{
    if (!d.name[0])
        return 0;
    return lchown(path, d.uid, d.gid) < 0 ? err_errno(e, path) : 0;
}

int drop_now(struct err *e)
{
    if (!d.name[0])
        return 0;
    if (setgroups(0, NULL) < 0 || setresgid(d.gid, d.gid, d.gid) < 0 ||
        setresuid(d.uid, d.uid, d.uid) < 0)
        return err_errno(e, "becoming another user");
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (setuid(0) == 0 || geteuid() != d.uid || getegid() != d.gid)
        return ERR(e, ERR_INTERNAL, "the process did not give up root");
    return 0;
}

const char *drop_user(void)
{
    return d.name;
}
