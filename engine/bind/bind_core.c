/* SPDX-License-Identifier: Apache-2.0 */
#include "bind/bind_core.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/conf.h"
#include "base/log.h"
#include "base/str.h"
#include "bind/bind.h"
#include "lua/lx.h"
#include "run/board.h"
#include "run/cache.h"

/* ---- ppv.log ---- */

enum { LOG_FIELDS = 12 };

struct field {
    const char *key, *value;
};

static const char *field_text(lua_State *L, int idx, char tmp[40])
{
    switch (lua_type(L, idx)) {
    case LUA_TSTRING: return lua_tostring(L, idx);
    case LUA_TNUMBER: snprintf(tmp, 40, "%.14g", lua_tonumber(L, idx)); return tmp;
    case LUA_TBOOLEAN: return lua_toboolean(L, idx) ? "true" : "false";
    case LUA_TTABLE:
        lua_pushliteral(L, "message"); /* an err */
        lua_rawget(L, idx);
        if (lua_type(L, -1) == LUA_TSTRING) {
            const char *s = lua_tostring(L, -1); /* the table keeps it alive */
            lua_pop(L, 1);
            return s;
        }
        lua_pop(L, 1);
        return "(table)";
    default: return luaL_typename(L, idx);
    }
}

/* log_event takes its pairs as arguments; unused ones are not read. */
static void emit(enum log_level lv, const char *event, const struct field *f, int n)
{
    char fmt[LOG_FIELDS + 1];
    memset(fmt, 's', LOG_FIELDS);
    fmt[n] = 0;
#define F(i) f[i].key, f[i].value
    log_event(lv, event, fmt, F(0), F(1), F(2), F(3), F(4), F(5), F(6), F(7), F(8), F(9), F(10),
              F(11));
#undef F
}

static int log_at(lua_State *L, enum log_level lv)
{
    struct field f[LOG_FIELDS] = {0};
    char tmp[LOG_FIELDS][40];
    int n = 0;
    lx_str(L, 1, 1, 100);
    lua_settop(L, 2);
    if (!lua_isnil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        lua_pushnil(L);
        while (n < LOG_FIELDS && lua_next(L, 2)) {
            if (lua_type(L, 3) == LUA_TSTRING) {
                f[n].key = lua_tostring(L, 3);
                f[n].value = field_text(L, 4, tmp[n]);
                n++;
            }
            lua_settop(L, 3);
        }
    }
    emit(lv, lua_tostring(L, 1), f, n);
    return 0;
}

/* ppv.log.debug(event: string, fields?: table) -> nothing
 * One structured line: a dotted event name and up to 12 fields {name = string, number, boolean or
 * err}. Values of names that look secret are masked. Phases: any. Since 1.0 */
static int l_debug(lua_State *L)
{
    return log_at(L, LOG_DEBUG);
}

/* ppv.log.info(event: string, fields?: table) -> nothing
 * As debug. Phases: any. Since 1.0 */
static int l_info(lua_State *L)
{
    return log_at(L, LOG_INFO);
}

/* ppv.log.warn(event: string, fields?: table) -> nothing
 * As debug. Phases: any. Since 1.0 */
static int l_warn(lua_State *L)
{
    return log_at(L, LOG_WARN);
}

/* ppv.log.error(event: string, fields?: table) -> nothing
 * As debug. Phases: any. Since 1.0 */
static int l_error(lua_State *L)
{
    return log_at(L, LOG_ERROR);
}

int bind_core_log(lua_State *L)
{
    static const luaL_Reg reg[] = {
        {"debug", l_debug}, {"info", l_info}, {"warn", l_warn}, {"error", l_error}, {NULL, NULL}};
    return lx_module(L, reg);
}

/* ---- ppv.conf ---- */

/* ppv.conf.get(key: string) -> string | number | boolean | nil
 * A value of ppv.conf by its type: numbers, sizes in bytes, times in seconds. nil for an unknown
 * key and for secrets. Phases: any. Since 1.0 */
static int l_conf_get(lua_State *L)
{
    lx_str(L, 1, 1, 60);
    const char *key = lua_tostring(L, 1);
    switch (conf_type(key)) {
    case CONF_STRING: lua_pushstring(L, conf_str(key)); break;
    case CONF_INT: bind_money_push(L, conf_int(key)); break;
    case CONF_BOOL: lua_pushboolean(L, conf_bool(key)); break;
    default: lua_pushnil(L); break;
    }
    return 1;
}

int bind_core_conf(lua_State *L)
{
    static const luaL_Reg reg[] = {{"get", l_conf_get}, {NULL, NULL}};
    return lx_module(L, reg);
}

/* ---- ppv.time ---- */

/* ppv.time.now() -> number
 * Wall clock, seconds since 1970 with fraction. Phases: any. Since 1.0 */
static int l_now(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)clock_wall() / 1e6);
    return 1;
}

/* ppv.time.mono() -> number
 * Monotonic clock in seconds, for durations. Phases: any. Since 1.0 */
static int l_mono(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)clock_mono() / 1e6);
    return 1;
}

/* ppv.time.iso(t?: number) -> string
 * "2026-11-25T08:00:00.123Z" of t (seconds) or of now. Phases: any. Since 1.0 */
static int l_iso(lua_State *L)
{
    char out[32];
    lua_Number t = luaL_optnumber(L, 1, (lua_Number)clock_wall() / 1e6);
    luaL_argcheck(L, t >= -6e10 && t < 2.5e11, 1, "time out of range");
    clock_format((int64_t)floor(t * 1e6 + 0.5), out);
    lua_pushstring(L, out);
    return 1;
}

/* ppv.time.sleep(seconds: number) -> nothing
 * Waits; other tasks run. 0 to 3600 s. Phases: request webhook job tick. Yields. Since 1.0 */
static int l_sleep(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    lua_Number s = luaL_checknumber(L, 1);
    luaL_argcheck(L, s >= 0 && s <= 3600, 1, "0 to 3600 seconds");
    return sched_sleep(L, t, (int64_t)(s * 1e6));
}

int bind_core_time(lua_State *L)
{
    static const luaL_Reg reg[] = {
        {"now", l_now}, {"mono", l_mono}, {"iso", l_iso}, {"sleep", l_sleep}, {NULL, NULL}};
    return lx_module(L, reg);
}

/* ---- ppv.cache ---- */

static int64_t ttl(lua_State *L, int i)
{
    lua_Number s = luaL_optnumber(L, i, 0);
    luaL_argcheck(L, s >= 0 && s <= 31536000.0 * 10, i, "seconds expected, 0 = no expiry");
    return (int64_t)(s * 1e6);
}

static struct str key_arg(lua_State *L)
{
    return lx_str(L, 1, 1, CACHE_KEY_MAX);
}

/* Numbers are stored as their text, so that set and incr agree. */
static struct str value_arg(lua_State *L, int i)
{
    if (lua_type(L, i) != LUA_TNUMBER)
        return lx_str(L, i, 0, CACHE_VALUE_MAX);
    struct str s;
    s.p = lua_tolstring(L, i, &s.n);
    return s;
}

/* ppv.cache.get(key: string) -> value: string | nil
 * Memory shared by all workers; survives reloads, not restarts. An entry may vanish at any time.
 * Plugins see their own keys only. Phases: any. Since 1.0 */
static int l_get(lua_State *L)
{
    static struct buf out; /* kept: pushing may run out of memory and jump */
    buf_clear(&out);
    if (cache_get(key_arg(L), &out))
        lua_pushlstring(L, out.p ? out.p : "", out.n);
    else
        lua_pushnil(L);
    return 1;
}

/* ppv.cache.set(key: string, value: string, ttl_s?: number) -> stored: boolean
 * Keys up to 512 bytes, values up to 256 KiB; no ttl or 0 = until it is evicted. Phases: any.
 * Since 1.0 */
static int l_set(lua_State *L)
{
    lua_pushboolean(L, cache_set(key_arg(L), value_arg(L, 2), ttl(L, 3)));
    return 1;
}

/* ppv.cache.add(key: string, value: string, ttl_s?: number) -> stored: boolean
 * Like set, only if the key is absent: "seen already?" in one step. Phases: any. Since 1.0 */
static int l_add(lua_State *L)
{
    lua_pushboolean(L, cache_add(key_arg(L), value_arg(L, 2), ttl(L, 3)));
    return 1;
}

/* ppv.cache.del(key: string) -> existed: boolean
 * Phases: any. Since 1.0 */
static int l_del(lua_State *L)
{
    lua_pushboolean(L, cache_del(key_arg(L)));
    return 1;
}

/* ppv.cache.incr(key: string, n?: integer, ttl_s?: number) -> integer
 * Adds n (default 1) to a counter in one step and returns it; a new counter lives ttl_s from now.
 * Phases: any. Since 1.0 */
static int l_incr(lua_State *L)
{
    struct str key = key_arg(L);
    int64_t n = lx_opt_int(L, 2, -1000000000, 1000000000, 1);
    lua_pushnumber(L, (lua_Number)cache_incr(key, n, ttl(L, 3)));
    return 1;
}

int bind_core_cache(lua_State *L)
{
    static const luaL_Reg reg[] = {{"get", l_get}, {"set", l_set},   {"add", l_add},
                                   {"del", l_del}, {"incr", l_incr}, {NULL, NULL}};
    return lx_module(L, reg);
}

/* ---- ppv.metrics ---- */

static const char *metric_arg(lua_State *L)
{
    struct str s = lx_str(L, 1, 1, 95);
    luaL_argcheck(L, s.p[0] >= 'a' && s.p[0] <= 'z', 1, "metric names are lower case");
    for (size_t i = 0; i < s.n; i++)
        luaL_argcheck(L, s.p[i] >= 32 && s.p[i] < 127, 1, "metric names are ASCII");
    return s.p;
}

/* ppv.metrics.count(name: string, n?: integer) -> nothing
 * Adds n (default 1) to a counter of /metrics: "logins_total" or
 * 'payments_total{provider="stripe"}'. Use a small fixed set of names. Phases: any. Since 1.0 */
static int l_count(lua_State *L)
{
    board_count(metric_arg(L), lx_opt_int(L, 2, 0, INT64_C(1) << 40, 1));
    return 0;
}

/* ppv.metrics.gauge(name: string, value: integer) -> nothing
 * Sets this process's value; /metrics shows the sum over processes. Phases: any. Since 1.0 */
static int l_gauge(lua_State *L)
{
    board_gauge(metric_arg(L), lx_int(L, 2, -(INT64_C(1) << 53), INT64_C(1) << 53));
    return 0;
}

/* ppv.metrics.render() -> string
 * All metrics of all processes in the Prometheus text format. Phases: any. Since 1.0 */
static int l_render(lua_State *L)
{
    static struct buf out;
    buf_clear(&out);
    board_render_metrics(&out);
    lua_pushlstring(L, out.p ? out.p : "", out.n);
    return 1;
}

int bind_core_metrics(lua_State *L)
{
    static const luaL_Reg reg[] = {
        {"count", l_count}, {"gauge", l_gauge}, {"render", l_render}, {NULL, NULL}};
    return lx_module(L, reg);
}
