/* SPDX-License-Identifier: Apache-2.0
 * PostgreSQL for one worker: non-blocking lanes on the loop, pinned transactions, LISTEN.
 * Everything here belongs to the loop's thread. No callback runs inside the call that caused it:
 * they come from later turns. Connections come back by themselves; nothing blocks (except the
 * resolver, when the host of a remote database is a name).
 *
 * Lanes
 *   DB_READ    one pipelined connection, read-only sessions; all queries of a turn share one round
 *              trip. Plain SELECT only. A query that was aborted because a neighbour failed, or
 *              lost with the connection, is sent again.
 *   DB_WRITE   n connections, one statement = one transaction (auto-commit), done after the commit
 *              is acknowledged.
 *   DB_PLUGIN  as DB_WRITE, under the role ppv_plugin (schema api_v1, the plugins' own schemas).
 * Errors, at once from db_submit: ERR_BUSY (queue full), ERR_DB_DOWN (down for some time).
 * Errors, later in q->err:
 *   ERR_TIMEOUT      deadline or statement_timeout
 *   ERR_DB_DOWN      no connection; nothing was done
 *   ERR_DB_UNKNOWN   connection lost or deadline passed while a write was in flight: look up by
 *                    idempotency key, never repeat blindly
 *   ERR_DB_CONFLICT  unique, foreign key, check, exclusion; err.detail = constraint name
 *   ERR_DB_RETRY     deadlock, serialization, lock_timeout
 *   ERR_CONFLICT     RAISE ... ERRCODE 'P0001' with message 'code|sentence': err.detail = code,
 *                    err.msg = sentence
 *   ERR_INVALID      a value of the wrong form, range, length or encoding; err.detail = SQLSTATE
 *   ERR_DB           the rest; err.detail = SQLSTATE, err.msg = the server's text */
#ifndef DB_DB_H
#define DB_DB_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

struct loop;
struct db;
struct db_tx;
struct db_result;
struct db_listen;

enum db_lane { DB_READ, DB_WRITE, DB_PLUGIN, DB_LANES };

struct db_cfg {
    const char *conninfo;        /* libpq keywords or URL; copied */
    const char *read_conninfo;   /* of the read lane, e.g. a replica; NULL: conninfo */
    const char *plugin_conninfo; /* NULL: conninfo, role set to ppv_plugin (stops mistakes only) */
    const char *name;            /* application_name, e.g. "ppv web0"; NULL = "ppv" */
    int nread;                   /* 0 = 1 */
    int nwrite;                  /* 0 = 4: more would take turns on the cores, with cold caches */
    int nplugin;                 /* 0 = 2; -1 = no plugin lane */
    int queue_max;               /* waiting queries per lane; 0 = 1024 */
    int read_timeout_ms;         /* statement_timeout of the read lane; 0 = 1000 */
    int write_timeout_ms;        /* statement_timeout of the others; 0 = 5000 */
};

/* Embed or allocate; zero-initialise, fill the first part. sql, params and what they point to
 * stay valid until done or db_cancel. sql should come from a small fixed set: texts are prepared
 * once per connection and kept (256 per connection). */
struct db_query {
    const char *sql;
    int nparams;
    const char *const *params; /* text format, NULL = null */
    const int *lens;           /* only read where formats[i] is 1 */
    const int *formats;        /* NULL = all text; 1 = binary (bytea: raw bytes) */
    enum db_lane lane;         /* ignored by db_tx_submit */
    bool flush; /* DB_WRITE: the statement commits with synchronous_commit off (it says so itself,
                   for its transaction); done waits for a flush of the log that began after it.
                   Its row locks are free before the disk has answered, and all of a lane that end
                   while one flush is under way share the next; acknowledged is as durable as ever. */
    int64_t timeout_us; /* whole time incl. waiting in the queue; 0 = 8 s, or 3 s more than
                                  the lane's statement_timeout */
    void (*done)(struct db_query *q);
    void *arg;
    /* out, valid from done on: */
    struct db_result *res; /* NULL on error; owner: the caller, db_result_free */
    struct err err;        /* code ERR_NONE on success */
    /* private */
    void *op;
};

/* Never blocks. Fails only for a malformed conninfo. */
int db_new(struct loop *l, const struct db_cfg *cfg, struct db **out, struct err *e);
/* Drops everything without calling anybody. NULL is fine. */
void db_free(struct db *d);

/* 0: q->done will be called once. -1: it will not, *e says why. */
int db_submit(struct db *d, struct db_query *q, struct err *e);
/* done will not be called. A statement already sent may still take effect. Idempotent; no-op
 * when done. */
void db_cancel(struct db *d, struct db_query *q);

/* A transaction pinned to one connection of the write lane (or plugin lane). For admin work and
 * multi-step logic in Lua; hot paths use one SQL function. ready(arg, NULL) when the connection
 * is pinned, or ready(arg, err) and the handle is dead. BEGIN travels with the first statement.
 * A transaction older than 10 s, or 5 s more than the lane's statement_timeout, is rolled back:
 * later calls answer ERR_TIMEOUT. */
int db_tx_begin(struct db *d, enum db_lane lane, void (*ready)(void *arg, const struct err *e),
                void *arg, struct db_tx **out, struct err *e);
/* One statement at a time per transaction. After an error every later statement fails too. */
int db_tx_submit(struct db_tx *tx, struct db_query *q, struct err *e);
/* Ends the handle; legal at any time, also before ready (which is then not called) and with a
 * statement in flight (then always a rollback; its done is not called). The connection returns
 * to the lane clean or not at all. done may be NULL; done(arg, NULL) = committed (or rolled back
 * as asked); ERR_DB_UNKNOWN = lost while committing. */
void db_tx_end(struct db_tx *tx, bool commit, void (*done)(void *arg, const struct err *e),
               void *arg);

/* fn(arg, payload) for every NOTIFY on the channel (own connection, made at the first
 * db_listen). payload NULL: the connection came (back) up, something may have been missed: look
 * at the tables. channel is copied; [a-z0-9_]{1,60}. */
int db_listen(struct db *d, const char *channel, void (*fn)(void *arg, const char *payload),
              void *arg, struct db_listen **out, struct err *e);
void db_unlisten(struct db *d, struct db_listen *h);

struct db_stats {
    int64_t queries, errors, reconnects, resent;
    int queued[DB_LANES], busy[DB_LANES], up[DB_LANES], total[DB_LANES];
};
void db_stats(const struct db *d, struct db_stats *out);
/* At least one connection of the read and of the write lane is up. */
bool db_is_up(const struct db *d);

enum db_type {
    DBV_TEXT,
    DBV_INT,
    DBV_BOOL,
    DBV_FLOAT,
    DBV_BYTEA,
    DBV_NUMERIC,
    DBV_TIME,
    DBV_UUID,
    DBV_JSON
};

void db_result_free(struct db_result *r);           /* NULL is fine */
int db_result_rows(const struct db_result *r);      /* rows returned */
int64_t db_result_count(const struct db_result *r); /* rows affected or returned */
int db_result_cols(const struct db_result *r);
const char *db_result_name(const struct db_result *r, int col);
enum db_type db_result_type(const struct db_result *r, int col);
bool db_result_null(const struct db_result *r, int row, int col);
/* NUL-terminated text (DBV_BYTEA: the raw bytes); valid until db_result_free. *n (may be NULL) =
 * length. Null gives "" and 0. */
const char *db_result_get(const struct db_result *r, int row, int col, size_t *n);
int64_t db_result_int(const struct db_result *r, int row, int col); /* DBV_INT; 0 for null */
bool db_result_bool(const struct db_result *r, int row, int col);
#endif
