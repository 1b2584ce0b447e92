/* SPDX-License-Identifier: Apache-2.0 */
#include "db/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "db/pgval.h"
#include "db/tx.h"

enum { BATCH_MAX = 64, BATCHES_MAX = 2, SENDS_MAX = 4 };
#define QUERY_US 8000000
#define IDLE_US 60000000
#define DOWN_US 2000000 /* shorter outages are waited out, longer ones answer at once */

static const char *lane_name(const struct pool *p)
{
    static const char *const names[] = {"read", "write", "plugin"};
    return names[p->lane];
}

/* --- ops --- */

struct pg_op *pool_op(struct pool *p, enum pg_op_kind kind, struct db_query *q)
{
    struct pg_op *op = malloc(sizeof *op); /* calloc would not use the block that was freed last */
    must(op != NULL);
    *op = (struct pg_op){.pool = p, .kind = kind, .q = q};
    op->deadline = clock_mono() + (q && q->timeout_us > 0 ? q->timeout_us : p->query_us);
    if (q) {
        op->sql = q->sql;
        q->op = op;
        q->res = NULL;
        q->err.code = ERR_NONE;
    }
    return op;
}

void pool_op_free(struct pg_op *op)
{
    pg_ops_remove(op);
    pgval_free(op->res);
    free(op);
}

void pool_finish(struct pg_op *op)
{
    pg_ops_remove(op);
    op->state = PG_OP_DONE;
    pg_ops_push(&op->pool->env->done, op);
    pool_kick(op->pool->env);
}

static void fail(struct pg_op *op, enum err_code code, const char *why)
{
    ERR(&op->err, code, "%s", why);
    pool_finish(op);
}

static void run_query_done(struct pool_env *env, struct pg_op *op)
{
    struct db_query *q = op->q;
    if (op->tx)
        tx_delivered(op);
    env->queries++;
    if (op->err.code != ERR_NONE)
        env->errors++;
    if (q) {
        q->res = op->res;
        q->err = op->err;
        q->op = NULL;
        op->res = NULL;
    }
    pool_op_free(op);
    if (q)
        q->done(q);
}

void pool_run_done(struct pool_env *env)
{
    struct pg_op *op;
    while ((op = pg_ops_pop(&env->done)) != NULL) {
        if (op->kind == PG_OP_QUERY)
            run_query_done(env, op);
        else
            tx_run_done(op);
    }
}

void pool_kick(struct pool_env *env)
{
    if (env->kick.heap_pos == 0)
        loop_timer_set(env->loop, &env->kick, 0);
}

int pool_enqueue(struct pool *p, struct pg_op *op, struct err *e)
{
    if (p->queue.n >= p->queue_max)
        return ERR(e, ERR_BUSY, "%d queries wait on the %s lane", p->queue.n, lane_name(p));
    if (p->down_since && clock_mono() - p->down_since > DOWN_US)
        return ERR(e, ERR_DB_DOWN, "%s lane: %s", lane_name(p), p->down_err.msg);
    op->state = PG_OP_QUEUED;
    pg_ops_push(&p->queue, op);
    pool_kick(p->env);
    return 0;
}

int pool_submit(struct pool *p, struct db_query *q, struct err *e)
{
    struct pg_op *op;
    if (p->nconns == 0)
        return ERR(e, ERR_INTERNAL, "there is no %s lane", lane_name(p));
    op = pool_op(p, PG_OP_QUERY, q);
    if (pool_enqueue(p, op, e) < 0) {
        q->op = NULL;
        pool_op_free(op);
        return -1;
    }
    return 0;
}

void pool_cancel(struct db_query *q)
{
    struct pg_op *op = q->op;
    if (op == NULL)
        return;
    q->op = NULL;
    op->q = NULL;
    if (op->state == PG_OP_SENT)
        return;
    if (op->tx)
        tx_delivered(op);
    pool_op_free(op);
}

/* --- what connections report --- */

static void requeue(struct pool *p, struct pg_op *op)
{
    if (op->q == NULL) {
        pool_op_free(op);
        return;
    }
    pg_ops_remove(op);
    pgval_free(op->res);
    op->res = NULL;
    op->err.code = ERR_NONE;
    op->state = PG_OP_QUEUED;
    p->env->resent++;
    pg_ops_push_front(&p->queue, op);
    pool_kick(p->env);
}

/* --- commits that wait for the log afterwards --- */

/* A transaction that writes to the log and commits as usual: then all before it is durable, too.
 * One is under way at a time and carries what was done when it set out; the rest takes the next. */
static void send_flush(struct pool *p, struct pg_conn *c)
{
    struct pg_op *f = pool_op(p, PG_OP_QUERY, NULL), *op;
    f->sql = "select pg_logical_emit_message(true, 'ppv', '')";
    f->is_flush = true;
    while ((op = pg_ops_pop(&p->unflushed)) != NULL) {
        if (op->deadline < f->deadline)
            f->deadline = op->deadline;
        pg_ops_push(&p->flushing, op);
    }
    pg_send(c, f, true);
}

static void all_unknown(struct pg_ops *ops, const struct err *why)
{
    while (ops->head)
        fail(ops->head, ERR_DB_UNKNOWN, why->msg);
}

/* why NULL: all that it carried is durable. Else nobody knows, nor of what waited for the next one. */
static void flush_over(struct pg_op *f, const struct err *why)
{
    struct pool *p = f->pool;
    pool_op_free(f);
    if (why) {
        all_unknown(&p->flushing, why);
        all_unknown(&p->unflushed, why);
    }
    while (p->flushing.head)
        pool_finish(p->flushing.head);
}

/* c answered for a statement that has to be durable, or for a flush. */
static void flush_next(struct pool *p, struct pg_conn *c)
{
    if (p->unflushed.n > 0 && p->flushing.n == 0)
        send_flush(p, c);
}

static void on_finished(struct pg_conn *c, struct pg_op *op)
{
    struct pool *p = c->arg;
    bool again = op->stale || (op->aborted && op->err.code == ERR_NONE);
    if (op->is_flush) {
        flush_over(op, op->err.code != ERR_NONE || again ? &op->err : NULL);
        flush_next(p, c);
    } else if (op->flush && !again && op->err.code == ERR_NONE) {
        pg_ops_push(&p->unflushed, op);
        flush_next(p, c);
    } else if (op->tx) {
        tx_finished(c, op);
    } else if (again || (p->pipelined && op->err.code == ERR_DB_DOWN)) {
        if (op->sends >= SENDS_MAX)
            fail(op, ERR_DB_RETRY, "given up after several tries next to failing queries");
        else
            requeue(p, op);
    } else {
        pool_finish(op);
    }
    if (c->sent.n == 0)
        pool_kick(p->env);
}

static void op_lost(struct pool *p, struct pg_op *op, const struct err *why)
{
    if (op->is_flush) {
        flush_over(op, why);
        return;
    }
    bool late = clock_mono() >= op->deadline;
    if (!p->pipelined) {
        if (op->err.code != ERR_NONE)
            pool_finish(op);
        else
            fail(op, ERR_DB_UNKNOWN,
                 late ? "deadline passed while a write was in flight" : why->msg);
    } else if (op->err.code != ERR_NONE && op->err.code != ERR_DB_DOWN) {
        pool_finish(op);
    } else if (late) {
        fail(op, ERR_TIMEOUT, "the database did not answer in time");
    } else if (op->sends >= SENDS_MAX) {
        fail(op, ERR_DB_DOWN, why->msg);
    } else {
        requeue(p, op);
    }
}

static bool any_up(const struct pool *p)
{
    for (int i = 0; i < p->nconns; i++) {
        if (p->conns[i].state == PG_UP)
            return true;
    }
    return false;
}

static void on_lost(struct pg_conn *c, const struct err *why)
{
    struct pool *p = c->arg;
    struct pg_op *op;
    int shift = p->fails < 6 ? p->fails : 6;
    while ((op = pg_ops_pop(&c->sent)) != NULL) {
        if (op->tx)
            tx_op_lost(op, why);
        else
            op_lost(p, op, why);
    }
    if (c->tx) {
        tx_lost(c->tx, why);
        c->tx = NULL;
    }
    p->next_try = clock_mono() + (32000LL << shift) + random() % 20000;
    p->fails++;
    if (!any_up(p) && p->down_since == 0) {
        p->down_since = clock_mono();
        p->down_err = *why;
        log_event(LOG_WARN, "db.down", "ss", "lane", lane_name(p), "why", why->msg);
    }
}

static void on_up(struct pg_conn *c)
{
    struct pool *p = c->arg;
    if (p->down_since) {
        p->env->reconnects++;
        log_event(LOG_INFO, "db.up", "s", "lane", lane_name(p));
    }
    p->fails = 0;
    p->down_since = 0;
    pool_kick(p->env);
}

static void on_after(struct pg_conn *c)
{
    struct pool *p = c->arg;
    pool_run_done(p->env);
}

/* --- sending --- */

static bool usable(const struct pg_conn *c)
{
    return c->state == PG_UP && !c->broken;
}

/* A query that was aborted twice travels alone, so that failing neighbours cannot hold it up for
 * ever. */
static void send_batch(struct pool *p, struct pg_conn *c)
{
    int n = 0;
    struct pg_op *op;
    do {
        bool last;
        op = pg_ops_pop(&p->queue);
        last = ++n >= BATCH_MAX || p->queue.n == 0 || op->sends >= 2 || p->queue.head->sends >= 2;
        pg_send(c, op, last);
        if (last)
            break;
    } while (!c->broken);
}

static void dispatch_pipelined(struct pool *p)
{
    for (int i = 0; i < p->nconns; i++) {
        struct pg_conn *c = &p->conns[i];
        while (p->queue.n > 0 && usable(c) && c->batches < BATCHES_MAX)
            send_batch(p, c);
    }
}

static struct pg_conn *free_conn(struct pool *p)
{
    for (int i = 0; i < p->nconns; i++) {
        struct pg_conn *c = &p->conns[i];
        if (usable(c) && c->sent.n == 0 && c->tx == NULL)
            return c;
    }
    return NULL;
}

static void dispatch_single(struct pool *p)
{
    struct pg_conn *c;
    while (p->queue.n > 0 && (c = free_conn(p)) != NULL) {
        struct pg_op *op = pg_ops_pop(&p->queue);
        if (op->kind == PG_OP_PIN) {
            tx_pinned(c, op);
            continue;
        }
        op->flush = op->q->flush;
        pg_send(c, op, true);
    }
}

static void open_some(struct pool *p, int64_t now)
{
    int up = 0, connecting = 0, want;
    if (now < p->next_try)
        return;
    for (int i = 0; i < p->nconns; i++) {
        up += p->conns[i].state == PG_UP;
        connecting += p->conns[i].state == PG_CONNECTING;
    }
    want = up + p->queue.n > p->nmin ? up + p->queue.n : p->nmin;
    if (p->down_since && want == 0) /* only a new connection proves that it works again */
        want = 1;
    if (p->fails > 0 && want > up + 1) /* one at a time until it works again */
        want = up + 1;
    for (int i = 0; i < p->nconns && up + connecting < want; i++) {
        if (p->conns[i].state == PG_CLOSED) {
            pg_open(&p->conns[i]);
            connecting++;
        }
    }
}

void pool_dispatch(struct pool *p)
{
    if (p->pipelined)
        dispatch_pipelined(p);
    else
        dispatch_single(p);
    if (p->queue.n > 0)
        open_some(p, clock_mono());
}

/* --- time --- */

static void expire_queue(struct pool *p, int64_t now)
{
    bool down = p->down_since && now - p->down_since > DOWN_US;
    for (struct pg_op *op = p->queue.head, *next; op; op = next) {
        next = op->next;
        if (down)
            fail(op, ERR_DB_DOWN, p->down_err.msg);
        else if (now >= op->deadline)
            fail(op, ERR_TIMEOUT, "no database connection was free in time");
    }
}

static void expire_conn(const struct pool *p, struct pg_conn *c, int64_t now)
{
    struct err e = {0};
    if (c->tx && now - tx_started(c->tx) > p->tx_us) {
        ERR(&e, ERR_TIMEOUT, "the transaction took too long");
        pg_cancel(c);
        pg_break(c, &e);
        return;
    }
    for (struct pg_op *op = c->sent.head; op; op = op->next) {
        if (now >= op->deadline) {
            ERR(&e, ERR_TIMEOUT, "the database did not answer in time");
            pg_cancel(c);
            pg_break(c, &e);
            return;
        }
    }
}

static void close_idle(struct pool *p, int64_t now)
{
    int up = 0;
    for (int i = 0; i < p->nconns; i++)
        up += p->conns[i].state == PG_UP;
    for (int i = p->nconns - 1; i >= 0 && up > p->nmin; i--) {
        struct pg_conn *c = &p->conns[i];
        if (usable(c) && c->sent.n == 0 && c->tx == NULL && now - c->idle_since > IDLE_US) {
            pg_close(c);
            up--;
        }
    }
}

void pool_tick(struct pool *p, int64_t now)
{
    for (int i = 0; i < p->nconns; i++) {
        if (p->conns[i].state == PG_UP)
            expire_conn(p, &p->conns[i], now);
        pg_tick(&p->conns[i], now);
    }
    expire_queue(p, now);
    open_some(p, now);
    close_idle(p, now);
}

void pool_count(const struct pool *p, int *busy, int *up)
{
    *busy = *up = 0;
    for (int i = 0; i < p->nconns; i++) {
        *up += p->conns[i].state == PG_UP;
        *busy += p->conns[i].sent.n > 0 || p->conns[i].tx != NULL;
    }
}

/* --- life --- */

static void make_options(struct pool *p, const struct db_cfg *cfg, bool switch_role)
{
    int ms = p->lane == DB_READ ? (cfg->read_timeout_ms > 0 ? cfg->read_timeout_ms : 1000)
                                : (cfg->write_timeout_ms > 0 ? cfg->write_timeout_ms : 5000);
    snprintf(p->options, sizeof p->options,
             "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=iso_8601 -c extra_float_digits=1 "
             "-c jit=off -c lock_timeout=2000 -c statement_timeout=%d -c "
             "idle_in_transaction_session_timeout=15000 "
             "-c default_transaction_read_only=%s%s",
             ms, p->lane == DB_READ ? "on" : "off",
             switch_role ? " -c role=ppv_plugin -c search_path=api_v1" : "");
    /* The server ends a long statement first; ours are for a server that does not answer. */
    int64_t us = ms * INT64_C(1000);
    p->query_us = us + 3000000 > QUERY_US ? us + 3000000 : QUERY_US;
    p->tx_us = us + 5000000 > TX_MAX_US ? us + 5000000 : TX_MAX_US;
}

void pool_init(struct pool *p, struct pool_env *env, enum db_lane lane, const struct db_cfg *cfg)
{
    const char *infos[] = {cfg->read_conninfo, NULL, cfg->plugin_conninfo};
    bool own = lane == DB_PLUGIN && cfg->plugin_conninfo != NULL;
    static const int dflt[] = {1, 4, 2};
    const int asked[] = {cfg->nread, cfg->nwrite, cfg->nplugin};
    int n = asked[lane] > 0 ? asked[lane] : asked[lane] < 0 ? 0 : dflt[lane];
    memset(p, 0, sizeof *p);
    p->env = env;
    p->lane = lane;
    p->pipelined = lane == DB_READ;
    p->nconns = n;
    p->nmin = lane == DB_READ ? n : lane == DB_WRITE ? (n < 2 ? n : 2) : 0;
    p->queue_max = cfg->queue_max > 0 ? cfg->queue_max : 1024;
    p->conninfo = strdup(infos[lane] ? infos[lane] : cfg->conninfo);
    p->name = strdup(cfg->name ? cfg->name : "ppv");
    p->conns = calloc((size_t)n + 1, sizeof *p->conns);
    must(p->conninfo && p->name && p->conns);
    make_options(p, cfg, lane == DB_PLUGIN && !own);
    for (int i = 0; i < n; i++) {
        p->conns[i] = (struct pg_conn){.loop = env->loop,
                                       .conninfo = p->conninfo,
                                       .options = p->options,
                                       .name = p->name,
                                       .up = on_up,
                                       .finished = on_finished,
                                       .lost = on_lost,
                                       .after = on_after,
                                       .arg = p};
    }
}

void pool_fini(struct pool *p)
{
    struct pg_op *op;
    for (int i = 0; i < p->nconns; i++) {
        struct pg_conn *c = &p->conns[i];
        pg_close(c);
        while ((op = pg_ops_pop(&c->sent)) != NULL)
            pool_op_free(op);
    }
    while ((op = pg_ops_pop(&p->flushing)) != NULL || (op = pg_ops_pop(&p->unflushed)) != NULL)
        pool_op_free(op);
    while ((op = pg_ops_pop(&p->queue)) != NULL)
        pool_op_free(op);
    free(p->conns);
    free(p->conninfo);
    free(p->name);
}
