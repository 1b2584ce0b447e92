/* SPDX-License-Identifier: Apache-2.0
 * Structured log: one JSON line per event on stderr (or a file), never blocking on a full pipe.
 * Values of keys that look secret (password, secret, token, key, cookie, authorization ...) are masked. Any thread. */
#ifndef BASE_LOG_H
#define BASE_LOG_H
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
/* path NULL = stderr. human: short coloured lines for a terminal instead of JSON. role: "master", "web0" ... copied. */
void log_init(enum log_level min, const char *path, int human, const char *role);
bool log_is_on(enum log_level lv); /* lines of this level are written */
void log_role(const char *role);
/* log_event(LOG_INFO, "http.request", "sid", "path", path, "i", "status", 200): fmt has one letter per pair:
 * s = const char* (NULL ok), i = int64_t, d = double, b = int as boolean. Keys are static strings. */
void log_event(enum log_level lv, const char *event, const char *fmt, ...);
struct err;
void log_err(enum log_level lv, const char *event, const struct err *e);
/* Lines dropped because the sink would have blocked. */
int64_t log_dropped(void);
#endif
