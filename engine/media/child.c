// SPDX-License-Identifier: Apache-2.0
#include "media/child.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libavutil/cpu.h>
#include <libavutil/log.h>
#include <malloc.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/str.h"
#include "media/burstjob.h"
#include "media/coder.h"
#include "media/fail.h"
#include "media/ingest.h"
#include "media/mark.h"
#include "media/probe.h"
#include "media/sandbox.h"
#include "media/still.h"
#include "media/store.h"
#include "media/trace.h"

enum {
    INPUT_FD = 3,
    OUTPUT_FD = 4,
    SIGN_FD = 5,
    JOB_MAX = 4096,
    TRACE_JOB_MAX = 8 << 20,
    LOG_LINES = 40,
    MAX_THREADS = 16,
    STILL_ALLOC = 512 << 20,
    EXIT_CANCELLED = 3,
    SPEED_S = 20,       // over which the speed of progress is smoothed
    ENCODER_VERSION = 1 // raised when segments of before do not go with those of now
};

static volatile sig_atomic_t stopped; // the signal's number

static void on_signal(int sig)
{
    stopped = sig;
}

static void say(const struct buf *line)
{
    for (size_t done = 0; done < line->n;) {
        ssize_t w = write(STDOUT_FILENO, line->p + done, line->n - done);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return; // the parent is gone; SIGPIPE is ignored and the limits end us
        done += (size_t)w;
    }
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Time left at the speed of late: what an earlier attempt has finished goes by much faster than the rest. */
static double time_left(double t, double part)
{
    static double began, last, last_part, speed;
    if (!began)
        began = last = t;
    double step = t - last;
    if (step > 0 && part >= last_part) {
        double weight = fmax(step / SPEED_S, step / (t - began)); // a plain mean at first
        speed += ((part - last_part) / step - speed) * fmin(1, weight);
        last = t;
        last_part = part;
    }
    return speed > 0 && part > 0.005 ? (1 - part) / speed : -1;
}

static void progress(const char *stage, double part)
{
    static double last = -1;
    static const char *stage_said = "";
    double t = now();
    if (stage == stage_said && t - last < 0.5)
        return;
    last = t;
    stage_said = stage;
    struct buf b = {0};
    double left = time_left(t, part);
    buf_printf(&b, "{\"progress\":%.4f,", part);
    if (left >= 0)
        buf_printf(&b, "\"eta_s\":%.1f,", left);
    buf_printf(&b, "\"stage\":\"%s\"}\n", stage);
    say(&b);
    buf_fini(&b);
}

static int fail(const struct err *e)
{
    struct buf b = {0};
    const char *code = fail_code(e), *text = e->msg;
    if (stopped == SIGTERM) {
        code = "media.cancelled";
        text = "The job was cancelled.";
    } else if (stopped == SIGXCPU) {
        code = "media.too_costly";
        text = "The video needs more computing time than a video of its length gets here.";
    } else if (e->code != ERR_MEDIA) {
        fprintf(stderr, "media: %s\n", e->msg);
        text = e->code == ERR_DISK_FULL ? "There is no space left on the server; try again later."
                                        : "The server could not store the video; try again later.";
    }
    buf_printf(&b, "{\"error\":{\"code\":\"%s\",\"message\":\"", code);
    buf_put_json(&b, str_from(text));
    buf_puts(&b, "\"}}\n");
    say(&b);
    buf_fini(&b);
    return stopped == SIGTERM ? EXIT_CANCELLED : 1;
}

/* The job ends with an empty line; a pipe may deliver it in pieces. */
static int read_job(char *text, size_t max, struct err *e)
{
    size_t n = 0;
    text[0] = '\0';
    while (!(n && text[0] == '\n') && !(n > 1 && !memcmp(text + n - 2, "\n\n", 2))) {
        ssize_t r = n + 1 < max ? read(STDIN_FILENO, text + n, max - 1 - n) : 0;
        if (r < 0 && errno == EINTR && !stopped)
            continue;
        if (r <= 0)
            return fail_set(e, "media.bad_job", "The job is incomplete.");
        n += (size_t)r;
        text[n] = '\0';
        if (strlen(text) != n)
            return fail_set(e, "media.bad_job", "The job holds a NUL byte.");
    }
    return 0;
}

static int set_number(int *to, const char *v, int min, int max)
{
    int64_t n;
    if (str_to_int64(str_from(v), &n) || n < min || n > max)
        return -1;
    *to = (int)n;
    return 0;
}

/* 0, 0.75, 1.2: digits and one point, nothing else that strtod would take. */
static int set_strength(double *to, const char *v)
{
    if (!*v || strspn(v, "0123456789.") != strlen(v) || strlen(v) > 8)
        return -1;
    char *end;
    *to = strtod(v, &end);
    return *end || *to > MARK_STRENGTH_MAX ? -1 : 0;
}

static int set_word(char *to, size_t max, const char *v, size_t min)
{
    size_t n = strlen(v);
    if (n < min || n > max)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)v[i]) && v[i] != '_' && v[i] != '-')
            return -1;
    memcpy(to, v, n + 1);
    return 0;
}

static int set_value(struct ingest_job *j, int key, const char *v)
{
    switch (key) {
    case 0: return set_word(j->id, 64, v, 1);
    case 1: return str_unhex(str_from(v), j->secret, sizeof j->secret) == sizeof j->secret ? 0 : -1;
    case 2: return set_number(&j->segment_s, v, 1, 6);
    case 3: return set_number(&j->threads, v, 0, 16);
    case 4: return set_number(&j->max_duration_s, v, 1, 43200);
    case 5: return set_number(&j->max_height, v, 144, 1080);
    case 6: return set_strength(&j->strength, v);
    case 7: return set_number(&j->cores, v, 0, 256);
    case 8: return set_number(&j->jobs, v, 0, 4096);
    case 9: return set_word(j->wanted, sizeof j->wanted - 1, v, 1);
    default: return set_word(j->ext, 16, v, 0);
    }
}

static int parse_job(struct ingest_job *j, char *text, bool ingest, struct err *e)
{
    static const char *const keys[] = {
        "id",    "title_secret", "segment_s", "threads", "max_duration_s", "max_height", "strength",
        "cores", "jobs",         "encoder",   "ext"};
    enum { KEYS = sizeof keys / sizeof *keys };
    unsigned seen = 0;
    for (char *line = text, *next; *line && *line != '\n'; line = next) {
        char *end = strchr(line, '\n'), *eq;
        next = end + 1;
        *end = '\0';
        int k = 0;
        if (!(eq = strchr(line, '=')))
            return fail_set(e, "media.bad_job", "A line of the job has no '='.");
        *eq = '\0';
        while (k < KEYS && strcmp(line, keys[k]))
            k++;
        if (k == KEYS || seen & 1u << k || set_value(j, k, eq + 1))
            return fail_set(e, "media.bad_job",
                            "The job's key \"%.32s\" is unknown, repeated or has a bad value.",
                            line);
        seen |= 1u << k;
    }
    if (!(seen & 1) || (ingest && !(seen & 2)))
        return fail_set(e, "media.bad_job", "The job lacks id or title_secret.");
    return 0;
}

/* A hostile file could write gigabytes of warnings. */
static void quiet_log(void *avcl, int level, const char *fmt, va_list ap)
{
    static atomic_int lines;
    char text[512];
    (void)avcl;
    if (level > AV_LOG_ERROR || atomic_fetch_add(&lines, 1) >= LOG_LINES)
        return;
    vsnprintf(text, sizeof text, fmt, ap);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 32 || *p == 127)
            *p = ' ';
    dprintf(STDERR_FILENO, "libav: %s\n", text);
}

/* Keeps to the last n of the cores we may use: they are the same ones for every encode, so that all of them together leave the
 * others free. Before threads start. */
static void keep_to(int n)
{
    cpu_set_t all, mine;
    CPU_ZERO(&mine);
    if (n <= 0 || sched_getaffinity(0, sizeof all, &all))
        return;
    for (int cpu = CPU_SETSIZE - 1; cpu >= 0 && n > 0; cpu--)
        if (CPU_ISSET(cpu, &all)) {
            CPU_SET(cpu, &mine);
            n--;
        }
    if (sched_setaffinity(0, sizeof mine, &mine))
        fprintf(stderr, "media: the cores cannot be limited: %s\n", strerror(errno));
}

static int share_of_cores(int jobs)
{
    int n = av_cpu_count() / (jobs > 1 ? jobs : 1);
    return n < 1 ? 1 : n < MAX_THREADS ? n : MAX_THREADS;
}

static void settle(void)
{
    struct sigaction sa = {.sa_handler = on_signal};
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGXCPU, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    // One arena per thread would reserve gigabytes of address space, which the parent limits.
    mallopt(M_ARENA_MAX, 4);
    av_log_set_callback(quiet_log);
    av_log_set_level(AV_LOG_ERROR);
}

/* Everything that decides what the output is; another one is no continuation. */
static int open_journal(struct journal *log, const struct ingest_job *j, struct err *e)
{
    char what[256];
    struct stat st;
    if (fstat(j->fd, &st))
        return err_errno(e, "look at the input");
    snprintf(what, sizeof what, "%d|%s|%lld|%lld.%09ld|%.3f|%d|%d|%d", ENCODER_VERSION, j->id,
             (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, j->strength,
             j->segment_s, j->max_height, j->max_duration_s);
    return journal_open(log, j->dirfd, j->secret, what, j->strength > 0, e);
}

/* Devices are looked for while they can be opened. A mark needs variants whose segments fit each other and those that are made
 * later for one viewer, in software. */
static void choose_encoder(struct ingest_job *j)
{
    static char why[160];
    if (!j->wanted[0] || !strcmp(j->wanted, "software"))
        return;
    if (j->strength > 0)
        snprintf(why, sizeof why, "films with an invisible mark are encoded in software");
    else
        j->encoder = coder_hardware(j->wanted, why);
    if (!j->encoder)
        j->fallback = why;
}

static int prepare(struct ingest_job *j, bool ingest, struct err *e)
{
    char text[JOB_MAX], layers[64];
    struct stat st;
    settle();
    *j = (struct ingest_job){.strength = MARK_STRENGTH,
                             .segment_s = 2,
                             .max_duration_s = 43200,
                             .max_height = 1080,
                             .fd = INPUT_FD,
                             .dirfd = OUTPUT_FD,
                             .cancel = &stopped,
                             .progress = progress};
    int rc = read_job(text, sizeof text, e) || parse_job(j, text, ingest, e);
    explicit_bzero(text, sizeof text);
    if (rc)
        return -1;
    if (ingest && (fstat(OUTPUT_FD, &st) || !S_ISDIR(st.st_mode)))
        return fail_set(e, "media.bad_job", "The output is not a directory.");
    umask(022);
    av_get_cpu_flags();
    keep_to(j->cores);
    if (!j->threads)
        j->threads = share_of_cores(j->jobs); // asks /sys, which is out of reach later
    static struct journal journal;
    if (ingest)
        choose_encoder(j);
    if (probe_guard(e) || store_warm(e))
        return -1;
    if (ingest && open_journal(&journal, j, e))
        return -1;
    j->journal = &journal;
    if (sandbox_enter(ingest ? OUTPUT_FD : -1, false, j->encoder != NULL, layers, e))
        return -1;
    dprintf(STDERR_FILENO, "media: sandbox %s\n", layers);
    return 0;
}

static int run_probe(const struct ingest_job *j, struct buf *out, struct err *e)
{
    struct probe p;
    int rc = probe_open(&p, j->fd, j->cancel, j->ext, e);
    if (!rc && p.seconds > j->max_duration_s)
        rc = fail_set(e, "media.too_long", "The video is longer than the %d minutes allowed here.",
                      j->max_duration_s / 60);
    if (!rc)
        probe_json(&p, out);
    probe_close(&p);
    return rc;
}

/* One line of stdin, without its end; -1 at the end of stdin. */
static int read_line(char line[BURSTJOB_LINE])
{
    static char text[BURSTJOB_LINE];
    static size_t have;
    char *end;
    while (!(end = memchr(text, '\n', have))) {
        ssize_t r = have < sizeof text ? read(STDIN_FILENO, text + have, sizeof text - have) : 0;
        if (r < 0 && errno == EINTR && !stopped)
            continue;
        if (r <= 0)
            return -1;
        have += (size_t)r;
    }
    size_t n = (size_t)(end - text);
    memcpy(line, text, n);
    line[n] = '\0';
    memmove(text, end + 1, have - n - 1);
    have -= n + 1;
    return 0;
}

/* Works until stdin ends. The font is read before the sandbox closes; no job can open anything. */
static int run_bursts(void)
{
    struct label_font font;
    struct err e = {0};
    char layers[64], line[BURSTJOB_LINE];
    struct buf out = {0};
    struct stat st;
    settle();
    char *window = MAP_FAILED;
    if (!fstat(INPUT_FD, &st) && st.st_size == BURSTJOB_WINDOW)
        window = mmap(NULL, BURSTJOB_WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED, INPUT_FD, 0);
    if (window == MAP_FAILED)
        return fail_set(&e, "media.bad_job", "There is no window."), fail(&e);
    av_get_cpu_flags();
    if (label_font_open(&font, NULL, &e) || sandbox_enter(-1, false, false, layers, &e))
        return fail(&e);
    dprintf(STDERR_FILENO, "media: sandbox %s\n", layers);
    while (!read_line(line) && !stopped) {
        buf_clear(&out);
        burstjob_do(window, line, &font, &out);
        say(&out);
    }
    buf_fini(&out);
    label_font_close(&font);
    return 0;
}

static int run_trace(bool reads, struct buf *out, struct err *e)
{
    struct trace_job j = {.fd = INPUT_FD,
                          .dirfd = OUTPUT_FD,
                          .sign_fd = SIGN_FD,
                          .cancel = &stopped,
                          .progress = progress};
    char *text = malloc(TRACE_JOB_MAX), layers[64];
    must(text != NULL);
    settle();
    int rc = read_job(text, TRACE_JOB_MAX, e) || trace_parse(&j, text, reads, e);
    explicit_bzero(text, TRACE_JOB_MAX);
    free(text);
    umask(077);
    av_get_cpu_flags();
    rc = rc || probe_guard(e) || store_warm(e) || sandbox_enter(OUTPUT_FD, reads, false, layers, e);
    if (!rc)
        rc = reads ? trace_run(&j, out, e) : trace_sign(&j, out, e);
    trace_job_fini(&j);
    return rc ? -1 : 0;
}

/* For whoever sets the limits. */
static void say_cost(void)
{
    struct rusage r;
    if (getrusage(RUSAGE_SELF, &r))
        return;
    fprintf(stderr, "media: took %.2f s of computing time and %ld MiB\n",
            (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
                (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6,
            r.ru_maxrss / 1024);
}

static int run_still(struct buf *out, struct err *e)
{
    struct ingest_job j = {0};
    char text[JOB_MAX], layers[64];
    settle();
    umask(022);
    av_get_cpu_flags();
    av_max_alloc(STILL_ALLOC);
    return read_job(text, sizeof text, e) || parse_job(&j, text, false, e) || store_warm(e) ||
                   sandbox_enter(OUTPUT_FD, false, false, layers, e) ||
                   still_run(INPUT_FD, OUTPUT_FD, out, e)
               ? -1
               : 0;
}

int child_main(int argc, char **argv)
{
    struct ingest_job job;
    struct err e = {0};
    struct buf out = {0}, line = {0};
    const char *kind = argc > 0 ? argv[argc - 1] : "";
    bool ingest = !strcmp(kind, "ingest");
    if (!strcmp(kind, "burst"))
        return run_bursts();
    bool sign = !strcmp(kind, "sign"), traces = !strcmp(kind, "trace");
    int rc;
    if (!strcmp(kind, "still")) {
        rc = run_still(&out, &e);
    } else if (sign || traces) {
        rc = run_trace(traces, &out, &e);
    } else if (ingest || !strcmp(kind, "probe")) {
        rc = prepare(&job, ingest, &e);
        if (!rc)
            rc = ingest ? ingest_run(&job, &out, &e) : run_probe(&job, &out, &e);
        explicit_bzero(job.secret, sizeof job.secret);
    } else {
        fprintf(
            stderr,
            "usage: ppv media probe|ingest|still|burst|sign|trace   (started by the workers)\n");
        return 2;
    }
    say_cost();
    if (rc) {
        rc = fail(&e);
    } else {
        buf_puts(&line, "{\"result\":");
        buf_put(&line, out.p, out.n);
        buf_puts(&line, "}\n");
        say(&line);
    }
    buf_fini(&out);
    buf_fini(&line);
    return rc;
}
