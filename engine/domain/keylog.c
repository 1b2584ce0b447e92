/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/keylog.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "db/db.h"
#include "run/board.h"
#include "run/loop.h"

enum { FLUSH_US = 200000, RETRY_US = 1000000, BATCH = 2000, WAITING_MAX = 100000, COLUMNS = 8 };

struct entry {
    struct keylog_row row;
    int64_t at;
};
static struct {
    struct loop *loop;
    struct db *db;
    struct entry *v; /* a ring */
    int cap, head, n;
    int sent; /* of them in the statement on its way */
    struct timer timer;
    struct db_query query;
    struct buf column[COLUMNS];
    const char *params[COLUMNS];
} k;

static const char INSERT[] =
    "insert into key_log (playback_id, user_id, video_id, rendition, variant, seq, ip, at) "
    "select * from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::char(1)[], "
    "$6::integer[], $7::inet[], $8::timestamptz[])";

static void flush(void);

static void on_timer(struct timer *t)
{
    (void)t;
    flush();
}

static void drop(int n)
{
    k.head = (k.head + n) % k.cap;
    k.n -= n;
}

static void on_done(struct db_query *q)
{
    int n = k.sent;
    k.sent = 0;
    if (q->res) {
        db_result_free(q->res);
        q->res = NULL;
        drop(n);
        board_count("key_log_rows_total", n);
    } else {
        log_err(LOG_WARN, "keylog.flush", &q->err);
        board_count("key_log_errors_total", 1);
        /* A row the table refuses would block all that follow. */
        if (q->err.code == ERR_INVALID || q->err.code == ERR_DB_CONFLICT) {
            drop(n);
            board_count("key_log_dropped_total", n);
        }
    }
    if (k.n)
        loop_timer_set(k.loop, &k.timer, q->err.code ? RETRY_US : 0);
}

static void put_uuid(struct buf *b, const uint8_t id[16])
{
    buf_put_hex(b, id, 16); /* PostgreSQL reads it without dashes */
}

static void put_row(const struct entry *e)
{
    char at[32];
    clock_format(e->at, at);
    for (int i = 0; i < COLUMNS; i++)
        buf_puts(&k.column[i], k.column[i].n > 1 ? "," : "");
    put_uuid(&k.column[0], e->row.session);
    buf_printf(&k.column[1], "%" PRId64, e->row.user_id);
    put_uuid(&k.column[2], e->row.video);
    buf_puts(&k.column[3], e->row.rendition);
    buf_put(&k.column[4], &e->row.variant, 1);
    buf_printf(&k.column[5], "%d", e->row.seq);
    buf_puts(&k.column[6], e->row.ip[0] ? e->row.ip : "NULL");
    buf_printf(&k.column[7], "\"%s\"", at);
}

static void flush(void)
{
    struct err e = {0};
    if (k.sent || !k.n)
        return;
    int n = k.n < BATCH ? k.n : BATCH;
    for (int i = 0; i < COLUMNS; i++) {
        buf_clear(&k.column[i]);
        buf_puts(&k.column[i], "{");
    }
    for (int i = 0; i < n; i++)
        put_row(&k.v[(k.head + i) % k.cap]);
    for (int i = 0; i < COLUMNS; i++) {
        buf_puts(&k.column[i], "}");
        k.params[i] = k.column[i].p;
    }
    k.query = (struct db_query){
        .sql = INSERT, .nparams = COLUMNS, .params = k.params, .lane = DB_WRITE, .done = on_done};
    if (db_submit(k.db, &k.query, &e) < 0) {
        log_err(LOG_WARN, "keylog.flush", &e);
        board_count("key_log_errors_total", 1);
        loop_timer_set(k.loop, &k.timer, RETRY_US);
        return;
    }
    k.sent = n;
}

void keylog_init(struct loop *l, struct db *d)
{
    k.loop = l;
    k.db = d;
    k.timer.fn = on_timer;
}

static bool make_room(void)
{
    if (k.n < k.cap)
        return true;
    if (k.cap >= WAITING_MAX)
        return false;
    int cap = k.cap ? k.cap * 2 : 512;
    struct entry *v = malloc(sizeof *v * (size_t)cap);
    must(v);
    for (int i = 0; i < k.n; i++)
        v[i] = k.v[(k.head + i) % k.cap];
    free(k.v);
    k.v = v;
    k.cap = cap;
    k.head = 0;
    return true;
}

void keylog_add(const struct keylog_row *row)
{
    if (!k.db || !make_room()) {
        board_count("key_log_dropped_total", 1);
        return;
    }
    k.v[(k.head + k.n) % k.cap] = (struct entry){*row, clock_wall()};
    k.n++;
    if (!k.sent && !k.timer.heap_pos)
        loop_timer_set(k.loop, &k.timer, FLUSH_US);
}

int keylog_waiting(void)
{
    return k.n;
}
