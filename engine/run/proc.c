/* SPDX-License-Identifier: Apache-2.0 */
#include "run/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run/loop.h"

enum { TAIL = 4096, MAX_FDS = 32, CPU_GRACE_S = 5 };

struct proc {
    struct loop *loop;
    pid_t pid;
    struct watch exited, out, err; /* exited.fd: pidfd */
    struct timer wall;
    char *line;
    size_t line_n, line_max;
    char tail[TAIL + 1]; /* last bytes of stderr */
    size_t tail_n;
    void (*on_line)(void *arg, const char *line, size_t n);
    void (*on_exit)(void *arg, int wait_status, const char *stderr_tail);
    void *arg;
};

/* ---- in the child, between fork and exec: only async-signal-safe calls ---- */

static void child_fail(int report, int step)
{
    int message[2] = {errno, step};
    ssize_t ignored = write(report, message, sizeof message);
    (void)ignored;
    _exit(127);
}

static void child_limit(int report, int which, int64_t value)
{
    /* SIGXCPU first, for a last word. */
    int64_t most = which == RLIMIT_CPU ? value + CPU_GRACE_S : value;
    struct rlimit r = {.rlim_cur = (rlim_t)value, .rlim_max = (rlim_t)most};
    if (value > 0 && setrlimit((__rlimit_resource_t)which, &r))
        child_fail(report, 1);
}

static void child_identity(const struct proc_spec *s, int report)
{
    // The engine itself may have been started nicer than that; only root can go back.
    if (s->nice > getpriority(PRIO_PROCESS, 0) && setpriority(PRIO_PROCESS, 0, s->nice))
        child_fail(report, 2);
    if (s->uid && (setgroups(0, NULL) || setgid(s->gid) || setuid(s->uid)))
        child_fail(report, 3);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static void child_signals(void)
{
    sigset_t none;
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* src[0..n) are 0, 1, 2 and the caller's; any of them may sit on a number that is a target. */
static void child_fds(const int *src, int n, int *report)
{
    int high[MAX_FDS + 3];
    int up = fcntl(*report, F_DUPFD_CLOEXEC, n);
    if (up < 0)
        child_fail(*report, 4);
    *report = up;
    for (int i = 0; i < n; i++)
        if ((high[i] = fcntl(src[i], F_DUPFD_CLOEXEC, n)) < 0)
            child_fail(*report, 4);
    for (int i = 0; i < n; i++)
        if (dup2(high[i], i) < 0)
            child_fail(*report, 4);
    if (syscall(SYS_close_range, n, ~0U, CLOSE_RANGE_CLOEXEC))
        for (int fd = n; fd < 65536; fd++)
            fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void child_run(const struct proc_spec *s, const int *src, int report, pid_t parent)
{
    static char *const empty[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", NULL};
    setpgid(0, 0);
    child_signals();
    child_fds(src, s->nfds + 3, &report);
    child_limit(report, RLIMIT_AS, s->as_bytes);
    child_limit(report, RLIMIT_CPU, s->cpu_s);
    child_limit(report, RLIMIT_FSIZE, s->fsize_bytes);
    child_limit(report, RLIMIT_NOFILE, s->nofile);
    child_identity(s, report);
    child_limit(report, RLIMIT_NPROC, s->nproc); /* after setuid: the number is per user */
    prctl(PR_SET_PDEATHSIG, SIGKILL);            /* after setuid, which clears it */
    if (getppid() != parent)
        _exit(127);
    execve(s->path ? s->path : s->argv[0], s->argv, s->envp ? s->envp : empty);
    child_fail(report, 5);
}

/* ---- in the parent ---- */

static void drop_watch(struct proc *p, struct watch *w)
{
    if (w->fd < 0)
        return;
    loop_watch(p->loop, w, 0);
    close(w->fd);
    w->fd = -1;
}

static void emit_line(struct proc *p)
{
    p->line[p->line_n] = 0;
    if (p->on_line)
        p->on_line(p->arg, p->line, p->line_n);
    p->line_n = 0;
}

static void take_stdout(struct proc *p, const char *data, size_t n)
{
    while (n > 0) {
        const char *nl = memchr(data, '\n', n);
        size_t part = nl ? (size_t)(nl - data) : n;
        size_t room = p->line_max - p->line_n, fits = part < room ? part : room;
        memcpy(p->line + p->line_n, data, fits);
        p->line_n += fits;
        if (!nl)
            return;
        emit_line(p);
        data += part + 1;
        n -= part + 1;
    }
}

static void take_stderr(struct proc *p, const char *data, size_t n)
{
    if (n > TAIL) {
        data += n - TAIL;
        n = TAIL;
    }
    size_t keep = p->tail_n + n > TAIL ? TAIL - n : p->tail_n;
    memmove(p->tail, p->tail + p->tail_n - keep, keep);
    memcpy(p->tail + keep, data, n);
    p->tail_n = keep + n;
    p->tail[p->tail_n] = 0;
}

/* False at the end of the pipe. rounds bounds a child that writes faster than we read. */
static bool drain(struct proc *p, struct watch *w, int rounds)
{
    char data[16384];
    while (rounds-- > 0) {
        ssize_t n = read(w->fd, data, sizeof data);
        if (n > 0) {
            if (w == &p->out)
                take_stdout(p, data, (size_t)n);
            else
                take_stderr(p, data, (size_t)n);
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else {
            return n < 0 && errno == EAGAIN;
        }
    }
    return true;
}

static void on_pipe(struct watch *w, uint32_t events)
{
    (void)events;
    struct proc *p = w->arg;
    if (!drain(p, w, 4))
        drop_watch(p, w);
}

static void on_exited(struct watch *w, uint32_t events)
{
    (void)events;
    struct proc *p = w->arg;
    int status = 0;
    pid_t got = waitpid(p->pid, &status, WNOHANG);
    if (got == 0 || (got < 0 && errno == EINTR))
        return;
    kill(-p->pid, SIGKILL); /* what it left behind; would also hold our pipes open */
    if (p->out.fd >= 0)
        drain(p, &p->out, 1024);
    if (p->err.fd >= 0)
        drain(p, &p->err, 1024);
    if (p->line_n > 0)
        emit_line(p);
    loop_timer_clear(p->loop, &p->wall);
    drop_watch(p, &p->out);
    drop_watch(p, &p->err);
    drop_watch(p, &p->exited);
    if (p->on_exit)
        p->on_exit(p->arg, status, p->tail);
    free(p->line);
    free(p);
}

static void on_wall(struct timer *t)
{
    proc_kill(t->arg, SIGKILL);
}

static void watch_init(struct proc *p, struct watch *w, int fd,
                       void (*fn)(struct watch *, uint32_t))
{
    *w = (struct watch){.fd = fd, .fn = fn, .arg = p};
    if (fd >= 0)
        loop_watch(p->loop, w, EPOLLIN);
}

static void adopt(struct loop *l, const struct proc_spec *s, pid_t pid, int pidfd, int out, int err,
                  struct proc **result)
{
    struct proc *p = calloc(1, sizeof *p);
    must(p);
    p->loop = l;
    p->pid = pid;
    p->line_max = s->line_max ? s->line_max : 65536;
    p->line = malloc(p->line_max + 1);
    must(p->line);
    p->on_line = s->on_line;
    p->on_exit = s->on_exit;
    p->arg = s->arg;
    fcntl(out, F_SETFL, O_NONBLOCK);
    fcntl(err, F_SETFL, O_NONBLOCK);
    watch_init(p, &p->out, out, on_pipe);
    watch_init(p, &p->err, err, on_pipe);
    watch_init(p, &p->exited, pidfd, on_exited);
    p->wall = (struct timer){.fn = on_wall, .arg = p};
    if (s->wall_us > 0)
        loop_timer_set(l, &p->wall, s->wall_us);
    *result = p;
}

/* 0 when the child reached exec. */
static int await_exec(int report, const char *path, struct err *e)
{
    static const char *const steps[] = {"", "setrlimit", "setpriority", "setuid", "dup2", "execve"};
    int message[2];
    ssize_t n;
    while ((n = read(report, message, sizeof message)) < 0 && errno == EINTR)
        ;
    if (n != (ssize_t)sizeof message)
        return 0;
    errno = message[0];
    char what[256];
    snprintf(what, sizeof what, "%s (%s)", path, steps[message[1] < 6 ? message[1] : 0]);
    return err_errno(e, what);
}

static void close_all(int *fds, int n)
{
    for (int i = 0; i < n; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

int proc_spawn(struct loop *l, const struct proc_spec *s, struct proc **out, struct err *e)
{
    must(s->nfds >= 0 && s->nfds <= MAX_FDS);
    int f[7] = {-1, -1, -1, -1, -1, -1, -1}; /* null, stdout r w, stderr r w, report r w */
    if ((f[0] = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0 || pipe2(f + 1, O_CLOEXEC) ||
        pipe2(f + 3, O_CLOEXEC) || pipe2(f + 5, O_CLOEXEC)) {
        err_errno(e, "pipe");
        close_all(f, 7);
        return -1;
    }
    int src[MAX_FDS + 3] = {s->stdin_fd > 0 ? s->stdin_fd : f[0], f[2], f[4]};
    for (int i = 0; i < s->nfds; i++)
        src[3 + i] = s->fds[i];
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* no handler of ours runs in the child */
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        child_run(s, src, f[6], parent);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    int pidfd = -1;
    if (pid < 0) {
        err_errno(e, "fork");
    } else {
        setpgid(pid, pid); /* both sides: proc_kill may come before the child's own call */
        close(f[6]);
        f[6] = -1;
        bool started = await_exec(f[5], s->argv[0], e) == 0;
        if (started && (pidfd = (int)syscall(SYS_pidfd_open, pid, 0)) < 0)
            err_errno(e, "pidfd_open");
        if (pidfd < 0) {
            kill(-pid, SIGKILL);
            while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
        }
    }
    if (pidfd < 0) {
        close_all(f, 7);
        return -1;
    }
    adopt(l, s, pid, pidfd, f[1], f[3], out);
    f[1] = f[3] = -1;
    close_all(f, 7);
    return 0;
}

void proc_kill(struct proc *p, int sig)
{
    kill(-p->pid, sig);
}

pid_t proc_pid(const struct proc *p)
{
    return p->pid;
}
