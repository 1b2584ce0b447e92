/* SPDX-License-Identifier: Apache-2.0 */
#include "app/crew.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "app/ctlmsg.h"
#include "app/worker.h"
#include "base/clock.h"
#include "base/log.h"
#include "lua/gen.h"
#include "run/board.h"
#include "run/loop.h"

enum { MEMBERS_MAX = 320 };
#define BEAT_PLUGIN_US 2000000 /* stuck inside a plugin's C call */
#define BEAT_US 5000000        /* stuck anywhere else; a trusted script may use 2 s of CPU */
#define START_US 60000000
#define BACKOFF_MAX_US 10000000
#define LOAD_US 10000000

struct member {
    enum worker_kind kind;
    int index, slot, port;
    pid_t pid; /* 0 = not running */
    int fd;    /* -1 = none */
    struct watch watch;
    bool ready, ever_ready, waiting, killed;
    int64_t started, restart_at, backoff;
    int64_t cpu; /* used when it last looked alive */
    int restarts, failures;
    int64_t bundle;
    char refusal[400];
};
static struct {
    struct crew_conf c;
    struct member m[MEMBERS_MAX];
    int n;
    struct bundle *bundle;
    bool stopping, announced, failed;
} crew;

static const char *kind_name(const struct member *m)
{
    return m->kind == WORKER_WEB ? "web" : "job";
}

static void announce(void)
{
    if (crew.announced)
        return;
    for (int i = 0; i < crew.n; i++)
        if (crew.m[i].kind == WORKER_WEB && !crew.m[i].ready)
            return;
    crew.announced = true;
    if (crew.c.ready)
        crew.c.ready();
}

static void on_message(struct member *m, const struct ctl_msg *msg)
{
    switch (msg->type) {
    case CTL_READY:
        m->ready = m->ever_ready = true;
        m->failures = 0;
        m->port = atoi(msg->text);
        m->bundle = msg->id;
        announce();
        break;
    case CTL_LOADED:
        m->waiting = false;
        m->bundle = msg->id;
        break;
    case CTL_REFUSED:
        m->waiting = false;
        snprintf(m->refusal, sizeof m->refusal, "%s", msg->text);
        log_event(LOG_ERROR, "worker.refused", "sis", "kind", kind_name(m), "index",
                  (int64_t)m->index, "error", msg->text);
        break;
    case CTL_STRIKE: {
        char plugin[64] = "", what[32] = "";
        if (sscanf(msg->text, "%63s %31s", plugin, what) == 2 && crew.c.strike)
            crew.c.strike(plugin, what);
        break;
    }
    default: break;
    }
}

static void hang_up(struct member *m)
{
    if (m->fd < 0)
        return;
    loop_watch(crew.c.loop, &m->watch, 0);
    close(m->fd);
    m->fd = -1;
    m->waiting = false;
}

static void on_worker(struct watch *w, uint32_t events)
{
    struct member *m = w->arg;
    struct ctl_msg msg;
    int fd, rc;
    (void)events;
    while ((rc = ctlmsg_recv(w->fd, &msg, &fd)) == 1) {
        if (fd >= 0)
            close(fd);
        on_message(m, &msg);
    }
    if (rc < 0)
        hang_up(m);
}

static void start_member(struct member *m)
{
    int fds[2];
    m->restart_at = 0;
    if (ctlmsg_pair(fds) < 0) {
        m->restart_at = clock_mono() + BACKOFF_MAX_US;
        return;
    }
    pid_t master = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        static struct worker w;
        w = (struct worker){.kind = m->kind,
                            .index = m->index,
                            .slot = m->slot,
                            .root = crew.c.root,
                            .conninfo = crew.c.conninfo,
                            .ctl_fd = fds[1],
                            .bundle = bundle_ref(crew.bundle)};
        _exit(worker_main(&w, master));
    }
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        m->restart_at = clock_mono() + BACKOFF_MAX_US;
        return;
    }
    m->pid = pid;
    m->fd = fds[0];
    m->ready = m->waiting = m->killed = false;
    m->started = clock_mono();
    m->bundle = crew.bundle->id;
    m->watch = (struct watch){.fd = fds[0], .fn = on_worker, .arg = m};
    loop_watch(crew.c.loop, &m->watch, EPOLLIN);
}

static void add_members(enum worker_kind kind, int count)
{
    for (int i = 0; i < count && crew.n < MEMBERS_MAX; i++) {
        struct member *m = &crew.m[crew.n];
        *m = (struct member){.kind = kind, .index = i, .slot = crew.n, .fd = -1};
        crew.n++;
    }
}

void crew_start(const struct crew_conf *c, struct bundle *b)
{
    crew.c = *c;
    crew.bundle = bundle_ref(b);
    add_members(WORKER_WEB, c->web);
    add_members(WORKER_JOB, c->job);
    for (int i = 0; i < crew.n; i++)
        start_member(&crew.m[i]);
}

static void plan_restart(struct member *m, int status)
{
    bool lived = clock_mono() - m->started > 30000000;
    m->restarts++;
    m->failures = m->ready ? 0 : m->failures + 1;
    if (m->failures >= 3 && !m->ever_ready)
        crew.failed = true;
    m->backoff = lived || m->backoff == 0 ? 100000 : m->backoff * 2;
    if (m->backoff > BACKOFF_MAX_US)
        m->backoff = BACKOFF_MAX_US;
    m->restart_at = clock_mono() + m->backoff;
    log_event(LOG_ERROR, "worker.ended", "siiii", "kind", kind_name(m), "index", (int64_t)m->index,
              "signal", (int64_t)(WIFSIGNALED(status) ? WTERMSIG(status) : 0), "exit",
              (int64_t)(WIFEXITED(status) ? WEXITSTATUS(status) : -1), "restart_ms",
              m->backoff / 1000);
}

/* What a worker was running when it died of something we did not ask for. */
static void blame(struct member *m, int status)
{
    struct board_slot *b = board_slot(m->slot);
    char plugin[BOARD_RUNNING];
    snprintf(plugin, sizeof plugin, "%.*s", BOARD_RUNNING - 1, b->running);
    b->running[0] = 0;
    b->lua_since = 0;
    b->state = BOARD_DEAD;
    b->pid = 0;
    if (plugin[0] && WIFSIGNALED(status) && WTERMSIG(status) != SIGTERM && crew.c.strike)
        crew.c.strike(plugin, m->killed ? "stuck" : "crash");
}

bool crew_reaped(pid_t pid, int status)
{
    for (int i = 0; i < crew.n; i++) {
        struct member *m = &crew.m[i];
        if (m->pid != pid)
            continue;
        if (m->fd >= 0)
            on_worker(&m->watch, 0); /* last words */
        hang_up(m);
        m->pid = 0;
        blame(m, status);
        if (!crew.stopping)
            plan_restart(m, status);
        m->ready = false;
        return true;
    }
    return false;
}

static int64_t cpu_of(pid_t pid)
{
    clockid_t id;
    struct timespec ts;
    if (clock_getcpuclockid(pid, &id) != 0 || clock_gettime(id, &ts) < 0)
        return 0;
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static bool is_runnable(pid_t pid)
{
    char path[40], line[128] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool got = fgets(line, sizeof line, f) != NULL;
    fclose(f);
    const char *end = got ? strrchr(line, ')') : NULL;
    return end && strncmp(end, ") R", 3) == 0;
}

/* A worker that waits for CPU on a busy machine is late but not stuck; one that sleeps for so long is. */
static bool is_starved(const struct member *m, int64_t age, int64_t limit)
{
    return age < 4 * limit && cpu_of(m->pid) - m->cpu < limit / 2 && is_runnable(m->pid);
}

static void check_beat(struct member *m, int64_t now)
{
    struct board_slot *b = board_slot(m->slot);
    if (!m->ready) {
        if (now - m->started > START_US)
            kill(m->pid, SIGKILL);
        return;
    }
    int64_t age = now - b->beat;
    int64_t limit = b->running[0] ? BEAT_PLUGIN_US : BEAT_US;
    if (age < limit / 4)
        m->cpu = cpu_of(m->pid);
    if (age < limit || m->killed || b->beat == 0 || is_starved(m, age, limit))
        return;
    m->killed = true;
    log_event(LOG_ERROR, "worker.stuck", "siis", "kind", kind_name(m), "index", (int64_t)m->index,
              "ms", age / 1000, "plugin", b->running);
    board_count("worker_stuck_total", 1);
    kill(m->pid, SIGKILL);
}

void crew_tick(void)
{
    int64_t now = clock_mono();
    for (int i = 0; i < crew.n; i++) {
        struct member *m = &crew.m[i];
        if (m->pid)
            check_beat(m, now);
        else if (m->restart_at && now >= m->restart_at && !crew.stopping)
            start_member(m);
    }
}

static int count_waiting(struct pollfd *pf, struct member **who)
{
    int n = 0;
    for (int i = 0; i < crew.n; i++)
        if (crew.m[i].waiting) {
            pf[n] = (struct pollfd){.fd = crew.m[i].fd, .events = POLLIN};
            who[n++] = &crew.m[i];
        }
    return n;
}

/* Blocks the master for as long as the workers build: they go on serving, and so does everything else. */
static void wait_answers(void)
{
    struct pollfd pf[MEMBERS_MAX];
    struct member *who[MEMBERS_MAX];
    int64_t end = clock_mono() + LOAD_US;
    int n;
    while ((n = count_waiting(pf, who)) > 0 && clock_mono() < end) {
        if (poll(pf, (nfds_t)n, 100) <= 0)
            continue;
        for (int i = 0; i < n; i++)
            if (pf[i].revents)
                on_worker(&who[i]->watch, 0);
    }
}

int crew_load(struct bundle *b, bool cold, struct err *e)
{
    int fd = bundle_to_fd(b, e);
    if (fd < 0)
        return -1;
    struct ctl_msg msg = {.type = CTL_LOAD, .id = b->id, .cold = cold};
    for (int i = 0; i < crew.n; i++) {
        struct member *m = &crew.m[i];
        m->refusal[0] = 0;
        if (m->fd >= 0 && ctlmsg_send(m->fd, &msg, fd) == 0)
            m->waiting = true;
    }
    struct bundle *old = crew.bundle;
    crew.bundle = bundle_ref(b);
    wait_answers();
    int rc = 0;
    for (int i = 0; i < crew.n && rc == 0; i++) {
        struct member *m = &crew.m[i];
        if (m->waiting)
            rc = ERR(e, ERR_TIMEOUT, "%s%d did not answer", kind_name(m), m->index);
        else if (m->refusal[0])
            rc = ERR(e, ERR_CONFIG, "%s", m->refusal);
        m->waiting = false;
    }
    if (rc < 0) {
        bundle_unref(crew.bundle);
        crew.bundle = old;
        return -1;
    }
    bundle_unref(old);
    return 0;
}

struct bundle *crew_bundle(void)
{
    return crew.bundle;
}

static void signal_all(int sig)
{
    for (int i = 0; i < crew.n; i++)
        if (crew.m[i].pid)
            kill(crew.m[i].pid, sig);
}

void crew_stop_begin(void)
{
    crew.stopping = true;
    signal_all(SIGTERM);
}

bool crew_stopped(void)
{
    for (int i = 0; i < crew.n; i++)
        if (crew.m[i].pid)
            return false;
    return true;
}

void crew_stop_force(void)
{
    signal_all(SIGKILL);
}

int crew_port(void)
{
    return crew.n ? crew.m[0].port : 0;
}

bool crew_failed(void)
{
    return crew.failed;
}

void crew_json(struct buf *out)
{
    int64_t now = clock_mono();
    buf_puts(out, "[");
    for (int i = 0; i < crew.n; i++) {
        struct member *m = &crew.m[i];
        struct board_slot *b = board_slot(m->slot);
        buf_printf(out,
                   "%s{\"kind\":\"%s\",\"index\":%d,\"pid\":%d,\"ready\":%s,\"bundle\":%lld,"
                   "\"restarts\":%d",
                   i ? "," : "", kind_name(m), m->index, (int)m->pid, m->ready ? "true" : "false",
                   (long long)m->bundle, m->restarts);
        buf_printf(out, ",\"uptime_s\":%lld,\"heartbeat_ms\":%lld}",
                   m->pid ? (long long)((now - m->started) / 1000000) : 0LL,
                   m->ready ? (long long)((now - b->beat) / 1000) : -1LL);
    }
    buf_puts(out, "]");
}
