/* SPDX-License-Identifier: Apache-2.0
 * Lua outside of requests: `ppv lua`, `ppv spec`, `ppv admin ...`: one task on a loop of its own. */
#ifndef APP_TOOL_H
#define APP_TOOL_H
#include <stdbool.h>
#include "base/err.h"
struct bundle;
struct tool {
    const char *root, *conninfo; /* conninfo NULL = no database */
    struct bundle *bundle;
    const char *
        file; /* Lua file to run; from the bundle when it starts with scripts/ and is there, else from disk */
    char *const *argv; /* its arguments */
    int argc;
    bool
        spec; /* server on a free port, every standard library, busted with argv; file is ignored */
    bool full; /* every standard library */
};
/* In this process; returns the exit status. Prints problems. */
int tool_run(const struct tool *t);
/* In a forked child without standard libraries; -1 when it failed. */
int tool_run_forked(const char *root, const char *conninfo, struct bundle *b, const char *file,
                    struct err *e);
#endif
