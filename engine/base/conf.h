/* SPDX-License-Identifier: Apache-2.0
 * ppv.conf: `key = value` lines, # comments; typed keys with defaults from one table (conf.c); environment PPV_<KEY>
 * overrides the file, --set key=value overrides both. Unknown keys and bad values are errors with line numbers.
 * Read once in the master before fork; afterwards read-only, so any thread may read. */
#ifndef BASE_CONF_H
#define BASE_CONF_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "base/err.h"

/* path may be missing when it is the default one. sets: NULL-terminated "key=value" strings, or NULL. */
int conf_load(const char *path, char *const *sets, struct err *e);
/* The value must exist in the table with that type, else the process aborts (programmer's mistake). */
const char *conf_str(const char *key); /* "" when unset */
int64_t conf_int(
    const char *key); /* plain integer, bytes (4GiB), or seconds (5s 10m 2h 7d) by the key's type */
bool conf_bool(const char *key);
/* For Lua and other callers that get the name at run time. CONF_NONE: no such key. CONF_SECRET: text nobody may show. */
enum conf_type { CONF_NONE, CONF_STRING, CONF_SECRET, CONF_INT, CONF_BOOL };
enum conf_type conf_type(const char *key);
/* Prints `key = value  # origin` for all keys; secret keys print as ***. */
void conf_dump(FILE *out);
/* Prints ppv.conf documentation: every key with type, default and text, commented out. */
void conf_print_reference(FILE *out);
#endif
