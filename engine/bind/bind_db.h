/* SPDX-License-Identifier: Apache-2.0
 * ppv.db and what other bindings need for statements. Loop thread. */
#ifndef BIND_BIND_DB_H
#define BIND_BIND_DB_H
#include <stdbool.h>
#include <lua.h>
#include "base/err.h"
#include "db/db.h"

struct arena;
struct task;
int bind_db_open(lua_State *L);
/* ppv.plugin_db: the same under the role ppv_plugin. */
int bind_db_open_plugin(lua_State *L);
/* Pushes the function tx (bind_dbtx.c). */
void bind_dbtx_push(lua_State *L, bool plugin);

/* The shape of a statement's answer. */
enum bind_db_mode {
    BIND_DB_ROWS,
    BIND_DB_ONE,
    BIND_DB_COUNT,
    BIND_DB_JSON /* first column of the first row, decoded */
};
/* One awaited statement in an arena of its own, so that a job of a million statements does not
 * grow. */
struct bind_db_op {
    struct db_query q; /* fill sql, params, lane; memory from arena */
    struct arena *arena;
    enum bind_db_mode mode;
    /* private */
    struct task *task;
    void *token;
};
/* Check every argument before: nothing between new and run may raise. */
struct bind_db_op *bind_db_op_new(struct task *t, enum bind_db_mode mode);
/* `return bind_db_op_run(...)`: awaits, or gives nil, err. tx NULL = q.lane. Takes op. */
int bind_db_op_run(lua_State *L, struct bind_db_op *op, struct db_tx *tx);
/* SQL at first, parameters behind it: all of the above. */
int bind_db_run(lua_State *L, struct task *t, struct db_tx *tx, enum db_lane lane,
                enum bind_db_mode mode, int first);

/* bind_dbval.c: values. Pushes what mode asks for and returns the number of values; r may have no
 * rows. */
int bind_db_push(lua_State *L, const struct db_result *r, enum bind_db_mode mode);
/* Raises when a value at first..top is not a legal parameter. */
void bind_db_check(lua_State *L, int first);
/* Copies the parameters first..top into a and fills q; cannot raise after bind_db_check. */
void bind_db_params(lua_State *L, int first, struct arena *a, struct db_query *q);
int bind_db_array(lua_State *L);
int bind_db_bytes(lua_State *L);
#endif
