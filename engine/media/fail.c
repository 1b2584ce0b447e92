// SPDX-License-Identifier: Apache-2.0
#include "media/fail.h"
#include <errno.h>
#include <libavutil/error.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fail_set(struct err *e, const char *code, const char *fmt, ...)
{
    char msg[sizeof e->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    ERR(e, ERR_MEDIA, "%s", msg);
    if (e)
        snprintf(e->detail, sizeof e->detail, "%s", code);
    return -1;
}

int fail_av(struct err *e, int rc, const char *what)
{
    char text[AV_ERROR_MAX_STRING_SIZE] = "";
    if (rc == AVERROR(ENOSPC))
        return fail_set(e, "media.disk_full",
                        "There is no space left on the server; try again later.");
    av_strerror(rc, text, sizeof text);
    return fail_set(e, "media.internal", "The video could not be processed (%s: %s).", what, text);
}

const char *fail_code(const struct err *e)
{
    if (e->code == ERR_MEDIA && !strncmp(e->detail, "media.", 6))
        return e->detail;
    return e->code == ERR_DISK_FULL ? "media.disk_full" : "media.internal";
}
