/* SPDX-License-Identifier: Apache-2.0
 * Results and server errors as our own values. Any thread, no I/O. */
#ifndef DB_PGVAL_H
#define DB_PGVAL_H
#include <libpq-fe.h>
#include "base/err.h"

struct db_result {
    PGresult *pg;
    int rows, cols;
    int *lens;             /* rows x cols, only with a bytea column; decoded in place */
    unsigned char types[]; /* enum db_type per column */
};

/* Takes pg over. Never fails (out of memory aborts). */
struct db_result *pgval_result(PGresult *pg);
void pgval_free(struct db_result *r);
/* Fills *e from an error result; see db.h for the mapping. */
void pgval_error(const PGresult *pg, struct err *e);
/* A prepared statement was dropped or changed: nothing was executed, it can be sent again. */
int pgval_is_stale_plan(const PGresult *pg);
#endif
