/* SPDX-License-Identifier: Apache-2.0 */
#include "lua/vm.h"

#include <stdlib.h>
#include <string.h>
#include <luajit.h>
#include <lualib.h>
#include "base/err.h"
#include "base/log.h"
#include "lua/compiled.h"
#include "lua/gen.h"

#define DEFAULT_CAP ((size_t)64 << 20)
/* C code that pushes a result outside lua_resume has no protected call around it: refusing memory there would end the
 * process, so it may overdraw this much; the state is then replaced. */
#define GRACE ((size_t)32 << 20)

static const char KEY_MODULES[] = "ppv.modules";
static const char KEY_LOADED[] = "ppv.loaded";

/* Small blocks come from slabs, one free list per 16 bytes: Lua tells the size of what it frees, so neither headers nor
 * malloc's searching and merging are needed. Not under a sanitizer, which wants to see every use after free. */
enum { SLAB_BYTES = 65536 };
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__clang__)
enum { SMALL_MAX = 0 };
#else
enum { SMALL_MAX = VM_CLASSES * 16 };
#endif
struct slab {
    struct slab *next;
    size_t pad; /* keeps blocks 16-byte aligned */
};

static bool is_small(size_t n)
{
    return n > 0 && n <= SMALL_MAX;
}

static void *small_new(struct vm *v, size_t n)
{
    size_t k = (n - 1) / 16, bytes = (k + 1) * 16;
    void **p = v->spare[k];
    if (p) {
        v->spare[k] = *p;
        __builtin_prefetch(*p, 1); /* freed long ago: no cache has the next one either */
        return p;
    }
    if (v->slab_left < bytes) {
        struct slab *s = malloc(SLAB_BYTES);
        if (!s)
            return NULL;
        s->next = v->slabs;
        v->slabs = s;
        v->slab_at = (char *)(s + 1);
        v->slab_left = SLAB_BYTES - sizeof *s;
        /* Blocks stay in their class: a state that has spread itself this far is replaced. */
        v->slab_bytes += SLAB_BYTES;
        if (v->slab_bytes > 2 * v->cap)
            v->oom = true;
    }
    v->slab_left -= bytes;
    v->slab_at += bytes;
    return v->slab_at - bytes;
}

static void block_free(struct vm *v, void *p, size_t n)
{
    if (!is_small(n)) {
        free(p);
        return;
    }
    *(void **)p = v->spare[(n - 1) / 16];
    v->spare[(n - 1) / 16] = p;
}

static void *block_resize(struct vm *v, void *p, size_t old, size_t n)
{
    if (!is_small(old) && !is_small(n))
        return realloc(p, n);
    if (is_small(old) && is_small(n) && (old - 1) / 16 == (n - 1) / 16)
        return p;
    void *q = is_small(n) ? small_new(v, n) : malloc(n);
    if (q && old) {
        memcpy(q, p, old < n ? old : n);
        block_free(v, p, old);
    }
    return q;
}

/* Each round of the collector walks all that lives, which is little (3 MiB), so rounds are rare until garbage takes a quarter
 * of the cap. Inside the allocator both calls only set a number. */
static void new_peak(struct vm *v)
{
    if (v->L && v->peak <= v->cap / 4 && v->used > v->cap / 4) {
        lua_gc(v->L, LUA_GCSETPAUSE, 200); /* Lua's own */
        lua_gc(v->L, LUA_GCRESTART, 0);    /* a round begins now */
    }
    v->peak = v->used;
}

static void *vm_alloc(void *ud, void *ptr, size_t osize, size_t nsize)
{
    struct vm *v = ud;
    if (nsize == 0) {
        if (ptr) {
            block_free(v, ptr, osize);
            v->used -= osize;
        }
        return NULL;
    }
    size_t old = ptr ? osize : 0;
    if (nsize > old && v->used - old + nsize > v->cap) {
        v->oom = true;
        bool first = v->enforce && !v->relaxed;
        v->relaxed =
            v->relaxed || first; /* the error just raised needs room to travel and to be reported */
        if (first || v->used - old + nsize > v->cap + GRACE)
            return NULL;
    }
    void *p = block_resize(v, ptr, old, nsize);
    if (!p)
        return NULL;
    v->used += nsize - old;
    if (v->used > v->peak)
        new_peak(v);
    return p;
}

static int vm_panic(lua_State *L)
{
    const char *s = lua_tostring(L, -1);
    log_event(LOG_ERROR, "lua.panic", "s", "error", s ? s : "(not a string)");
    abort();
}

void vm_recover(struct vm *v)
{
    bool enforce = v->enforce;
    v->enforce = false; /* the collector itself allocates */
    lua_gc(v->L, LUA_GCCOLLECT, 0);
    v->enforce = enforce;
    v->relaxed = false;
}

struct vm *vm_of(lua_State *L)
{
    void *ud;
    lua_getallocf(L, &ud);
    return ud;
}

static void push_registry_table(lua_State *L, const char *key)
{
    lua_getfield(L, LUA_REGISTRYINDEX, key);
    if (!lua_istable(L, -1)) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setfield(L, LUA_REGISTRYINDEX, key);
    }
}

void vm_module(lua_State *L, const char *name, lua_CFunction open)
{
    push_registry_table(L, KEY_MODULES);
    lua_pushcfunction(L, open);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

/* "app.wallet" -> "scripts/app/wallet.lua" or "scripts/app/wallet/init.lua" */
static const struct bundle_file *find_script(lua_State *L, const char *name)
{
    struct vm *v = vm_of(L);
    if (!v->gen || !v->gen->bundle || strlen(name) > 128)
        return NULL;
    char path[192], dots[160];
    snprintf(dots, sizeof dots, "%s", name);
    for (char *p = dots; *p; p++)
        if (*p == '.')
            *p = '/';
    snprintf(path, sizeof path, "scripts/%s.lua", dots);
    const struct bundle_file *f = bundle_find(v->gen->bundle, path);
    if (f)
        return f;
    snprintf(path, sizeof path, "scripts/%s/init.lua", dots);
    return bundle_find(v->gen->bundle, path);
}

static bool push_loader(lua_State *L, const char *name)
{
    push_registry_table(L, KEY_MODULES);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
    if (!lua_isnil(L, -1))
        return true;
    lua_pop(L, 1);
    const struct bundle_file *f = find_script(L, name);
    if (!f)
        return false;
    if (compiled_load(L, f) != 0)
        lua_error(L);
    return true;
}

void vm_require(lua_State *L, const char *name)
{
    luaL_checkstack(L, 8, "require");
    push_registry_table(L, KEY_LOADED);
    int loaded = lua_gettop(L);
    lua_getfield(L, loaded, name);
    if (lua_islightuserdata(L, -1))
        luaL_error(L, "loop or previous error loading module '%s'", name);
    if (!lua_isnil(L, -1)) {
        lua_remove(L, loaded);
        return;
    }
    lua_pop(L, 1);
    if (!push_loader(L, name)) {
        lua_getfield(L, LUA_REGISTRYINDEX, "ppv.stock_require");
        if (lua_isnil(L, -1))
            luaL_error(L, "module '%s' not found", name);
    }
    lua_pushlightuserdata(L, loaded ? (void *)KEY_LOADED : NULL);
    lua_setfield(L, loaded, name);
    lua_pushstring(L, name);
    if (lua_pcall(L, 1, 1, 0) != 0) {
        lua_pushnil(L);
        lua_setfield(L, loaded, name);
        lua_error(L);
    }
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, loaded, name);
    lua_remove(L, loaded);
}

static int l_require(lua_State *L)
{
    vm_require(L, luaL_checkstring(L, 1));
    return 1;
}

static void open_lib(lua_State *L, const char *name, lua_CFunction fn)
{
    lua_pushcfunction(L, fn);
    lua_pushstring(L, name);
    lua_call(L, 1, 0);
}

static void drop_globals(lua_State *L)
{
    static const char *const gone[] = {"dofile",   "loadfile", "load",    "loadstring",
                                       "newproxy", "getfenv",  "setfenv", "gcinfo",
                                       "module",   "jit",      NULL};
    for (int i = 0; gone[i]; i++) {
        lua_pushnil(L);
        lua_setglobal(L, gone[i]);
    }
}

static void keep_os_time(lua_State *L)
{
    static const char *const keep[] = {"time", "date", "clock", "difftime", NULL};
    lua_getglobal(L, "os");
    lua_newtable(L);
    for (int i = 0; keep[i]; i++) {
        lua_getfield(L, -2, keep[i]);
        lua_setfield(L, -2, keep[i]);
    }
    lua_setglobal(L, "os");
    lua_pop(L, 1);
}

/* Methods on string values must find the counted functions too, and nobody may swap them for all others. */
static void seal_strings(lua_State *L)
{
    lua_getglobal(L, "string");
    vm_patterns_open(L);
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    lua_pop(L, 1);
    lua_pushliteral(L, "");
    if (lua_getmetatable(L, -1)) {
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void open_libs(struct vm *v)
{
    lua_State *L = v->L;
    if (v->full) {
        luaL_openlibs(L);
        lua_getglobal(L, "require");
        lua_setfield(L, LUA_REGISTRYINDEX, "ppv.stock_require");
    } else {
        open_lib(L, "", luaopen_base);
        open_lib(L, LUA_TABLIBNAME, luaopen_table);
        open_lib(L, LUA_STRLIBNAME, luaopen_string);
        open_lib(L, LUA_MATHLIBNAME, luaopen_math);
        open_lib(L, LUA_BITLIBNAME, luaopen_bit);
        open_lib(L, LUA_OSLIBNAME, luaopen_os);
        open_lib(L, LUA_JITLIBNAME, luaopen_jit); /* without it the compiler never starts */
        keep_os_time(L);
        drop_globals(L);
    }
    seal_strings(L);
    vm_guard_open(L);
    lua_pushcfunction(L, l_require);
    lua_setglobal(L, "require");
    lua_settop(L, 0);
}

struct vm *vm_new(size_t cap, bool full)
{
    struct vm *v = calloc(1, sizeof *v);
    must(v);
    v->cap = cap ? cap : DEFAULT_CAP;
    v->full = full;
    v->L = lua_newstate(vm_alloc, v);
    must(v->L);
    lua_atpanic(v->L, vm_panic);
    open_libs(v);
    lua_gc(v->L, LUA_GCSETPAUSE, 400); /* see new_peak */
    return v;
}

void vm_free(struct vm *v)
{
    if (!v)
        return;
    lua_close(v->L);
    for (struct slab *s = v->slabs, *next; s; s = next) {
        next = s->next;
        free(s);
    }
    free(v);
}
