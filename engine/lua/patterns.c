/* SPDX-License-Identifier: Apache-2.0
 * Lua 5.1 patterns with a step budget: the stock matcher is one C call that no hook can stop, and a short pattern can
 * keep it busy for hours. Semantics follow the Lua 5.1 manual, plus %f and embedded zeros. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <ctype.h>
#include <string.h>
#include "lua/sched.h"
#include "lua/vm.h"

#define STEPS_PLUGIN 2000000L
#define STEPS_TRUSTED 100000000L
#define REP_MAX_PLUGIN ((size_t)1 << 20)
#define REP_MAX_TRUSTED ((size_t)32 << 20)
#define MAX_CAPTURES 32
#define MAX_DEPTH 200
#define CAP_OPEN (-1)
#define CAP_POSITION (-2)

struct match {
    const char *src, *src_end, *pat_end;
    lua_State *L;
    long steps;
    int depth, level;
    struct {
        const char *at;
        ptrdiff_t len;
    } cap[MAX_CAPTURES];
};

static const char *do_match(struct match *m, const char *s, const char *p);

static void spend(struct match *m, long n)
{
    m->steps -= n;
    if (m->steps < 0)
        luaL_error(m->L, "pattern too expensive for this subject");
}

static const char *class_end(struct match *m, const char *p)
{
    if (p == m->pat_end)
        luaL_error(m->L, "malformed pattern (ends with '%%')");
    if (*p++ == '%') {
        if (p == m->pat_end)
            luaL_error(m->L, "malformed pattern (ends with '%%')");
        return p + 1;
    }
    if (p[-1] != '[')
        return p;
    if (p < m->pat_end && *p == '^')
        p++;
    do {
        if (p == m->pat_end)
            luaL_error(m->L, "malformed pattern (missing ']')");
        if (*p++ == '%' && p < m->pat_end)
            p++;
    } while (p == m->pat_end || *p != ']');
    return p + 1;
}

static bool match_class(int c, int cl)
{
    bool res;
    switch (tolower(cl)) {
    case 'a': res = isalpha(c); break;
    case 'c': res = iscntrl(c); break;
    case 'd': res = isdigit(c); break;
    case 'g': res = isgraph(c); break;
    case 'l': res = islower(c); break;
    case 'p': res = ispunct(c); break;
    case 's': res = isspace(c); break;
    case 'u': res = isupper(c); break;
    case 'w': res = isalnum(c); break;
    case 'x': res = isxdigit(c); break;
    case 'z': res = c == 0; break;
    default: return cl == c;
    }
    return isupper(cl) ? !res : res;
}

/* p at '[', ec at the closing ']' */
static bool match_set(int c, const char *p, const char *ec)
{
    bool sig = true;
    if (p[1] == '^') {
        sig = false;
        p++;
    }
    while (++p < ec) {
        if (*p == '%') {
            p++;
            if (match_class(c, (unsigned char)*p))
                return sig;
        } else if (p[1] == '-' && p + 2 < ec) {
            p += 2;
            if ((unsigned char)p[-2] <= c && c <= (unsigned char)*p)
                return sig;
        } else if ((unsigned char)*p == c) {
            return sig;
        }
    }
    return !sig;
}

static bool single_match(struct match *m, const char *s, const char *p, const char *ep)
{
    spend(m, 1);
    if (s >= m->src_end)
        return false;
    int c = (unsigned char)*s;
    switch (*p) {
    case '.': return true;
    case '%': return match_class(c, (unsigned char)p[1]);
    case '[': spend(m, (ep - p) / 4); return match_set(c, p, ep - 1);
    default: return (unsigned char)*p == c;
    }
}

static const char *match_balance(struct match *m, const char *s, const char *p)
{
    if (p + 1 >= m->pat_end)
        luaL_error(m->L, "unbalanced pattern");
    if (s >= m->src_end || *s != *p)
        return NULL;
    int open = *p, close = p[1], depth = 1;
    while (++s < m->src_end) {
        spend(m, 1);
        if (*s == close) {
            if (--depth == 0)
                return s + 1;
        } else if (*s == open) {
            depth++;
        }
    }
    return NULL;
}

static const char *max_expand(struct match *m, const char *s, const char *p, const char *ep)
{
    ptrdiff_t i = 0;
    while (single_match(m, s + i, p, ep))
        i++;
    for (; i >= 0; i--) {
        const char *res = do_match(m, s + i, ep + 1);
        if (res)
            return res;
    }
    return NULL;
}

static const char *min_expand(struct match *m, const char *s, const char *p, const char *ep)
{
    for (;;) {
        const char *res = do_match(m, s, ep + 1);
        if (res)
            return res;
        if (!single_match(m, s, p, ep))
            return NULL;
        s++;
    }
}

static const char *start_capture(struct match *m, const char *s, const char *p, ptrdiff_t what)
{
    if (m->level >= MAX_CAPTURES)
        luaL_error(m->L, "too many captures");
    m->cap[m->level].at = s;
    m->cap[m->level].len = what;
    m->level++;
    const char *res = do_match(m, s, p);
    if (!res)
        m->level--;
    return res;
}

static const char *end_capture(struct match *m, const char *s, const char *p)
{
    int l = m->level - 1;
    while (l >= 0 && m->cap[l].len != CAP_OPEN)
        l--;
    if (l < 0)
        luaL_error(m->L, "invalid pattern capture");
    m->cap[l].len = s - m->cap[l].at;
    const char *res = do_match(m, s, p);
    if (!res)
        m->cap[l].len = CAP_OPEN;
    return res;
}

static const char *match_capture(struct match *m, const char *s, int digit)
{
    int l = digit - '1';
    if (l < 0 || l >= m->level || m->cap[l].len == CAP_OPEN)
        luaL_error(m->L, "invalid capture index");
    size_t len = m->cap[l].len < 0 ? 0 : (size_t)m->cap[l].len;
    spend(m, (long)(len / 16));
    if ((size_t)(m->src_end - s) >= len && memcmp(m->cap[l].at, s, len) == 0)
        return s + len;
    return NULL;
}

static bool match_frontier(struct match *m, const char *s, const char *set, const char *ep)
{
    int prev = s == m->src ? 0 : (unsigned char)s[-1];
    int cur = s < m->src_end ? (unsigned char)*s : 0;
    return !match_set(prev, set, ep - 1) && match_set(cur, set, ep - 1);
}

/* One pattern item that is not a capture: NULL with *more=false ends, *more=true continues at the returned place. */
static const char *match_item(struct match *m, const char *s, const char **pp, bool *more)
{
    const char *p = *pp, *ep = class_end(m, p);
    char q = ep < m->pat_end ? *ep : 0;
    *more = false;
    if (q == '?') {
        if (single_match(m, s, p, ep)) {
            const char *res = do_match(m, s + 1, ep + 1);
            if (res)
                return res;
        }
        *pp = ep + 1;
        *more = true;
        return s;
    }
    if (q == '*')
        return max_expand(m, s, p, ep);
    if (q == '-')
        return min_expand(m, s, p, ep);
    if (!single_match(m, s, p, ep))
        return NULL;
    if (q == '+')
        return max_expand(m, s + 1, p, ep);
    *pp = ep;
    *more = true;
    return s + 1;
}

/* %b, %f and back references. Returns true when handled. */
static bool match_special(struct match *m, const char **s, const char **p)
{
    if (**p != '%' || *p + 1 >= m->pat_end)
        return false;
    char c = (*p)[1];
    if (c == 'b') {
        *s = match_balance(m, *s, *p + 2);
        *p += 4;
        return true;
    }
    if (c == 'f') {
        *p += 2;
        if (*p >= m->pat_end || **p != '[')
            luaL_error(m->L, "missing '[' after '%%f' in pattern");
        const char *ep = class_end(m, *p);
        if (!match_frontier(m, *s, *p, ep))
            *s = NULL;
        *p = ep;
        return true;
    }
    if (isdigit((unsigned char)c)) {
        *s = match_capture(m, *s, c);
        *p += 2;
        return true;
    }
    return false;
}

static const char *do_match(struct match *m, const char *s, const char *p)
{
    if (m->depth++ > MAX_DEPTH)
        luaL_error(m->L, "pattern too complex");
    bool more = true;
    while (s && more && p != m->pat_end) {
        spend(m, 1);
        if (*p == '(') {
            bool pos = p + 1 < m->pat_end && p[1] == ')';
            s = start_capture(m, s, pos ? p + 2 : p + 1, pos ? CAP_POSITION : CAP_OPEN);
            more = false;
        } else if (*p == ')') {
            s = end_capture(m, s, p + 1);
            more = false;
        } else if (*p == '$' && p + 1 == m->pat_end) {
            s = s == m->src_end ? s : NULL;
            more = false;
        } else if (!match_special(m, &s, &p)) {
            s = match_item(m, s, &p, &more);
        }
    }
    m->depth--;
    return s;
}

static void push_capture(struct match *m, int i, const char *s, const char *e)
{
    if (i >= m->level) {
        if (i != 0)
            luaL_error(m->L, "invalid capture index");
        lua_pushlstring(m->L, s, (size_t)(e - s));
        return;
    }
    if (m->cap[i].len == CAP_OPEN)
        luaL_error(m->L, "unfinished capture");
    if (m->cap[i].len == CAP_POSITION)
        lua_pushinteger(m->L, m->cap[i].at - m->src + 1);
    else
        lua_pushlstring(m->L, m->cap[i].at, (size_t)m->cap[i].len);
}

static int push_captures(struct match *m, const char *s, const char *e)
{
    int n = m->level == 0 && s ? 1 : m->level;
    luaL_checkstack(m->L, n, "too many captures");
    for (int i = 0; i < n; i++)
        push_capture(m, i, s, e);
    return n;
}

static void match_init(struct match *m, lua_State *L, const char *s, size_t ls, const char *p,
                       size_t lp)
{
    m->L = L;
    m->src = s;
    m->src_end = s + ls;
    m->pat_end = p + lp;
    struct task *t = sched_running();
    m->steps = t && t->plugin ? STEPS_PLUGIN : STEPS_TRUSTED;
    m->level = m->depth = 0;
}

static const char *match_at(struct match *m, const char *s, const char *p)
{
    m->level = m->depth = 0;
    return do_match(m, s, p);
}

static bool is_plain(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] && strchr("^$*+?.([%-", p[i]))
            return false;
    return true;
}

static int find_plain(lua_State *L, const char *s, size_t ls, const char *p, size_t lp, size_t init)
{
    const char *hit = memmem(s + init, ls - init, p, lp);
    if (!hit) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, hit - s + 1);
    lua_pushinteger(L, hit - s + (ptrdiff_t)lp);
    return 2;
}

static int str_find_aux(lua_State *L, bool find)
{
    size_t ls, lp;
    const char *s = luaL_checklstring(L, 1, &ls), *p = luaL_checklstring(L, 2, &lp);
    ptrdiff_t init = luaL_optinteger(L, 3, 1);
    if (init < 0)
        init += (ptrdiff_t)ls + 1;
    init = init < 1 ? 0 : init - 1;
    if ((size_t)init > ls)
        init = (ptrdiff_t)ls;
    if (find && (lua_toboolean(L, 4) || is_plain(p, lp)))
        return find_plain(L, s, ls, p, lp, (size_t)init);
    struct match m;
    bool anchor = lp > 0 && *p == '^';
    match_init(&m, L, s, ls, p, lp);
    p += anchor;
    const char *at = s + init;
    do {
        const char *e = match_at(&m, at, p);
        if (e) {
            if (!find)
                return push_captures(&m, at, e);
            lua_pushinteger(L, at - s + 1);
            lua_pushinteger(L, e - s);
            return push_captures(&m, NULL, NULL) + 2;
        }
    } while (at++ < m.src_end && !anchor);
    lua_pushnil(L);
    return 1;
}

static int l_find(lua_State *L)
{
    return str_find_aux(L, true);
}

static int l_match(lua_State *L)
{
    return str_find_aux(L, false);
}

static int gmatch_next(lua_State *L)
{
    size_t ls, lp;
    const char *s = lua_tolstring(L, lua_upvalueindex(1), &ls);
    const char *p = lua_tolstring(L, lua_upvalueindex(2), &lp);
    struct match m;
    match_init(&m, L, s, ls, p, lp);
    for (const char *at = s + lua_tointeger(L, lua_upvalueindex(3)); at <= m.src_end; at++) {
        const char *e = match_at(&m, at, p);
        if (e) {
            lua_pushinteger(L, e - s + (e == at));
            lua_replace(L, lua_upvalueindex(3));
            return push_captures(&m, at, e);
        }
    }
    return 0;
}

static int l_gmatch(lua_State *L)
{
    luaL_checkstring(L, 1);
    luaL_checkstring(L, 2);
    lua_settop(L, 2);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, gmatch_next, 3);
    return 1;
}

static void add_template(struct match *m, luaL_Buffer *b, const char *s, const char *e)
{
    size_t n;
    const char *r = lua_tolstring(m->L, 3, &n);
    for (size_t i = 0; i < n; i++) {
        if (r[i] != '%') {
            luaL_addchar(b, r[i]);
            continue;
        }
        i++;
        if (i < n && isdigit((unsigned char)r[i])) {
            if (r[i] == '0')
                lua_pushlstring(m->L, s, (size_t)(e - s));
            else
                push_capture(m, r[i] - '1', s, e);
            luaL_addvalue(b);
        } else if (i < n) {
            luaL_addchar(b, r[i]);
        }
    }
}

static void add_value(struct match *m, luaL_Buffer *b, const char *s, const char *e)
{
    lua_State *L = m->L;
    int type = lua_type(L, 3);
    if (type == LUA_TFUNCTION) {
        lua_pushvalue(L, 3);
        lua_call(L, push_captures(m, s, e), 1);
    } else if (type == LUA_TTABLE) {
        push_capture(m, 0, s, e);
        lua_gettable(L, 3);
    } else {
        add_template(m, b, s, e);
        return;
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        lua_pushlstring(L, s, (size_t)(e - s));
    } else if (!lua_isstring(L, -1)) {
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    }
    luaL_addvalue(b);
}

static int l_gsub(lua_State *L)
{
    size_t ls, lp;
    const char *s = luaL_checklstring(L, 1, &ls), *p = luaL_checklstring(L, 2, &lp);
    int type = lua_type(L, 3);
    if (type != LUA_TNUMBER && type != LUA_TSTRING && type != LUA_TFUNCTION && type != LUA_TTABLE)
        luaL_argerror(L, 3, "string/function/table expected");
    lua_Number max = luaL_optnumber(L, 4, (lua_Number)ls + 1);
    bool anchor = lp > 0 && *p == '^';
    struct match m;
    luaL_Buffer b;
    match_init(&m, L, s, ls, p, lp);
    luaL_buffinit(L, &b);
    p += anchor;
    lua_Integer n = 0;
    while ((lua_Number)n < max) {
        const char *e = match_at(&m, s, p);
        if (e) {
            n++;
            add_value(&m, &b, s, e);
        }
        if (e && e > s)
            s = e;
        else if (s < m.src_end)
            luaL_addchar(&b, *s++);
        else
            break;
        if (anchor)
            break;
    }
    luaL_addlstring(&b, s, (size_t)(m.src_end - s));
    luaL_pushresult(&b);
    lua_pushinteger(L, n);
    return 2;
}

static int l_rep(lua_State *L)
{
    size_t n, nsep;
    const char *s = luaL_checklstring(L, 1, &n);
    lua_Number times = luaL_checknumber(L, 2);
    const char *sep = luaL_optlstring(L, 3, "", &nsep);
    struct task *t = sched_running();
    size_t max = t && t->plugin ? REP_MAX_PLUGIN : REP_MAX_TRUSTED;
    if (!(times >= 1)) {
        lua_pushliteral(L, "");
        return 1;
    }
    if ((lua_Number)(n + nsep) * times > (lua_Number)max || times > (lua_Number)max)
        return luaL_error(L, "string.rep: result too long");
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (size_t i = 0, k = (size_t)times; i < k; i++) {
        luaL_addlstring(&b, s, n);
        if (i + 1 < k)
            luaL_addlstring(&b, sep, nsep);
    }
    luaL_pushresult(&b);
    return 1;
}

void vm_patterns_open(lua_State *L)
{
    static const luaL_Reg fns[] = {{"find", l_find}, {"match", l_match}, {"gmatch", l_gmatch},
                                   {"gsub", l_gsub}, {"rep", l_rep},     {NULL, NULL}};
    for (const luaL_Reg *f = fns; f->name; f++) {
        lua_pushcfunction(L, f->func);
        lua_setfield(L, -2, f->name);
    }
}
