/* SPDX-License-Identifier: Apache-2.0
 * Child processes on the loop: spawn with limits, read its stdout lines, pidfd in epoll, kill on cancel. */
#ifndef RUN_PROC_H
#define RUN_PROC_H
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"
struct loop;
struct proc;
struct proc_spec {
    char *const *argv;
    const char *path;  /* what is executed; NULL = argv[0]; "/proc/self/exe" for ourselves, also
                          when the file was replaced since */
    char *const *envp; /* NULL = empty environment with PATH and LANG only */
    const int *fds;    /* fds[i] becomes fd 3+i in the child; all others are closed */
    int nfds;
    int stdin_fd; /* becomes fd 0 in the child; 0 = /dev/null */
    int64_t as_bytes, cpu_s, fsize_bytes, nofile, nproc; /* rlimits; 0 = leave */
    int nice;
    uid_t uid; /* 0 = stay; else setgroups/setgid/setuid (gid = same user's group) */
    gid_t gid;
    int64_t wall_us; /* killed with SIGKILL after it; 0 = none */
    size_t line_max; /* longer stdout lines are cut; 0 = 64 KiB */
    void (*on_line)(void *arg, const char *line,
                    size_t n); /* one stdout line, NUL-terminated, without \n */
    void (*on_exit)(void *arg, int wait_status,
                    const char *stderr_tail); /* last call; proc is freed after it */
    void *arg;
};
int proc_spawn(struct loop *l, const struct proc_spec *s, struct proc **out, struct err *e);
void proc_kill(struct proc *p, int sig); /* to the whole process group; on_exit still comes */
pid_t proc_pid(const struct proc *p);
#endif
