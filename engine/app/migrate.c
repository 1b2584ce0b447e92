/* SPDX-License-Identifier: Apache-2.0 */
#include "app/migrate.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "crypto/digest.h"

enum { FILES_MAX = 999, NAME_MAX_LEN = 100 };
#define FILE_BYTES_MAX (4u << 20)

struct file {
    int version;
    char name[NAME_MAX_LEN];
    char sha[65];
    struct buf text;
    bool applied;
};

struct plan {
    struct file files[FILES_MAX];
    int n;
};

/* --- the files --- */

/* 001_topic.sql */
static int version_of(const char *name)
{
    size_t n = strlen(name);
    if (n < 9 || n >= NAME_MAX_LEN || !isdigit((unsigned char)name[0]) ||
        !isdigit((unsigned char)name[1]) || !isdigit((unsigned char)name[2]) || name[3] != '_' ||
        strcmp(name + n - 4, ".sql") != 0 ||
        strspn(name + 4, "abcdefghijklmnopqrstuvwxyz0123456789_") != n - 8)
        return 0;
    return atoi(name);
}

static int read_file(const char *dir, struct file *f, struct err *e)
{
    char path[1024], chunk[16384];
    uint8_t sha[32];
    struct buf hex = {0};
    size_t n;
    FILE *in;
    snprintf(path, sizeof path, "%s/%s", dir, f->name);
    in = fopen(path, "re");
    if (in == NULL)
        return err_errno(e, path);
    while ((n = fread(chunk, 1, sizeof chunk, in)) > 0 && f->text.n < FILE_BYTES_MAX)
        buf_put(&f->text, chunk, n);
    fclose(in);
    if (f->text.n == 0 || f->text.n >= FILE_BYTES_MAX || memchr(f->text.p, 0, f->text.n))
        return ERR(e, ERR_CONFIG, "%s is empty, too large or not text", path);
    digest_sha256(f->text.p, f->text.n, sha);
    buf_put_hex(&hex, sha, sizeof sha);
    snprintf(f->sha, sizeof f->sha, "%.64s", hex.p);
    buf_fini(&hex);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

static int read_dir(struct plan *p, const char *dir, struct err *e)
{
    DIR *d = opendir(dir);
    struct dirent *de;
    if (d == NULL)
        return err_errno(e, dir);
    while ((de = readdir(d)) != NULL) {
        int v = version_of(de->d_name);
        if (v == 0 || p->n == FILES_MAX)
            continue;
        p->files[p->n].version = v;
        snprintf(p->files[p->n].name, sizeof p->files[p->n].name, "%.99s", de->d_name);
        p->n++;
    }
    closedir(d);
    if (p->n == 0)
        return ERR(e, ERR_CONFIG, "no migrations (NNN_topic.sql) in %s", dir);
    qsort(p->files, (size_t)p->n, sizeof p->files[0], by_name);
    for (int i = 0; i < p->n; i++) {
        if (i && p->files[i].version == p->files[i - 1].version)
            return ERR(e, ERR_CONFIG, "two migrations with one number: %s, %s",
                       p->files[i - 1].name, p->files[i].name);
        if (read_file(dir, &p->files[i], e) < 0)
            return -1;
    }
    return 0;
}

/* --- the database --- */

static int fail_sql(PGconn *c, PGresult *r, const char *what, const char *sql, struct err *e)
{
    const char *pos = r ? PQresultErrorField(r, PG_DIAG_STATEMENT_POSITION) : NULL;
    const char *msg = r ? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    int line = 1;
    /* the position counts characters; bytes are near enough for a line number */
    for (long i = pos ? atol(pos) : 0; i > 1 && sql && *sql; i--, sql++)
        line += *sql == '\n';
    if (state && strcmp(state, "55P03") == 0)
        ERR(e, ERR_DB_RETRY,
            "migration %s: a table it must change was busy for 5 s; nothing was changed, try again",
            what);
    else if (pos)
        ERR(e, ERR_DB, "migration %s, line %d: %s", what, line, msg);
    else
        ERR(e, ERR_DB, "migration %s: %s", what, msg ? msg : PQerrorMessage(c));
    PQclear(r);
    return -1;
}

static int run_sql(PGconn *c, const char *what, const char *sql, struct err *e)
{
    PGresult *r = PQexec(c, sql);
    ExecStatusType st = PQresultStatus(r);
    if (st != PGRES_COMMAND_OK && st != PGRES_TUPLES_OK)
        return fail_sql(c, r, what, sql, e);
    PQclear(r);
    return 0;
}

static int prepare_db(PGconn *c, struct err *e)
{
    if (run_sql(c, "set-up",
                "set client_min_messages = warning; set lock_timeout = '120s'; set "
                "statement_timeout = 0",
                e) < 0 ||
        run_sql(c, "lock", "select pg_advisory_lock(823740)", e) < 0)
        return -1;
    return run_sql(
        c, "set-up",
        "set lock_timeout = '5s'; create table if not exists public.schema_migrations ("
        "version integer primary key, name text not null, sha256 text not null, "
        "applied_at timestamptz not null default now(), took_ms integer not null default 0)",
        e);
}

static struct file *find(struct plan *p, int version)
{
    for (int i = 0; i < p->n; i++) {
        if (p->files[i].version == version)
            return &p->files[i];
    }
    return NULL;
}

static int check_row(struct plan *p, int version, const char *name, const char *sha, struct err *e)
{
    struct file *f = find(p, version);
    if (version > p->files[p->n - 1].version)
        return ERR(
            e, ERR_CONFIG,
            "the database is newer than this program: it has %s, the newest migration here is %s; "
            "start the newer version or restore an older backup",
            name, p->files[p->n - 1].name);
    if (f == NULL)
        return ERR(e, ERR_CONFIG, "migration %s was applied but its file is missing", name);
    if (strcmp(f->sha, sha) != 0)
        return ERR(
            e, ERR_CONFIG,
            "migration %s was edited after it was applied (sha256 %.12s..., applied %.12s...); "
            "restore the file and put the change into a new one",
            f->name, f->sha, sha);
    f->applied = true;
    return 0;
}

static int check_history(PGconn *c, struct plan *p, struct err *e)
{
    PGresult *r =
        PQexec(c, "select version, name, sha256 from public.schema_migrations order by version");
    int rc = 0, seen = 0;
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        return fail_sql(c, r, "history", NULL, e);
    for (int i = 0; i < PQntuples(r) && rc == 0; i++)
        rc = check_row(p, atoi(PQgetvalue(r, i, 0)), PQgetvalue(r, i, 1), PQgetvalue(r, i, 2), e);
    PQclear(r);
    for (int i = p->n - 1; i >= 0 && rc == 0; i--) {
        if (p->files[i].applied)
            seen = 1;
        else if (seen)
            rc = ERR(e, ERR_CONFIG,
                     "migration %s is older than what is applied; give it a new number",
                     p->files[i].name);
    }
    return rc;
}

static int record(PGconn *c, const struct file *f, int64_t ms, struct err *e)
{
    char version[16], took[24];
    const char *params[] = {version, f->name, f->sha, took};
    PGresult *r;
    snprintf(version, sizeof version, "%d", f->version);
    snprintf(took, sizeof took, "%lld", (long long)ms);
    r = PQexecParams(c,
                     "insert into public.schema_migrations (version, name, sha256, took_ms) values "
                     "($1, $2, $3, $4)",
                     4, NULL, params, NULL, NULL, 0);
    if (PQresultStatus(r) != PGRES_COMMAND_OK)
        return fail_sql(c, r, f->name, NULL, e);
    PQclear(r);
    return 0;
}

static int apply(PGconn *c, const struct file *f, struct err *e)
{
    int64_t t0 = clock_mono();
    if (run_sql(c, f->name, "begin", e) < 0)
        return -1;
    if (run_sql(c, f->name, f->text.p, e) < 0)
        goto undo;
    if (PQtransactionStatus(c) != PQTRANS_INTRANS) {
        ERR(e, ERR_CONFIG, "migration %s ends its own transaction", f->name);
        goto undo;
    }
    /* the file may have switched roles; the history is the caller's */
    if (run_sql(c, f->name, "reset role", e) < 0 ||
        record(c, f, (clock_mono() - t0) / 1000, e) < 0 || run_sql(c, f->name, "commit", e) < 0)
        goto undo;
    log_event(LOG_INFO, "migrate.applied", "si", "file", f->name, "ms", (clock_mono() - t0) / 1000);
    return 0;
undo:
    PQclear(PQexec(c, "rollback"));
    return -1;
}

static int run_all(PGconn *c, struct plan *p, struct err *e)
{
    int applied = 0;
    if (prepare_db(c, e) < 0 || check_history(c, p, e) < 0)
        return -1;
    for (int i = 0; i < p->n; i++) {
        if (p->files[i].applied)
            continue;
        if (apply(c, &p->files[i], e) < 0)
            return -1;
        applied++;
    }
    if (applied &&
        run_sql(c, "grants",
                "grant select on public.schema_migrations to ppv_app, ppv_worker, ppv_ro", e) < 0)
        return -1;
    log_event(LOG_INFO, "migrate.current", "si", "version", p->files[p->n - 1].name, "applied",
              (int64_t)applied);
    return 0;
}

int migrate_run(const char *conninfo, const char *sql_dir, struct err *e)
{
    struct plan *p = calloc(1, sizeof *p);
    const char *keys[] = {"dbname", "application_name", "client_encoding", "connect_timeout", NULL};
    const char *vals[] = {conninfo, "ppv migrate", "UTF8", "10", NULL};
    PGconn *c = NULL;
    int rc;
    must(p != NULL);
    rc = read_dir(p, sql_dir, e);
    if (rc == 0) {
        c = PQconnectdbParams(keys, vals, 1);
        if (PQstatus(c) != CONNECTION_OK)
            rc = ERR(e, ERR_DB_DOWN, "%s", PQerrorMessage(c));
        else
            rc = run_all(c, p, e);
    }
    PQfinish(c); /* also releases the lock */
    for (int i = 0; i < p->n; i++)
        buf_fini(&p->files[i].text);
    free(p);
    return rc;
}
