/* SPDX-License-Identifier: Apache-2.0
 * Control socket var/run/ppv.sock: one JSON object per line in each direction. */
#ifndef APP_CONTROL_H
#define APP_CONTROL_H
#include "base/err.h"
#include "base/str.h"
struct loop;
/* Master side: cmd is the request's "cmd", arg its "arg" ("" when absent); the handler appends one JSON object. */
typedef void (*control_fn)(void *user, const char *cmd, const char *arg, struct buf *reply);
int control_listen(struct loop *l, const char *path, control_fn fn, void *user, struct err *e);
void control_close(void);
/* Client side, blocking: prints nothing, fills reply. timeout 60 s. */
int control_call(const char *path, const char *cmd, const char *arg, struct buf *reply,
                 struct err *e);
#endif
