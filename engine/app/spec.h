/* SPDX-License-Identifier: Apache-2.0
 * `ppv spec [busted arguments]`: the engine in this process with a server on a free port, a scratch var directory and
 * database, and busted as a task on the loop. Specs see the globals SPEC_PORT, SPEC_URL and SPEC_BOOT. */
#ifndef APP_SPEC_H
#define APP_SPEC_H
#include "base/err.h"
/* Makes the scratch directory; out (512 bytes) is for --set var_dir=. Before conf_load. */
int spec_scratch(char *out, struct err *e);
int spec_run(const char *root, const char *scratch, int argc, char *const *argv);
#endif
