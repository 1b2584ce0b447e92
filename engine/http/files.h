/* SPDX-License-Identifier: Apache-2.0
 * Files as answers: safe opening, content types, validators, ranges, those for everyone kept as
 * ready answers; and the table of default headers. Loop thread. Used by msg.c; others call
 * http_respond_file. */
#ifndef HTTP_FILES_H
#define HTTP_FILES_H
#include <sys/stat.h>
#include "http/msg.h"
struct MHD_Response;
struct files; /* cache of one server */

struct files *files_new(void);
void files_free(struct files *f);
/* Closes large files nobody asked for lately, so that a deleted one gives its space back. */
void files_sweep(struct files *f);
/* Opens rel beneath dirfd: regular files only, no symbolic links on the way. Returns the
 * descriptor or -1. */
int files_open(int dirfd, const char *rel, struct stat *st);
const char *files_ctype(const char *rel);
/* out: at least 48 bytes, with the quotes. */
void files_etag(const struct stat *st, char out[48]);

enum files_range { FILES_RANGE_NONE, FILES_RANGE_OK, FILES_RANGE_UNSATISFIABLE };
/* One byte range of a Range value; several or malformed ones count as none (the whole file is a
 * valid answer). */
enum files_range files_range_parse(const char *value, int64_t size, int64_t *off, int64_t *len);
bool files_etag_matches(const char *list, const char *etag, bool weak);
/* RFC 9110 date to seconds, or -1. */
int64_t files_date_parse(const char *s);
void files_date_format(int64_t t, char out[32]);
struct files_answer {
    const struct http_req *req;
    const struct http_file *file;
    const struct http_header *headers;
    int nheaders, status;
    bool fresh; /* make a new answer (draining) */
    void (*decorate)(void *arg, struct MHD_Response *m, const struct http_header *h, int nh,
                     bool ready);
    void *arg;
};
struct files_entry;
struct files_reply {
    struct MHD_Response *m;   /* NULL when there is no such file */
    struct files_entry *kept; /* m belongs to it */
    bool by_sendfile;         /* the body does not come from memory */
    int64_t bytes;
};
/* Returns the status. decorate is called for each answer newly made; ready = it will be used for
 * many requests. The caller queues reply->m and then calls files_release. */
int files_answer(struct files *f, const struct files_answer *a, struct files_reply *out);
void files_release(struct files_reply *r);
#endif
