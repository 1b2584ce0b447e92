/* SPDX-License-Identifier: Apache-2.0
 * Bundles (all Lua sources, read once, immutable) and generations (one state built from a bundle).
 * A generation is referenced by the tasks that started in it and closes at zero. Loop thread; bundles are immutable. */
#ifndef LUA_GEN_H
#define LUA_GEN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <lua.h>
#include "base/err.h"
#include "base/str.h"

struct vm;
struct bundle_file {
    const char *path; /* "scripts/boot.lua", "plugins/stripe/handler.lua" */
    const char *data; /* size bytes and a NUL */
    size_t size;
    unsigned char hash[32]; /* SHA-256 of the data */
};
struct bundle {
    int refs;
    int64_t id;      /* given by the master, counts up */
    int64_t read_at; /* wall us */
    char hash[65];   /* SHA-256 over sorted paths, each with a NUL and its file's hash, hex */
    char *disabled;  /* ",name,name," plugins switched off, never NULL */
    int nfiles;
    struct bundle_file *files; /* sorted by path */
    void *map;                 /* of bundle_from_fd: paths and data lie in it */
    size_t map_size;
    int fd; /* of bundle_to_fd, -1 = not asked yet */
};
/* Reads root/scripts and root/plugins. Owner: caller, bundle_unref. Errors: ERR_IO, ERR_TOO_LARGE. */
int bundle_read(const char *root, struct bundle **out, struct err *e);
struct bundle *bundle_ref(struct bundle *b);
void bundle_unref(struct bundle *b);
const struct bundle_file *bundle_find(const struct bundle *b, const char *path);
/* The same hash over one plugin's files alone. */
void bundle_plugin_hash(const struct bundle *b, const char *plugin, char out[65]);
bool bundle_is_disabled(const struct bundle *b, const char *plugin);
void bundle_set_disabled(struct bundle *b, const char *list); /* before sharing only */
/* A sealed memfd, for handing the same bytes and their hashes to every process: made once, it stays the bundle's. -1: e. */
int bundle_to_fd(struct bundle *b, struct err *e);
/* Closing fd is left to the caller, at any time. Owner of the bundle: caller. */
int bundle_from_fd(int fd, struct bundle **out, struct err *e);

struct problem {
    char plugin[64]; /* "" = the scripts themselves */
    char file[160];
    int line;
    char text[320];
};
struct problems {
    struct problem *v;
    int n, cap;
};
void problems_add(struct problems *p, const char *plugin, const char *file, int line,
                  const char *text);
/* msg "file.lua:12: text" is taken apart; plugin NULL = from the path. */
void problems_add_message(struct problems *p, const char *plugin, const char *fallback_file,
                          const char *msg);
void problems_fini(struct problems *p);
struct buf;
void problems_json(const struct problems *p, struct buf *out); /* appends a JSON array */

enum { GEN_SLOTS = 4 };
enum gen_slot { GEN_SLOT_HTTP, GEN_SLOT_JOBS, GEN_SLOT_A, GEN_SLOT_B };
struct gen {
    int refs;
    int64_t id; /* the bundle's id */
    struct vm *vm;
    lua_State *L;
    struct bundle *bundle;
    int boot_ref;       /* registry: the BOOT table */
    int64_t retired_at; /* clock_mono when another took its place, 0 = current */
    bool cold;          /* built at cold start */
    bool recycle;       /* hit its memory cap: build it again from the same bundle */
    bool loading;
    struct problems problems; /* plugins left out at cold start */
    void *slot[GEN_SLOTS];    /* opaque: router of bind_http ... */
    void (*slot_free[GEN_SLOTS])(void *);
};
/* Registers every ppv.* module with vm_module; called once per new state. Set once at start (bind/). */
void gen_set_opener(void (*fn)(lua_State *L));
/* Runs scripts/boot.lua. cold: problems of plugins leave the plugin out instead of refusing the bundle.
 * -1: problems lists why (also e). The result has one reference, the caller's. */
struct gen_opts {
    bool cold;
    bool full;         /* specs: every standard library */
    bool no_boot;      /* do not run boot.lua (ppv lua on a bare state) */
    size_t cap;        /* bytes, 0 = default */
    int64_t budget_us; /* 0 = 500 ms */
};
int gen_build(struct bundle *b, const struct gen_opts *o, struct problems *p, struct gen **out,
              struct err *e);
struct gen *gen_ref(struct gen *g);
void gen_unref(struct gen *g);
/* The generation new tasks start in, or NULL. */
struct gen *gen_current(void);
/* The collector, which does not run while boot.lua does, begins: once for each generation that is to be used. Takes some ms. */
void gen_settle(struct gen *g);
/* What gen_swap does before the switch, and no more: whether it would be refused. */
int gen_check(struct gen *g, struct err *e);
/* Takes the caller's reference to g; unrefs the previous one. before(g) of gen_on_swap may refuse. */
int gen_swap(struct gen *g, struct err *e);
/* Called by gen_swap before the switch: build the router into g->slot[...]; -1 refuses the generation. */
void gen_on_swap(int (*fn)(void *arg, struct gen *g, struct err *e), void *arg);
/* Pushes the BOOT table / its field. */
void gen_push_boot(lua_State *L, struct gen *g);
int gen_alive(void); /* states not yet closed */
#endif
