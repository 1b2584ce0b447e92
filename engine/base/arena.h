/* SPDX-License-Identifier: Apache-2.0
 * Region allocator: memory and clean-ups that end together (a request, a job, start-up).
 * Not thread safe; an arena belongs to the thread that made it. Out of memory aborts. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H
#include <stdarg.h>
#include <stddef.h>

struct arena;
typedef void (*arena_fn)(void *arg);

struct arena *arena_new(void);
/* Runs the deferred functions in reverse order, then frees everything. NULL is fine. */
void arena_free(struct arena *a);
/* Zeroed, 16-byte aligned, valid until arena_free. */
void *arena_alloc(struct arena *a, size_t n);
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *p, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* fn(arg) runs at arena_free. Returns a token for arena_undefer. */
void *arena_defer(struct arena *a, arena_fn fn, void *arg);
void arena_undefer(struct arena *a, void *token);
/* Bytes handed out so far, for limits. */
size_t arena_used(const struct arena *a);
#endif
