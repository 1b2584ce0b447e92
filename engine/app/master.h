/* SPDX-License-Identifier: Apache-2.0
 * `ppv serve`: the supervising process. Main thread. */
#ifndef APP_MASTER_H
#define APP_MASTER_H
#include <stdbool.h>
struct master_opts {
    const char *root; /* directory with scripts/ plugins/ static/ sql/ */
    bool demo;
};
/* Runs until SIGTERM/SIGINT; returns the exit status. Prints problems itself. */
int master_run(const struct master_opts *o);
/* For the one-shot commands: the database without workers. Conninfo of the site's role, or of the owner. */
struct err;
int master_prepare(struct err *e); /* var/ and its lock */
int master_open_db(struct err *e);
int master_migrate(const char *root, struct err *e);
void master_close_db(void);
const char *master_conninfo(bool super);
#endif
