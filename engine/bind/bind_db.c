/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_db.h"

#include <string.h>
#include "base/arena.h"
#include "bind/bind.h"
#include "lua/lx.h"

enum { SQL_MAX = 65536 };

static void op_done(struct db_query *q)
{
    struct bind_db_op *op = q->arg;
    sched_wake(op->task);
}

/* Runs with the task's arena when nobody pushed the result: cancelled, or woken and cancelled. */
static void op_free(void *p)
{
    struct bind_db_op *op = p;
    db_result_free(op->q.res);
    struct arena *a = op->arena; /* op lives in it */
    arena_free(a);
}

static void op_stop(void *p)
{
    struct bind_db_op *op = p;
    db_cancel(bind_env()->db, &op->q);
    op->q.res = NULL;
}

static int op_push(lua_State *L, struct task *t, void *p)
{
    struct bind_db_op *op = p;
    int n =
        op->q.err.code != ERR_NONE ? lx_fail(L, &op->q.err) : bind_db_push(L, op->q.res, op->mode);
    arena_undefer(t->arena, op->token);
    op_free(op);
    return n;
}

struct bind_db_op *bind_db_op_new(struct task *t, enum bind_db_mode mode)
{
    struct arena *a = arena_new();
    struct bind_db_op *op = arena_alloc(a, sizeof *op);
    op->arena = a;
    op->task = t;
    op->mode = mode;
    op->q.done = op_done;
    op->q.arg = op;
    return op;
}

int bind_db_op_run(lua_State *L, struct bind_db_op *op, struct db_tx *tx)
{
    struct err e = {0};
    struct db *db = bind_env()->db;
    int rc = !db  ? ERR(&e, ERR_DB_DOWN, "no database in this process")
             : tx ? db_tx_submit(tx, &op->q, &e)
                  : db_submit(db, &op->q, &e);
    if (rc < 0) {
        op_free(op);
        return lx_fail(L, &e);
    }
    op->token = arena_defer(op->task->arena, op_free, op);
    return sched_await(L, op->task, op_push, op_stop, op);
}

int bind_db_run(lua_State *L, struct task *t, struct db_tx *tx, enum db_lane lane,
                enum bind_db_mode mode, int first)
{
    struct str sql = lx_str(L, first, 1, SQL_MAX);
    luaL_argcheck(L, !memchr(sql.p, 0, sql.n), first, "NUL in SQL");
    bind_db_check(L, first + 1);
    struct bind_db_op *op = bind_db_op_new(t, mode);
    op->q.sql = arena_strndup(op->arena, sql.p, sql.n);
    op->q.lane = lane;
    bind_db_params(L, first + 1, op->arena, &op->q);
    return bind_db_op_run(L, op, tx);
}

/* The functions of ppv.plugin_db carry `true` as their upvalue: the role follows the module, not
 * the caller, because trusted code called by a plugin keeps its own. */
static enum db_lane lane_of(lua_State *L, enum db_lane lane)
{
    return lua_toboolean(L, lua_upvalueindex(1)) ? DB_PLUGIN : lane;
}

/* ppv.db.query(sql: string, ...: parameters) -> rows | nil, err
 * Runs one statement as its own transaction; rows is an array of tables keyed by column name. Null
 * columns are absent; int as number (string beyond 2^53), bool as boolean, bytea as string of
 * bytes, everything else as text. Parameters are $1, $2 ...: nil, boolean, number, string,
 * ppv.db.array, ppv.db.bytes. Plugins get the same under the role ppv_plugin. Phases: request
 * webhook job tick. Yields. Errors: db.error db.conflict db.retry db.unavailable
 * db.unknown_outcome engine.timeout engine.busy input.invalid; refusals of SQL functions carry their
 * own code and sentence (wallet.insufficient ...). Since 1.0 */
static int l_query(lua_State *L)
{
    return bind_db_run(L, lx_task(L, PHASE_IO), NULL, lane_of(L, DB_WRITE), BIND_DB_ROWS, 1);
}

/* ppv.db.one(sql: string, ...: parameters) -> row | false | nil, err
 * Like query, but the first row only; false when there is none. Phases: request webhook job tick.
 * Yields. Errors: as query. Since 1.0 */
static int l_one(lua_State *L)
{
    return bind_db_run(L, lx_task(L, PHASE_IO), NULL, lane_of(L, DB_WRITE), BIND_DB_ONE, 1);
}

/* ppv.db.exec(sql: string, ...: parameters) -> count: integer | nil, err
 * Like query, but the number of rows it changed. Phases: request webhook job tick. Yields. Errors:
 * as query. Since 1.0 */
static int l_exec(lua_State *L)
{
    return bind_db_run(L, lx_task(L, PHASE_IO), NULL, lane_of(L, DB_WRITE), BIND_DB_COUNT, 1);
}

/* ppv.db.read(sql: string, ...: parameters) -> rows | nil, err
 * Like query on the shared read-only lane: plain SELECT, quick ones (1 s). Phases: request webhook
 * job tick. Yields. Errors: as query. Since 1.0 */
static int l_read(lua_State *L)
{
    return bind_db_run(L, lx_task(L, PHASE_IO), NULL, lane_of(L, DB_READ), BIND_DB_ROWS, 1);
}

/* ppv.db.read_one(sql: string, ...: parameters) -> row | false | nil, err
 * The first row of read. Phases: request webhook job tick. Yields. Errors: as query. Since 1.0 */
static int l_read_one(lua_State *L)
{
    return bind_db_run(L, lx_task(L, PHASE_IO), NULL, lane_of(L, DB_READ), BIND_DB_ONE, 1);
}

/* ppv.db.notify(channel: string, payload?: string) -> count: integer | nil, err
 * NOTIFY to every process that subscribed (ppv.events). Phases: request webhook job tick. Yields.
 * Errors: as query. Since 1.0 */
static int l_notify(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    lx_str(L, 1, 1, 60);
    lx_opt_str(L, 2, 7900, "");
    lua_settop(L, 2);
    if (lua_isnil(L, 2)) {
        lua_pushliteral(L, "");
        lua_replace(L, 2);
    }
    lua_pushliteral(L, "select pg_notify($1, $2)");
    lua_insert(L, 1);
    return bind_db_run(L, t, NULL, lane_of(L, DB_WRITE), BIND_DB_COUNT, 1);
}

static int open_as(lua_State *L, bool plugin)
{
    static const luaL_Reg reg[] = {
        {"query", l_query},       {"one", l_one},           {"exec", l_exec},
        {"read", l_read},         {"read_one", l_read_one}, {"notify", l_notify},
        {"array", bind_db_array}, {"bytes", bind_db_bytes}, {NULL, NULL}};
    lua_newtable(L);
    for (const luaL_Reg *r = reg; r->name; r++) {
        lua_pushboolean(L, plugin);
        lua_pushcclosure(L, r->func, 1);
        lua_setfield(L, -2, r->name);
    }
    bind_dbtx_push(L, plugin);
    lua_setfield(L, -2, "tx");
    return 1;
}

int bind_db_open(lua_State *L)
{
    return open_as(L, false);
}

int bind_db_open_plugin(lua_State *L)
{
    return open_as(L, true);
}
