/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#endif
#include "app/master.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "app/control.h"
#include "app/crew.h"
#include "app/drop.h"
#include "app/embpg.h"
#include "app/migrate.h"
#include "app/reload.h"
#include "app/tool.h"
#include "app/trial.h"
#include "app/worker.h"
#include "base/clock.h"
#include "base/conf.h"
#include "base/log.h"
#include "crypto/token.h"
#include "lua/gen.h"
#include "run/board.h"
#include "run/cache.h"
#include "run/loop.h"

#define TICK_US 250000
#define CACHE_BYTES ((size_t)64 << 20)

static struct {
    const struct master_opts *o;
    struct loop *loop;
    struct embpg *pg;
    bool pg_down;
    int64_t pg_retry_at, pg_backoff;
    char conninfo[1024], super[1024], sock_path[600];
    struct watch signals;
    struct timer tick;
    bool stopping;
    int64_t stop_by, started;
    int status;
} m;

const char *master_conninfo(bool super)
{
    return super ? m.super : m.conninfo;
}

/* ---- var/ ---- */

static int make_dir(const char *path, mode_t mode, struct err *e)
{
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return err_errno(e, path);
    return 0;
}

static int lock_var(struct err *e)
{
    char path[600];
    snprintf(path, sizeof path, "%s/lock", conf_str("var_dir"));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        close(fd);
        return ERR(e, ERR_CONFLICT, "another ppv is running with %s", conf_str("var_dir"));
    }
    return 0; /* held until the process ends */
}

int master_prepare(struct err *e)
{
    char path[560];
    if (drop_home(e) < 0 || make_dir(conf_str("var_dir"), 0755, e) < 0)
        return -1;
    snprintf(path, sizeof path, "%.512s/run", conf_str("var_dir"));
    if (make_dir(path, 0755, e) < 0)
        return -1;
    snprintf(m.sock_path, sizeof m.sock_path, "%s/ppv.sock", path);
    return lock_var(e);
}

/* ---- database ---- */

/* One user for both: the socket of the private database is for its own user only. */
static const char *pg_user(void)
{
    const char *pg = conf_str("pg_user"), *run = conf_str("run_user");
    return pg[0] || strcmp(run, "root") == 0 ? pg : run;
}

int master_open_db(struct err *e)
{
    if (conf_str("database_url")[0]) {
        snprintf(m.conninfo, sizeof m.conninfo, "%s", conf_str("database_url"));
        snprintf(m.super, sizeof m.super, "%s", conf_str("database_url"));
        return 0;
    }
    if (embpg_start(conf_str("var_dir"), pg_user(), &m.pg, e) < 0)
        return -1;
    snprintf(m.super, sizeof m.super, "%s", embpg_conninfo(m.pg, "ppv"));
    snprintf(m.conninfo, sizeof m.conninfo, "%s", embpg_conninfo(m.pg, "ppv_app"));
    return 0;
}

void master_close_db(void)
{
    embpg_stop(m.pg);
    m.pg = NULL;
}

int master_migrate(const char *root, struct err *e)
{
    char path[600];
    snprintf(path, sizeof path, "%s/sql", root);
    return migrate_run(m.super, path, e);
}

static void restart_pg(void)
{
    struct err e = {0};
    if (!m.pg_down || clock_mono() < m.pg_retry_at)
        return;
    if (embpg_restart(m.pg, &e) == 0) {
        m.pg_down = false;
        log_event(LOG_INFO, "pg.restarted", "");
        return;
    }
    log_err(LOG_ERROR, "pg.restart", &e);
    m.pg_backoff = m.pg_backoff ? m.pg_backoff * 2 : 1000000;
    if (m.pg_backoff > 30000000)
        m.pg_backoff = 30000000;
    m.pg_retry_at = clock_mono() + m.pg_backoff;
}

/* ---- control socket ---- */

static void put_status(struct buf *out)
{
    buf_printf(out,
               "{\"ok\":true,\"pid\":%d,\"run_user\":\"%s\",\"uptime_s\":%lld,\"port\":%d,"
               "\"database\":\"%s\",",
               (int)getpid(), drop_user(), (long long)((clock_mono() - m.started) / 1000000),
               crew_port(),
               !m.pg       ? "external"
               : m.pg_down ? "down"
                           : "private");
    reload_json(out);
    buf_puts(out, ",\"workers\":");
    crew_json(out);
    buf_puts(out, "}");
}

static void on_control(void *user, const char *cmd, const char *arg, struct buf *reply)
{
    (void)user;
    log_event(strcmp(cmd, "status") == 0 ? LOG_DEBUG : LOG_INFO, "control", "ss", "cmd", cmd, "arg",
              arg);
    if (strcmp(cmd, "status") == 0) {
        put_status(reply);
    } else if (strcmp(cmd, "conninfo") == 0) {
        buf_puts(reply, "{\"ok\":true,\"conninfo\":\"");
        buf_put_json(reply, str_from(m.conninfo));
        buf_printf(reply, "\",\"kid\":\"%s\"}", token_kid());
    } else if (strcmp(cmd, "reload") == 0) {
        reload_now(reply);
    } else if (strcmp(cmd, "rollback") == 0) {
        reload_rollback(arg, reply);
    } else if (strcmp(cmd, "plugins") == 0) {
        buf_puts(reply, "{\"ok\":true,");
        reload_json(reply);
        buf_puts(reply, "}");
    } else if (strcmp(cmd, "enable") == 0 || strcmp(cmd, "disable") == 0) {
        reload_plugin(arg, cmd[0] == 'e', reply);
    } else {
        buf_puts(reply, "{\"ok\":false,\"error\":\"unknown command\"}");
    }
}

/* ---- signals and time ---- */

static void begin_stop(void)
{
    if (m.stopping) {
        crew_stop_force();
        return;
    }
    m.stopping = true;
    m.stop_by = clock_mono() + (conf_int("drain_timeout") + 5) * 1000000;
    crew_stop_begin();
}

static void reap(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (crew_reaped(pid, status) || trial_reaped(pid))
            continue;
        if (m.pg && pid == embpg_pid(m.pg) && !m.pg_down) {
            log_event(LOG_ERROR, "pg.died", "i", "status", (int64_t)status);
            embpg_exited(m.pg);
            m.pg_down = true;
            m.pg_retry_at = 0;
        }
    }
}

static void on_signal(struct watch *w, uint32_t events)
{
    struct signalfd_siginfo si;
    (void)events;
    while (read(w->fd, &si, sizeof si) == (ssize_t)sizeof si) {
        if (si.ssi_signo == SIGTERM || si.ssi_signo == SIGINT) {
            begin_stop();
        } else if (si.ssi_signo == SIGHUP) {
            struct buf reply = {0};
            reload_now(&reply);
            buf_fini(&reply);
        }
    }
    reap();
}

static void on_tick(struct timer *t)
{
    struct board_slot *b = board_mine();
    if (b)
        b->beat = clock_mono();
    reap();
    if (m.stopping) {
        if (crew_stopped()) {
            loop_stop(m.loop);
            return;
        }
        if (clock_mono() > m.stop_by)
            crew_stop_force();
    } else {
        restart_pg();
        crew_tick();
        reload_tick();
        if (crew_failed()) {
            fprintf(stderr, "ppv: the workers cannot start, see the messages above\n");
            m.status = 1;
            begin_stop();
        }
    }
    loop_timer_set(m.loop, t, TICK_US);
}

static void watch_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    m.signals =
        (struct watch){.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), .fn = on_signal};
    must(m.signals.fd >= 0);
}

/* ---- the way up ---- */

static void on_ready(void)
{
    char url[256];
    if (conf_str("base_url")[0])
        snprintf(url, sizeof url, "%s", conf_str("base_url"));
    else
        snprintf(url, sizeof url, "http://localhost:%d", crew_port());
    fprintf(stdout, "\n  %s is running at %s   (%.1f s)\n\n", conf_str("site_name"), url,
            (double)(clock_mono() - m.started) / 1e6);
    if (!m.o->demo)
        fprintf(stdout, "  First:   ppv admin create NAME        make the first administrator\n");
    fprintf(stdout, "  Try:     open %s/              the catalogue\n", url);
    fprintf(stdout, "           ppv status                   workers, bundle, problems\n");
    fprintf(stdout, "           edit a file in plugins/      %s\n",
            conf_bool("development") ? "it is reloaded when you save" : "then: ppv reload");
    fprintf(stdout, "  Stop:    Ctrl-C\n\n");
    fflush(stdout);
}

static int count_workers(void)
{
    int64_t web = conf_int("web_workers");
    if (web <= 0)
        web = sysconf(_SC_NPROCESSORS_ONLN);
    return (int)(web < 1 ? 1 : web);
}

static int start_shared(int workers, struct err *e)
{
    if (cache_init(CACHE_BYTES, e) < 0 || board_init(workers, e) < 0)
        return -1;
    return token_init(conf_str("secret_file"), e);
}

static int start(struct err *e)
{
    int web = count_workers(), job = (int)conf_int("job_workers");
    struct bundle *b;
    char origin[300]; /* a bad one is told now, not by each worker */
    if (worker_media_origin(origin, sizeof origin, e) < 0 || master_prepare(e) < 0 ||
        drop_prepare(e) < 0 || start_shared(web + job, e) < 0)
        return -1;
    fprintf(stderr, "ppv: starting the database ...\n");
    if (master_open_db(e) < 0 || master_migrate(m.o->root, e) < 0)
        return -1;
    if (reload_first(m.o->root, conf_str("var_dir"), &b, e) < 0)
        return -1;
    if (m.o->demo && tool_run_forked(m.o->root, m.conninfo, b, "scripts/cli/demo.lua", e) < 0)
        return -1;
    m.loop = loop_new();
    watch_signals();
    loop_watch(m.loop, &m.signals, EPOLLIN);
    if (control_listen(m.loop, m.sock_path, on_control, NULL, e) < 0 ||
        drop_give(m.sock_path, e) < 0)
        return -1;
    struct crew_conf c = {.loop = m.loop,
                          .root = m.o->root,
                          .conninfo = m.conninfo,
                          .web = web,
                          .job = job,
                          .strike = reload_strike,
                          .ready = on_ready};
    crew_start(&c, b);
    if (conf_bool("development"))
        reload_watch(m.loop);
    m.tick.fn = on_tick;
    loop_timer_set(m.loop, &m.tick, TICK_US);
    return 0;
}

int master_run(const struct master_opts *o)
{
    struct err e = {0};
    m.o = o;
    m.started = clock_mono();
    if (start(&e) < 0) {
        fprintf(stderr, "ppv: %s\n", e.msg);
        if (e.detail[0])
            fprintf(stderr, "     (%s)\n", e.detail);
        master_close_db();
        return 1;
    }
    loop_run(m.loop, NULL);
    trial_stop();
    control_close();
    master_close_db();
    return m.status;
}
