/* SPDX-License-Identifier: Apache-2.0 */
#include "app/trial.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "app/ctlmsg.h"
#include "app/drop.h"
#include "app/worker.h"
#include "base/clock.h"
#include "base/conf.h"
#include "base/io.h"
#include "base/log.h"
#include "bind/bind.h"
#include "lua/compiled.h"
#include "lua/gen.h"
#include "lua/sched.h"

#define ANSWER_US 15000000
#define TRUSTED_BUDGET_US 2000000
#define CLEAN_MS 200

static struct {
    pid_t pid; /* 0 = none */
    int fd;
} t = {.fd = -1};

/* ---- in the process ---- */

static int build(struct bundle *b, bool cold, struct gen **g, struct buf *problems, struct err *e)
{
    struct problems list = {0};
    struct gen_opts o = {.cold = cold, .cap = (size_t)conf_int("plugin_memory")};
    int rc = gen_build(b, &o, &list, g, e);
    if (rc == 0 && (rc = gen_check(*g, e)) < 0)
        problems_add_message(&list, NULL, "scripts/boot.lua", e->msg);
    problems_json(&list, problems);
    problems_fini(&list);
    return rc;
}

/* The list may be long: it travels as a file. */
static void tell(int sock, int64_t id, int rc, const struct buf *problems, const struct err *e)
{
    struct ctl_msg m = {.type = rc == 0 ? CTL_LOADED : CTL_REFUSED, .id = id};
    int fd = problems->n > 0 ? memfd_create("ppv-problems", MFD_CLOEXEC) : -1;
    snprintf(m.text, sizeof m.text, "%s", rc == 0 ? "" : e->msg);
    if (fd >= 0 && io_write_all(fd, problems->p, problems->n) < 0)
        log_event(LOG_ERROR, "trial.answer", "i", "errno", (int64_t)errno);
    if (ctlmsg_send(sock, &m, fd) < 0)
        _exit(1);
    if (fd >= 0)
        close(fd);
}

/* The workers build now, and they are waited for: what was built here is closed when there is time. */
static struct {
    struct gen *g;
    bool due, full;
} cleaning;

static void clean(void)
{
    gen_unref(cleaning.g);
    if (cleaning.full)
        malloc_trim(0);
    cleaning = (typeof(cleaning)){0};
}

static void try_one(int sock, const struct ctl_msg *m, int fd)
{
    struct bundle *b = NULL;
    struct gen *g = NULL;
    struct buf problems = {0};
    struct err e = {0};
    int rc =
        fd < 0 ? ERR(&e, ERR_IO, "no bundle came with the message") : bundle_from_fd(fd, &b, &e);
    if (rc == 0)
        rc = build(b, m->cold, &g, &problems, &e);
    tell(sock, m->id, rc, &problems, &e);
    buf_fini(&problems);
    bundle_unref(b);
    cleaning.g = g;
    cleaning.due = true;
    cleaning.full = rc < 0; /* it may have filled its state */
}

static void become(const char *root, int sock, pid_t master)
{
    static struct bind_env env;
    struct err e = {0};
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    worker_close_inherited(sock);
    prctl(PR_SET_NAME, "canary");
    log_role("canary");
    if (drop_now(&e) < 0) {
        log_err(LOG_ERROR, "trial.start", &e);
        _exit(1);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* after changing the user, which clears it */
    if (getppid() != master)
        _exit(0);
    env = (struct bind_env){.role = "canary", .root = root, .var = conf_str("var_dir")};
    bind_init(&env);
    gen_set_opener(jobworker_open);
    sched_init(NULL, conf_int("plugin_cpu_ms") * 1000, TRUSTED_BUDGET_US);
    compiled_keep();
}

static void serve(int sock)
{
    for (;;) {
        struct pollfd pf = {.fd = sock, .events = POLLIN};
        struct ctl_msg m;
        int fd, rc;
        poll(&pf, 1, cleaning.due ? CLEAN_MS : -1);
        if (cleaning.due)
            clean();
        while ((rc = ctlmsg_recv(sock, &m, &fd)) == 1) {
            try_one(sock, &m, fd);
            if (fd >= 0)
                close(fd);
        }
        if (rc < 0)
            _exit(0);
    }
}

/* ---- in the master ---- */

static int start(const char *root, struct err *e)
{
    int fds[2];
    if (ctlmsg_pair(fds) < 0)
        return err_errno(e, "socketpair");
    pid_t master = getpid(), pid = fork();
    if (pid == 0) {
        become(root, fds[1], master);
        serve(fds[1]);
    }
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        return err_errno(e, "fork");
    }
    t.pid = pid;
    t.fd = fds[0];
    return 0;
}

bool trial_reaped(pid_t pid)
{
    if (!t.pid || pid != t.pid)
        return false;
    close(t.fd);
    t.fd = -1;
    t.pid = 0;
    return true;
}

void trial_stop(void)
{
    pid_t pid = t.pid;
    if (!pid)
        return;
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    trial_reaped(pid);
}

static int ask(const struct ctl_msg *m, int fd, const char *root, struct err *e)
{
    if (t.pid && ctlmsg_send(t.fd, m, fd) == 0)
        return 0;
    trial_stop(); /* it is gone, and nobody has told us yet */
    if (start(root, e) < 0)
        return -1;
    return ctlmsg_send(t.fd, m, fd) < 0 ? err_errno(e, "trial") : 0;
}

static bool wait_answer(int64_t id, struct ctl_msg *m, int *fd)
{
    int64_t end = clock_mono() + ANSWER_US, now;
    while ((now = clock_mono()) < end) {
        struct pollfd pf = {.fd = t.fd, .events = POLLIN};
        poll(&pf, 1, (int)((end - now) / 1000) + 1);
        int rc = ctlmsg_recv(t.fd, m, fd);
        if (rc != 0)
            return rc == 1 && m->id == id;
    }
    return false;
}

static void read_problems(int fd, struct buf *problems)
{
    char chunk[4096];
    ssize_t n;
    for (off_t at = 0; (n = pread(fd, chunk, sizeof chunk, at)) > 0; at += n)
        buf_put(problems, chunk, (size_t)n);
}

int trial_run(const char *root, struct bundle *b, bool cold, struct buf *problems, struct err *e)
{
    struct ctl_msg m = {.type = CTL_LOAD, .id = b->id, .cold = cold}, a;
    int from = bundle_to_fd(b, e), fd = -1;
    size_t before = problems->n;
    int rc = from < 0 ? -1 : ask(&m, from, root, e);
    if (rc == 0 && !wait_answer(b->id, &a, &fd)) {
        trial_stop();
        rc = ERR(e, ERR_CONFIG, "the trial build ended without an answer");
    } else if (rc == 0 && a.type != CTL_LOADED) {
        rc = ERR(e, ERR_CONFIG, "%s", a.text);
    }
    if (fd >= 0) {
        read_problems(fd, problems);
        close(fd);
    }
    if (problems->n == before)
        buf_puts(problems, "[]");
    return rc;
}
