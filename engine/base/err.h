/* SPDX-License-Identifier: Apache-2.0
 * Error values. Every fallible function is `int f(..., struct err *e)`: 0, or -1 with `e` filled.
 * Codes are one table (err.c): stable dotted name, HTTP status, sentence for people; Lua sees the same table. */
#ifndef BASE_ERR_H
#define BASE_ERR_H
#include <stdbool.h>

enum err_code {
    ERR_NONE,
    ERR_INTERNAL,        /* engine.internal  500 */
    ERR_BUSY,            /* engine.busy      503, retry */
    ERR_TIMEOUT,         /* engine.timeout   504, retry */
    ERR_CANCELLED,       /* engine.cancelled 499 */
    ERR_LIMIT,           /* engine.limit     500: CPU, memory or size limit of Lua code */
    ERR_BAD_REQUEST,     /* request.bad      400 */
    ERR_INVALID,         /* input.invalid    422 */
    ERR_TOO_LARGE,       /* request.too_large 413 */
    ERR_UNSUPPORTED,     /* request.unsupported 415 */
    ERR_UNAUTHENTICATED, /* auth.required  401 */
    ERR_FORBIDDEN,       /* auth.forbidden   403 */
    ERR_NOT_FOUND,       /* request.not_found 404 */
    ERR_CONFLICT,        /* request.conflict 409 */
    ERR_RATE,            /* request.rate     429, retry */
    ERR_DB,              /* db.error         500 */
    ERR_DB_CONFLICT,     /* db.conflict      409: unique, foreign key or check violation */
    ERR_DB_RETRY,        /* db.retry         503, retry: deadlock, serialization, lock timeout */
    ERR_DB_DOWN,         /* db.unavailable   503, retry */
    ERR_DB_UNKNOWN,      /* db.unknown_outcome 503: connection lost while a write was in flight */
    ERR_NET,             /* net.failed       502, retry */
    ERR_NET_REFUSED,     /* net.refused      403: host not allowed */
    ERR_IO,              /* io.failed        500 */
    ERR_DISK_FULL,       /* io.disk_full     507 */
    ERR_MEDIA,           /* media.unsupported 422: the file is not one we can play */
    ERR_CONFIG,          /* config.invalid   500 */
    ERR_CODE_COUNT
};

struct err {
    enum err_code code;
    bool retry;
    const char *file; /* static string */
    int line;
    char msg[384];   /* for logs and operators; never sent to clients for engine.*, db.*, io.* */
    char detail[64]; /* machine detail: SQLSTATE, constraint name, errno name */
};

#define ERR(e, code, ...) err_set((e), (code), __FILE__, __LINE__, __VA_ARGS__)

/* Any thread. Fills *e (may be NULL) and returns -1. */
int err_set(struct err *e, enum err_code code, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* Any thread. Like ERR, appending strerror(errno); ENOSPC becomes ERR_DISK_FULL. Returns -1. */
int err_errno(struct err *e, const char *what);
/* Any thread. Static strings / numbers of the table. */
const char *err_name(enum err_code code);
int err_status(enum err_code code);
const char *err_sentence(enum err_code code);
bool err_is_retry(enum err_code code);

/* A broken invariant: logs and aborts. */
#define must(x) ((x) ? (void)0 : err_abort(#x, __FILE__, __LINE__))
void err_abort(const char *what, const char *file, int line) __attribute__((noreturn));
#endif
