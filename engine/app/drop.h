/* SPDX-License-Identifier: Apache-2.0
 * Started by root, only the master stays root: whatever runs Lua or speaks to the network becomes
 * the run_user. Everything here does nothing for other users. */
#ifndef APP_DROP_H
#define APP_DROP_H
#include "base/err.h"
/* Before var_dir is made: when the user could not pass the directories above it (a clone in /root), var_dir
 * becomes a link to a directory of its own under /var/lib/ppv. Does nothing when var_dir exists. */
int drop_home(struct err *e);
/* Master, before fork: finds the user (run_user, else pg_user, ppv, postgres; "root" = stay),
 * makes the directories that workers write to and gives them to it. Blocking: when a tree has
 * another owner it is walked once. */
int drop_prepare(struct err *e);
/* Gives the file, such as the control socket, to the user. */
int drop_give(const char *path, struct err *e);
/* Child processes: becomes the user for good, all threads of the process. The death signal is
 * cleared by it and has to be set again. Groups, ids and a test that there is no way back. */
int drop_now(struct err *e);
/* The user's name, "" when nothing is dropped. */
const char *drop_user(void);
#endif
