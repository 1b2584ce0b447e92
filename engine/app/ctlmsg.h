/* SPDX-License-Identifier: Apache-2.0
 * Messages between the master and a worker over a SOCK_SEQPACKET pair. */
#ifndef APP_CTLMSG_H
#define APP_CTLMSG_H
#include <stdint.h>
enum ctl_type {
    CTL_READY = 1, /* worker: serving; id = bundle id, port in text */
    CTL_LOAD,      /* master: build this bundle (fd) and swap; id = bundle id */
    CTL_LOADED,    /* worker: swapped */
    CTL_REFUSED,   /* worker: text says why */
    CTL_STRIKE     /* worker: text = "plugin what" */
};
struct ctl_msg {
    int32_t type;
    int32_t cold;
    int64_t id;
    char text[400];
};
int ctlmsg_pair(int fds[2]); /* 0 or -1 */
/* fd -1 = none. 0 or -1 (peer gone or its queue full). */
int ctlmsg_send(int sock, const struct ctl_msg *m, int fd);
/* 1 = got one (*fd is -1 or ours to close), 0 = nothing now, -1 = peer gone. */
int ctlmsg_recv(int sock, struct ctl_msg *m, int *fd);
#endif
