/* SPDX-License-Identifier: Apache-2.0
 * One PostgreSQL connection on the loop, always in pipeline mode: connecting, prepared
 * statements, batches, results in order. It knows nothing of lanes or transactions; the owner
 * gives it statements and hears what became of them. Loop's thread only. */
#ifndef DB_PG_H
#define DB_PG_H
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "run/loop.h"

struct db_query;
struct db_result;
struct db_tx;
struct pg_stmt;

enum pg_op_kind { PG_OP_QUERY, PG_OP_PIN, PG_OP_BEGIN, PG_OP_END };
enum pg_op_state { PG_OP_QUEUED, PG_OP_SENT, PG_OP_DONE };

/* One statement (or wish) on its way. In exactly one list at a time. Owner: pool.c. */
struct pg_op {
    struct pg_op *prev, *next;
    struct pg_ops *list;
    struct db_query *q; /* NULL: nobody waits any more, or not a query */
    struct db_tx *tx;
    struct pool *pool;
    enum pg_op_kind kind;
    enum pg_op_state state;
    const char *sql;
    int64_t deadline; /* clock_mono */
    int sends;        /* times sent */
    /* while sent */
    struct pg_stmt *stmt;
    bool preparing; /* a Parse travels in front */
    bool sync;      /* last of its batch */
    bool aborted;   /* a neighbour failed: not executed */
    bool stale;     /* its plan was stale: not executed */
    bool completed; /* the server said so (the commit may still be open) */
    bool flush;     /* done when a flush after it is */
    bool is_flush;  /* that flush */
    struct db_result *res;
    struct err err;
};

struct pg_ops {
    struct pg_op *head, *tail;
    int n;
};
void pg_ops_push(struct pg_ops *l, struct pg_op *op);
void pg_ops_push_front(struct pg_ops *l, struct pg_op *op);
void pg_ops_remove(struct pg_op *op);
struct pg_op *pg_ops_pop(struct pg_ops *l);

enum pg_state { PG_CLOSED, PG_CONNECTING, PG_UP };

struct pg_conn {
    struct loop *loop;
    const char *conninfo, *options, *name; /* borrowed */
    /* owner's callbacks; may send on, but not close, the connection. lost: already closed, op
     * list still filled */
    void (*up)(struct pg_conn *c);
    void (*finished)(struct pg_conn *c, struct pg_op *op);
    void (*lost)(struct pg_conn *c, const struct err *why);
    void (*notify)(struct pg_conn *c, const char *channel, const char *payload); /* may be NULL */
    void (*after)(struct pg_conn *c); /* end of an event: run callbacks */
    void *arg;
    /* state */
    PGconn *pg;
    enum pg_state state;
    struct watch w;
    int64_t connect_deadline, idle_since;
    struct pg_ops sent;
    int batches;
    int phase;
    bool got, broken;
    struct err broken_err;
    struct pg_stmt *stmts[64];
    int nstmts;
    unsigned stmt_seq;
    struct db_tx *tx; /* owner's: pinned to it */
};

/* Starts connecting (state PG_CONNECTING, or lost() from a later turn through pg_tick). */
void pg_open(struct pg_conn *c);
/* Closes without callbacks; sent ops stay in c->sent for the owner. */
void pg_close(struct pg_conn *c);
/* Appends the op (and a Parse when needed); sync ends the batch and flushes. Trouble shows up as
 * lost() later. */
void pg_send(struct pg_conn *c, struct pg_op *op, bool sync);
/* Asks the server to stop what runs on c; from a helper thread, because libpq's call blocks.
 * Best effort. */
void pg_cancel(struct pg_conn *c);
/* Marks c as lost with this reason; lost() comes from pg_tick or the next event. */
void pg_break(struct pg_conn *c, const struct err *why);
/* Call often: connect deadline, broken connections. */
void pg_tick(struct pg_conn *c, int64_t now);
#endif
