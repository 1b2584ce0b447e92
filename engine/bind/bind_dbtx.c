/* SPDX-License-Identifier: Apache-2.0
 * ppv.db.tx. The handle is a userdata whose transaction ends in one of three ways: commit/rollback
 * by the wrapper, the task's arena (error, cancel, deadline), or the collector; the first one
 * clears h->tx. */
#include "bind/bind_db.h"

#include "base/arena.h"
#include "bind/bind.h"
#include "lua/lx.h"

static const char TX_META[] = "ppv.db.tx";

struct txh {
    struct db_tx *tx;
    struct task *task;
    void *token;
    struct err err;
    struct txh *next; /* open ones, to find a nested begin */
};
static struct txh *open_list;

/* Outlives its task: db_tx_end always reports, so the last of the two frees it. */
struct end_op {
    struct arena *arena;
    struct task *task;
    void *token;
    bool done, orphan;
    struct err err;
};

static void unlist(struct txh *h)
{
    for (struct txh **p = &open_list; *p; p = &(*p)->next)
        if (*p == h) {
            *p = h->next;
            return;
        }
}

static void forget(struct txh *h)
{
    h->tx = NULL;
    unlist(h);
    if (h->token)
        arena_undefer(h->task->arena, h->token);
    h->token = NULL;
}

static void abandon(void *p)
{
    struct txh *h = p;
    struct db_tx *tx = h->tx;
    h->token = NULL; /* the arena is running its list already */
    forget(h);
    if (tx)
        db_tx_end(tx, false, NULL, NULL);
}

static void begin_ready(void *arg, const struct err *e)
{
    struct txh *h = arg;
    if (e && e->code != ERR_NONE) {
        h->err = *e;
        forget(h);
    }
    sched_wake(h->task);
}

static void close_tx(void *p)
{
    struct txh *h = p;
    struct db_tx *tx = h->tx;
    if (!tx)
        return;
    forget(h);
    db_tx_end(tx, false, NULL, NULL);
}

static int h_gc(lua_State *L)
{
    close_tx(lua_touserdata(L, 1));
    return 0;
}

static int begin_push(lua_State *L, struct task *t, void *p)
{
    (void)t;
    struct txh *h = p;
    if (h->err.code != ERR_NONE)
        return lx_fail(L, &h->err);
    lua_pushboolean(L, 1);
    return 1;
}

/* begin(handle) -> true | nil, err */
static int l_begin(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    struct txh *h = luaL_checkudata(L, 1, TX_META);
    for (struct txh *o = open_list; o; o = o->next)
        if (o->task == t)
            return luaL_error(L, "ppv.db.tx inside ppv.db.tx");
    struct db *db = bind_env()->db;
    if (!db)
        return lx_failf(L, ERR_DB_DOWN, "no database in this process");
    struct err e = {0};
    if (db_tx_begin(db, lua_toboolean(L, lua_upvalueindex(1)) ? DB_PLUGIN : DB_WRITE, begin_ready,
                    h, &h->tx, &e) < 0) {
        h->tx = NULL;
        return lx_fail(L, &e);
    }
    h->task = t;
    h->token = arena_defer(t->arena, abandon, h);
    h->next = open_list;
    open_list = h;
    return sched_await(L, t, begin_push, close_tx, h);
}

static int l_new(lua_State *L)
{
    struct txh *h = lua_newuserdata(L, sizeof *h);
    *h = (struct txh){0};
    luaL_getmetatable(L, TX_META);
    lua_setmetatable(L, -2);
    return 1;
}

static void end_free(struct end_op *op)
{
    struct arena *a = op->arena; /* op lives in it */
    arena_free(a);
}

static void end_done(void *arg, const struct err *e)
{
    struct end_op *op = arg;
    if (op->orphan) {
        end_free(op);
        return;
    }
    op->done = true;
    if (e)
        op->err = *e;
    sched_wake(op->task);
}

/* The task ended without looking at the outcome. */
static void end_drop(void *p)
{
    struct end_op *op = p;
    if (op->done)
        end_free(op);
    else
        op->orphan = true;
}

static void end_stop(void *p)
{
    (void)p; /* a commit on its way cannot be called back */
}

static int end_push(lua_State *L, struct task *t, void *p)
{
    struct end_op *op = p;
    int n = 1;
    if (op->err.code != ERR_NONE)
        n = lx_fail(L, &op->err);
    else
        lua_pushboolean(L, 1);
    arena_undefer(t->arena, op->token);
    end_free(op);
    return n;
}

/* commit(handle) -> true | nil, err */
static int l_commit(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    struct txh *h = luaL_checkudata(L, 1, TX_META);
    struct db_tx *tx = h->tx;
    if (!tx)
        return lx_failf(L, ERR_INTERNAL, "the transaction is over");
    forget(h);
    struct arena *a = arena_new();
    struct end_op *op = arena_alloc(a, sizeof *op);
    op->arena = a;
    op->task = t;
    op->token = arena_defer(t->arena, end_drop, op);
    db_tx_end(tx, true, end_done, op);
    return sched_await(L, t, end_push, end_stop, op);
}

static int l_rollback(lua_State *L)
{
    close_tx(luaL_checkudata(L, 1, TX_META));
    return 0;
}

static int statement(lua_State *L, enum bind_db_mode mode)
{
    struct task *t = lx_task(L, PHASE_IO);
    struct txh *h = lua_touserdata(L, lua_upvalueindex(1));
    if (lua_istable(L, 1)) /* both tx.query(...) and tx:query(...) */
        lua_remove(L, 1);
    if (!h->tx)
        return luaL_error(L, "the transaction is over");
    if (h->task != t)
        return luaL_error(L, "a transaction belongs to the task that began it");
    return bind_db_run(L, t, h->tx, DB_WRITE, mode, 1);
}

static int l_tx_query(lua_State *L)
{
    return statement(L, BIND_DB_ROWS);
}

static int l_tx_one(lua_State *L)
{
    return statement(L, BIND_DB_ONE);
}

static int l_tx_exec(lua_State *L)
{
    return statement(L, BIND_DB_COUNT);
}

/* face(handle) -> {query, one, exec} */
static int l_face(lua_State *L)
{
    static const luaL_Reg reg[] = {
        {"query", l_tx_query}, {"one", l_tx_one}, {"exec", l_tx_exec}, {NULL, NULL}};
    luaL_checkudata(L, 1, TX_META);
    lua_createtable(L, 0, 3);
    for (const luaL_Reg *r = reg; r->name; r++) {
        lua_pushvalue(L, 1);
        lua_pushcclosure(L, r->func, 1);
        lua_setfield(L, -2, r->name);
    }
    return 1;
}

/* The wrapper is Lua because only Lua code may yield across pcall. */
static const char WRAPPER[] =
    "local new, begin, commit, rollback, face, pcall, error, type = ...\n"
    "local function finish(h, ok, v, ...)\n"
    "  if not ok then\n"
    "    rollback(h)\n"
    "    if type(v) == 'table' and v.code then return nil, v end\n"
    "    error(v, 0)\n"
    "  end\n"
    "  if not v and (...) ~= nil then rollback(h) return nil, (...) end\n"
    "  local done, err = commit(h)\n"
    "  if not done then return nil, err end\n"
    "  if v == nil then v = true end\n"
    "  return v, ...\n"
    "end\n"
    "return function(fn)\n"
    "  if type(fn) ~= 'function' then error('bad argument #1 to tx (function expected)', 2) end\n"
    "  local h = new()\n"
    "  local ok, err = begin(h)\n"
    "  if not ok then return nil, err end\n"
    "  return finish(h, pcall(fn, face(h)))\n"
    "end\n";

/* ppv.db.tx(fn: function(tx)) -> value | nil, err
 * Runs fn inside one transaction on one connection; tx.query, tx.one and tx.exec work as their
 * namesakes. fn's results are returned after the commit (true when it returned nothing). `return
 * nil, err` rolls back and is returned; a raised error rolls back and is raised again (a raised
 * err table is returned as nil, err). Cancelled or timed-out tasks roll back. At most 10 s; not
 * nestable. Phases: request webhook job tick. Yields. Errors: as query. Since 1.0 */
void bind_dbtx_push(lua_State *L, bool plugin)
{
    static const lua_CFunction fns[] = {l_new, l_begin, l_commit, l_rollback, l_face};
    if (luaL_newmetatable(L, TX_META)) {
        lua_pushcfunction(L, h_gc);
        lua_setfield(L, -2, "__gc");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 1);
    if (luaL_loadbufferx(L, WRAPPER, sizeof WRAPPER - 1, "=ppv.db.tx", "t") != 0)
        lua_error(L);
    for (size_t i = 0; i < sizeof fns / sizeof *fns; i++) {
        lua_pushboolean(L, plugin);
        lua_pushcclosure(L, fns[i], 1);
    }
    lua_getglobal(L, "pcall");
    lua_getglobal(L, "error");
    lua_getglobal(L, "type");
    lua_call(L, 8, 1);
}
