/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/arena.h"
#include "base/clock.h"
#include "http/core.h"
#include "http/multipart.h"
#include "http/spool.h"

static struct req *req_of(struct http_req *r)
{
    return (struct req *)r;
}

/* ---- telling the handler ---- */

static void forget_input(struct body *b)
{
    multipart_free(b->parser);
    b->parser = NULL;
    buf_fini(&b->mem);
    memset(&b->mem, 0, sizeof b->mem);
}

static void drop_files(struct req *r)
{
    spool_free(r->body.spool, false);
    r->body.spool = NULL;
}

static void tell(struct req *r)
{
    struct body *b = &r->body;
    if (b->done || b->flushing || !(b->failed || b->ended))
        return;
    b->done = true;
    if (b->failed) {
        forget_input(b);
        drop_files(r);
    }
    if (r->gone || !b->fn)
        return;
    if (r->conn && r->conn->phase == CONN_BODY) {
        r->conn->phase = CONN_WAIT;
        r->conn->deadline = r->deadline_us ? clock_mono() + r->deadline_us : 0;
    }
    b->fn(&r->pub, b->arg, b->failed ? &b->err : NULL);
}

static void fail(struct req *r, const struct err *e)
{
    if (r->body.failed)
        return;
    r->body.failed = true;
    r->body.err = *e;
}

/* ---- form results ---- */

static struct http_form *form_of(struct req *r)
{
    struct body *b = &r->body;
    if (!r->pub.form) {
        struct arena *a = http_arena(&r->pub);
        r->pub.form = arena_alloc(a, sizeof *r->pub.form);
        r->pub.form->fields =
            arena_alloc(a, sizeof *r->pub.form->fields * (size_t)b->spec.max_fields);
        r->pub.form->files = arena_alloc(a, sizeof *r->pub.form->files * (size_t)b->spec.max_files);
    }
    return r->pub.form;
}

static int part_begin(void *arg, const struct multipart_part *p, struct err *e)
{
    struct req *r = arg;
    struct body *b = &r->body;
    struct http_form *f = form_of(r);
    struct arena *a = http_arena(&r->pub);
    b->part_is_file = p->filename != NULL;
    b->part_opened = false;
    b->part_bytes = 0;
    if (!b->part_is_file && f->nfields == b->spec.max_fields)
        return ERR(e, ERR_TOO_LARGE, "more than %d form fields", b->spec.max_fields);
    b->part_name = arena_strdup(a, p->name);
    b->part_filename = b->part_is_file ? arena_strdup(a, p->filename) : "";
    b->part_ctype = b->part_is_file ? arena_strdup(a, p->ctype) : "";
    buf_clear(&b->mem);
    return 0;
}

static int open_part(struct req *r, struct err *e)
{
    struct body *b = &r->body;
    struct http_form *f = form_of(r);
    if (f->nfiles == b->spec.max_files && f->nfiles == 1)
        return ERR(e, ERR_INVALID, "Send exactly one file.");
    if (f->nfiles == b->spec.max_files)
        return ERR(e, ERR_TOO_LARGE, "more than %d files", b->spec.max_files);
    f->files[f->nfiles].field = b->part_name;
    f->files[f->nfiles].filename = b->part_filename;
    f->files[f->nfiles].ctype = b->part_ctype;
    f->nfiles++;
    spool_begin(b->spool);
    b->part_opened = true;
    return 0;
}

static int part_data(void *arg, const char *p, size_t n, struct err *e)
{
    struct req *r = arg;
    struct body *b = &r->body;
    b->part_bytes += (int64_t)n;
    if (!b->part_is_file) {
        b->fields_bytes += n;
        if (b->part_bytes > FIELD_MAX || b->fields_bytes > FIELDS_TOTAL_MAX)
            return ERR(e, ERR_TOO_LARGE, "form field too large");
        buf_put(&b->mem, p, n);
        return 0;
    }
    if (b->part_bytes > b->spec.max_file)
        return ERR(e, ERR_TOO_LARGE, "file larger than %lld bytes", (long long)b->spec.max_file);
    if (!b->part_opened && open_part(r, e) < 0)
        return -1;
    spool_put(b->spool, p, n);
    return 0;
}

static int part_end(void *arg, struct err *e)
{
    struct req *r = arg;
    struct body *b = &r->body;
    if (b->part_is_file) {
        if (!b->part_opened && (!*b->part_filename || open_part(r, e) < 0))
            return *b->part_filename ? -1 : 0; /* a file input left empty */
        spool_end(b->spool);
        return 0;
    }
    struct http_form *f = form_of(r);
    struct http_field *x = &f->fields[f->nfields++];
    x->name = b->part_name;
    x->value = (struct str){arena_strndup(http_arena(&r->pub), b->mem.n ? b->mem.p : "", b->mem.n),
                            b->mem.n};
    buf_clear(&b->mem);
    return 0;
}

/* ---- input ---- */

static int push(struct req *r, const char *p, size_t n, struct err *e)
{
    struct body *b = &r->body;
    switch (b->mode) {
    case BODY_MEMORY:
        if (b->mem.n + n > b->max)
            return ERR(e, ERR_TOO_LARGE, "body larger than %zu bytes", b->max);
        buf_put(&b->mem, p, n);
        return 0;
    case BODY_MULTIPART:
        if (r->received > b->spec.max_total)
            return ERR(e, ERR_TOO_LARGE, "body larger than %lld bytes",
                       (long long)b->spec.max_total);
        return multipart_feed(b->parser, p, n, e);
    case BODY_RAW: return part_data(r, p, n, e);
    case BODY_NONE: break;
    }
    return 0;
}

static void flushed(void *arg, const struct err *e);

static void flush_if_due(struct req *r, bool all)
{
    struct body *b = &r->body;
    if (!b->spool || b->failed || b->flushing || !spool_is_due(b->spool, all))
        return;
    b->flushing = true;
    msg_ref(r);
    if (r->conn)
        server_suspend(r->conn);
    spool_flush(b->spool, flushed, r);
}

static void complete_form(struct req *r)
{
    struct http_form *f = form_of(r);
    for (int i = 0; i < f->nfiles; i++) {
        f->files[i].path = spool_path(r->body.spool, i);
        f->files[i].path = arena_strdup(http_arena(&r->pub), f->files[i].path);
        f->files[i].size = spool_size(r->body.spool, i);
        memcpy(f->files[i].sha256, spool_sha256(r->body.spool, i), 65);
    }
    spool_free(r->body.spool, true);
    r->body.spool = NULL;
}

static void flushed(void *arg, const struct err *e)
{
    struct req *r = arg;
    struct body *b = &r->body;
    b->flushing = false;
    if (e)
        fail(r, e);
    else if (b->ended && !b->failed)
        complete_form(r);
    if (b->failed || b->ended)
        tell(r);
    if (r->conn && (r->replied || !(b->failed || b->ended)))
        server_wake(r->conn);
    msg_unref(r);
}

int body_feed(struct req *r, const char *p, size_t n)
{
    struct body *b = &r->body;
    struct err e = {0};
    r->received += (int64_t)n;
    if (r->discard || b->done || b->mode == BODY_NONE)
        return 0;
    if (!b->failed && push(r, p, n, &e) < 0)
        fail(r, &e);
    if (b->failed)
        tell(r);
    else
        flush_if_due(r, false);
    return 0;
}

/* The last byte has arrived. */
void body_end(struct req *r)
{
    struct body *b = &r->body;
    struct err e = {0};
    if (b->done || b->ended || b->mode == BODY_NONE)
        return;
    b->ended = true;
    if (!b->failed && b->mode == BODY_MULTIPART && multipart_finish(b->parser, &e) < 0)
        fail(r, &e);
    if (!b->failed && b->mode == BODY_RAW && part_end(r, &e) < 0)
        fail(r, &e);
    if (b->mode == BODY_MEMORY && !b->failed) {
        r->pub.body = (struct str){b->mem.n ? b->mem.p : "", b->mem.n};
    } else if (b->spool && !b->failed) {
        flush_if_due(r, true);
        if (b->flushing)
            return;
        complete_form(r);
    }
    tell(r);
}

void body_later(struct req *r)
{
    if (r->body.mode == BODY_NONE || r->gone)
        return;
    if (r->body.failed)
        tell(r);
    else if (!r->pub.has_body)
        body_end(r);
}

void body_abort(struct req *r)
{
    struct body *b = &r->body;
    if (b->mode == BODY_NONE || b->done)
        return;
    b->done = true;
    if (b->flushing)
        msg_unref(r); /* the flush will not come back */
    b->flushing = false;
    forget_input(b);
    drop_files(r);
}

void body_fini(struct req *r)
{
    forget_input(&r->body);
    spool_free(r->body.spool, false);
    r->body.spool = NULL;
}

/* ---- asking ---- */

static bool ask(struct req *r, enum body_mode mode, http_body_fn done, void *arg)
{
    must(r->body.mode == BODY_NONE);
    r->body.mode = mode;
    r->body.fn = done;
    r->body.arg = arg;
    if (!r->conn || r->gone || r->replied) {
        r->body.done = true;
        return false;
    }
    return true;
}

/* The input may flow, or the handler hears of a refusal in this turn. */
static void go(struct req *r)
{
    if (r->body.failed || !r->pub.has_body)
        server_later(r);
    else if (r->conn->suspended)
        server_wake(r->conn);
}

void http_body_memory(struct http_req *pub, size_t max, http_body_fn done, void *arg)
{
    struct req *r = req_of(pub);
    struct err e = {0};
    if (!ask(r, BODY_MEMORY, done, arg))
        return;
    r->body.max = max;
    if (pub->content_length > 0 && (uint64_t)pub->content_length > max) {
        ERR(&e, ERR_TOO_LARGE, "body of %lld bytes, at most %zu", (long long)pub->content_length,
            max);
        fail(r, &e);
    }
    go(r);
}

static int prepare_upload(struct req *r, const struct http_upload_spec *spec, struct err *e)
{
    struct body *b = &r->body;
    int64_t length = r->pub.content_length;
    b->spec = *spec;
    if (b->spec.max_files <= 0)
        b->spec.max_files = 1;
    if (b->spec.max_files > MULTIPART_PARTS_MAX)
        b->spec.max_files = MULTIPART_PARTS_MAX;
    if (b->spec.max_fields <= 0)
        b->spec.max_fields = 64;
    if (length > b->spec.max_total)
        return ERR(e, ERR_TOO_LARGE, "body of %lld bytes, at most %lld", (long long)length,
                   (long long)b->spec.max_total);
    if (spool_has_room(spec->dirfd, length > 0 ? length : 0, spec->reserve, e) < 0)
        return -1;
    b->spool = spool_new(r->s->loop, r->s->conf.threads, spec);
    return 0;
}

void http_body_multipart(struct http_req *pub, const struct http_upload_spec *spec,
                         http_body_fn done, void *arg)
{
    struct req *r = req_of(pub);
    struct err e = {0};
    if (!ask(r, BODY_MULTIPART, done, arg))
        return;
    struct multipart_sink sink = {r, part_begin, part_data, part_end};
    if (multipart_new(http_header_get(pub, "content-type"), &sink, &r->body.parser, &e) < 0 ||
        prepare_upload(r, spec, &e) < 0)
        fail(r, &e);
    go(r);
}

void http_body_raw_file(struct http_req *pub, const struct http_upload_spec *spec,
                        http_body_fn done, void *arg)
{
    struct req *r = req_of(pub);
    struct err e = {0};
    const char *ctype = http_header_get(pub, "content-type");
    if (!ask(r, BODY_RAW, done, arg))
        return;
    r->body.part_is_file = true;
    r->body.part_name = r->body.part_filename = "";
    r->body.part_ctype = ctype ? ctype : "";
    if (prepare_upload(r, spec, &e) < 0 || open_part(r, &e) < 0)
        fail(r, &e);
    go(r);
}

void http_body_cancel(struct http_req *pub)
{
    struct req *r = req_of(pub);
    body_abort(r);
    if (r->body.mode != BODY_NONE && r->conn && r->conn->suspended && r->body_open &&
        !r->body_complete)
        server_wake(r->conn); /* the rest is read and dropped until the answer comes */
}

int64_t http_body_received(const struct http_req *pub)
{
    return ((const struct req *)pub)->received;
}
