/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_core.h"

#include <inttypes.h>
#include <stdio.h>
#include "base/money.h"
#include "base/str.h"
#include "lua/lx.h"

void bind_money_push(lua_State *L, int64_t v)
{
    char text[24];
    if (v >= -((int64_t)1 << 53) && v <= (int64_t)1 << 53) {
        lua_pushnumber(L, (lua_Number)v);
        return;
    }
    snprintf(text, sizeof text, "%" PRId64, v);
    lua_pushstring(L, text);
}

static int64_t amount(lua_State *L, int i)
{
    return lx_int(L, i, INT64_MIN, INT64_MAX);
}

/* ppv.money.add(a: integer, b: integer) -> integer | nil, err
 * Exact; overflow is an error. Amounts are integers in minor units, as numbers or strings of
 * digits (beyond 2^53). Phases: any. Errors: input.invalid. Since 1.0 */
static int l_add(lua_State *L)
{
    struct err e = {0};
    int64_t v;
    if (money_add(amount(L, 1), amount(L, 2), &v, &e) < 0)
        return lx_fail(L, &e);
    bind_money_push(L, v);
    return 1;
}

/* ppv.money.mul(a: integer, b: integer) -> integer | nil, err
 * Exact; overflow is an error. Phases: any. Errors: input.invalid. Since 1.0 */
static int l_mul(lua_State *L)
{
    struct err e = {0};
    int64_t v;
    if (money_mul(amount(L, 1), amount(L, 2), &v, &e) < 0)
        return lx_fail(L, &e);
    bind_money_push(L, v);
    return 1;
}

/* ppv.money.bp(amount: integer, bp: integer) -> integer | nil, err
 * floor(amount * bp / 10000) for amount >= 0 and 0 <= bp <= 10000. Phases: any. Errors:
 * input.invalid. Since 1.0 */
static int l_bp(lua_State *L)
{
    struct err e = {0};
    int64_t v;
    if (money_bp(amount(L, 1), amount(L, 2), &v, &e) < 0)
        return lx_fail(L, &e);
    bind_money_push(L, v);
    return 1;
}

/* ppv.money.split(price: integer, fee_bp: integer, pct?: integer) -> {platform, creator, commission} | nil, err
 * The split of a sale: creator_gross = floor(price * (10000 - fee_bp) / 10000), platform = the
 * rest, commission = min(floor(price * pct / 100), creator_gross), creator = creator_gross -
 * commission. Phases: any. Errors: input.invalid. Since 1.0 */
static int l_split(lua_State *L)
{
    struct err e = {0};
    struct money_split s;
    int fee = (int)lx_int(L, 2, 0, 10000), pct = (int)lx_opt_int(L, 3, 0, 100, 0);
    if (money_split(amount(L, 1), fee, pct, &s, &e) < 0)
        return lx_fail(L, &e);
    lua_createtable(L, 0, 3);
    bind_money_push(L, s.platform);
    lua_setfield(L, -2, "platform");
    bind_money_push(L, s.creator);
    lua_setfield(L, -2, "creator");
    bind_money_push(L, s.commission);
    lua_setfield(L, -2, "commission");
    return 1;
}

/* ppv.money.format(amount: integer, currency: string) -> string | nil, err
 * "12.34" by the currency's exponent, without the currency. Phases: any. Errors: input.invalid.
 * Since 1.0 */
static int l_format(lua_State *L)
{
    struct err e = {0};
    char out[40];
    int64_t v = amount(L, 1);
    lx_str(L, 2, 1, 8);
    if (money_format(v, lua_tostring(L, 2), out, &e) < 0)
        return lx_fail(L, &e);
    lua_pushstring(L, out);
    return 1;
}

/* ppv.money.parse(text: string, currency: string) -> integer | nil, err
 * "12.34" to minor units; refuses signs, spaces and more decimals than the currency has. Phases:
 * any. Errors: input.invalid. Since 1.0 */
static int l_parse(lua_State *L)
{
    struct err e = {0};
    int64_t v;
    lx_str(L, 1, 0, 64);
    lx_str(L, 2, 1, 8);
    if (money_parse(lua_tostring(L, 1), lua_tostring(L, 2), &v, &e) < 0)
        return lx_fail(L, &e);
    bind_money_push(L, v);
    return 1;
}

/* ppv.money.convert(amount: integer, from: string, to: string, rate: string) -> integer | nil, err
 * amount >= 0 in another currency by a decimal rate ("16250.50" units of `to` for one of `from`): exact, the half minor unit
 * rounds up. Phases: any. Errors: input.invalid. Since 1.0 */
static int l_convert(lua_State *L)
{
    struct err e = {0};
    int64_t v;
    lx_str(L, 2, 1, 8);
    lx_str(L, 3, 1, 8);
    lx_str(L, 4, 1, 64);
    if (money_convert(amount(L, 1), lua_tostring(L, 2), lua_tostring(L, 3), lua_tostring(L, 4), &v,
                      &e) < 0)
        return lx_fail(L, &e);
    bind_money_push(L, v);
    return 1;
}

/* ppv.money.exponent(currency: string) -> integer | nil
 * Decimals of an ISO 4217 code, nil when it is unknown. Phases: any. Since 1.0 */
static int l_exponent(lua_State *L)
{
    lx_str(L, 1, 0, 8);
    int n = money_exponent(lua_tostring(L, 1));
    if (n < 0)
        lua_pushnil(L);
    else
        lua_pushinteger(L, n);
    return 1;
}

int bind_money_open(lua_State *L)
{
    static const luaL_Reg reg[] = {
        {"add", l_add},           {"mul", l_mul},         {"bp", l_bp},
        {"split", l_split},       {"format", l_format},   {"parse", l_parse},
        {"exponent", l_exponent}, {"convert", l_convert}, {NULL, NULL}};
    return lx_module(L, reg);
}
