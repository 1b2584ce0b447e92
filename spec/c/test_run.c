/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/board.h"
#include "run/loop.h"
#include "run/proc.h"
#include "run/threads.h"

static struct loop *loop;
static char seen[64];

static void add(void *s)
{
    strcat(seen, s);
}

static void stop(void *arg)
{
    (void)arg;
    loop_stop(loop);
}

static void timer_fn(struct timer *t)
{
    strcat(seen, t->arg);
    if (strcmp(t->arg, "z") == 0)
        loop_stop(loop);
}

TEST(timers_fire_in_order_and_cleared_ones_do_not)
{
    static char a[] = "a", b[] = "b", c[] = "c", z[] = "z";
    loop = loop_new();
    seen[0] = 0;
    struct timer t[4] = {{.fn = timer_fn, .arg = a},
                         {.fn = timer_fn, .arg = b},
                         {.fn = timer_fn, .arg = c},
                         {.fn = timer_fn, .arg = z}};
    loop_timer_set(loop, &t[3], 30000);
    loop_timer_set(loop, &t[1], 20000);
    loop_timer_set(loop, &t[2], 15000);
    loop_timer_set(loop, &t[0], 10000);
    loop_timer_clear(loop, &t[2]);
    loop_timer_clear(loop, &t[2]);
    loop_timer_set(loop, &t[0], 1000); /* again = moved */
    volatile int64_t beat = 0;
    loop_run(loop, &beat);
    CHECK(strcmp(seen, "abz") == 0 && beat > 0 && t[0].heap_pos == 0);
    loop_free(loop);
}

TEST(timer_heap_keeps_order_under_random_use)
{
    enum { N = 500 };
    static struct timer t[N];
    loop = loop_new();
    memset(t, 0, sizeof t);
    seen[0] = 0;
    for (int i = 0; i < 20000; i++) {
        struct timer *x = &t[rand() % N];
        x->fn = timer_fn;
        if (rand() % 3)
            loop_timer_set(loop, x, 1000000 + rand() % 1000000);
        else
            loop_timer_clear(loop, x);
    }
    static char z[] = "z", none[] = "";
    struct timer *first = NULL;
    for (int i = 0; i < N; i++)
        if (t[i].heap_pos && (!first || t[i].at < first->at))
            first = &t[i];
    for (int i = 0; i < N; i++)
        t[i].arg = &t[i] == first ? z : none;
    CHECK(first && first->heap_pos == 1);
    for (int i = 0; i < N; i++)
        loop_timer_clear(loop, &t[i]);
    loop_timer_set(loop, first, 0);
    loop_run(loop, NULL);
    CHECK(strcmp(seen, "z") == 0);
    loop_free(loop);
}

static struct watch *victim;
static int freed_calls;

static void kill_other(struct watch *w, uint32_t events)
{
    (void)events;
    char c;
    CHECK(read(w->fd, &c, 1) == 1);
    freed_calls++;
    struct watch *other = w == victim ? w->arg : victim;
    if (other) {
        loop_watch(loop, other, 0);
        close(other->fd);
        free(other);
        w->arg = NULL;
    }
    loop_watch(loop, w, 0);
    close(w->fd);
    free(w);
    loop_stop(loop);
}

TEST(watch_freed_by_another_callback_of_the_same_turn_is_not_called)
{
    loop = loop_new();
    struct watch *w[2];
    int p[2][2];
    for (int i = 0; i < 2; i++) {
        CHECK(pipe(p[i]) == 0 && write(p[i][1], "x", 1) == 1);
        w[i] = calloc(1, sizeof *w[i]);
        *w[i] = (struct watch){.fd = p[i][0], .fn = kill_other};
    }
    w[0]->arg = w[1];
    victim = w[1];
    w[1]->arg = w[0];
    freed_calls = 0;
    loop_watch(loop, w[0], EPOLLIN);
    loop_watch(loop, w[1], EPOLLIN);
    loop_run(loop, NULL);
    CHECK(freed_calls == 1);
    close(p[0][1]);
    close(p[1][1]);
    loop_free(loop);
}

static char last[] = "z";
static struct timer far_timer = {.fn = timer_fn, .arg = last};

/* The fifth turn comes long before the timer would end the sleep; from then on it is due at once. */
static int64_t hook_fn(struct loop_hook *h)
{
    if (++*(int *)h->arg == 5)
        loop_timer_set(loop, &far_timer, 0);
    return 5000;
}

TEST(posts_keep_order_and_hooks_bound_the_sleep)
{
    static char a[] = "1", b[] = "2";
    int turns = 0;
    loop = loop_new();
    seen[0] = 0;
    struct loop_hook h = {.fn = hook_fn, .arg = &turns};
    loop_hook_add(loop, &h);
    loop_post(loop, add, a);
    loop_post(loop, add, b);
    loop_timer_set(loop, &far_timer, 600000000);
    loop_run(loop, NULL);
    CHECK(strcmp(seen, "12z") == 0 && turns >= 5);
    loop_free(loop);
}

enum { JOBS = 200 };
static int worked[JOBS], done_count;
static pid_t main_thread;

static void work(void *arg)
{
    *(int *)arg = 1;
    CHECK(gettid() != main_thread);
}

static void done(void *arg)
{
    CHECK(*(int *)arg == 1 && gettid() == main_thread);
    if (++done_count == JOBS)
        loop_stop(loop);
}

TEST(threads_work_elsewhere_and_finish_on_the_loop)
{
    struct err e;
    loop = loop_new();
    main_thread = gettid();
    done_count = 0;
    struct threads *t = threads_new(loop, 3, JOBS);
    for (int i = 0; i < JOBS; i++)
        CHECK(threads_run(t, work, done, &worked[i], &e) == 0);
    loop_run(loop, NULL);
    CHECK(done_count == JOBS);
    threads_free(t);
    loop_free(loop);
}

static void slow(void *arg)
{
    (void)arg;
    usleep(30000);
}

TEST(threads_refuse_when_the_queue_is_full)
{
    struct err e = {0};
    int busy = 0;
    loop = loop_new();
    struct threads *t = threads_new(loop, 1, 2);
    for (int i = 0; i < 6; i++)
        busy += threads_run(t, slow, stop, NULL, &e) != 0;
    CHECK(busy >= 3 && e.code == ERR_BUSY && e.retry);
    threads_free(t); /* with work in the queue */
    loop_free(loop);
}

static int exit_status;

static void on_line(void *arg, const char *line, size_t n)
{
    (void)arg;
    CHECK(strlen(line) == n);
    strcat(seen, line);
    strcat(seen, "|");
}

static void on_exit_fn(void *arg, int status, const char *tail)
{
    exit_status = status;
    if (arg)
        strcpy(arg, tail);
    loop_stop(loop);
}

static int spawn(struct proc_spec *s, const char *script, struct proc **p, struct err *e)
{
    char *const argv[] = {"/bin/sh", "-c", (char *)(uintptr_t)script, NULL};
    loop = loop_new();
    seen[0] = 0;
    s->argv = argv;
    s->on_line = on_line;
    s->on_exit = on_exit_fn;
    return proc_spawn(loop, s, p, e);
}

TEST(proc_gives_lines_status_and_stderr)
{
    struct err e;
    struct proc *p;
    char tail[5000] = "";
    int fds[2];
    CHECK(pipe(fds) == 0 && write(fds[1], "fd\n", 3) == 3);
    struct proc_spec s = {.fds = fds, .nfds = 1, .arg = tail, .line_max = 8, .nofile = 64};
    CHECK(spawn(&s, "echo one; echo 123456789; cat <&3; echo oops >&2; printf end; exit 3", &p,
                &e) == 0);
    close(fds[1]);
    loop_run(loop, NULL);
    CHECK(strcmp(seen, "one|12345678|fd|end|") == 0);
    CHECK(WIFEXITED(exit_status) && WEXITSTATUS(exit_status) == 3 && strcmp(tail, "oops\n") == 0);
    close(fds[0]);
    loop_free(loop);
}

TEST(proc_takes_stdin_and_runs_a_removed_program)
{
    struct err e;
    struct proc *p;
    int fds[2];
    CHECK(pipe(fds) == 0 && write(fds[1], "in\n", 3) == 3);
    struct proc_spec s = {.stdin_fd = fds[0]};
    CHECK(spawn(&s, "cat", &p, &e) == 0);
    close(fds[0]);
    close(fds[1]);
    loop_run(loop, NULL);
    CHECK(strcmp(seen, "in|") == 0);
    loop_free(loop);

    /* a copy of sh that is gone when it is executed: a descriptor stands for the running program */
    char file[] = "/tmp/ppv-proc-XXXXXX", link[64];
    int from = open("/bin/sh", O_RDONLY | O_CLOEXEC), to = mkstemp(file);
    char data[65536];
    for (ssize_t n; (n = read(from, data, sizeof data)) > 0;)
        CHECK(write(to, data, (size_t)n) == n);
    CHECK(from >= 0 && fchmod(to, 0755) == 0);
    close(to);
    close(from);
    to = open(file, O_RDONLY | O_CLOEXEC);
    snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)getpid(), to);
    CHECK(unlink(file) == 0);
    s = (struct proc_spec){.path = link};
    CHECK(spawn(&s, "cat; echo gone", &p, &e) == 0);
    close(to);
    loop_run(loop, NULL);
    CHECK(strcmp(seen, "gone|") == 0);
    loop_free(loop);
}

TEST(proc_is_killed_by_wall_time_with_its_grandchildren)
{
    struct err e;
    struct proc *p;
    struct proc_spec s = {.wall_us = 50000};
    int64_t start = clock_mono();
    CHECK(spawn(&s, "sleep 30 & sleep 30", &p, &e) == 0 && proc_pid(p) > 0);
    loop_run(loop, NULL);
    CHECK(WIFSIGNALED(exit_status) && WTERMSIG(exit_status) == SIGKILL &&
          clock_mono() - start < 5000000);
    loop_free(loop);
}

TEST(proc_has_a_last_word_when_its_computing_time_is_over)
{
    struct err e;
    struct proc *p;
    struct proc_spec s = {.cpu_s = 1};
    CHECK(spawn(&s, "trap 'echo enough; exit 4' XCPU; while :; do :; done", &p, &e) == 0);
    loop_run(loop, NULL);
    CHECK(strcmp(seen, "enough|") == 0 && WIFEXITED(exit_status) && WEXITSTATUS(exit_status) == 4);
    loop_free(loop);
}

TEST(proc_reports_a_missing_program_at_once)
{
    struct err e = {0};
    struct proc *p;
    char *const argv[] = {"/nonexistent/program", NULL};
    struct proc_spec s = {.argv = argv};
    loop = loop_new();
    CHECK(proc_spawn(loop, &s, &p, &e) == -1 && e.code == ERR_IO && strstr(e.msg, "execve"));
    CHECK(strcmp(e.detail, "ENOENT") == 0);
    loop_free(loop);
}

TEST(board_counts_over_processes)
{
    struct err e;
    struct buf b = {0};
    board_count("before_init", 1); /* does nothing */
    CHECK(board_init(2, &e) == 0 && board_size() == 3);
    board_count("http_requests_total{status=\"200\"}", 1);
    pid_t pid = fork();
    if (pid == 0) {
        board_use(1);
        board_count("http_requests_total{status=\"200\"}", 4);
        board_count("http_requests_total{status=\"404\"}", 2);
        board_gauge("tasks", 7);
        board_slot(1)->state = BOARD_READY;
        strcpy(board_slot(1)->role, "web1");
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    CHECK(board_total("http_requests_total{status=\"200\"}") == 5 && board_total("none") == 0);
    board_render_metrics(&b);
    CHECK(strstr(
        b.p, "# TYPE ppv_http_requests_total counter\nppv_http_requests_total{status=\"200\"} 5\n"
             "ppv_http_requests_total{status=\"404\"} 2\n"));
    CHECK(strstr(b.p, "# TYPE ppv_tasks gauge\nppv_tasks 7\n") &&
          strstr(b.p, "ppv_worker_up{worker=\"web1\"} 1\n"));
    buf_fini(&b);
    board_fini();
}
