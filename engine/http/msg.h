/* SPDX-License-Identifier: Apache-2.0
 * One request: its view, its body, its one answer. Everything here runs on the loop's thread.
 *
 * Life: the object is made at the request line and freed when both the connection and the handler
 * have let go of it. The handler's hold begins when start() returned 0 and ends with http_release,
 * which it calls exactly once, whatever happened. When the client goes (or the deadline passes)
 * before the answer was complete, handler.gone(arg, r) is called once and no callback of r comes
 * after it; every function here stays legal and does nothing, until http_release. All strings of
 * the request live as long as the object. No callback ever runs inside the http_* call that asked
 * for it. */
#ifndef HTTP_MSG_H
#define HTTP_MSG_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

struct arena;
struct http_header {
    const char *name, *value;
};
struct http_field {
    const char *name;
    struct str value; /* NUL-terminated */
};
struct http_upload {
    const char *field, *filename,
        *ctype;       /* as the client said, valid UTF-8, no control bytes; "" when absent */
    const char *path; /* "<32 hex>.part" beneath the spec's directory */
    int64_t size;
    char sha256[65];
};
struct http_form {
    int nfields, nfiles;
    struct http_field *fields;
    struct http_upload *files;
};
struct http_req {
    const char *method; /* GET HEAD POST PUT PATCH DELETE OPTIONS */
    const char *path;   /* decoded once, canonical: no "//", no dot segments, valid UTF-8 */
    const char *query;  /* raw, after the '?', "" when none */
    const char *host;   /* Host header, lower case, with port if sent */
    const char *ip;     /* the client's address; X-Forwarded-For counts only from trusted proxies */
    const char *id;     /* request id, 32 hex digits */
    bool https;         /* by X-Forwarded-Proto of a trusted proxy */
    bool has_body;
    int64_t content_length; /* -1 = chunked, 0 = no body */
    int nheaders;
    const struct http_header *headers; /* names in lower case, in order of arrival, may repeat */
    struct str body;                   /* after http_body_memory */
    struct http_form *form;            /* after http_body_multipart / http_body_raw_file */
    void *user;                        /* the handler's */
};

/* The path as a log may have it: of the part between /hls/ and the next slash, which opens a film, only the beginning. Lives
 * as long as r and out. */
enum { HTTP_LOG_PATH = 160 };
const char *http_log_path(const struct http_req *r, char out[HTTP_LOG_PATH]);
/* First value of a header (name in lower case), or NULL. */
const char *http_header_get(const struct http_req *r, const char *name);
/* The handler is done with r. Before an answer was given it also answers 500. */
void http_release(struct http_req *r);
/* Absolute deadline for the answer, from now; 0 = none. The default is conf.total_us. While a body
 * is received and while a stream is open, minimum rates count instead. */
void http_deadline(struct http_req *r, int64_t us);
/* The client went or the request was ended: results will not be sent. */
bool http_is_gone(const struct http_req *r);
/* Memory that lives as long as r. */
struct arena *http_arena(struct http_req *r);

/* --- body: nothing is read before one of these is called (so that authorisation comes first); at
 * most once. e == NULL: complete. Errors: ERR_TOO_LARGE, ERR_BAD_REQUEST, ERR_UNSUPPORTED (not
 * multipart), ERR_DISK_FULL, ERR_IO. */
typedef void (*http_body_fn)(struct http_req *r, void *arg, const struct err *e);
/* Whole body in r->body. */
void http_body_memory(struct http_req *r, size_t max, http_body_fn done, void *arg);
struct http_upload_spec {
    int dirfd;         /* files go here as <random>.part, 0600; borrowed until done or gone */
    int64_t max_file;  /* bytes of one file */
    int64_t max_total; /* bytes of the whole body */
    int64_t reserve;   /* refuse (ERR_DISK_FULL) when less would stay free */
    int max_files;     /* 0 = 1 */
    int max_fields;    /* 0 = 64; one field is at most 64 KiB, all together 1 MiB */
};
/* Streams files to disk through the thread pool, fsynced, hashed. After success the files are the
 * caller's: rename or unlink them. After an error or gone they have been deleted. Parts of files
 * without a name and bytes are dropped. */
void http_body_multipart(struct http_req *r, const struct http_upload_spec *s, http_body_fn done,
                         void *arg);
/* The whole body is one file: form->files[0] with field "" and the Content-Type of the request. */
void http_body_raw_file(struct http_req *r, const struct http_upload_spec *s, http_body_fn done,
                        void *arg);
/* --- a body that goes onto the end of a file, in steps. http_append_open locks dirfd/name for this
 * request, before or after other checks; http_append_close, or the request's end, unlocks it. */
enum { HTTP_APPEND_STATE = 257 };
struct http_append_spec {
    int64_t offset;     /* where the body goes; what lies behind is cut off */
    int64_t max;        /* bytes of the body at most */
    int64_t reserve;    /* as above */
    const char *state;  /* of the SHA-256 of the bytes before offset, as http_appended gave it; NULL
                           or "" at 0 */
    const char *digest; /* "sha1", "sha256": the body counts only when it matches; NULL = none */
    struct str want;    /* raw digest */
};
struct http_appended {
    int64_t offset; /* the file is on the disk up to here */
    char state[HTTP_APPEND_STATE];
    char sha256[65]; /* of the bytes before offset, in hex, when ended */
    bool ended, cut; /* all has come; the client left before */
    bool mismatch;   /* ended, but the digest is another: the body was dropped */
};
/* x belongs to the call. */
typedef void (*http_append_fn)(struct http_req *r, void *arg, const struct http_appended *x,
                               const struct err *e);
/* Errors: ERR_CONFLICT (another request has it), ERR_NOT_FOUND, ERR_IO. */
int http_append_open(struct http_req *r, int dirfd, const char *name, struct err *e);
/* Takes the body after http_append_open. step runs each second or 32 MiB when that much is synced,
 * and the sender waits until http_append_more; and once more with ended, cut or e. Also after
 * gone. Errors: those of append_begin and append_put in append.h. */
void http_append(struct http_req *r, const struct http_append_spec *s, http_append_fn step,
                 void *arg);
/* False: the client left meanwhile, over is the last word and step is not called. */
bool http_append_more(struct http_req *r, http_append_fn step, void *arg,
                      struct http_appended *over);
void http_append_close(struct http_req *r); /* step will not be called; harmless without an open */

/* done will not be called; what was received is deleted. */
void http_body_cancel(struct http_req *r);
/* Bytes received so far, for progress. */
int64_t http_body_received(const struct http_req *r);

/* --- the answer: one of these, once. Headers and bytes are copied. Default headers (security
 * table, Cache-Control: no-store, X-Request-Id) are added unless the same name is given; an empty
 * value leaves the default out. A header that would break the message (control bytes, framing
 * names) is dropped and logged. An answer to a body that was not read closes the connection when
 * the rest is large. */
void http_respond(struct http_req *r, int status, const struct http_header *h, int nh,
                  const void *body, size_t n);
/* {"ok":false,"error":<sentence>,"code":...,"request_id":...} with the code's status. */
void http_respond_err(struct http_req *r, const struct err *e);
struct http_file {
    int dirfd; /* root; rel is opened beneath it, symbolic links refused; borrowed for this call */
    const char *rel;
    bool shared; /* for everyone: default "public, no-cache"; kept in memory, large ones open */
    const char *ctype; /* NULL = by the name's ending */
};
/* ETag, If-None-Match, If-Modified-Since, Range (one), If-Range, HEAD, sendfile. status is
 * normally 200. Not found = 404. Returns the status that went out, 0 for none. */
int http_respond_file(struct http_req *r, int status, const struct http_header *h, int nh,
                      const struct http_file *f);

/* --- stream (server-sent events, long text). With Content-Type text/event-stream the server sends
 * a comment every 15 s of silence. */
enum http_stream_result { HTTP_STREAM_OK, HTTP_STREAM_FULL, HTTP_STREAM_GONE };
void http_stream_open(struct http_req *r, int status, const struct http_header *h, int nh);
/* FULL: nothing was taken because more than 64 KiB wait already; try again after writable. */
enum http_stream_result http_stream_write(struct http_req *r, const void *p, size_t n);
/* fn runs once, when less than 32 KiB wait. NULL clears. Not called when the client goes: that is
 * gone(). */
void http_stream_writable(struct http_req *r, void (*fn)(struct http_req *r, void *arg), void *arg);
void http_stream_end(struct http_req *r);
#endif
