/* SPDX-License-Identifier: Apache-2.0 */
#include "db/tx.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "db/pgval.h"

typedef void (*tx_fn)(void *arg, const struct err *e);

struct db_tx {
    struct pool *pool;
    struct pg_conn *c; /* NULL: not pinned yet, or lost */
    struct pg_op *pin; /* until ready ran */
    struct pg_op *op;  /* the statement in flight */
    bool begun, commit;
    int64_t started;
    struct err lost;
    tx_fn fn; /* ready, later done */
    void *arg;
};

int64_t tx_started(const struct db_tx *tx)
{
    return tx->started;
}

int tx_begin(struct pool *p, tx_fn ready, void *arg, struct db_tx **out, struct err *e)
{
    struct db_tx *tx;
    if (p->nconns == 0 || p->pipelined)
        return ERR(e, ERR_INTERNAL, "this lane has no transactions");
    tx = calloc(1, sizeof *tx);
    must(tx != NULL);
    tx->pool = p;
    tx->fn = ready;
    tx->arg = arg;
    tx->started = clock_mono();
    tx->pin = pool_op(p, PG_OP_PIN, NULL);
    tx->pin->tx = tx;
    if (pool_enqueue(p, tx->pin, e) < 0) {
        pool_op_free(tx->pin);
        free(tx);
        return -1;
    }
    *out = tx;
    return 0;
}

void tx_pinned(struct pg_conn *c, struct pg_op *pin)
{
    pin->tx->c = c;
    pin->tx->started = clock_mono();
    c->tx = pin->tx;
    pool_finish(pin);
}

static void release(struct db_tx *tx)
{
    struct pg_conn *c = tx->c;
    tx->c = NULL;
    if (c == NULL)
        return;
    c->tx = NULL;
    if (c->state == PG_UP && !c->broken && PQtransactionStatus(c->pg) != PQTRANS_IDLE) {
        struct err e = {0};
        ERR(&e, ERR_DB, "connection closed: it came back inside a transaction");
        pg_break(c, &e);
    }
    pool_kick(tx->pool->env);
}

int tx_submit(struct db_tx *tx, struct db_query *q, struct err *e)
{
    struct pg_op *op;
    if (tx->pin)
        return ERR(e, ERR_INTERNAL, "the transaction is not ready");
    if (tx->c == NULL) {
        if (e)
            *e = tx->lost;
        return -1;
    }
    if (tx->op)
        return ERR(e, ERR_INTERNAL, "one statement at a time in a transaction");
    if (!tx->begun) {
        struct pg_op *b = pool_op(tx->pool, PG_OP_BEGIN, NULL);
        b->tx = tx;
        b->sql = "BEGIN";
        pg_send(tx->c, b, false);
        tx->begun = true;
    }
    op = pool_op(tx->pool, PG_OP_QUERY, q);
    op->tx = tx;
    tx->op = op;
    pg_send(tx->c, op, true);
    return 0;
}

static void drop_pin(struct db_tx *tx)
{
    pool_op_free(tx->pin);
    tx->pin = NULL;
    release(tx);
}

/* Rolls back behind the statement nobody waits for any more. */
static bool abandon(struct db_tx *tx, bool commit)
{
    struct pg_op *op = tx->op;
    if (op->q)
        op->q->op = NULL;
    op->q = NULL;
    if (op->state == PG_OP_DONE) {
        tx->op = NULL;
        pool_op_free(op);
    }
    if (commit)
        ERR(&tx->lost, ERR_INTERNAL, "commit with a statement in flight: rolled back");
    return false;
}

void tx_end(struct db_tx *tx, bool commit, tx_fn done, void *arg)
{
    struct pg_op *op = pool_op(tx->pool, PG_OP_END, NULL);
    op->tx = tx;
    tx->fn = done;
    tx->arg = arg;
    if (tx->op)
        commit = abandon(tx, commit);
    tx->commit = commit;
    if (tx->pin)
        drop_pin(tx);
    if (tx->c == NULL) {
        if (commit)
            op->err = tx->lost;
        pool_finish(op);
    } else if (!tx->begun) {
        release(tx);
        pool_finish(op);
    } else {
        op->sql = commit ? "COMMIT" : "ROLLBACK";
        pg_send(tx->c, op, true);
    }
}

static void end_finished(struct db_tx *tx, struct pg_op *op)
{
    /* COMMIT of a failed transaction succeeds as ROLLBACK */
    if (op->err.code == ERR_NONE && tx->commit &&
        (!op->res || strcmp(PQcmdStatus(op->res->pg), "COMMIT") != 0))
        ERR(&op->err, ERR_DB, "rolled back: an earlier statement of the transaction failed");
    if (op->err.code == ERR_NONE && tx->lost.code != ERR_NONE)
        op->err = tx->lost;
    release(tx);
    pool_finish(op);
}

void tx_finished(struct pg_conn *c, struct pg_op *op)
{
    struct db_tx *tx = op->tx;
    (void)c;
    if (op->kind == PG_OP_BEGIN) {
        pool_op_free(op);
    } else if (op->kind == PG_OP_END) {
        end_finished(tx, op);
    } else {
        if (op->stale)
            ERR(&op->err, ERR_DB_RETRY, "the schema changed under a prepared statement");
        else if (op->aborted && op->err.code == ERR_NONE)
            ERR(&op->err, ERR_DB, "the transaction could not begin");
        pool_finish(op);
    }
}

void tx_op_lost(struct pg_op *op, const struct err *why)
{
    struct db_tx *tx = op->tx;
    if (op->kind == PG_OP_BEGIN) {
        pool_op_free(op);
        return;
    }
    if (op->kind == PG_OP_END) {
        if (tx->commit && op->err.code == ERR_NONE)
            ERR(&op->err, ERR_DB_UNKNOWN, "lost while committing: %s", why->msg);
        else if (!tx->commit)
            op->err = tx->lost;
    } else {
        if (op->err.code == ERR_NONE || op->err.code == ERR_DB_UNKNOWN)
            ERR(&op->err, why->code == ERR_TIMEOUT ? ERR_TIMEOUT : ERR_DB_DOWN, "rolled back: %s",
                why->msg);
    }
    pool_finish(op);
}

void tx_lost(struct db_tx *tx, const struct err *why)
{
    tx->c = NULL;
    ERR(&tx->lost, why->code == ERR_TIMEOUT ? ERR_TIMEOUT : ERR_DB_DOWN, "rolled back: %s",
        why->msg);
}

void tx_delivered(struct pg_op *op)
{
    op->tx->op = NULL;
    op->tx = NULL;
}

void tx_run_done(struct pg_op *op)
{
    struct db_tx *tx = op->tx;
    struct err e = op->err;
    enum pg_op_kind kind = op->kind;
    tx_fn fn = tx->fn;
    void *arg = tx->arg;
    bool dead = kind == PG_OP_END || e.code != ERR_NONE;
    pool_op_free(op);
    tx->pin = NULL;
    if (dead)
        free(tx);
    if (fn)
        fn(arg, e.code == ERR_NONE ? NULL : &e);
}
