/* SPDX-License-Identifier: Apache-2.0
 * One LISTEN per channel and process, shared by all subscriptions. A subscription lives until its
 * task ends or it is closed; its userdata is anchored meanwhile, so a waiting `sub:next` cannot
 * lose it to the collector. */
#include "bind/bind_events.h"

#include <string.h>
#include "base/arena.h"
#include "base/str.h"
#include "bind/bind.h"
#include "db/db.h"
#include "lua/gen.h"
#include "lua/lx.h"

enum { QUEUE_BYTES = 65536, CHANNEL_MAX = 60, PER_TASK = 16 };
static const char SUB_META[] = "ppv.events.sub";

struct sub;
struct channel {
    struct arena *arena; /* the channel lives in it */
    char name[CHANNEL_MAX + 1];
    struct db_listen *listen;
    struct sub *subs;
    struct channel *next;
};
struct sub {
    struct channel *ch;
    struct task *task;
    struct sub *next;
    struct sub **handle; /* the userdata */
    lua_State *L;        /* main state */
    int ref;
    void *token;
    struct buf queue; /* payloads, each with its NUL */
    size_t head;
    bool waiting;
    struct timer timer;
};
static struct channel *channels;

static void channel_drop(struct channel *c)
{
    for (struct channel **p = &channels; *p; p = &(*p)->next)
        if (*p == c) {
            *p = c->next;
            break;
        }
    if (bind_env()->db)
        db_unlisten(bind_env()->db, c->listen);
    struct arena *a = c->arena;
    arena_free(a);
}

static void sub_close(void *p)
{
    struct sub *s = p;
    struct channel *c = s->ch;
    if (!c)
        return;
    s->ch = NULL;
    for (struct sub **q = &c->subs; *q; q = &(*q)->next)
        if (*q == s) {
            *q = s->next;
            break;
        }
    loop_timer_clear(bind_env()->loop, &s->timer);
    buf_fini(&s->queue);
    *s->handle = NULL;
    luaL_unref(s->L, LUA_REGISTRYINDEX, s->ref);
    if (!c->subs)
        channel_drop(c);
}

static void sub_wake(struct sub *s)
{
    if (!s->waiting)
        return;
    s->waiting = false;
    loop_timer_clear(bind_env()->loop, &s->timer);
    sched_wake(s->task);
}

static void on_timer(struct timer *t)
{
    sub_wake(t->arg);
}

/* A slow reader loses its backlog and learns it by "", the same hint a reconnect gives. */
static void sub_put(struct sub *s, const char *payload)
{
    size_t n = strlen(payload) + 1;
    if (s->queue.n - s->head + n > QUEUE_BYTES) {
        buf_clear(&s->queue);
        s->head = 0;
        payload = "";
        n = 1;
    }
    buf_put(&s->queue, payload, n);
    sub_wake(s);
}

static void on_notify(void *arg, const char *payload)
{
    struct channel *c = arg;
    for (struct sub *s = c->subs; s; s = s->next)
        sub_put(s, payload ? payload : "");
}

static struct channel *channel_get(const char *name, struct err *e)
{
    for (struct channel *c = channels; c; c = c->next)
        if (strcmp(c->name, name) == 0)
            return c;
    struct db *db = bind_env()->db;
    if (!db)
        return ERR(e, ERR_DB_DOWN, "no database in this process"), NULL;
    struct arena *a = arena_new();
    struct channel *c = arena_alloc(a, sizeof *c);
    c->arena = a;
    strcpy(c->name, name);
    if (db_listen(db, name, on_notify, c, &c->listen, e) < 0) {
        arena_free(a);
        return NULL;
    }
    c->next = channels;
    channels = c;
    return c;
}

static int count_of(const struct task *t)
{
    int n = 0;
    for (struct channel *c = channels; c; c = c->next)
        for (struct sub *s = c->subs; s; s = s->next)
            n += s->task == t;
    return n;
}

/* ppv.events.subscribe(channel: string) -> sub | nil, err
 * Payloads of ppv.db.notify(channel) from every process, from now until the task ends or
 * sub:close(). Channel names are [a-z0-9_]. At most 16 per task. Phases: request webhook job tick.
 * Errors: db.unavailable engine.limit. Since 1.0 */
static int l_subscribe(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    struct str name = lx_str(L, 1, 1, CHANNEL_MAX);
    struct err e = {0};
    if (strspn(name.p, "abcdefghijklmnopqrstuvwxyz0123456789_") != name.n)
        return luaL_argerror(L, 1, "channel names are [a-z0-9_]");
    if (count_of(t) >= PER_TASK)
        return lx_failf(L, ERR_LIMIT, "more than %d subscriptions in one task", PER_TASK);
    struct sub **handle = lua_newuserdata(L, sizeof *handle);
    *handle = NULL;
    luaL_getmetatable(L, SUB_META);
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    int ref = luaL_ref(L, LUA_REGISTRYINDEX);
    struct channel *c = channel_get(name.p, &e);
    if (!c) {
        luaL_unref(L, LUA_REGISTRYINDEX, ref);
        return lx_fail(L, &e);
    }
    struct sub *s = arena_alloc(t->arena, sizeof *s);
    *s = (struct sub){
        .ch = c, .task = t, .next = c->subs, .handle = handle, .L = t->gen->L, .ref = ref};
    s->timer.fn = on_timer;
    s->timer.arg = s;
    s->token = arena_defer(t->arena, sub_close, s);
    c->subs = s;
    *handle = s;
    return 1;
}

static int next_push(lua_State *L, struct task *t, void *p)
{
    (void)t;
    struct sub *s = p;
    if (!s->ch || s->head >= s->queue.n) {
        lua_pushnil(L);
        return 1;
    }
    const char *payload = s->queue.p + s->head;
    s->head += strlen(payload) + 1;
    lua_pushstring(L, payload);
    if (s->head >= s->queue.n) {
        buf_clear(&s->queue);
        s->head = 0;
    }
    return 1;
}

static void next_stop(void *p)
{
    struct sub *s = p;
    s->waiting = false;
    if (s->ch)
        loop_timer_clear(bind_env()->loop, &s->timer);
}

static struct sub *check_sub(lua_State *L, struct task *t)
{
    struct sub *s = *(struct sub **)luaL_checkudata(L, 1, SUB_META);
    if (s && s->task != t)
        luaL_error(L, "a subscription belongs to the task that made it");
    return s;
}

/* sub:next(timeout_s?: number) -> payload: string | nil
 * The next payload; nil when none came in time (default 30 s, at most 3600) or the subscription is
 * closed. "" means: something may have been missed (reconnect, overflow), look at the tables.
 * Phases: request webhook job tick. Yields. Since 1.0 */
static int l_next(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    struct sub *s = check_sub(L, t);
    lua_Number secs = luaL_optnumber(L, 2, 30);
    luaL_argcheck(L, secs >= 0 && secs <= 3600, 2, "0 to 3600 seconds");
    if (!s) {
        lua_pushnil(L);
        return 1;
    }
    if (s->head < s->queue.n)
        return next_push(L, t, s);
    s->waiting = true;
    loop_timer_set(bind_env()->loop, &s->timer, (int64_t)(secs * 1e6));
    return sched_await(L, t, next_push, next_stop, s);
}

/* sub:close() -> nothing
 * Ends the subscription early. Phases: request webhook job tick. Since 1.0 */
static int l_close(lua_State *L)
{
    struct task *t = lx_task(L, PHASE_IO);
    struct sub *s = check_sub(L, t);
    if (s) {
        arena_undefer(t->arena, s->token);
        sub_close(s);
    }
    return 0;
}

int bind_events_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{"next", l_next}, {"close", l_close}, {NULL, NULL}};
    static const luaL_Reg reg[] = {{"subscribe", l_subscribe}, {NULL, NULL}};
    if (luaL_newmetatable(L, SUB_META)) {
        lx_module(L, methods);
        lua_setfield(L, -2, "__index");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 1);
    return lx_module(L, reg);
}
