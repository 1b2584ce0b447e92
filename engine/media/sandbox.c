// SPDX-License-Identifier: Apache-2.0
#include "media/sandbox.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "media/fail.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

static void note(char report[64], const char *layer)
{
    size_t n = strlen(report);
    if (n + strlen(layer) + 2 < 64) {
        if (n)
            report[n++] = ' ';
        strcpy(report + n, layer);
    }
}

static void enter_namespaces(char report[64])
{
    int flags = CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
    // Root needs no user namespace; others get these rights only inside one.
    if (!unshare(flags) || !unshare(CLONE_NEWUSER | flags) ||
        !unshare(CLONE_NEWUSER | CLONE_NEWNET))
        note(report, "ns");
}

/* After this an absolute path means one beneath the output directory. */
static void change_root(int dirfd, char report[64])
{
    if (dirfd >= 0 && !fchdir(dirfd) && !chroot("."))
        note(report, "chroot");
}

/* Newer than the build's header. */
struct ruleset {
    uint64_t fs, net, scoped;
};

static void restrict_files(int dirfd, bool reads, char report[64])
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1)
        return;
    const uint64_t truncate = 1ull << 14, ioctl_dev = 1ull << 15;
    struct ruleset r = {.fs = (1ull << 13) - 1};
    r.fs |= (abi >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0) | (abi >= 3 ? truncate : 0) |
            (abi >= 5 ? ioctl_dev : 0);
    r.net = abi >= 4 ? 3 : 0;
    r.scoped = abi >= 6 ? 3 : 0;
    size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
    int fd = (int)syscall(SYS_landlock_create_ruleset, &r, size, 0);
    if (fd < 0)
        return;
    struct landlock_path_beneath_attr beneath = {
        .allowed_access = reads ? LANDLOCK_ACCESS_FS_READ_FILE
                                : LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
                                      LANDLOCK_ACCESS_FS_REMOVE_FILE,
        .parent_fd = dirfd,
    };
    int rc = dirfd < 0
                 ? 0
                 : (int)syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0);
    if (!rc && !syscall(SYS_landlock_restrict_self, fd, 0))
        note(report, "landlock");
    close(fd);
}

static void drop_capabilities(char report[64])
{
    struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct d[2];
    memset(d, 0, sizeof d);
    for (int cap = 0; cap < 64; cap++)
        prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (!syscall(SYS_capset, &h, d))
        note(report, "caps");
}

static int add_plain(scmp_filter_ctx c)
{
    static const int plain[] = {
        SCMP_SYS(read),
        SCMP_SYS(write),
        SCMP_SYS(readv),
        SCMP_SYS(writev),
        SCMP_SYS(pread64),
        SCMP_SYS(pwrite64),
        SCMP_SYS(lseek),
        SCMP_SYS(fstat),
        SCMP_SYS(newfstatat),
        SCMP_SYS(close),
        SCMP_SYS(fsync),
        SCMP_SYS(fdatasync),
        SCMP_SYS(ftruncate),
        SCMP_SYS(brk),
        SCMP_SYS(munmap),
        SCMP_SYS(mremap),
        SCMP_SYS(madvise),
        SCMP_SYS(futex),
        SCMP_SYS(set_robust_list),
        SCMP_SYS(rseq),
        SCMP_SYS(membarrier),
        SCMP_SYS(rt_sigaction),
        SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(rt_sigreturn),
        SCMP_SYS(sigaltstack),
        SCMP_SYS(restart_syscall),
        SCMP_SYS(exit),
        SCMP_SYS(exit_group),
        SCMP_SYS(gettid),
        SCMP_SYS(getpid),
        SCMP_SYS(sched_yield),
        SCMP_SYS(sched_getaffinity),
        SCMP_SYS(clock_gettime),
        SCMP_SYS(clock_getres),
        SCMP_SYS(clock_nanosleep),
        SCMP_SYS(nanosleep),
        SCMP_SYS(gettimeofday),
        SCMP_SYS(time),
        SCMP_SYS(getrandom),
        SCMP_SYS(getrusage),
        SCMP_SYS(getrlimit),
        SCMP_SYS(times),
        SCMP_SYS(sysinfo),
        SCMP_SYS(uname),
    };
    int rc = 0;
    for (int i = 0; i < COUNT(plain); i++)
        rc |= seccomp_rule_add(c, SCMP_ACT_ALLOW, plain[i], 0);
    return rc;
}

static int add_deadly(scmp_filter_ctx c)
{
    static const int deadly[] = {
        SCMP_SYS(execve),
        SCMP_SYS(execveat),
        SCMP_SYS(ptrace),
        SCMP_SYS(process_vm_readv),
        SCMP_SYS(process_vm_writev),
        SCMP_SYS(socket),
        SCMP_SYS(socketpair),
        SCMP_SYS(connect),
        SCMP_SYS(bind),
        SCMP_SYS(accept),
        SCMP_SYS(accept4),
        SCMP_SYS(sendto),
        SCMP_SYS(sendmsg),
        SCMP_SYS(bpf),
        SCMP_SYS(mount),
        SCMP_SYS(umount2),
        SCMP_SYS(unshare),
        SCMP_SYS(setns),
        SCMP_SYS(keyctl),
        SCMP_SYS(add_key),
        SCMP_SYS(io_uring_setup),
        SCMP_SYS(perf_event_open),
        SCMP_SYS(userfaultfd),
        SCMP_SYS(kexec_load),
        SCMP_SYS(init_module),
        SCMP_SYS(chroot),
        SCMP_SYS(pivot_root),
    };
    int rc = 0;
    for (int i = 0; i < COUNT(deadly); i++)
        rc |= seccomp_rule_add(c, SCMP_ACT_KILL_PROCESS, deadly[i], 0);
    return rc;
}

static int add_guarded(scmp_filter_ctx c, int dirfd, bool reads)
{
    enum { NEW_FILE = O_CREAT | O_EXCL | O_WRONLY };
    const scmp_datum_t dir = (scmp_datum_t)dirfd;
    int rc = 0;
    // New threads, not processes. clone3 hides its flags in memory, and the C library falls back to clone.
    rc |= seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                           SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    rc |= seccomp_rule_add(c, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    rc |= seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                           SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    rc |= seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                           SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    rc |=
        seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME));
    rc |= seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                           SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
    rc |= seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_EQ, F_GETFL));
    // Reading limits, not raising them.
    rc |= seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A2(SCMP_CMP_EQ, 0));
    if (dirfd < 0)
        return rc;
    if (reads)
        return rc | seccomp_rule_add(
                        c, SCMP_ACT_ALLOW, SCMP_SYS(openat), 2, SCMP_A0(SCMP_CMP_EQ, dir),
                        SCMP_A2(SCMP_CMP_MASKED_EQ, O_CREAT | O_TRUNC | O_ACCMODE, O_RDONLY));
    rc |= seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(openat), 2, SCMP_A0(SCMP_CMP_EQ, dir),
                           SCMP_A2(SCMP_CMP_MASKED_EQ, O_CREAT | O_EXCL | O_ACCMODE, NEW_FILE));
    rc |= seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(renameat), 2, SCMP_A0(SCMP_CMP_EQ, dir),
                           SCMP_A2(SCMP_CMP_EQ, dir));
    rc |= seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(renameat2), 2, SCMP_A0(SCMP_CMP_EQ, dir),
                           SCMP_A2(SCMP_CMP_EQ, dir));
    rc |= seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(unlinkat), 2, SCMP_A0(SCMP_CMP_EQ, dir),
                           SCMP_A2(SCMP_CMP_EQ, 0));
    return rc;
}

static int add_devices(scmp_filter_ctx c)
{
    return seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 0) |
           seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(poll), 0) |
           seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
                            SCMP_A2(SCMP_CMP_MASKED_EQ, O_CREAT | O_TRUNC, 0));
}

/* Unlisted calls fail with EPERM, so that a library that merely asks goes on; attackers' favourites end the process. */
static int filter_calls(int dirfd, bool reads, bool devices, struct err *e)
{
    scmp_filter_ctx c = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int rc = c ? 0 : -ENOMEM;
    if (!rc && (add_plain(c) || add_deadly(c) || add_guarded(c, dirfd, reads)))
        rc = -EINVAL;
    if (!rc && devices)
        rc = add_devices(c);
    if (!rc)
        rc = seccomp_load(c);
    if (c)
        seccomp_release(c);
    return rc ? fail_set(e, "media.internal", "The media sandbox cannot be closed (%s).",
                         strerror(-rc))
              : 0;
}

int sandbox_enter(int dirfd, bool reads, bool devices, char report[64], struct err *e)
{
    report[0] = '\0';
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return fail_set(e, "media.internal", "The media sandbox cannot be closed (%s).",
                        strerror(errno));
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); // no core file, no attaching: the job's secret is in memory
    enter_namespaces(report);
    if (!devices) {
        change_root(dirfd, report);
        restrict_files(dirfd, reads, report);
    }
    drop_capabilities(report);
    if (filter_calls(dirfd, reads, devices, e))
        return -1;
    note(report, "seccomp");
    return 0;
}
