/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/mediaq.h"

#include <ctype.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/conf.h"
#include "base/log.h"
#include "blob/blob.h"
#include "run/board.h"
#include "run/loop.h"
#include "run/proc.h"
#include "run/threads.h"

#define GiB (INT64_C(1) << 30)
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define AS_BYTES 0 /* its shadow memory is terabytes */
#else
#define AS_BYTES (4 * GiB)
#endif
#define MAX_DURATION_S 43200
#define CPU_BASE_S 60
#define CPU_PER_S 30 /* whole ladder, slow machine */
#define WALL_FACTOR 3
#define STOP_US 5000000
#define TRACE_LINE (4 << 20)
enum { JOB = 3, FDS = 4 };

enum state { RUNNING, CLOSING, OVER };
struct mediaq {
    struct arena *arena; /* the job lives in it */
    struct loop *loop;
    struct threads *threads;
    const char *kind, *id, *in_root, *in_path, *out_root, *out_path, *part;
    void (*ready)(void *arg); /* NULL: nobody is interested */
    void *arg;
    struct proc *proc;
    struct timer kill;
    enum state state;
    enum mediaq_event final; /* MEDIAQ_NONE until known */
    struct buf progress, last;
    bool fresh, cancelled, delivered, keep;
    struct err err; /* of closing */
    struct mediaq *next;
};
static struct mediaq *jobs;

static void destroy(struct mediaq *m)
{
    for (struct mediaq **p = &jobs; *p; p = &(*p)->next)
        if (*p == m) {
            *p = m->next;
            break;
        }
    loop_timer_clear(m->loop, &m->kill);
    buf_fini(&m->progress);
    buf_fini(&m->last);
    struct arena *a = m->arena;
    arena_free(a);
}

static void set_error(struct mediaq *m, const char *code, const char *message)
{
    buf_clear(&m->last);
    buf_printf(&m->last, "{\"error\":{\"code\":\"%s\",\"message\":\"", code);
    buf_put_json(&m->last, str_from(message));
    buf_puts(&m->last, "\"}}");
    m->final = MEDIAQ_ERROR;
}

/* ---- the end: output moves to its place or goes ---- */

/* Half a film that another attempt can go on with. */
static bool is_resumable(const struct mediaq *m)
{
    static const char fault[] = "{\"error\":{\"code\":\"media.internal\"";
    if (strcmp(m->kind, "ingest") != 0 || m->cancelled)
        return false;
    return m->final == MEDIAQ_NONE || (m->final == MEDIAQ_ERROR && m->last.n >= sizeof fault - 1 &&
                                       memcmp(m->last.p, fault, sizeof fault - 1) == 0);
}

static void close_work(void *p)
{
    struct mediaq *m = p;
    if (!m->part || is_resumable(m))
        return;
    if (m->keep) {
        if (blob_remove_tree(m->out_root, m->out_path, &m->err) == 0 &&
            blob_rename(m->out_root, m->part, m->out_root, m->out_path, &m->err) == 0)
            return;
    }
    struct err ignored;
    if (blob_remove_tree(m->out_root, m->part, &ignored) < 0)
        log_err(LOG_WARN, "media.cleanup", &ignored);
}

static void close_done(void *p)
{
    struct mediaq *m = p;
    m->state = OVER;
    if (m->err.code != ERR_NONE) {
        log_err(LOG_ERROR, "media.store", &m->err);
        set_error(m, m->err.code == ERR_DISK_FULL ? "media.disk_full" : "media.internal",
                  "The film could not be stored.");
    }
    if (m->ready)
        m->ready(m->arg);
    else
        destroy(m);
}

static void close_start(struct mediaq *m)
{
    struct err e = {0};
    m->state = CLOSING;
    m->keep = m->final == MEDIAQ_RESULT && m->ready;
    if (m->part && threads_run(m->threads, close_work, close_done, m, &e) == 0)
        return;
    close_work(m); /* nothing to do, or a full pool: late is better than never */
    close_done(m);
}

/* ---- the child ---- */

static void on_line(void *arg, const char *line, size_t n)
{
    struct mediaq *m = arg;
    if (m->final != MEDIAQ_NONE)
        return;
    if (strncmp(line, "{\"progress\"", 11) == 0) {
        buf_clear(&m->progress);
        buf_put(&m->progress, line, n);
        m->fresh = true;
        if (m->ready)
            m->ready(m->arg);
        return;
    }
    bool result = strncmp(line, "{\"result\"", 9) == 0;
    if (!result && strncmp(line, "{\"error\"", 8) != 0)
        return;
    buf_clear(&m->last);
    buf_put(&m->last, line, n);
    m->final = result ? MEDIAQ_RESULT : MEDIAQ_ERROR;
}

static void on_exit(void *arg, int status, const char *stderr_tail)
{
    struct mediaq *m = arg;
    bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    m->proc = NULL;
    loop_timer_clear(m->loop, &m->kill);
    if (m->cancelled && m->final != MEDIAQ_RESULT) {
        set_error(m, "media.cancelled", "The preparation was stopped.");
    } else if (m->final == MEDIAQ_NONE || (m->final == MEDIAQ_RESULT && !clean)) {
        log_event(LOG_ERROR, "media.died", "sssis", "id", m->id, "kind", m->kind, "how",
                  WIFSIGNALED(status) ? "signal" : "exit", "number",
                  (int64_t)(WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)), "stderr",
                  stderr_tail);
        set_error(m, "media.internal", "The film could not be processed.");
    }
    close_start(m);
}

static void on_kill(struct timer *t)
{
    struct mediaq *m = t->arg;
    if (m->proc)
        proc_kill(m->proc, SIGKILL);
}

static int job_fd(const struct mediaq_spec *s, struct err *e)
{
    struct buf b = {0};
    int64_t max = s->max_duration_s ? s->max_duration_s : MAX_DURATION_S;
    buf_printf(&b, "id=%s\nmax_duration_s=%lld\n", s->id, (long long)max);
    if (s->title_secret)
        buf_printf(&b, "title_secret=%s\n", s->title_secret);
    if (s->segment_s)
        buf_printf(&b, "segment_s=%d\n", s->segment_s);
    if (s->threads)
        buf_printf(&b, "threads=%d\n", s->threads);
    if (strcmp(s->kind, "ingest") == 0)
        buf_printf(&b, "cores=%d\njobs=%d\nencoder=%s\n", (int)conf_int("encode_cores"),
                   (int)(conf_int("encode_jobs") * conf_int("job_workers")),
                   conf_str("video_encoder"));
    if (s->max_height)
        buf_printf(&b, "max_height=%d\n", s->max_height);
    if (s->strength >= 0 && strcmp(s->kind, "ingest") == 0)
        buf_printf(&b, "strength=%.3f\n", s->strength);
    if (s->ext)
        buf_printf(&b, "ext=%s\n", s->ext);
    if (s->job)
        buf_puts(&b, s->job);
    buf_puts(&b, "\n");
    int fd = memfd_create("media-job", MFD_CLOEXEC);
    if (fd < 0 || write(fd, b.p, b.n) != (ssize_t)b.n || lseek(fd, 0, SEEK_SET) != 0) {
        err_errno(e, "memfd");
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    memset(b.p, 0, b.n);
    buf_fini(&b);
    return fd;
}

void mediaq_limits(struct proc_spec *p)
{
    p->as_bytes = AS_BYTES;
    p->fsize_bytes = 2 * GiB;
    p->nofile = 64;
    /* threads count, and for a user who does other things too, those of the other things */
    p->nproc = geteuid() == 0 ? 256 : 4096;
}

/* Started by root, the child is somebody who owns nothing. */
int mediaq_user(struct proc_spec *p, int out_fd, struct err *e)
{
    if (geteuid() != 0)
        return 0;
    const char *name = *conf_str("media_user") ? conf_str("media_user") : "nobody";
    struct passwd *pw = getpwnam(name);
    if (!pw)
        return ERR(e, ERR_CONFIG, "media_user: no system user %s", name);
    p->uid = pw->pw_uid;
    p->gid = pw->pw_gid;
    if (out_fd >= 0 && fchown(out_fd, p->uid, p->gid) < 0)
        return err_errno(e, "fchown of the output directory");
    return 0;
}

static int spawn(struct mediaq *m, const struct mediaq_spec *s, const int fds[FDS], struct err *e)
{
    char exe[512]; /* for the eyes of ps; what runs is this very program, whatever lies there now */
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n < 0)
        return err_errno(e, "/proc/self/exe");
    exe[n] = 0;
    char *argv[] = {exe, "media", (char *)m->kind, NULL};
    int64_t max = s->max_duration_s ? s->max_duration_s : MAX_DURATION_S;
    int64_t duration =
        s->duration_s > 0 && s->duration_s < (double)max ? (int64_t)s->duration_s + 1 : max;
    bool probe = strcmp(m->kind, "probe") == 0 || strcmp(m->kind, "still") == 0;
    struct proc_spec p = {
        .argv = argv, .path = "/proc/self/exe", .fds = fds, .nfds = FDS - 1, .stdin_fd = fds[JOB]};
    mediaq_limits(&p);
    p.nice = 10;
    p.line_max = strcmp(m->kind, "trace") == 0 ? TRACE_LINE : 0;
    p.cpu_s = probe ? CPU_BASE_S : CPU_BASE_S + CPU_PER_S * duration;
    p.wall_us = p.cpu_s * WALL_FACTOR * 1000000;
    p.on_line = on_line;
    p.on_exit = on_exit;
    p.arg = m;
    struct stat dir;
    if (mediaq_user(&p, m->part ? fds[1] : -1, e) < 0)
        return -1;
    // A title's files are their owner's alone: the account that the server runs as, which is what starts this child there.
    if (p.uid && strcmp(m->kind, "trace") == 0 && fstat(fds[1], &dir) == 0 && dir.st_uid) {
        p.uid = dir.st_uid;
        p.gid = dir.st_gid;
    }
    if (proc_spawn(m->loop, &p, &m->proc, e) < 0)
        return -1;
    char name[64];
    snprintf(name, sizeof name, "media_children_total{kind=\"%.20s\"}", m->kind);
    board_count(name, 1);
    return 0;
}

/* ---- start ---- */

static bool only(const char *s, const char *extra, size_t min, size_t max)
{
    size_t n = s ? strlen(s) : 0;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr(extra, s[i]))
            return false;
    return n >= min && n <= max;
}

static int check(const struct mediaq_spec *s, struct err *e)
{
    bool ingest = strcmp(s->kind, "ingest") == 0;
    bool sign = strcmp(s->kind, "sign") == 0 || strcmp(s->kind, "still") == 0;
    bool trace = strcmp(s->kind, "trace") == 0;
    if (!ingest && !sign && !trace && strcmp(s->kind, "probe") != 0)
        return ERR(e, ERR_INVALID, "media: unknown kind %s", s->kind);
    if (!only(s->id, "_-", 1, 64))
        return ERR(e, ERR_INVALID, "media: bad id");
    if (ingest && (!only(s->title_secret, "", 64, 64) ||
                   strspn(s->title_secret, "0123456789abcdefABCDEF") != 64))
        return ERR(e, ERR_INVALID, "media: title_secret must be 64 hex digits");
    if (s->ext && !only(s->ext, "", 1, 10))
        return ERR(e, ERR_INVALID, "media: bad ext");
    if (trace && (!s->sign_path || !s->job))
        return ERR(e, ERR_INVALID, "media: trace needs signature and job");
    if ((ingest || sign || trace) && (!s->out_path || !*s->out_path))
        return ERR(e, ERR_INVALID, "media: no output");
    return 0;
}

static struct mediaq *make(struct loop *l, struct threads *t, const struct mediaq_spec *s)
{
    struct arena *a = arena_new();
    struct mediaq *m = arena_alloc(a, sizeof *m);
    m->arena = a;
    m->loop = l;
    m->threads = t;
    m->kind = arena_strdup(a, s->kind);
    m->id = arena_strdup(a, s->id);
    if (strcmp(s->kind, "probe") != 0 && strcmp(s->kind, "trace") != 0) {
        m->out_root = arena_strdup(a, s->out_root);
        m->out_path = arena_strdup(a, s->out_path);
        m->part = arena_printf(a, "%s.part", s->out_path);
    }
    m->kill.fn = on_kill;
    m->kill.arg = m;
    return m;
}

/* fds: input, directory (for probe: /dev/null), signature (but for trace: /dev/null), job (the child's stdin). */
static int open_all(const struct mediaq *m, const struct mediaq_spec *s, int fds[FDS],
                    struct err *e)
{
    if (blob_open(s->in_root, s->in_path, O_RDONLY | O_CLOEXEC, 0, &fds[0], e) < 0)
        return -1;
    if (m->part) {
        // An ingest sorts out itself what it can use.
        bool again = strcmp(m->kind, "ingest") == 0;
        if ((!again && blob_remove_tree(m->out_root, m->part, e) < 0) ||
            blob_mkdirs(m->out_root, m->part, e) < 0 ||
            blob_open(m->out_root, m->part, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, &fds[1], e) < 0)
            return -1;
    }
    if (strcmp(m->kind, "trace") == 0 &&
        (blob_open(s->out_root, s->out_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, &fds[1], e) <
             0 ||
         blob_open("tmp", s->sign_path, O_RDONLY | O_CLOEXEC, 0, &fds[2], e) < 0))
        return -1;
    for (int i = 1; i < JOB; i++)
        if (fds[i] < 0 && (fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0)
            return err_errno(e, "/dev/null");
    fds[JOB] = job_fd(s, e);
    return fds[JOB] < 0 ? -1 : 0;
}

int mediaq_start(struct loop *l, struct threads *t, const struct mediaq_spec *s,
                 void (*ready)(void *arg), void *arg, struct mediaq **out, struct err *e)
{
    if (check(s, e) < 0)
        return -1;
    int fds[FDS] = {-1, -1, -1, -1};
    struct mediaq *m = make(l, t, s);
    int rc = open_all(m, s, fds, e);
    if (rc == 0)
        rc = spawn(m, s, fds, e);
    for (int i = 0; i < FDS; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    if (rc < 0) {
        struct err ignored;
        if (m->part && !is_resumable(m) && blob_remove_tree(m->out_root, m->part, &ignored) < 0)
            log_err(LOG_WARN, "media.cleanup", &ignored);
        destroy(m);
        return -1;
    }
    m->ready = ready;
    m->arg = arg;
    m->next = jobs;
    jobs = m;
    *out = m;
    return 0;
}

enum mediaq_event mediaq_next(struct mediaq *m, struct str *json)
{
    *json = (struct str){"", 0};
    if (m->state == OVER) {
        if (m->delivered)
            return MEDIAQ_OVER;
        m->delivered = true;
        *json = (struct str){m->last.p, m->last.n};
        return m->final;
    }
    if (!m->fresh)
        return MEDIAQ_NONE;
    m->fresh = false;
    *json = (struct str){m->progress.p, m->progress.n};
    return MEDIAQ_PROGRESS;
}

void mediaq_cancel(struct mediaq *m)
{
    if (!m->proc || m->cancelled)
        return;
    m->cancelled = true;
    proc_kill(m->proc, SIGTERM);
    loop_timer_set(m->loop, &m->kill, STOP_US);
}

bool mediaq_cancel_id(const char *id)
{
    for (struct mediaq *m = jobs; m; m = m->next)
        if (strcmp(m->id, id) == 0 && m->proc) {
            mediaq_cancel(m);
            return true;
        }
    return false;
}

void mediaq_free(struct mediaq *m)
{
    if (!m)
        return;
    m->ready = NULL;
    if (m->state == OVER)
        destroy(m);
    else if (m->proc)
        proc_kill(m->proc, SIGKILL);
}
