/* SPDX-License-Identifier: Apache-2.0 */
#include "lua/gen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <lauxlib.h>
#include <luajit.h>
#include "base/clock.h"
#include "base/log.h"
#include "lua/compiled.h"
#include "lua/sandbox.h"
#include "lua/sched.h"
#include "lua/vm.h"

#define BOOT_BUDGET_US 500000
#define PROBLEMS_MAX 200

static struct {
    struct gen *current;
    int alive;
    void (*opener)(lua_State *L);
    int (*before)(void *arg, struct gen *g, struct err *e);
    void *before_arg;
} gens;

void problems_add(struct problems *p, const char *plugin, const char *file, int line,
                  const char *text)
{
    if (p->n >= PROBLEMS_MAX)
        return;
    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 8;
        p->v = realloc(p->v, (size_t)p->cap * sizeof *p->v);
        must(p->v);
    }
    struct problem *q = &p->v[p->n++];
    snprintf(q->plugin, sizeof q->plugin, "%s", plugin ? plugin : "");
    snprintf(q->file, sizeof q->file, "%s", file ? file : "");
    q->line = line;
    snprintf(q->text, sizeof q->text, "%s", text ? text : "");
}

void problems_fini(struct problems *p)
{
    free(p->v);
    memset(p, 0, sizeof *p);
}

void problems_json(const struct problems *p, struct buf *out)
{
    buf_puts(out, "[");
    for (int i = 0; i < p->n; i++) {
        const struct problem *q = &p->v[i];
        buf_puts(out, i ? ",{\"plugin\":\"" : "{\"plugin\":\"");
        buf_put_json(out, str_from(q->plugin));
        buf_puts(out, "\",\"file\":\"");
        buf_put_json(out, str_from(q->file));
        buf_printf(out, "\",\"line\":%d,\"text\":\"", q->line);
        buf_put_json(out, str_from(q->text));
        buf_puts(out, "\"}");
    }
    buf_puts(out, "]");
}

void gen_set_opener(void (*fn)(lua_State *L))
{
    gens.opener = fn;
}

void gen_on_swap(int (*fn)(void *arg, struct gen *g, struct err *e), void *arg)
{
    gens.before = fn;
    gens.before_arg = arg;
}

struct gen *gen_current(void)
{
    return gens.current;
}

int gen_alive(void)
{
    return gens.alive;
}

struct gen *gen_ref(struct gen *g)
{
    g->refs++;
    return g;
}

void gen_unref(struct gen *g)
{
    if (!g || --g->refs > 0)
        return;
    for (int i = 0; i < GEN_SLOTS; i++)
        if (g->slot[i] && g->slot_free[i])
            g->slot_free[i](g->slot[i]);
    vm_free(g->vm);
    bundle_unref(g->bundle);
    problems_fini(&g->problems);
    free(g);
    gens.alive--;
}

void gen_settle(struct gen *g)
{
    lua_gc(g->L, LUA_GCCOLLECT, 0);
}

int gen_check(struct gen *g, struct err *e)
{
    return gens.before ? gens.before(gens.before_arg, g, e) : 0;
}

int gen_swap(struct gen *g, struct err *e)
{
    if (gen_check(g, e) < 0)
        return -1;
    struct gen *old = gens.current;
    gens.current = g;
    if (old) {
        old->retired_at = clock_mono();
        gen_unref(old);
    }
    return 0;
}

void gen_push_boot(lua_State *L, struct gen *g)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, g->boot_ref);
}

/* "plugins/x/handler.lua:12: text" -> its parts; the plugin's name from the path. */
void problems_add_message(struct problems *p, const char *plugin, const char *fallback_file,
                          const char *msg)
{
    char file[160], name[64] = "";
    const char *colon = strstr(msg, ".lua:");
    int line = 0, used = 0;
    snprintf(file, sizeof file, "%s", fallback_file);
    if (colon && colon - msg < 150 && sscanf(colon + 5, "%d:%n", &line, &used) == 1 && used > 0) {
        snprintf(file, sizeof file, "%.*s", (int)(colon + 4 - msg), msg);
        msg = colon + 5 + used;
        while (*msg == ' ')
            msg++;
    }
    if (!plugin && sscanf(file, "plugins/%63[^/]/", name) == 1)
        plugin = name;
    problems_add(p, plugin, file, line, msg);
}

static int run_boot(struct gen *g, const struct gen_opts *o, struct err *e)
{
    const struct bundle_file *f = bundle_find(g->bundle, "scripts/boot.lua");
    if (!f)
        return ERR(e, ERR_NOT_FOUND, "scripts/boot.lua is missing");
    if (compiled_load(g->L, f) != 0)
        return ERR(e, ERR_CONFIG, "%s", lua_tostring(g->L, -1));
    /* Nearly all that loading makes stays, and it runs once: neither collecting nor machine code would pay. When a quarter of
     * the cap is full the collector starts nevertheless (vm.c). */
    lua_gc(g->L, LUA_GCSTOP, 0);
    luaJIT_setmode(g->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    int rc = sched_call(g, g->L, 0, 1, o->budget_us ? o->budget_us : BOOT_BUDGET_US, e);
    luaJIT_setmode(g->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_ON);
    if (rc < 0)
        return -1;
    if (!lua_istable(g->L, -1))
        return ERR(e, ERR_CONFIG, "scripts/boot.lua must return a table");
    g->boot_ref = luaL_ref(g->L, LUA_REGISTRYINDEX);
    return 0;
}

static bool must_refuse(const struct gen *g)
{
    for (int i = 0; i < g->problems.n; i++)
        if (!g->cold || !g->problems.v[i].plugin[0])
            return true;
    return false;
}

int gen_build(struct bundle *b, const struct gen_opts *o, struct problems *p, struct gen **out,
              struct err *e)
{
    struct gen *g = calloc(1, sizeof *g);
    must(g);
    g->refs = 1;
    g->id = b->id;
    g->bundle = bundle_ref(b);
    g->cold = o->cold;
    g->boot_ref = LUA_NOREF;
    g->vm = vm_new(o->cap, o->full);
    g->vm->gen = g;
    g->L = g->vm->L;
    gens.alive++;
    if (gens.opener)
        gens.opener(g->L);
    sandbox_open(g->L);
    lua_settop(g->L, 0);
    g->loading = true;
    int rc = o->no_boot ? 0 : run_boot(g, o, e);
    g->loading = false;
    lua_settop(g->L, 0);
    if (rc < 0)
        problems_add_message(&g->problems, NULL, "scripts/boot.lua", e ? e->msg : "error");
    if (rc == 0 && must_refuse(g))
        rc = ERR(e, ERR_CONFIG, "the bundle has %d problem(s): %s:%d: %s", g->problems.n,
                 g->problems.v[0].file, g->problems.v[0].line, g->problems.v[0].text);
    for (int i = 0; i < g->problems.n; i++) {
        struct problem *q = &g->problems.v[i];
        log_event(LOG_ERROR, "lua.problem", "ssis", "plugin", q->plugin, "file", q->file, "line",
                  (int64_t)q->line, "text", q->text);
        if (p)
            problems_add(p, q->plugin, q->file, q->line, q->text);
    }
    if (rc < 0) {
        gen_unref(g);
        return -1;
    }
    compiled_sweep();
    *out = g;
    return 0;
}
