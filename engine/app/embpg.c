/* SPDX-License-Identifier: Apache-2.0 */
#include "app/embpg.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <libpq-fe.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/embpg_proc.h"
#include "base/clock.h"
#include "base/log.h"

#define READY_US 60000000     /* without any sign of life */
#define RECOVERY_US 900000000 /* while it says that it is starting up */

struct embpg {
    char data[PATH_MAX], sock[PATH_MAX], bin[PATH_MAX];
    char conninfo[PATH_MAX + 80];
    char user[64]; /* "" = stay who we are */
    uid_t uid;
    gid_t gid;
    pid_t pid; /* 0 = not running */
};

/* --- who and where --- */

static int find_user(struct embpg *p, const char *user, struct err *e)
{
    const char *names[] = {user && user[0] ? user : "ppv", user && user[0] ? user : "postgres"};
    p->uid = geteuid();
    p->gid = getegid();
    if (p->uid != 0) {
        if (getpwuid(p->uid) == NULL)
            return ERR(e, ERR_CONFIG, "uid %d has no passwd entry, which PostgreSQL needs",
                       (int)p->uid);
        return 0;
    }
    for (int i = 0; i < 2; i++) {
        struct passwd *pw = getpwnam(names[i]);
        if (pw && pw->pw_uid != 0) {
            snprintf(p->user, sizeof p->user, "%s", names[i]);
            p->uid = pw->pw_uid;
            p->gid = pw->pw_gid;
            return 0;
        }
    }
    return ERR(e, ERR_CONFIG, "no user '%s' to run PostgreSQL as (it refuses to run as root)",
               names[1]);
}

/* The version of the data when there is some, else the newest installed. */
static int find_bin(struct embpg *p, struct err *e)
{
    char path[PATH_MAX + 16], want[16] = "*", pattern[64];
    FILE *f;
    glob_t g;
    double best = -1;
    snprintf(path, sizeof path, "%s/PG_VERSION", p->data);
    f = fopen(path, "re");
    if (f) {
        if (fscanf(f, "%15[0-9]", want) != 1)
            strcpy(want, "*");
        fclose(f);
    }
    snprintf(pattern, sizeof pattern, "/usr/lib/postgresql/%s/bin", want);
    if (glob(pattern, 0, NULL, &g) == 0) {
        for (size_t i = 0; i < g.gl_pathc; i++) {
            double v = atof(g.gl_pathv[i] + strlen("/usr/lib/postgresql/"));
            snprintf(path, sizeof path, "%s/postgres", g.gl_pathv[i]);
            if (v > best && access(path, X_OK) == 0) {
                best = v;
                snprintf(p->bin, sizeof p->bin, "%s", g.gl_pathv[i]);
            }
        }
        globfree(&g);
    }
    if (best < 0)
        return ERR(e, ERR_CONFIG, "PostgreSQL %s is not installed (looked for %s/postgres)",
                   want[0] == '*' ? "server" : want, pattern);
    return 0;
}

static int make_dir(struct embpg *p, const char *path, struct err *e)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_errno(e, path);
    if (p->user[0] && chown(path, p->uid, p->gid) < 0)
        return err_errno(e, path);
    return 0;
}

static int find_paths(struct embpg *p, const char *var_dir, struct err *e)
{
    char var[PATH_MAX];
    if (mkdir(var_dir, 0755) < 0 && errno != EEXIST)
        return err_errno(e, var_dir);
    if (realpath(var_dir, var) == NULL)
        return err_errno(e, var_dir);
    if (strlen(var) > 80) /* a socket's name has at most 107 bytes */
        return ERR(e, ERR_CONFIG, "the path of var is too long for a socket: %s", var);
    snprintf(p->data, sizeof p->data, "%.100s/pg", var);
    snprintf(p->sock, sizeof p->sock, "%.100s/pgrun", var);
    return make_dir(p, p->sock, e);
}

/* --- children --- */

/* In the child: only async-signal-safe things plus what single-threaded callers allow. */
static void become(const struct embpg *p, pid_t parent, int log_fd)
{
    sigset_t none;
    int null = open("/dev/null", O_RDWR);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int s = 1; s < 32; s++)
        signal(s, SIG_DFL);
    setsid();
    if (p->user[0] && (initgroups(p->user, p->gid) < 0 || setgid(p->gid) < 0 || setuid(p->uid) < 0))
        _exit(111);
    prctl(PR_SET_PDEATHSIG, SIGINT); /* after setuid, which clears it */
    if (getppid() != parent)
        _exit(112);
    umask(077);
    dup2(null, 0);
    dup2(log_fd >= 0 ? log_fd : null, 1);
    dup2(log_fd >= 0 ? log_fd : null, 2);
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
    if (chdir(p->sock) < 0)
        _exit(113);
}

static int open_log(const struct embpg *p, struct err *e)
{
    char path[PATH_MAX + 32];
    int fd;
    snprintf(path, sizeof path, "%s/postgres.log", p->sock);
    fd = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(e, path);
    if (p->user[0] && fchown(fd, p->uid, p->gid) < 0) {
        close(fd);
        return err_errno(e, path);
    }
    return fd;
}

static pid_t spawn(const struct embpg *p, char *const argv[], struct err *e)
{
    int log_fd = open_log(p, e);
    pid_t parent = getpid(), pid;
    if (log_fd < 0)
        return -1;
    pid = fork();
    if (pid == 0) {
        become(p, parent, log_fd);
        execv(argv[0], argv);
        _exit(127);
    }
    close(log_fd);
    if (pid < 0)
        return err_errno(e, "fork");
    return pid;
}

static int why_ended(const struct embpg *p, const char *what, int status, struct err *e)
{
    char tail[200] = "";
    embpg_proc_tail(p->sock, tail, sizeof tail);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 113)
        return ERR(e, ERR_CONFIG, "%s: user %s cannot reach %s (its parents must be traversable)",
                   what, p->user, p->sock);
    return ERR(e, ERR_IO, "%s ended with status %d; %s/postgres.log: %s", what,
               WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), p->sock, tail);
}

/* Into pg.new, renamed when whole: a crash half-way leaves no half-made data directory. */
static int init_data(struct embpg *p, struct err *e)
{
    char fresh[PATH_MAX + 8], bin[PATH_MAX + 16];
    /* C.UTF-8 sorts by code point, but knows the cases of every script's letters. */
    char *argv[] = {bin,
                    "-D",
                    fresh,
                    "-U",
                    "ppv",
                    "-A",
                    "trust",
                    "-E",
                    "UTF8",
                    "--locale=C.UTF-8",
                    "--no-instructions",
                    "-k",
                    NULL};
    int64_t t0 = clock_mono();
    int status = 0;
    pid_t pid;
    snprintf(fresh, sizeof fresh, "%s.new", p->data);
    snprintf(bin, sizeof bin, "%s/initdb", p->bin);
    if (embpg_proc_remove(fresh, e) < 0 || make_dir(p, fresh, e) < 0)
        return -1;
    pid = spawn(p, argv, e);
    if (pid < 0)
        return -1;
    if (waitpid(pid, &status, 0) < 0 || status != 0)
        return why_ended(p, "initdb", status, e);
    if (rename(fresh, p->data) < 0)
        return err_errno(e, p->data);
    log_event(LOG_INFO, "pg.initdb", "si", "data", p->data, "ms", (clock_mono() - t0) / 1000);
    return 0;
}

/* --- the server --- */

static int wait_ready(struct embpg *p, struct err *e)
{
    int64_t t0 = clock_mono(), limit = READY_US;
    const char *ci = embpg_conninfo(p, "ppv");
    char info[sizeof p->conninfo + 64];
    snprintf(info, sizeof info, "%s dbname=postgres", ci);
    for (;;) {
        int status;
        PGPing ping;
        if (waitpid(p->pid, &status, WNOHANG) == p->pid) {
            p->pid = 0;
            return why_ended(p, "PostgreSQL", status, e);
        }
        ping = PQping(info);
        if (ping == PQPING_OK)
            break;
        if (ping == PQPING_REJECT)
            limit = RECOVERY_US;
        if (clock_mono() - t0 > limit)
            return ERR(e, ERR_TIMEOUT, "PostgreSQL did not become ready in %d s",
                       (int)(limit / 1000000));
        usleep(5000);
    }
    log_event(LOG_INFO, "pg.ready", "ii", "pid", (int64_t)p->pid, "ms", (clock_mono() - t0) / 1000);
    return 0;
}

static int launch(struct embpg *p, struct err *e)
{
    char bin[PATH_MAX + 16], sock[PATH_MAX + 40], conns[40];
    long ncpu = sysconf(_SC_NPROCESSORS_ONLN), n = 34 + 13 * (ncpu > 0 ? ncpu : 1);
    char *argv[] = {bin,
                    "-D",
                    p->data,
                    "-c",
                    sock,
                    "-c",
                    conns,
                    "-c",
                    "listen_addresses=",
                    "-c",
                    "unix_socket_permissions=0700",
                    "-c",
                    "synchronous_commit=on",
                    "-c",
                    "fsync=on",
                    "-c",
                    "full_page_writes=on",
                    "-c",
                    "shared_buffers=128MB",
                    "-c",
                    "jit=off",
                    "-c",
                    "update_process_title=off",
                    "-c",
                    "logging_collector=off",
                    "-c",
                    "log_line_prefix=%m [%p] %a ",
                    "-c",
                    "wal_compression=on",
                    "-c",
                    "max_wal_size=1GB",
                    "-c",
                    "random_page_cost=1.5",
                    "-c",
                    "tcp_keepalives_idle=30",
                    NULL};
    snprintf(bin, sizeof bin, "%s/postgres", p->bin);
    snprintf(sock, sizeof sock, "unix_socket_directories=%s", p->sock);
    snprintf(conns, sizeof conns, "max_connections=%ld", n > 60 ? n : 60);
    if (embpg_proc_kill_all(p->data, p->sock, e) < 0)
        return -1;
    p->pid = spawn(p, argv, e);
    if (p->pid < 0) {
        p->pid = 0;
        return -1;
    }
    return wait_ready(p, e);
}

static int create_db(struct embpg *p, struct err *e)
{
    char info[sizeof p->conninfo + 64];
    PGconn *c;
    PGresult *r;
    int rc = 0;
    snprintf(info, sizeof info, "%s dbname=postgres connect_timeout=10", embpg_conninfo(p, "ppv"));
    c = PQconnectdb(info);
    r = PQexec(c, "select from pg_database where datname = 'ppv'");
    if (PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 0) {
        PQclear(r);
        r = PQexec(c, "create database ppv");
    }
    if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
        rc = ERR(e, ERR_DB, "cannot create the database: %s", PQerrorMessage(c));
    PQclear(r);
    PQfinish(c);
    return rc;
}

int embpg_start(const char *var_dir, const char *user, struct embpg **out, struct err *e)
{
    char version[PATH_MAX + 16];
    struct embpg *p = calloc(1, sizeof *p);
    must(p != NULL);
    if (find_user(p, user, e) < 0 || find_paths(p, var_dir, e) < 0 || find_bin(p, e) < 0)
        goto fail;
    snprintf(version, sizeof version, "%s/PG_VERSION", p->data);
    if (access(version, F_OK) != 0 && init_data(p, e) < 0)
        goto fail;
    if (launch(p, e) < 0 || create_db(p, e) < 0) {
        embpg_stop(p);
        return -1;
    }
    *out = p;
    return 0;
fail:
    free(p);
    return -1;
}

const char *embpg_conninfo(struct embpg *p, const char *role)
{
    snprintf(p->conninfo, sizeof p->conninfo, "host=%s user=%s dbname=ppv", p->sock, role);
    return p->conninfo;
}

pid_t embpg_pid(const struct embpg *p)
{
    return p->pid;
}

void embpg_exited(struct embpg *p)
{
    struct err e = {0};
    p->pid = 0;
    if (embpg_proc_kill_all(p->data, p->sock, &e) < 0)
        log_err(LOG_ERROR, "pg.leftovers", &e);
}

int embpg_restart(struct embpg *p, struct err *e)
{
    return launch(p, e);
}

/* True when it ended within us. */
static bool wait_end(pid_t pid, int64_t us)
{
    int64_t until = clock_mono() + us;
    do {
        int status;
        pid_t r = waitpid(pid, &status, WNOHANG);
        if (r == pid || (r < 0 && errno == ECHILD))
            return true;
        usleep(5000);
    } while (clock_mono() < until);
    return false;
}

void embpg_stop(struct embpg *p)
{
    struct err e = {0};
    if (p == NULL)
        return;
    if (p->pid > 0) {
        kill(p->pid, SIGINT);
        if (!wait_end(p->pid, 30000000)) {
            kill(p->pid, SIGQUIT);
            if (!wait_end(p->pid, 5000000)) {
                kill(p->pid, SIGKILL);
                wait_end(p->pid, 5000000);
            }
        }
        if (embpg_proc_kill_all(p->data, p->sock, &e) < 0)
            log_err(LOG_ERROR, "pg.leftovers", &e);
    }
    free(p);
}
