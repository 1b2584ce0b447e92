/* SPDX-License-Identifier: Apache-2.0 */
#include "app/embpg_proc.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

/* The kernel's name of the data directory, so that links and relative names compare equal. */
static bool same_dir(const char *link, const struct stat *want)
{
    struct stat st;
    return stat(link, &st) == 0 && st.st_dev == want->st_dev && st.st_ino == want->st_ino;
}

static bool is_postgres(const char *pid)
{
    char path[64], comm[32] = "";
    FILE *f;
    snprintf(path, sizeof path, "/proc/%.20s/comm", pid);
    f = fopen(path, "re");
    if (f == NULL)
        return false;
    if (fscanf(f, "%31s", comm) != 1)
        comm[0] = '\0';
    fclose(f);
    return strcmp(comm, "postgres") == 0 || strcmp(comm, "postmaster") == 0;
}

static bool is_zombie(const char *pid)
{ /* or gone */
    char path[64], state = '?';
    FILE *f;
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    f = fopen(path, "re");
    if (f == NULL)
        return true;
    if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
        state = '?';
    fclose(f);
    return state == 'Z' || state == 'X';
}

/* Sends sig (0 = only count) to all of them, or to `only` when it is not 0. Returns how many
 * there are. */
static int each(const struct stat *data, pid_t only, int sig)
{
    DIR *d = opendir("/proc");
    struct dirent *de;
    int n = 0;
    if (d == NULL)
        return 0;
    while ((de = readdir(d)) != NULL) {
        char link[64];
        pid_t pid = (pid_t)strtol(de->d_name, NULL, 10);
        if (pid <= 1 || pid == getpid() || (only && pid != only))
            continue;
        snprintf(link, sizeof link, "/proc/%.20s/cwd", de->d_name);
        if (!is_postgres(de->d_name) || !same_dir(link, data) || is_zombie(de->d_name))
            continue;
        n++;
        if (sig)
            kill(pid, sig);
    }
    closedir(d);
    return n;
}

static bool gone(const struct stat *data, pid_t only, int ms)
{
    int64_t until = clock_mono() + ms * 1000LL;
    while (each(data, only, 0) > 0) {
        if (clock_mono() >= until)
            return false;
        usleep(10000);
    }
    return true;
}

static pid_t pid_in(const char *path)
{
    long pid = 0;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%ld", &pid) != 1 || pid < 2)
        pid = 0;
    fclose(f);
    return (pid_t)pid;
}

/* A dead postmaster that its parent has not reaped still looks alive to the next one. Nobody
 * else may use the directory (our lock) and nothing lives in it (checked before), so its lock
 * file can go. Everything else PostgreSQL judges itself. */
static int forget_zombie(const char *path, struct err *e)
{
    char pid[24];
    pid_t boss = pid_in(path);
    snprintf(pid, sizeof pid, "%d", (int)boss);
    for (int i = 0; boss && i < 50; i++) {
        if ((kill(boss, 0) < 0 && errno == ESRCH) || !is_zombie(pid))
            return 0;
        usleep(10000);
    }
    if (boss == 0)
        return 0;
    log_event(LOG_WARN, "pg.stale_pid", "si", "file", path, "pid", (int64_t)boss);
    if (unlink(path) < 0 && errno != ENOENT)
        return err_errno(e, path);
    return 0;
}

static int end_all(const struct stat *st, pid_t boss)
{
    if (boss && each(st, boss, SIGINT) > 0 && !gone(st, boss, 15000)) {
        each(st, boss, SIGQUIT);
        gone(st, boss, 5000);
    }
    each(st, 0, SIGKILL);
    return gone(st, 0, 10000) ? 0 : -1;
}

int embpg_proc_kill_all(const char *data, const char *sock, struct err *e)
{
    char pid_file[PATH_MAX + 24], sock_lock[PATH_MAX + 24];
    struct stat st;
    int n;
    if (stat(data, &st) < 0)
        return errno == ENOENT ? 0 : err_errno(e, data);
    snprintf(pid_file, sizeof pid_file, "%s/postmaster.pid", data);
    snprintf(sock_lock, sizeof sock_lock, "%s/.s.PGSQL.5432.lock", sock);
    n = each(&st, 0, 0);
    if (n > 0) {
        log_event(LOG_WARN, "pg.leftovers", "i", "processes", (int64_t)n);
        if (end_all(&st, pid_in(pid_file)) < 0)
            return ERR(e, ERR_IO, "old PostgreSQL processes on %s cannot be ended", data);
    }
    return forget_zombie(pid_file, e) < 0 ? -1 : forget_zombie(sock_lock, e);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int embpg_proc_remove(const char *dir, struct err *e)
{
    struct stat st;
    if (lstat(dir, &st) < 0)
        return errno == ENOENT ? 0 : err_errno(e, dir);
    if (nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
        return err_errno(e, dir);
    return 0;
}

void embpg_proc_tail(const char *sock, char *out, size_t cap)
{
    char path[PATH_MAX + 24], line[512];
    FILE *f;
    out[0] = '\0';
    snprintf(path, sizeof path, "%s/postgres.log", sock);
    f = fopen(path, "re");
    if (f == NULL)
        return;
    if (fseek(f, -2000, SEEK_END) < 0)
        rewind(f);
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0])
            snprintf(out, cap, "%.*s", (int)cap - 1, line);
    }
    fclose(f);
}
