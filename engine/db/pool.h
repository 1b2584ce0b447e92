/* SPDX-License-Identifier: Apache-2.0
 * A lane: connections of one kind with a bounded queue. Opens connections on demand, closes idle
 * ones, reopens lost ones. Loop's thread only. */
#ifndef DB_POOL_H
#define DB_POOL_H
#include "db/db.h"
#include "db/pg.h"

/* Shared by the lanes of one struct db. */
struct pool_env {
    struct loop *loop;
    struct timer kick;  /* wakes the loop when something was queued outside the hook */
    struct pg_ops done; /* finished, callbacks not run yet */
    int64_t queries, errors, reconnects, resent;
};

struct pool {
    struct pool_env *env;
    enum db_lane lane;
    bool pipelined;
    char *conninfo, *name;
    char options[400];
    struct pg_conn *conns;
    int nconns, nmin, queue_max;
    int64_t query_us, tx_us; /* longest query, waiting included; longest transaction */
    struct pg_ops queue;
    /* committed, not known to be durable: waiting for a flush, carried by the one under way */
    struct pg_ops unflushed, flushing;
    int fails;
    int64_t next_try, down_since; /* 0 = a connection is up */
    struct err down_err;
};

void pool_init(struct pool *p, struct pool_env *env, enum db_lane lane, const struct db_cfg *cfg);
void pool_fini(struct pool *p);
int pool_submit(struct pool *p, struct db_query *q, struct err *e);
void pool_cancel(struct db_query *q);
/* Sends what can be sent. Once per turn. */
void pool_dispatch(struct pool *p);
/* Deadlines, reconnects. About four times a second. */
void pool_tick(struct pool *p, int64_t now);
void pool_count(const struct pool *p, int *busy, int *up);

/* For tx.c. */
int pool_enqueue(struct pool *p, struct pg_op *op, struct err *e);
struct pg_op *pool_op(struct pool *p, enum pg_op_kind kind, struct db_query *q);
void pool_op_free(struct pg_op *op);
void pool_finish(struct pg_op *op); /* moves it to the done list */
/* Runs the callbacks of finished ops. */
void pool_run_done(struct pool_env *env);
void pool_kick(struct pool_env *env);
#endif
