/* SPDX-License-Identifier: Apache-2.0 */
#include "db/db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "db/pgval.h"
#include "db/pool.h"
#include "db/tx.h"

#define TICK_US 250000
#define CHANNEL_MAX 61

struct db_listen {
    struct db_listen *next;
    char channel[CHANNEL_MAX];
    void (*fn)(void *arg, const char *payload);
    void *arg;
    bool dead;
};

struct db {
    struct pool_env env;
    struct pool lanes[DB_LANES];
    struct loop_hook hook;
    struct timer tick;
    /* LISTEN */
    struct pg_conn lc;
    struct db_listen *listens;
    bool calling; /* a handler runs: unlisten only marks */
    int lc_fails;
    int64_t lc_next;
    bool closed;
};

/* --- turns and ticks --- */

static int64_t on_hook(struct loop_hook *h)
{
    struct db *d = h->arg;
    if (d->closed)
        return -1;
    pool_run_done(&d->env);
    for (int i = 0; i < DB_LANES; i++)
        pool_dispatch(&d->lanes[i]);
    if (d->env.done.n == 0)
        loop_timer_clear(d->env.loop, &d->env.kick);
    return -1;
}

static void on_kick(struct timer *t)
{
    struct db *d = t->arg;
    on_hook(&d->hook);
}

static void listen_tick(struct db *d, int64_t now);

static void on_tick(struct timer *t)
{
    struct db *d = t->arg;
    int64_t now = clock_mono();
    for (int i = 0; i < DB_LANES; i++)
        pool_tick(&d->lanes[i], now);
    listen_tick(d, now);
    loop_timer_set(d->env.loop, &d->tick, TICK_US);
    pool_run_done(&d->env);
}

/* --- LISTEN --- */

static void sweep_listens(struct db *d)
{
    struct db_listen **p = &d->listens;
    while (*p) {
        struct db_listen *h = *p;
        if (h->dead) {
            *p = h->next;
            free(h);
        } else {
            p = &h->next;
        }
    }
}

/* channel NULL: everybody. */
static void call_listens(struct db *d, const char *channel, const char *payload)
{
    d->calling = true;
    for (struct db_listen *h = d->listens; h; h = h->next) {
        if (!h->dead && (channel == NULL || strcmp(h->channel, channel) == 0))
            h->fn(h->arg, payload);
    }
    d->calling = false;
    sweep_listens(d);
}

static void send_listen(struct db *d, const char *channel)
{
    char sql[CHANNEL_MAX + 16];
    struct pg_op *op = pool_op(&d->lanes[DB_WRITE], PG_OP_BEGIN, NULL);
    snprintf(sql, sizeof sql, "LISTEN %s", channel);
    op->sql = sql;
    pg_send(&d->lc, op, true);
    op->sql = "";
}

static void lc_up(struct pg_conn *c)
{
    struct db *d = c->arg;
    d->lc_fails = 0;
    for (struct db_listen *h = d->listens; h; h = h->next)
        send_listen(d, h->channel);
}

static void lc_finished(struct pg_conn *c, struct pg_op *op)
{
    struct db *d = c->arg;
    pool_op_free(op);
    if (c->sent.n == 0)
        call_listens(d, NULL, NULL);
}

static void lc_lost(struct pg_conn *c, const struct err *why)
{
    struct db *d = c->arg;
    struct pg_op *op;
    (void)why;
    while ((op = pg_ops_pop(&c->sent)) != NULL)
        pool_op_free(op);
    d->lc_next = clock_mono() + (50000LL << (d->lc_fails < 6 ? d->lc_fails : 6));
    d->lc_fails++;
}

static void lc_notify(struct pg_conn *c, const char *channel, const char *payload)
{
    call_listens(c->arg, channel, payload);
}

static void lc_after(struct pg_conn *c)
{
    (void)c;
}

static void listen_tick(struct db *d, int64_t now)
{
    if (d->lc.sent.head && now >= d->lc.sent.head->deadline) {
        struct err e = {0};
        ERR(&e, ERR_TIMEOUT, "LISTEN did not answer");
        pg_break(&d->lc, &e);
    }
    pg_tick(&d->lc, now);
    if (d->listens && d->lc.state == PG_CLOSED && now >= d->lc_next)
        pg_open(&d->lc);
}

int db_listen(struct db *d, const char *channel, void (*fn)(void *arg, const char *payload),
              void *arg, struct db_listen **out, struct err *e)
{
    size_t n = strlen(channel);
    struct db_listen *h;
    if (n == 0 || n >= CHANNEL_MAX ||
        strspn(channel, "abcdefghijklmnopqrstuvwxyz0123456789_") != n ||
        (channel[0] >= '0' && channel[0] <= '9'))
        return ERR(e, ERR_BAD_REQUEST, "bad channel name");
    h = calloc(1, sizeof *h);
    must(h != NULL);
    memcpy(h->channel, channel, n + 1);
    h->fn = fn;
    h->arg = arg;
    h->next = d->listens;
    d->listens = h;
    if (d->lc.state == PG_UP)
        send_listen(d, channel);
    else if (d->lc.state == PG_CLOSED && clock_mono() >= d->lc_next)
        pg_open(&d->lc);
    *out = h;
    return 0;
}

void db_unlisten(struct db *d, struct db_listen *h)
{
    if (h == NULL)
        return;
    h->dead = true;
    if (!d->calling)
        sweep_listens(d);
}

/* --- life --- */

int db_new(struct loop *l, const struct db_cfg *cfg, struct db **out, struct err *e)
{
    char *why = NULL;
    const char *infos[] = {cfg->conninfo, cfg->read_conninfo, cfg->plugin_conninfo};
    struct db *d;
    for (int i = 0; i < 3; i++) {
        PQconninfoOption *o = infos[i] ? PQconninfoParse(infos[i], &why) : NULL;
        if (o == NULL && (i == 0 || infos[i])) {
            ERR(e, ERR_CONFIG, "database: %s", why ? why : "no connection given");
            PQfreemem(why);
            return -1;
        }
        PQconninfoFree(o);
    }
    d = calloc(1, sizeof *d);
    must(d != NULL);
    d->env.loop = l;
    d->env.kick.fn = on_kick;
    d->env.kick.arg = d;
    for (int i = 0; i < DB_LANES; i++)
        pool_init(&d->lanes[i], &d->env, (enum db_lane)i, cfg);
    d->lc = (struct pg_conn){.loop = l,
                             .conninfo = d->lanes[DB_WRITE].conninfo,
                             .options = "-c TimeZone=UTC",
                             .name = d->lanes[DB_WRITE].name,
                             .up = lc_up,
                             .finished = lc_finished,
                             .lost = lc_lost,
                             .notify = lc_notify,
                             .after = lc_after,
                             .arg = d};
    d->hook.fn = on_hook;
    d->hook.arg = d;
    loop_hook_add(l, &d->hook);
    d->tick.fn = on_tick;
    d->tick.arg = d;
    loop_timer_set(l, &d->tick, 0);
    *out = d;
    return 0;
}

/* The hook stays in the loop's list, so the struct itself outlives us by design: only what it
 * holds is freed. */
void db_free(struct db *d)
{
    struct pg_op *op;
    if (d == NULL || d->closed)
        return;
    d->closed = true;
    loop_timer_clear(d->env.loop, &d->env.kick);
    loop_timer_clear(d->env.loop, &d->tick);
    pg_close(&d->lc);
    while ((op = pg_ops_pop(&d->lc.sent)) != NULL)
        pool_op_free(op);
    for (int i = 0; i < DB_LANES; i++)
        pool_fini(&d->lanes[i]);
    while ((op = pg_ops_pop(&d->env.done)) != NULL)
        pool_op_free(op);
    for (struct db_listen *h = d->listens; h; h = h->next)
        h->dead = true;
    sweep_listens(d);
}

int db_submit(struct db *d, struct db_query *q, struct err *e)
{
    return pool_submit(&d->lanes[q->lane], q, e);
}

void db_cancel(struct db *d, struct db_query *q)
{
    (void)d;
    pool_cancel(q);
}

int db_tx_begin(struct db *d, enum db_lane lane, void (*ready)(void *arg, const struct err *e),
                void *arg, struct db_tx **out, struct err *e)
{
    return tx_begin(&d->lanes[lane], ready, arg, out, e);
}

int db_tx_submit(struct db_tx *tx, struct db_query *q, struct err *e)
{
    return tx_submit(tx, q, e);
}

void db_tx_end(struct db_tx *tx, bool commit, void (*done)(void *arg, const struct err *e),
               void *arg)
{
    tx_end(tx, commit, done, arg);
}

void db_stats(const struct db *d, struct db_stats *out)
{
    memset(out, 0, sizeof *out);
    out->queries = d->env.queries;
    out->errors = d->env.errors;
    out->reconnects = d->env.reconnects;
    out->resent = d->env.resent;
    for (int i = 0; i < DB_LANES; i++) {
        const struct pool *p = &d->lanes[i];
        out->queued[i] = p->queue.n;
        out->total[i] = p->nconns;
        pool_count(p, &out->busy[i], &out->up[i]);
    }
}

bool db_is_up(const struct db *d)
{
    int busy, up_read, up_write;
    pool_count(&d->lanes[DB_READ], &busy, &up_read);
    pool_count(&d->lanes[DB_WRITE], &busy, &up_write);
    return up_read > 0 && up_write > 0;
}

/* --- results --- */

void db_result_free(struct db_result *r)
{
    pgval_free(r);
}

int db_result_rows(const struct db_result *r)
{
    return r->rows;
}

int64_t db_result_count(const struct db_result *r)
{
    return strtoll(PQcmdTuples(r->pg), NULL, 10);
}

int db_result_cols(const struct db_result *r)
{
    return r->cols;
}

const char *db_result_name(const struct db_result *r, int col)
{
    return PQfname(r->pg, col);
}

enum db_type db_result_type(const struct db_result *r, int col)
{
    return (enum db_type)r->types[col];
}

bool db_result_null(const struct db_result *r, int row, int col)
{
    return PQgetisnull(r->pg, row, col) != 0;
}

const char *db_result_get(const struct db_result *r, int row, int col, size_t *n)
{
    if (n)
        *n = (size_t)(r->lens ? r->lens[row * r->cols + col] : PQgetlength(r->pg, row, col));
    return PQgetvalue(r->pg, row, col);
}

int64_t db_result_int(const struct db_result *r, int row, int col)
{
    return strtoll(PQgetvalue(r->pg, row, col), NULL, 10);
}

bool db_result_bool(const struct db_result *r, int row, int col)
{
    return PQgetvalue(r->pg, row, col)[0] == 't';
}
