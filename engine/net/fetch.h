/* SPDX-License-Identifier: Apache-2.0
 * Outgoing HTTP on the loop (libcurl multi). Loop thread only. http and https, no redirects, certificates verified, no proxy from
 * the environment; addresses that are private, loopback, link-local or otherwise not public are refused at connect time (so
 * also after DNS tricks) unless allowed. POST and PATCH are sent at most once; other methods may be repeated when a kept
 * connection turns out to be dead. */
#ifndef NET_FETCH_H
#define NET_FETCH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"
#include "base/str.h"
struct loop;
struct fetch;

struct fetch_file {
    int fd; /* borrowed; read or written with pread/pwrite from off */
    off_t off;
    int64_t size; /* upload: bytes to send; download: most bytes to accept */
};

/* Zero-initialise, fill the first part. Everything it points to is copied by fetch_start, but the struct itself (and
 * the files) must stay until done or fetch_cancel. */
struct fetch_req {
    const char *method; /* NULL = GET, or POST with a body */
    const char *url;
    const char *const *headers; /* "Name: value" strings, NULL-terminated; NULL = none */
    struct str body;
    const struct fetch_file *upload;   /* body from a file instead */
    const struct fetch_file *download; /* body of a 2xx answer to a file instead of body_out */
    int64_t timeout_us;                /* whole time; 0 = 15 s */
    int64_t connect_us;                /* 0 = 5 s */
    size_t max_body;                   /* more is ERR_TOO_LARGE; 0 = 1 MiB */
    bool allow_private;                /* also allowed when conf fetch_allow_private is on */
    void (*done)(struct fetch_req *r); /* once, never inside fetch_start; may free r */
    void *arg;
    /* out, valid from done on; owner: the caller, fetch_req_fini */
    int status;          /* 0 when err is set before an answer */
    struct buf head_out; /* "name: value\n" lines, names lower case, last response only */
    struct buf body_out;
    int64_t downloaded; /* bytes written to download */
    struct err err;     /* ERR_NONE, ERR_NET, ERR_NET_REFUSED, ERR_TIMEOUT, ERR_TOO_LARGE, ERR_IO */
    void *op;           /* private */
};

struct fetch *fetch_new(struct loop *l);
/* Drops what is in flight without calling done. NULL is fine. */
void fetch_free(struct fetch *f);
/* 0: done will be called once. -1: ERR_INVALID (URL, method, header with a line break), ERR_NET_REFUSED (scheme), ERR_BUSY. */
int fetch_start(struct fetch *f, struct fetch_req *r, struct err *e);
/* done will not be called; idempotent. */
void fetch_cancel(struct fetch *f, struct fetch_req *r);
void fetch_req_fini(struct fetch_req *r); /* frees head_out and body_out */
/* Value of the first header of that (lower-case) name, empty view when absent. */
struct str fetch_header(const struct fetch_req *r, const char *name);
struct loop *fetch_loop(struct fetch *f);
/* True for an address of the public Internet (textual IPv4 or IPv6). */
bool fetch_is_public(const char *ip);

/* For net/ only: runs a configured CURL easy handle on the multi. done(arg, CURLcode), then the handle is the caller's
 * again. fetch_easy_stop takes it back without done. Code -1: fetch_free runs; free arg and tell nobody. */
struct fetch_easy;
struct fetch_easy *fetch_easy_start(struct fetch *f, void *easy, void (*done)(void *arg, int code),
                                    void *arg);
void fetch_easy_stop(struct fetch_easy *x);
#endif
