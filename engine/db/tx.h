/* SPDX-License-Identifier: Apache-2.0
 * Transactions pinned to one connection of a lane; the public face is db_tx_* in db.h. Loop's
 * thread only. */
#ifndef DB_TX_H
#define DB_TX_H
#include "db/pool.h"

#define TX_MAX_US 10000000

int tx_begin(struct pool *p, void (*ready)(void *arg, const struct err *e), void *arg,
             struct db_tx **out, struct err *e);
int tx_submit(struct db_tx *tx, struct db_query *q, struct err *e);
void tx_end(struct db_tx *tx, bool commit, void (*done)(void *arg, const struct err *e), void *arg);

/* From pool.c: a connection was given to the waiting op; an op of a transaction came back; its
 * connection is gone (c->sent was emptied through tx_op_lost before); callbacks of PIN and END
 * ops. */
void tx_pinned(struct pg_conn *c, struct pg_op *pin);
void tx_finished(struct pg_conn *c, struct pg_op *op);
void tx_op_lost(struct pg_op *op, const struct err *why);
void tx_lost(struct db_tx *tx, const struct err *why);
void tx_delivered(struct pg_op *op); /* the statement's callback is about to run, or never will */
void tx_run_done(struct pg_op *op);
int64_t tx_started(const struct db_tx *tx);
#endif
