/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/burstq.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/clock.h"
#include "base/conf.h"
#include "base/log.h"
#include "blob/blob.h"
#include "crypto/digest.h"
#include "domain/burstfile.h"
#include "domain/mediaq.h"
#include "media/burstjob.h"
#include "run/board.h"
#include "run/cache.h"
#include "run/proc.h"
#include "run/threads.h"

enum { CHILDREN = 64, JOBS_PER_CHILD = 500, TRIES = 2 };
#define JOB_US 30000000 /* a segment of six seconds at 1080p on a busy machine */
#define CHILD_CPU_S 1800
#define STALE_US 20000000
#define SLOT_US 15000 /* how often a free place on the machine is looked for */
#define REFUSED_US 600000000

enum stage { QUEUED, LOADING, ENCODING, STORING };
struct burstq_job {
    struct arena *arena;
    struct burstq_spec s;
    struct threads *threads;
    enum stage stage;
    int tries;
    int64_t asked;
    struct child *child;
    struct burstq_wait *waits;
    size_t init_n, segment_n, out_n;
    bool found; /* somebody else made it meanwhile */
    struct err err;
    struct burstq_job *next;
};
struct child {
    struct loop *loop;
    struct proc *proc; /* NULL: not running */
    char *window;
    int in;   /* its stdin */
    int slot; /* lock on a place of the machine, -1 = none */
    int served;
    bool dying; /* killed; on_exit is to come */
    struct timer limit;
    struct burstq_job *job;
};
static struct child children[CHILDREN];
static struct burstq_job *jobs; /* oldest first, those in work included */
static int njobs;
static struct timer again;

static void pump(struct loop *l);

static int max_children(void)
{
    int n = (int)conf_int("burst_workers");
    if (n <= 0)
        n = (int)sysconf(_SC_NPROCESSORS_ONLN) - 1;
    return n < 1 ? 1 : n > CHILDREN ? CHILDREN : n;
}

/* ---- places on the machine ---- */

/* A descriptor that holds the lock, or -1. */
static int slot_take(void)
{
    for (int i = 0; i < max_children(); i++) {
        char name[16];
        snprintf(name, sizeof name, ".slot%d", i);
        int fd = openat(blob_dirfd("burst"), name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            return fd;
        if (fd >= 0)
            close(fd);
    }
    return -1;
}

static void slot_give(struct child *c)
{
    if (c->slot >= 0) {
        flock(c->slot, LOCK_UN); /* a child being forked may hold a copy for a moment */
        close(c->slot);
    }
    c->slot = -1;
}

/* ---- the end of a job ---- */

static void refusal_key(const char *path, char out[300])
{
    snprintf(out, 300, "burst-no:%.280s", path);
}

static void unlink_wait(struct burstq_wait *w)
{
    for (struct burstq_wait **p = &w->job->waits; *p; p = &(*p)->next)
        if (*p == w) {
            *p = w->next;
            break;
        }
    w->job = NULL;
}

static void job_end(struct loop *l, struct burstq_job *j, enum burstq_state state)
{
    for (struct burstq_job **p = &jobs; *p; p = &(*p)->next)
        if (*p == j) {
            *p = j->next;
            break;
        }
    board_gauge("burst_queue", --njobs);
    if (state == BURSTQ_REFUSED) {
        char key[300];
        refusal_key(j->s.path, key);
        cache_set(str_from(key), str_from("1"), REFUSED_US);
    }
    while (j->waits) {
        struct burstq_wait *w = j->waits;
        unlink_wait(w);
        loop_timer_clear(l, &w->timer);
        w->state = state;
        w->fn(w);
    }
    digest_wipe(&j->s, sizeof j->s);
    struct arena *a = j->arena;
    arena_free(a);
}

static void forget_child(struct child *c)
{
    close(c->in);
    munmap(c->window, BURSTJOB_WINDOW);
    c->proc = NULL;
    c->window = NULL;
    c->served = 0;
    c->dying = false;
}

/* The child is free for the next one. */
static void job_over(struct child *c, enum burstq_state state)
{
    struct burstq_job *j = c->job;
    struct loop *l = c->loop;
    c->job = NULL;
    slot_give(c);
    if (!c->proc)
        forget_child(c); /* it died while the pool used the window */
    if (state == BURSTQ_FAILED && j->err.code != ERR_NONE)
        log_err(LOG_WARN, "burst.failed", &j->err);
    job_end(l, j, state);
    if (c->served >= JOBS_PER_CHILD && c->proc && !c->dying) {
        c->dying = true;
        proc_kill(c->proc, SIGKILL);
    }
    pump(l);
}

/* ---- stages ---- */

static void store_work(void *p)
{
    struct burstq_job *j = p;
    char *out = malloc(j->out_n + 16);
    must(out);
    long n = digest_aes128_cbc_encrypt(j->s.own, j->s.iv, j->child->window, j->out_n, out);
    if (n < 0)
        ERR(&j->err, ERR_INTERNAL, "the crypto library failed");
    else
        burstfile_put(j->s.path, out, (size_t)n, &j->err);
    free(out);
}

static void store_done(void *p)
{
    struct burstq_job *j = p;
    if (j->err.code == ERR_NONE)
        board_count("burst_encodes_total", 1);
    job_over(j->child, j->err.code == ERR_NONE ? BURSTQ_READY : BURSTQ_FAILED);
}

static void on_line(void *arg, const char *line, size_t n)
{
    struct child *c = arg;
    struct burstq_job *j = c->job;
    int64_t size;
    if (!j || j->stage != ENCODING || n < 4)
        return;
    loop_timer_clear(c->loop, &c->limit);
    c->served++;
    if (strncmp(line, "ok ", 3) == 0 && str_to_int64(str_from(line + 3), &size) == 0 && size > 0 &&
        size <= BURSTJOB_WINDOW) {
        j->stage = STORING;
        j->out_n = (size_t)size;
        if (threads_run(j->threads, store_work, store_done, j, &j->err) < 0)
            job_over(c, BURSTQ_FAILED);
        return;
    }
    log_event(LOG_WARN, "burst.refused", "ss", "segment", j->s.segment, "answer", line);
    job_over(c, BURSTQ_REFUSED);
}

/* The child is gone while a job needed it. */
static void job_again(struct child *c)
{
    struct burstq_job *j = c->job;
    if (++j->tries >= TRIES) {
        job_over(c, BURSTQ_REFUSED);
        return;
    }
    c->job = NULL;
    slot_give(c);
    forget_child(c);
    j->stage = QUEUED;
    j->child = NULL;
    pump(c->loop);
}

static void on_gone(void *arg, int status, const char *stderr_tail)
{
    struct child *c = arg;
    loop_timer_clear(c->loop, &c->limit);
    c->proc = NULL;
    if (c->served < JOBS_PER_CHILD)
        log_event(LOG_WARN, "burst.died", "sis", "how", WIFSIGNALED(status) ? "signal" : "exit",
                  "number", (int64_t)(WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)),
                  "stderr", stderr_tail);
    if (!c->job) {
        forget_child(c);
        pump(c->loop);
    } else if (c->job->stage == ENCODING) {
        job_again(c);
    } /* else the pool works on the window: the end of that work finds the child gone */
}

static void on_limit(struct timer *t)
{
    struct child *c = t->arg;
    c->dying = true;
    proc_kill(c->proc, SIGKILL);
}

/* ---- a job begins ---- */

static int load(struct burstq_job *j, char *window)
{
    struct buf in = {0};
    int rc = blob_read("media", j->s.init, BURSTJOB_WINDOW / 16, &in, &j->err);
    if (rc == 0) {
        memcpy(window, in.p, in.n);
        j->init_n = in.n;
        buf_clear(&in);
        rc = blob_read("media", j->s.segment, BURSTJOB_WINDOW - j->init_n, &in, &j->err);
    }
    if (rc == 0) {
        long n = digest_aes128_cbc_decrypt(j->s.key, j->s.iv, in.p, in.n, window + j->init_n);
        if (n < 0)
            rc = ERR(&j->err, ERR_INVALID, "%s is not sealed with this key", j->s.segment);
        j->segment_n = n < 0 ? 0 : (size_t)n;
    }
    buf_fini(&in);
    return rc;
}

static void load_work(void *p)
{
    struct burstq_job *j = p;
    j->found = burstfile_has(j->s.path);
    if (!j->found)
        load(j, j->child->window);
}

static void load_done(void *p)
{
    struct burstq_job *j = p;
    struct child *c = j->child;
    if (j->found || j->err.code != ERR_NONE) {
        if (j->err.code == ERR_INVALID)
            log_err(LOG_WARN, "burst.refused", &j->err);
        job_over(c, j->found                     ? BURSTQ_READY
                    : j->err.code == ERR_INVALID ? BURSTQ_REFUSED
                                                 : BURSTQ_FAILED);
        return;
    }
    j->stage = ENCODING;
    if (!c->proc) {
        job_again(c);
        return;
    }
    struct buf line = {0};
    burstjob_line(&line, j->init_n, j->segment_n, &j->s.place, j->s.name, j->s.tail);
    loop_timer_set(c->loop, &c->limit, JOB_US);
    if (write(c->in, line.p, line.n) != (ssize_t)line.n) {
        c->dying = true;
        proc_kill(c->proc, SIGKILL); /* on_gone goes on from here */
    }
    buf_fini(&line);
}

static int make_window(struct child *c, int *fd, struct err *e)
{
    *fd = memfd_create("burst", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    /* A child that could shrink it would take us along. */
    if (*fd < 0 || ftruncate(*fd, BURSTJOB_WINDOW) < 0 ||
        fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return err_errno(e, "memfd");
    c->window = mmap(NULL, BURSTJOB_WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    if (c->window == MAP_FAILED) {
        c->window = NULL;
        return err_errno(e, "mmap");
    }
    return 0;
}

static int child_start(struct loop *l, struct child *c, struct err *e)
{
    char *argv[] = {"ppv", "media", "burst", NULL};
    int fd = -1, in[2] = {-1, -1};
    struct proc_spec p = {.argv = argv, .path = "/proc/self/exe", .fds = &fd, .nfds = 1};
    *c = (struct child){.loop = l, .slot = -1, .limit = {.fn = on_limit, .arg = c}};
    int rc = make_window(c, &fd, e);
    if (rc == 0 && pipe2(in, O_CLOEXEC) < 0)
        rc = err_errno(e, "pipe");
    if (rc == 0) {
        mediaq_limits(&p);
        p.stdin_fd = in[0];
        p.nice = 5;
        p.cpu_s = CHILD_CPU_S;
        p.line_max = 256;
        p.on_line = on_line;
        p.on_exit = on_gone;
        p.arg = c;
        rc = mediaq_user(&p, -1, e);
    }
    if (rc == 0)
        rc = proc_spawn(l, &p, &c->proc, e);
    if (rc == 0)
        board_count("media_children_total{kind=\"burst\"}", 1);
    if (fd >= 0)
        close(fd);
    if (in[0] >= 0)
        close(in[0]);
    c->in = in[1];
    if (rc < 0) {
        if (c->in >= 0)
            close(c->in);
        if (c->window)
            munmap(c->window, BURSTJOB_WINDOW);
        *c = (struct child){.slot = -1};
        return -1;
    }
    fcntl(c->in, F_SETFL, O_NONBLOCK);
    return 0;
}

/* One without work; when there is room a new one. NULL with e: none can be started; without e: all are busy. */
static struct child *child_free(struct loop *l, struct err *e)
{
    struct child *empty = NULL;
    for (int i = 0; i < max_children(); i++) {
        struct child *c = &children[i];
        if (c->proc && !c->job && !c->dying)
            return c;
        if (!c->window && !empty)
            empty = c;
    }
    return empty && child_start(l, empty, e) == 0 ? empty : NULL;
}

static struct burstq_job *job_next(void)
{
    struct burstq_job *first = NULL;
    for (struct burstq_job *j = jobs; j; j = j->next)
        if (j->stage == QUEUED) {
            if (j->waits)
                return j;
            first = first ? first : j;
        }
    return first;
}

static void drop_stale(struct loop *l)
{
    int64_t limit = clock_mono() - STALE_US;
    for (struct burstq_job *j = jobs, *next; j; j = next) {
        next = j->next;
        if (j->stage == QUEUED && !j->waits && j->asked < limit)
            job_end(l, j, BURSTQ_LATE);
    }
}

static void pump(struct loop *l)
{
    struct burstq_job *j;
    drop_stale(l);
    while ((j = job_next())) {
        struct err e = {0};
        struct child *c = child_free(l, &e);
        if (!c && e.code == ERR_NONE)
            return; /* the end of a job comes back here */
        if (!c) {
            log_err(LOG_ERROR, "burst.child", &e);
            job_end(l, j, BURSTQ_FAILED);
            continue;
        }
        if ((c->slot = slot_take()) < 0) {
            loop_timer_set(l, &again, SLOT_US);
            return;
        }
        c->job = j;
        j->child = c;
        j->stage = LOADING;
        j->err = (struct err){0};
        if (threads_run(j->threads, load_work, load_done, j, &j->err) < 0) {
            c->job = NULL;
            slot_give(c);
            j->child = NULL;
            j->stage = QUEUED;
            loop_timer_set(l, &again, SLOT_US); /* the pool is full */
            return;
        }
    }
}

static void on_again(struct timer *t)
{
    pump(t->arg);
}

/* ---- asking ---- */

static struct burstq_job *job_find(const char *path)
{
    for (struct burstq_job *j = jobs; j; j = j->next)
        if (strcmp(j->s.path, path) == 0)
            return j;
    return NULL;
}

/* Room for one more: somebody who waits may push out a job that nobody waits for. */
static bool make_room(struct loop *l, const char *owner, bool waits)
{
    struct burstq_job *idle = NULL;
    int own = 0;
    for (struct burstq_job *j = jobs; j; j = j->next) {
        if (j->stage == QUEUED && !j->waits)
            idle = j;
        own += (j->waits != NULL) == waits && strcmp(j->s.owner, owner) == 0;
    }
    if (own >= BURSTQ_PER_OWNER)
        return false;
    if (njobs < BURSTQ_JOBS)
        return true;
    if (!waits || !idle)
        return false;
    job_end(l, idle, BURSTQ_LATE);
    return true;
}

static struct burstq_job *job_new(struct threads *t, const struct burstq_spec *s)
{
    struct arena *a = arena_new();
    struct burstq_job *j = arena_alloc(a, sizeof *j), **end = &jobs;
    j->arena = a;
    j->s = *s;
    j->s.path = arena_strdup(a, s->path);
    j->s.init = arena_strdup(a, s->init);
    j->s.segment = arena_strdup(a, s->segment);
    j->s.owner = arena_strdup(a, s->owner);
    j->s.name = (struct str){arena_strndup(a, s->name.p, s->name.n), s->name.n};
    j->s.tail = (struct str){arena_strndup(a, s->tail.p, s->tail.n), s->tail.n};
    j->threads = t;
    j->asked = clock_mono();
    while (*end)
        end = &(*end)->next;
    *end = j;
    board_gauge("burst_queue", ++njobs);
    return j;
}

static void on_late(struct timer *t)
{
    struct burstq_wait *w = t->arg;
    struct burstq_job *j = w->job;
    struct loop *l = again.arg;
    unlink_wait(w);
    if (w->drop && j->stage == QUEUED && !j->waits)
        job_end(l, j, BURSTQ_LATE);
    w->fn(w);
}

enum burstq_state burstq_ask(struct loop *l, struct threads *t, const struct burstq_spec *s,
                             struct burstq_wait *w, int64_t us, bool drop)
{
    char key[300];
    struct buf ignored = {0};
    if (burstfile_has(s->path))
        return BURSTQ_READY;
    refusal_key(s->path, key);
    bool refused = cache_get(str_from(key), &ignored);
    buf_fini(&ignored);
    if (refused)
        return BURSTQ_REFUSED;
    struct burstq_job *j = job_find(s->path);
    if (!j) {
        if (!make_room(l, s->owner, w != NULL))
            return BURSTQ_FULL;
        j = job_new(t, s);
    }
    if (w) {
        w->state = BURSTQ_LATE;
        w->drop = drop;
        w->job = j;
        w->next = j->waits;
        j->waits = w;
        w->timer = (struct timer){.fn = on_late, .arg = w};
        loop_timer_set(l, &w->timer, us);
    }
    again.fn = on_again;
    again.arg = l;
    loop_timer_set(l, &again, 0);
    return BURSTQ_LATE;
}

void burstq_leave(struct burstq_wait *w)
{
    if (!w->job)
        return;
    loop_timer_clear(again.arg, &w->timer);
    unlink_wait(w);
}

int burstq_load(int *waited)
{
    *waited = 0;
    for (struct burstq_job *j = jobs; j; j = j->next)
        *waited += j->waits != NULL;
    return njobs;
}

int burstq_children(int *pids, int max)
{
    int n = 0;
    for (int i = 0; i < CHILDREN && n < max; i++)
        if (children[i].proc)
            pids[n++] = (int)proc_pid(children[i].proc);
    return n;
}
