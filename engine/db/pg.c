/* SPDX-License-Identifier: Apache-2.0 */
#include "db/pg.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "db/db.h"
#include "db/pgval.h"

enum { PHASE_PARSE, PHASE_EXEC, PHASE_SYNC };
enum { STMTS_MAX = 256, BUCKETS = 64, CANCELS_MAX = 8 };
#define CONNECT_US 5000000

struct pg_stmt {
    struct pg_stmt *next;
    char name[16];
    char sql[];
};

void pg_ops_push(struct pg_ops *l, struct pg_op *op)
{
    op->list = l;
    op->next = NULL;
    op->prev = l->tail;
    if (l->tail)
        l->tail->next = op;
    else
        l->head = op;
    l->tail = op;
    l->n++;
}

void pg_ops_push_front(struct pg_ops *l, struct pg_op *op)
{
    op->list = l;
    op->prev = NULL;
    op->next = l->head;
    if (l->head)
        l->head->prev = op;
    else
        l->tail = op;
    l->head = op;
    l->n++;
}

void pg_ops_remove(struct pg_op *op)
{
    struct pg_ops *l = op->list;
    if (l == NULL)
        return;
    if (op->prev)
        op->prev->next = op->next;
    else
        l->head = op->next;
    if (op->next)
        op->next->prev = op->prev;
    else
        l->tail = op->prev;
    op->prev = op->next = NULL;
    op->list = NULL;
    l->n--;
}

struct pg_op *pg_ops_pop(struct pg_ops *l)
{
    struct pg_op *op = l->head;
    if (op)
        pg_ops_remove(op);
    return op;
}

/* --- prepared statements --- */

static unsigned hash_sql(const char *s)
{
    unsigned h = 2166136261u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h % BUCKETS;
}

static struct pg_stmt *stmt_find(struct pg_conn *c, const char *sql)
{
    for (struct pg_stmt *s = c->stmts[hash_sql(sql)]; s; s = s->next) {
        if (strcmp(s->sql, sql) == 0)
            return s;
    }
    return NULL;
}

static struct pg_stmt *stmt_add(struct pg_conn *c, const char *sql)
{
    unsigned h = hash_sql(sql);
    size_t n = strlen(sql) + 1;
    struct pg_stmt *s;
    if (c->nstmts >= STMTS_MAX)
        return NULL;
    s = malloc(sizeof *s + n);
    must(s != NULL);
    snprintf(s->name, sizeof s->name, "s%u", ++c->stmt_seq);
    memcpy(s->sql, sql, n);
    s->next = c->stmts[h];
    c->stmts[h] = s;
    c->nstmts++;
    return s;
}

/* Other ops in flight may point to it: they are cleared, their result will say the same. */
static void stmt_drop(struct pg_conn *c, struct pg_stmt *s)
{
    struct pg_stmt **p;
    if (s == NULL)
        return;
    p = &c->stmts[hash_sql(s->sql)];
    while (*p && *p != s)
        p = &(*p)->next;
    if (*p == NULL)
        return;
    *p = s->next;
    c->nstmts--;
    for (struct pg_op *op = c->sent.head; op; op = op->next) {
        if (op->stmt == s)
            op->stmt = NULL;
    }
    free(s);
}

static void stmts_clear(struct pg_conn *c)
{
    for (int i = 0; i < BUCKETS; i++) {
        while (c->stmts[i]) {
            struct pg_stmt *s = c->stmts[i];
            c->stmts[i] = s->next;
            free(s);
        }
    }
    c->nstmts = 0;
}

/* --- connecting --- */

static void on_fd(struct watch *w, uint32_t events);

static void unwatch(struct pg_conn *c)
{
    if (c->w.events)
        loop_watch(c->loop, &c->w, 0);
}

static void interest(struct pg_conn *c, uint32_t events)
{
    c->w.fd = PQsocket(c->pg);
    c->w.fn = on_fd;
    c->w.arg = c;
    if (c->w.events != events)
        loop_watch(c->loop, &c->w, events);
}

static void break_pg(struct pg_conn *c, enum err_code code)
{
    struct err e = {0};
    ERR(&e, code, "%s", c->pg ? PQerrorMessage(c->pg) : "out of memory");
    e.msg[strcspn(e.msg, "\n")] = '\0';
    pg_break(c, &e);
}

void pg_break(struct pg_conn *c, const struct err *why)
{
    if (c->broken)
        return;
    c->broken = true;
    c->broken_err = *why;
}

static void on_notice(void *arg, const PGresult *res)
{
    (void)arg;
    (void)res;
}

void pg_open(struct pg_conn *c)
{
    const char *keys[] = {"dbname", "options", "application_name", "client_encoding", NULL};
    const char *vals[] = {c->conninfo, c->options, c->name, "UTF8", NULL};
    c->state = PG_CONNECTING;
    c->broken = false;
    c->phase = PHASE_PARSE;
    c->got = false;
    c->connect_deadline = clock_mono() + CONNECT_US;
    c->pg = PQconnectStartParams(keys, vals, 1);
    if (c->pg == NULL || PQstatus(c->pg) == CONNECTION_BAD) {
        break_pg(c, ERR_DB_DOWN);
        return;
    }
    PQsetNoticeReceiver(c->pg, on_notice, NULL);
    interest(c, EPOLLOUT);
}

void pg_close(struct pg_conn *c)
{
    if (c->pg) {
        unwatch(c);
        PQfinish(c->pg);
    }
    c->pg = NULL;
    c->state = PG_CLOSED;
    c->broken = false;
    c->batches = 0;
    stmts_clear(c);
    for (struct pg_op *op = c->sent.head; op; op = op->next)
        op->stmt = NULL;
}

/* libpq may swap the socket under us, even for one of the same number: never registered across a
 * poll. */
static void connect_step(struct pg_conn *c)
{
    PostgresPollingStatusType st;
    unwatch(c);
    st = PQconnectPoll(c->pg);
    if (st == PGRES_POLLING_READING) {
        interest(c, EPOLLIN);
    } else if (st == PGRES_POLLING_WRITING) {
        interest(c, EPOLLOUT);
    } else if (st == PGRES_POLLING_OK) {
        if (PQsetnonblocking(c->pg, 1) != 0 || PQenterPipelineMode(c->pg) != 1) {
            break_pg(c, ERR_DB_DOWN);
            return;
        }
        c->state = PG_UP;
        c->idle_since = clock_mono();
        interest(c, EPOLLIN);
        c->up(c);
    } else {
        break_pg(c, ERR_DB_DOWN);
    }
}

/* --- sending --- */

static void flush(struct pg_conn *c)
{
    int rc = PQflush(c->pg);
    if (rc < 0)
        break_pg(c, ERR_DB_DOWN);
    else
        interest(c, rc ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void pg_send(struct pg_conn *c, struct pg_op *op, bool sync)
{
    const struct db_query *q = op->q;
    int n = q ? q->nparams : 0, ok = 1;
    const char *const *params = q ? q->params : NULL;
    const int *lens = q ? q->lens : NULL, *formats = q ? q->formats : NULL;
    op->state = PG_OP_SENT;
    op->sends++;
    op->sync = sync;
    op->preparing = op->aborted = op->stale = op->completed = false;
    op->stmt = op->kind == PG_OP_QUERY ? stmt_find(c, op->sql) : NULL;
    if (op->kind == PG_OP_QUERY && op->stmt == NULL) {
        op->stmt = stmt_add(c, op->sql);
        op->preparing = op->stmt != NULL;
        if (op->stmt)
            ok = PQsendPrepare(c->pg, op->stmt->name, op->sql, 0, NULL);
    }
    if (c->sent.n == 0)
        c->phase = op->preparing ? PHASE_PARSE : PHASE_EXEC;
    pg_ops_push(&c->sent, op);
    if (ok && op->stmt)
        ok = PQsendQueryPrepared(c->pg, op->stmt->name, n, params, lens, formats, 0);
    else if (ok)
        ok = PQsendQueryParams(c->pg, op->sql, n, NULL, params, lens, formats, 0);
    if (ok && sync) {
        ok = PQpipelineSync(c->pg);
        c->batches++;
    }
    if (!ok)
        break_pg(c, ERR_DB_DOWN);
    else if (sync)
        flush(c);
}

/* --- results --- */

static void next_op(struct pg_conn *c)
{
    struct pg_op *op = pg_ops_pop(&c->sent);
    c->phase = c->sent.head && c->sent.head->preparing ? PHASE_PARSE : PHASE_EXEC;
    c->got = false;
    if (op->sync) {
        c->batches--;
        c->idle_since = clock_mono();
    }
    c->finished(c, op);
}

static void end_of_command(struct pg_conn *c, struct pg_op *op)
{
    if (c->phase == PHASE_SYNC)
        return;
    if (!c->got) {
        struct err e = {0};
        ERR(&e, ERR_DB_DOWN, "a statement without a result");
        pg_break(c, &e);
        return;
    }
    c->got = false;
    if (c->phase == PHASE_PARSE)
        c->phase = PHASE_EXEC;
    else if (op->sync)
        c->phase = PHASE_SYNC;
    else
        next_op(c);
}

/* An error in the sync phase is the commit's. */
static void take_error(struct pg_conn *c, struct pg_op *op, PGresult *res)
{
    if (op->err.code == ERR_NONE) {
        pgval_error(res, &op->err);
        if (op->err.code == ERR_DB_DOWN && op->completed)
            ERR(&op->err, ERR_DB_UNKNOWN, "the server stopped while committing");
        op->stale = pgval_is_stale_plan(res) && c->phase != PHASE_SYNC;
    }
    pgval_free(op->res);
    op->res = NULL;
    if (c->phase == PHASE_PARSE || op->stale)
        stmt_drop(c, op->stmt);
}

/* Returns false when the connection cannot go on. Takes res over. */
static bool take_result(struct pg_conn *c, struct pg_op *op, PGresult *res)
{
    ExecStatusType st = PQresultStatus(res);
    c->got = true;
    switch (st) {
    case PGRES_PIPELINE_SYNC:
        PQclear(res);
        if (c->phase != PHASE_SYNC)
            return false;
        next_op(c);
        return true;
    case PGRES_PIPELINE_ABORTED:
        if (op->err.code == ERR_NONE)
            op->aborted = true;
        if (c->phase == PHASE_PARSE)
            stmt_drop(c, op->stmt);
        break;
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
    case PGRES_EMPTY_QUERY:
        if (c->phase == PHASE_EXEC) {
            pgval_free(op->res);
            op->res = pgval_result(res);
            op->completed = true;
            return true;
        }
        break;
    case PGRES_FATAL_ERROR:
    case PGRES_BAD_RESPONSE: take_error(c, op, res); break;
    default: /* COPY and the like do not belong here */ PQclear(res); return false;
    }
    PQclear(res);
    return true;
}

static void take_notifies(struct pg_conn *c)
{
    PGnotify *n;
    while (c->pg && (n = PQnotifies(c->pg)) != NULL) {
        if (c->notify)
            c->notify(c, n->relname, n->extra);
        PQfreemem(n);
    }
}

/* A dead connection is never busy and answers NULL for ever while a Sync is still owed. */
static void take_results(struct pg_conn *c)
{
    int nulls = 0;
    while (c->sent.head && !c->broken && nulls < 3 && !PQisBusy(c->pg)) {
        struct pg_op *op = c->sent.head;
        PGresult *res = PQgetResult(c->pg);
        nulls = res ? 0 : nulls + 1;
        if (res == NULL) {
            end_of_command(c, op);
        } else if (!take_result(c, op, res)) {
            struct err e = {0};
            ERR(&e, ERR_DB_DOWN, "unexpected kind of result (COPY is not supported)");
            pg_break(c, &e);
        }
    }
    take_notifies(c);
}

static void give_up(struct pg_conn *c)
{
    struct err e = c->broken_err;
    pg_close(c);
    c->lost(c, &e);
}

static void on_fd(struct watch *w, uint32_t events)
{
    struct pg_conn *c = w->arg;
    if (c->state == PG_CONNECTING) {
        connect_step(c);
    } else if (c->state == PG_UP) {
        int ok = PQconsumeInput(c->pg);
        /* libpq closes the socket itself when it is dead */
        if (PQsocket(c->pg) < 0)
            unwatch(c);
        take_results(c);
        if (!c->broken && (!ok || PQstatus(c->pg) == CONNECTION_BAD))
            break_pg(c, ERR_DB_DOWN);
        if (!c->broken && (events & EPOLLOUT))
            flush(c);
    }
    if (c->broken)
        give_up(c);
    c->after(c);
}

void pg_tick(struct pg_conn *c, int64_t now)
{
    if (c->state == PG_CONNECTING && !c->broken && now > c->connect_deadline) {
        struct err e = {0};
        ERR(&e, ERR_DB_DOWN, "the database did not answer within %d s", CONNECT_US / 1000000);
        pg_break(c, &e);
    }
    if (c->broken)
        give_up(c);
}

/* --- cancelling --- */

static atomic_int cancels;

static void *cancel_main(void *arg)
{
    char buf[256];
    PQcancel(arg, buf, sizeof buf);
    PQfreeCancel(arg);
    atomic_fetch_sub(&cancels, 1);
    return NULL;
}

void pg_cancel(struct pg_conn *c)
{
    pthread_t t;
    PGcancel *k = c->pg ? PQgetCancel(c->pg) : NULL;
    if (k == NULL)
        return;
    if (atomic_fetch_add(&cancels, 1) >= CANCELS_MAX ||
        pthread_create(&t, NULL, cancel_main, k) != 0) {
        atomic_fetch_sub(&cancels, 1);
        PQfreeCancel(k);
        return;
    }
    pthread_detach(t);
}
