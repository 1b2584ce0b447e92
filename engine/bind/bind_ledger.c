/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_ledger.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/arena.h"
#include "base/str.h"
#include "bind/bind_db.h"
#include "domain/ledger.h"
#include "lua/lx.h"

/* Pushes the field: "buyer", or "buyer_id" as rows of the database call it. */
static void push_field(lua_State *L, const char *name)
{
    char id[40];
    lua_getfield(L, 2, name);
    if (!lua_isnil(L, -1))
        return;
    lua_pop(L, 1);
    snprintf(id, sizeof id, "%s_id", name);
    lua_getfield(L, 2, id);
}

static void check_field(lua_State *L, const struct ledger_arg *arg)
{
    push_field(L, arg->name);
    size_t n;
    int type = lua_type(L, -1);
    if (type == LUA_TNIL) {
        if (arg->need)
            luaL_error(L, "field '%s' is missing", arg->name);
    } else if (arg->type == LEDGER_INT) {
        lua_Number v = lua_tonumber(L, -1);
        int64_t i;
        bool fine =
            type == LUA_TNUMBER
                ? v == floor(v) && fabs(v) <= 9007199254740992.0
                : type == LUA_TSTRING &&
                      str_to_int64((struct str){lua_tostring(L, -1), lua_objlen(L, -1)}, &i) == 0;
        if (!fine)
            luaL_error(L, "field '%s': integer expected", arg->name);
    } else {
        const char *p = type == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
        if (!p || n > 4000 || memchr(p, 0, n))
            luaL_error(L, "field '%s': text expected", arg->name);
    }
    lua_pop(L, 1);
}

static const char *copy_field(lua_State *L, const struct ledger_arg *arg, struct arena *a)
{
    const char *out = NULL;
    push_field(L, arg->name);
    if (lua_type(L, -1) == LUA_TNUMBER)
        out = arena_printf(a, "%" PRId64, (int64_t)lua_tonumber(L, -1));
    else if (lua_type(L, -1) == LUA_TSTRING)
        out = arena_strdup(a, lua_tostring(L, -1));
    lua_pop(L, 1);
    return out;
}

static int call(lua_State *L, enum ledger_op what)
{
    struct task *t = lx_task(L, PHASE_IO);
    struct str key = lx_str(L, 1, 1, 200);
    luaL_argcheck(L, strlen(key.p) == key.n, 1, "key with a NUL byte");
    luaL_checktype(L, 2, LUA_TTABLE);
    const struct ledger_arg *args = ledger_args(what);
    for (int i = 0; args[i].name; i++)
        check_field(L, &args[i]);
    struct bind_db_op *op = bind_db_op_new(t, BIND_DB_JSON);
    const char *values[LEDGER_ARGS] = {0};
    for (int i = 0; args[i].name; i++)
        values[i] = copy_field(L, &args[i], op->arena);
    struct err e = {0};
    if (ledger_prepare(op->arena, what, key.p, values, &op->q, &e) < 0) {
        arena_free(op->arena);
        return lx_fail(L, &e);
    }
    return bind_db_op_run(L, op, NULL);
}

/* ppv.ledger.sale(key: string, sale: table) -> reply: table | nil, err
 * Buys a video from the wallet in one transaction. sale: buyer, video (uuid), price (what the
 * buyer saw), fee_bp, payees? (JSON text: [{to, amount, memo}], who shares the commission), pct?, rule?,
 * tax? (JSON text: [{code, amount, title}], in the price, taken before the split), tax_rule?,
 * what? (JSON text: {offer, currency, coupon, discount, gift, plain}; none = the title for good),
 * hash? (of what the client asked). Reply: {order_id, order_uid,
 * txn_id, entitlement_id, video_id, price, currency, platform, creator, commission, balance}. The
 * same key with the same hash (by default of buyer, video and price) gives the stored reply. Amounts are integers in
 * minor units. Phases: request webhook job tick. Yields. Errors: wallet.insufficient sale.*
 * video.* affiliate.* user.unknown idempotency.mismatch db.* engine.timeout. Since 1.0 */
static int l_sale(lua_State *L)
{
    return call(L, LEDGER_SALE);
}

/* ppv.ledger.transfer(key: string, transfer: table) -> reply: table | nil, err
 * Wallet to wallet. transfer: from, to, amount, currency, note?. Reply: {txn_id, amount, currency,
 * balance}. Phases: request webhook job tick. Yields. Errors: wallet.insufficient transfer.*
 * amount.* user.unknown idempotency.mismatch db.*. Since 1.0 */
static int l_transfer(lua_State *L)
{
    return call(L, LEDGER_TRANSFER);
}

/* ppv.ledger.deposit_request(key: string, deposit: table) -> reply: table | nil, err
 * Asks for a deposit; no money moves. deposit: user, amount, currency, note?. Reply: {deposit_id,
 * state, amount, currency, balance}. Phases: request webhook job tick. Yields. Errors: amount.*
 * user.unknown idempotency.mismatch db.*. Since 1.0 */
static int l_deposit_request(lua_State *L)
{
    return call(L, LEDGER_DEPOSIT_REQUEST);
}

/* ppv.ledger.deposit_approve(key: string, decision: table) -> reply: table | nil, err
 * decision: admin, id, note?, ip? (for the audit log). Reply: {deposit_id, state, txn_id, user_id, amount, currency,
 * balance}. Phases: request webhook job tick. Yields. Errors: deposit.* approval.self
 * auth.forbidden idempotency.mismatch db.*. Since 1.0 */
static int l_deposit_approve(lua_State *L)
{
    return call(L, LEDGER_DEPOSIT_APPROVE);
}

/* ppv.ledger.deposit_reject(key: string, decision: table) -> reply: table | nil, err
 * As deposit_approve; no money moves. Phases: request webhook job tick. Yields. Errors: as
 * deposit_approve. Since 1.0 */
static int l_deposit_reject(lua_State *L)
{
    return call(L, LEDGER_DEPOSIT_REJECT);
}

int bind_ledger_open(lua_State *L)
{
    static const luaL_Reg reg[] = {{"sale", l_sale},
                                   {"transfer", l_transfer},
                                   {"deposit_request", l_deposit_request},
                                   {"deposit_approve", l_deposit_approve},
                                   {"deposit_reject", l_deposit_reject},
                                   {NULL, NULL}};
    return lx_module(L, reg);
}
