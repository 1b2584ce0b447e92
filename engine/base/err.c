/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

struct row {
    const char *name;
    const char *sentence;
    int status;
    bool retry;
};

static const struct row table[ERR_CODE_COUNT] = {
    [ERR_NONE] = {"ok", "No error.", 200, false},
    [ERR_INTERNAL] = {"engine.internal", "Something went wrong on our side.", 500, false},
    [ERR_BUSY] = {"engine.busy", "The server is busy. Please try again in a moment.", 503, true},
    [ERR_TIMEOUT] = {"engine.timeout", "This took too long. Please try again.", 504, true},
    [ERR_CANCELLED] = {"engine.cancelled", "The request was cancelled.", 499, false},
    [ERR_LIMIT] = {"engine.limit", "This page needed more resources than it is allowed.", 500,
                   false},
    [ERR_BAD_REQUEST] = {"request.bad", "The request could not be understood.", 400, false},
    [ERR_INVALID] = {"input.invalid", "Some of the input is not valid.", 422, false},
    [ERR_TOO_LARGE] = {"request.too_large", "This is larger than allowed.", 413, false},
    [ERR_UNSUPPORTED] = {"request.unsupported", "This kind of content is not accepted here.", 415,
                         false},
    [ERR_UNAUTHENTICATED] = {"auth.required", "Please sign in first.", 401, false},
    [ERR_FORBIDDEN] = {"auth.forbidden", "You are not allowed to do this.", 403, false},
    [ERR_NOT_FOUND] = {"request.not_found", "There is nothing here.", 404, false},
    [ERR_CONFLICT] = {"request.conflict", "This conflicts with the present state.", 409, false},
    [ERR_RATE] = {"request.rate", "Too many requests. Please wait a little.", 429, true},
    [ERR_DB] = {"db.error", "Something went wrong on our side.", 500, false},
    [ERR_DB_CONFLICT] = {"db.conflict", "This conflicts with the present state.", 409, false},
    [ERR_DB_RETRY] = {"db.retry", "The server is busy. Please try again.", 503, true},
    [ERR_DB_DOWN] = {"db.unavailable", "The database is not reachable. Please try again soon.", 503,
                     true},
    [ERR_DB_UNKNOWN] = {"db.unknown_outcome",
                        "We could not confirm whether this was saved. Please check first.", 503,
                        false},
    [ERR_NET] = {"net.failed", "Another service did not answer. Please try again.", 502, true},
    [ERR_NET_REFUSED] = {"net.refused", "This address may not be contacted.", 403, false},
    [ERR_IO] = {"io.failed", "Something went wrong on our side.", 500, false},
    [ERR_DISK_FULL] = {"io.disk_full", "There is no space left for this file.", 507, false},
    [ERR_MEDIA] = {"media.unsupported", "This file is not a video that can be played.", 422, false},
    [ERR_CONFIG] = {"config.invalid", "The configuration is not valid.", 500, false},
};

static const struct row *row_of(enum err_code code)
{
    return (int)code >= 0 && code < ERR_CODE_COUNT ? &table[code] : &table[ERR_INTERNAL];
}

int err_set(struct err *e, enum err_code code, const char *file, int line, const char *fmt, ...)
{
    if (!e)
        return -1;
    char text[sizeof e->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap); /* the arguments may point into *e */
    va_end(ap);
    e->code = code;
    e->retry = row_of(code)->retry;
    e->file = file;
    e->line = line;
    e->detail[0] = 0;
    memcpy(e->msg, text, sizeof text);
    return -1;
}

int err_errno(struct err *e, const char *what)
{
    int en = errno;
    enum err_code code = en == ENOSPC || en == EDQUOT ? ERR_DISK_FULL : ERR_IO;
    err_set(e, code, "", 0, "%s: %s", what, strerror(en));
    if (e) {
        const char *name = strerrorname_np(en);
        snprintf(e->detail, sizeof e->detail, "%s", name ? name : "");
    }
    return -1;
}

const char *err_name(enum err_code code)
{
    return row_of(code)->name;
}

int err_status(enum err_code code)
{
    return row_of(code)->status;
}

const char *err_sentence(enum err_code code)
{
    return row_of(code)->sentence;
}

bool err_is_retry(enum err_code code)
{
    return row_of(code)->retry;
}

void err_abort(const char *what, const char *file, int line)
{
    log_event(LOG_ERROR, "engine.broken_invariant", "ssi", "what", what, "file", file, "line",
              (int64_t)line);
    abort();
}
