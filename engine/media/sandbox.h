/* SPDX-License-Identifier: Apache-2.0
 * Locks the calling process in before it touches hostile bytes. Only with one thread running. Always: no new privileges and a
 * system call allow-list (no sockets, programs, tracing, executable memory; files are only created, beneath dirfd). Where the
 * kernel allows: own user, network, mount and IPC namespaces, root changed to the output directory, Landlock, no capabilities. */
#ifndef MEDIA_SANDBOX_H
#define MEDIA_SANDBOX_H
#include <stdbool.h>
#include "base/err.h"

/* dirfd -1 = no file may be opened; else files beneath it may be made, or (reads) be read and nothing
 * written. devices: drivers of an encoder work on: files that are there can be opened as far as the
 * user's rights go, and ioctl is allowed; then there is neither chroot nor Landlock. report gets
 * words for the layers in force: "ns chroot landlock caps seccomp". */
int sandbox_enter(int dirfd, bool reads, bool devices, char report[64], struct err *e);
#endif
