/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#endif
#include "app/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "app/control.h"
#include "app/drop.h"
#include "app/ctlmsg.h"
#include "base/clock.h"
#include "base/conf.h"
#include "base/log.h"
#include "base/str.h"
#include "bind/bind.h"
#include "bind/bind_play.h"
#include "blob/blob.h"
#include "db/db.h"
#include "domain/keylog.h"
#include "http/server.h"
#include "lua/compiled.h"
#include "lua/gen.h"
#include "lua/sched.h"
#include "net/fetch.h"
#include "run/board.h"
#include "run/cache.h"
#include "run/loop.h"
#include "run/threads.h"

#define TRUSTED_BUDGET_US 2000000
#define TOOL_BUDGET_US 3600000000LL
#define PATIENT_MS 1800000
#define RETIRED_US 60000000
#define HOST_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]"

static struct worker *self;
static struct bind_env env;
static struct watch sig_watch, ctl_watch;
static struct timer second, drain_timer;
static int64_t drain_until;

struct worker *worker_self(void)
{
    return self;
}

static int control_from_lua(const char *cmd, const char *arg, struct buf *reply, struct err *e)
{
    char path[512];
    snprintf(path, sizeof path, "%s/run/ppv.sock", conf_str("var_dir"));
    return control_call(path, cmd, arg, reply, e);
}

static void role_name(const struct worker *w, char out[16])
{
    static const char *const names[] = {"web", "job", "spec", "tool"};
    snprintf(out, 16, "%s%d", names[w->kind], w->index);
}

static void tell(enum ctl_type type, int64_t id, const char *text)
{
    struct ctl_msg m = {.type = type, .id = id};
    snprintf(m.text, sizeof m.text, "%s", text);
    if (self->ctl_fd >= 0 && ctlmsg_send(self->ctl_fd, &m, -1) < 0)
        log_event(LOG_WARN, "worker.tell", "i", "type", (int64_t)type);
}

static void on_strike(const char *plugin, const char *what)
{
    char text[160];
    snprintf(text, sizeof text, "%s %s", plugin, what);
    board_count("plugin_limit_total", 1);
    tell(CTL_STRIKE, 0, text);
}

/* ---- loading a bundle ---- */

static int load(struct bundle *b, bool cold, bool full, struct err *e)
{
    struct gen_opts o = {.cold = cold, .full = full, .cap = (size_t)conf_int("plugin_memory")};
    struct gen *g;
    if (gen_build(b, &o, NULL, &g, e) < 0)
        return -1;
    if (gen_swap(g, e) < 0) {
        gen_unref(g);
        return -1;
    }
    if (self->bundle != b) {
        bundle_unref(self->bundle);
        self->bundle = bundle_ref(b);
    }
    return 0;
}

static void load_from_master(const struct ctl_msg *m, int fd)
{
    struct bundle *b = NULL;
    struct gen *old = gen_ref(gen_current());
    struct err e = {0};
    int rc =
        fd < 0 ? ERR(&e, ERR_IO, "no bundle came with the message") : bundle_from_fd(fd, &b, &e);
    if (rc == 0)
        rc = load(b, m->cold, false, &e);
    bundle_unref(b);
    tell(rc == 0 ? CTL_LOADED : CTL_REFUSED, m->id, rc == 0 ? "" : e.msg);
    /* the master need not wait for the cleaning */
    if (rc == 0)
        gen_settle(gen_current());
    gen_unref(old);
}

static void start_drain(void);

static void on_master(struct watch *w, uint32_t events)
{
    struct ctl_msg m;
    int fd, rc;
    (void)events;
    while ((rc = ctlmsg_recv(w->fd, &m, &fd)) == 1) {
        if (m.type == CTL_LOAD)
            load_from_master(&m, fd);
        if (fd >= 0)
            close(fd);
    }
    if (rc < 0) {
        loop_watch(self->loop, w, 0);
        start_drain();
    }
}

/* ---- once a second ---- */

static void recycle_if_needed(void)
{
    struct gen *g = gen_current();
    struct err e = {0};
    if (!g || !g->recycle)
        return;
    g->recycle = false;
    log_event(LOG_WARN, "lua.recycle", "i", "bundle", g->id);
    if (load(self->bundle, g->cold, false, &e) < 0)
        log_err(LOG_ERROR, "lua.recycle", &e);
    else
        gen_settle(gen_current());
}

/* Scripts say in shared memory where the films of a storage come from (lib/store.announce); a lost entry changes nothing. */
static void follow_films(void)
{
    struct buf b = {0};
    if (cache_get(str_from("http.media_origin"), &b) && b.n < 300 &&
        (!b.n || strspn(b.p, HOST_CHARS "/") == b.n))
        http_server_films_from(self->http, b.n ? b.p : "");
    buf_fini(&b);
}

static void on_second(struct timer *t)
{
    if (self->http)
        follow_films();
    recycle_if_needed();
    sched_cancel_retired(RETIRED_US);
    board_gauge("tasks", sched_count());
    board_gauge("lua_states", gen_alive());
    if (self->http)
        board_gauge("connections", http_server_connections(self->http));
    loop_timer_set(self->loop, t, 1000000);
}

/* ---- draining ---- */

static bool is_idle(void)
{
    if (self->kind == WORKER_JOB)
        return jobworker_idle();
    return (!self->http || http_server_active(self->http) == 0) && keylog_waiting() == 0;
}

static void on_drain(struct timer *t)
{
    if (is_idle() || clock_mono() > drain_until) {
        if (self->kind == WORKER_JOB)
            jobworker_abort();
        loop_stop(self->loop);
        return;
    }
    loop_timer_set(self->loop, t, 50000);
}

static void start_drain(void)
{
    if (self->draining)
        return;
    self->draining = true;
    drain_until = clock_mono() + conf_int("drain_timeout") * 1000000;
    if (board_mine())
        board_mine()->state = BOARD_DRAINING;
    if (self->http)
        http_server_quiesce(self->http);
    if (self->kind == WORKER_JOB)
        jobworker_drain();
    drain_timer.fn = on_drain;
    loop_timer_set(self->loop, &drain_timer, 0);
}

static void on_signal(struct watch *w, uint32_t events)
{
    struct signalfd_siginfo si;
    (void)events;
    while (read(w->fd, &si, sizeof si) == (ssize_t)sizeof si)
        start_drain();
}

/* ---- start ---- */

static int open_roots(const struct worker *w, const char *root, struct err *e)
{
    char path[512];
    snprintf(path, sizeof path, "%s/static", root);
    if (blob_root("static", path, e) < 0)
        return -1;
    if (blob_root("upload", conf_str("upload_dir"), e) < 0 ||
        blob_root("media", conf_str("media_dir"), e) < 0)
        return -1;
    if (w->kind == WORKER_TOOL && access(conf_str("demo_films"), R_OK) == 0 &&
        blob_root("samples", conf_str("demo_films"), e) < 0)
        return -1;
    snprintf(path, sizeof path, "%s/burst", conf_str("var_dir"));
    if (blob_root("burst", path, e) < 0)
        return -1;
    snprintf(path, sizeof path, "%s/tmp", conf_str("var_dir"));
    return blob_root("tmp", path, e);
}

int worker_listen(char *addr, size_t cap, int *port, struct err *e)
{
    const char *v = conf_str("listen"), *colon = strrchr(v, ':');
    char *end = NULL;
    long n = colon ? strtol(colon + 1, &end, 10) : 0;
    if (!colon || end == colon + 1 || *end || n < 0 || n > 65535)
        return ERR(e, ERR_CONFIG, "listen = %s: address:port expected", v);
    bool v6 = v[0] == '[';
    snprintf(addr, cap, "%.*s", (int)(colon - v) - (v6 ? 2 : 0), v + v6);
    if (!addr[0] || strcmp(addr, "*") == 0)
        snprintf(addr, cap, "0.0.0.0");
    *port = (int)n;
    return 0;
}

/* Reachable from other machines, but nobody said under which name: any name will do. */
static bool is_open_without_name(const char *addr, const char *base_url)
{
    bool local =
        strncmp(addr, "127.", 4) == 0 || strcmp(addr, "::1") == 0 || strcmp(addr, "localhost") == 0;
    return !local && strncmp(base_url, "http://localhost", 16) == 0;
}

/* It goes into a header, so nothing but an origin may come of it. */
int worker_media_origin(char *out, size_t cap, struct err *e)
{
    const char *v = conf_str("cdn_base_url"), *host = strstr(v, "://");
    out[0] = 0;
    if (strcmp(conf_str("delivery"), "cdn") != 0)
        return 0;
    bool web = strncmp(v, "http://", 7) == 0 || strncmp(v, "https://", 8) == 0;
    size_t n = host ? strspn(host + 3, HOST_CHARS) : 0, end = web ? (size_t)(host - v) + 3 + n : 0;
    if (!n || !end || end >= cap || (v[end] && v[end] != '/') || v[strlen(v) - 1] == '/' ||
        strpbrk(v, "\"?# \t"))
        return ERR(e, ERR_CONFIG,
                   "delivery = cdn needs cdn_base_url = https://host/path, without a slash at the "
                   "end, but it is \"%s\"",
                   v);
    snprintf(out, cap, "%.*s", (int)end, v);
    return 0;
}

static int open_http(struct worker *w, struct err *e)
{
    struct http_conf c;
    http_conf_init(&c);
    char addr[128], origin[300];
    int port;
    if (worker_listen(addr, sizeof addr, &port, e) < 0 ||
        worker_media_origin(origin, sizeof origin, e) < 0)
        return -1;
    c.media_origin = origin;
    c.addr = w->kind == WORKER_SPEC ? "127.0.0.1" : addr;
    c.port = w->kind == WORKER_SPEC ? 0 : port;
    c.conn_max = (int)conf_int("http_max_connections");
    c.ip_max = (int)conf_int("http_max_per_ip");
    c.header_us = conf_int("http_header_timeout") * 1000000;
    c.idle_us = conf_int("http_idle_timeout") * 1000000;
    c.base_url = conf_str("base_url");
    c.hosts = "localhost,127.0.0.1,[::1]"; /* the machine itself, whatever name the site has */
    if (is_open_without_name(c.addr, c.base_url))
        c.base_url = c.hosts = "";
    c.trusted_proxies = conf_str("trusted_proxies");
    c.threads = w->threads;
    if (http_server_new(w->loop, &c, bind_http_handler(), &w->http, e) < 0)
        return -1;
    w->port = http_server_port(w->http);
    env.http = w->http;
    return 0;
}

static int open_db(struct worker *w, const char *role, struct err *e)
{
    char name[32];
    snprintf(name, sizeof name, "ppv %s", role);
    struct db_cfg c = {.conninfo = w->conninfo, .name = name};
    const char *read = conf_str("database_read");
    c.read_conninfo = read[0] ? read : NULL;
    c.write_timeout_ms = w->patient ? PATIENT_MS : (int)conf_int("statement_timeout") * 1000;
    if (w->kind != WORKER_WEB)
        c.nplugin = 1;
    return db_new(w->loop, &c, &w->db, e);
}

int worker_start(struct worker *w, bool full, struct err *e)
{
    static char role[16];
    role_name(w, role);
    self = w;
    w->loop = loop_new();
    /* first: its hook must run before the ones that flush what tasks wrote */
    sched_init(w->loop, conf_int("plugin_cpu_ms") * 1000,
               w->kind == WORKER_WEB || w->kind == WORKER_JOB ? TRUSTED_BUDGET_US : TOOL_BUDGET_US);
    sched_on_strike(on_strike);
    w->threads = threads_new(w->loop, (int)conf_int("argon2_threads") + 1, 256);
    env = (struct bind_env){.loop = w->loop,
                            .threads = w->threads,
                            .worker = w->index,
                            .role = role,
                            .root = w->root,
                            .var = conf_str("var_dir"),
                            .control = control_from_lua};
    bind_init(&env);
    gen_set_opener(jobworker_open);
    if (open_roots(w, w->root, e) < 0)
        return -1;
    if ((w->kind == WORKER_WEB || w->kind == WORKER_SPEC) && open_http(w, e) < 0)
        return -1;
    if (drop_now(e) < 0) /* what needs root, such as a low port, is open now */
        return -1;
    w->fetch = fetch_new(w->loop);
    env.fetch = w->fetch;
    if (w->conninfo && open_db(w, role, e) < 0)
        return -1;
    env.db = w->db;
    if (bind_play_start(w->kind == WORKER_SPEC || (w->kind == WORKER_WEB && w->index == 0), e) < 0)
        return -1;
    if (load(w->bundle, true, full, e) < 0)
        return -1;
    gen_settle(gen_current());
    if (w->kind == WORKER_JOB && jobworker_start(w, e) < 0)
        return -1;
    second.fn = on_second;
    loop_timer_set(w->loop, &second, 1000000);
    return 0;
}

void worker_stop(struct worker *w)
{
    http_server_free(w->http);
    w->http = env.http = NULL;
    sched_fini();
    struct gen *g = gen_current();
    (void)g; /* the process ends: the state is not worth closing */
    db_free(w->db);
    fetch_free(w->fetch);
    threads_free(w->threads);
    w->db = env.db = NULL;
    w->fetch = env.fetch = NULL;
    w->threads = env.threads = NULL;
}

void worker_close_inherited(int keep)
{
    if (keep > 3)
        close_range(3, (unsigned)keep - 1, 0);
    close_range(keep < 3 ? 3 : (unsigned)keep + 1, ~0U, 0);
}

static void prepare_process(struct worker *w, pid_t master)
{
    char role[16];
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != master)
        _exit(0);
    worker_close_inherited(w->ctl_fd);
    role_name(w, role);
    prctl(PR_SET_NAME, role);
    log_role(role);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit rl;
    if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }
    board_use(w->slot);
    struct board_slot *b = board_mine();
    b->state = BOARD_STARTING;
    b->pid = getpid();
    b->beat = clock_mono();
    snprintf(b->role, sizeof b->role, "%s", role);
    b->running[0] = 0;
    b->lua_since = 0;
    sigset_t set;
    sigfillset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
}

static void watch_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sig_watch =
        (struct watch){.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), .fn = on_signal};
    must(sig_watch.fd >= 0);
    loop_watch(self->loop, &sig_watch, EPOLLIN);
}

int worker_main(struct worker *w, pid_t master)
{
    struct err e = {0};
    prepare_process(w, master);
    struct board_slot *b = board_mine();
    compiled_keep();
    if (worker_start(w, false, &e) < 0) {
        log_err(LOG_ERROR, "worker.start", &e);
        tell(CTL_REFUSED, 0, e.msg);
        return 1;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* again: changing the user clears it */
    if (getppid() != master)
        return 0;
    sched_publish(b->running, &b->lua_since);
    watch_signals();
    ctl_watch = (struct watch){.fd = w->ctl_fd, .fn = on_master};
    loop_watch(w->loop, &ctl_watch, EPOLLIN);
    b->state = BOARD_READY;
    char port[16];
    snprintf(port, sizeof port, "%d", w->port);
    tell(CTL_READY, w->bundle->id, port);
    loop_run(w->loop, &b->beat);
    worker_stop(w);
    b->state = BOARD_DEAD;
    return 0;
}
