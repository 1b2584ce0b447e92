/* SPDX-License-Identifier: Apache-2.0
 * One LuaJIT state with a capped allocator and chosen libraries. A state belongs to one loop thread.
 * Trusted code gets: base string table math bit coroutine (propagating) os.time/date/clock, `require` over the bundle
 * and the modules registered with vm_module. string.find/match/gmatch/gsub/rep are ours: they count steps (vm_pattern). */
#ifndef LUA_VM_H
#define LUA_VM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <lauxlib.h>
#include <lua.h>

struct gen;
struct slab;
enum { VM_CLASSES = 32 };
struct vm {
    lua_State *L;
    size_t used, peak, cap; /* bytes; cap is the hard limit of the state */
    bool oom;               /* the cap was hit at least once: the state should be replaced */
    bool relaxed;           /* the cap was hit: GRACE until vm_recover */
    bool enforce;           /* inside lua_resume: the cap holds exactly (sched.c) */
    bool full;           /* specs and `ppv lua`: io, os, package, debug exist; never for serving */
    struct gen *gen;     /* set by gen.c */
    lua_State *pool[64]; /* idle coroutines, anchored in the registry (sched.c) */
    int pool_ref[64];
    int npool;
    void *spare[VM_CLASSES]; /* free blocks of 16, 32 ... bytes (vm.c) */
    struct slab *slabs;
    char *slab_at;
    size_t slab_left, slab_bytes;
};

/* cap 0 = 64 MiB. full: open every standard library (specs). Aborts when out of memory. */
struct vm *vm_new(size_t cap, bool full);
void vm_free(struct vm *v);    /* NULL is fine */
void vm_recover(struct vm *v); /* after the cap was hit: collects */
struct vm *vm_of(lua_State *L);
/* Registers a C module: `require(name)` calls open(L) once, which leaves the module's table on the stack (return 1).
 * Called from the opener given to gen_set_opener. name is static. */
void vm_module(lua_State *L, const char *name, lua_CFunction open);
/* Pushes the module (loading it if needed) or raises. For C code and the sandbox. */
void vm_require(lua_State *L, const char *name);
/* patterns.c: installs the step-counted find, match, gmatch, gsub and rep in the table at the top of the stack. */
void vm_patterns_open(lua_State *L);
/* corolib.c: pushes the propagating coroutine table and sets the deadline-proof pcall and xpcall globals. */
void vm_guard_open(lua_State *L);
#endif
