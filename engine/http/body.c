/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/arena.h"
#include "base/clock.h"
#include "http/append.h"
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
    append_free(r->body.append);
    r->body.append = NULL;
    spool_free(r->body.spool, false);
    r->body.spool = NULL;
}

/* The client's part is over: from now on the handler's deadline counts. */
static void wait_for_handler(struct req *r)
{
    if (!r->conn || r->conn->phase != CONN_BODY)
        return;
    server_phase(r->conn, CONN_WAIT);
    r->conn->deadline = r->deadline_us ? clock_mono() + r->deadline_us : 0;
}

static void tell_step(struct req *r)
{
    struct body *b = &r->body;
    http_append_fn fn = b->step;
    struct http_appended x;
    if (!fn || b->flushing)
        return;
    b->step = NULL;
    b->done = b->failed || b->ended || b->cut;
    if (b->done)
        wait_for_handler(r);
    append_tell(b->append, b->ended && !b->failed, b->cut && !b->ended, &x);
    fn(&r->pub, b->arg, &x, b->failed ? &b->err : NULL);
}

static void tell(struct req *r)
{
    struct body *b = &r->body;
    if (b->mode == BODY_APPEND) {
        tell_step(r);
        return;
    }
    if (b->done || b->flushing || !(b->failed || b->ended))
        return;
    b->done = true;
    if (b->failed) {
        forget_input(b);
        drop_files(r);
    }
    if (r->gone || !b->fn)
        return;
    wait_for_handler(r);
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
    case BODY_APPEND: return append_put(b->append, p, n, e);
    case BODY_NONE: break;
    }
    return 0;
}

static void flushed(void *arg, const struct err *e);

static void appended(void *arg, bool step, const struct err *e);

/* True when a flush was begun. */
static bool append_if_due(struct req *r, bool all)
{
    struct body *b = &r->body;
    if (b->failed || b->flushing || !append_is_due(b->append, all))
        return false;
    b->flushing = true;
    msg_ref(r);
    if (r->conn)
        server_suspend(r->conn);
    append_flush(b->append, all, appended, r);
    return true;
}

static void appended(void *arg, bool step, const struct err *e)
{
    struct req *r = arg;
    struct body *b = &r->body;
    bool paused = step;
    b->flushing = false;
    if (e)
        fail(r, e);
    if (b->failed || b->ended || b->cut) {
        paused = true;
        if (!append_if_due(r, true))
            tell(r);
    } else if (step) {
        tell(r);
    }
    if (r->conn && (r->replied || !paused))
        server_wake(r->conn);
    msg_unref(r);
}

static void flush_if_due(struct req *r, bool all)
{
    struct body *b = &r->body;
    if (b->mode == BODY_APPEND) {
        append_if_due(r, all);
        return;
    }
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
    if (b->mode == BODY_APPEND && !b->failed && (b->flushing || append_if_due(r, true)))
        return;
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
    b->step = NULL;
    if (b->flushing)
        msg_unref(r); /* the flush will not come back */
    b->flushing = false;
    forget_input(b);
    drop_files(r);
}

void body_gone(struct req *r)
{
    struct body *b = &r->body;
    if (b->mode != BODY_APPEND || b->done) {
        body_abort(r);
        return;
    }
    b->cut = true;
    if (!b->flushing && b->step && !append_if_due(r, true))
        tell(r);
}

void body_fini(struct req *r)
{
    forget_input(&r->body);
    drop_files(r);
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

int http_append_open(struct http_req *pub, int dirfd, const char *name, struct err *e)
{
    struct req *r = req_of(pub);
    if (!r->conn || r->gone)
        return ERR(e, ERR_CANCELLED, "the client is gone");
    must(!r->body.append);
    return append_open(r->s->loop, r->s->conf.threads, dirfd, name, &r->body.append, e);
}

void http_append(struct http_req *pub, const struct http_append_spec *s, http_append_fn step,
                 void *arg)
{
    struct req *r = req_of(pub);
    struct body *b = &r->body;
    struct err e = {0};
    must(b->append);
    if (!ask(r, BODY_APPEND, NULL, arg))
        return;
    b->step = step;
    if (pub->content_length > s->max)
        ERR(&e, ERR_TOO_LARGE, "body of %lld bytes, at most %lld", (long long)pub->content_length,
            (long long)s->max);
    if (e.code != ERR_NONE || append_begin(b->append, s, &e) < 0)
        fail(r, &e);
    go(r);
}

bool http_append_more(struct http_req *pub, http_append_fn step, void *arg,
                      struct http_appended *over)
{
    struct req *r = req_of(pub);
    struct body *b = &r->body;
    must(b->append && !b->step);
    if (b->cut) {
        b->done = true;
        append_tell(b->append, false, true, over);
        return false;
    }
    b->step = step;
    b->arg = arg;
    server_wake(r->conn);
    return true;
}

void http_append_close(struct http_req *pub)
{
    struct req *r = req_of(pub);
    if (r->body.mode == BODY_APPEND)
        body_abort(r);
    append_free(r->body.append);
    r->body.append = NULL;
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
