/* SPDX-License-Identifier: Apache-2.0 */
#include "db/pgval.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/db.h"

static unsigned char type_of(Oid oid)
{
    switch (oid) {
    case 16: return DBV_BOOL;
    case 17: return DBV_BYTEA;
    case 20:
    case 21:
    case 23:
    case 26:
    case 28: return DBV_INT;
    case 700:
    case 701: return DBV_FLOAT;
    case 1700: return DBV_NUMERIC;
    case 1082:
    case 1083:
    case 1114:
    case 1184: return DBV_TIME;
    case 2950: return DBV_UUID;
    case 114:
    case 3802: return DBV_JSON;
    default: return DBV_TEXT;
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

/* "\x6869" -> "hi" over itself: the text belongs to the result and is always longer than the
 * bytes. */
static int unhex_in_place(char *p, int n)
{
    int out = 0;
    if (n < 2 || p[0] != '\\' || p[1] != 'x')
        return n;
    for (int i = 2; i + 1 < n; i += 2) {
        int hi = hex_digit(p[i]), lo = hex_digit(p[i + 1]);
        if (hi < 0 || lo < 0)
            break;
        p[out++] = (char)(hi << 4 | lo);
    }
    p[out] = '\0';
    return out;
}

static void decode_bytea(struct db_result *r)
{
    r->lens = calloc((size_t)r->rows * (size_t)r->cols, sizeof *r->lens);
    must(r->lens != NULL);
    for (int i = 0; i < r->rows; i++) {
        for (int c = 0; c < r->cols; c++) {
            int n = PQgetlength(r->pg, i, c);
            if (r->types[c] == DBV_BYTEA && n > 0)
                n = unhex_in_place(PQgetvalue(r->pg, i, c), n);
            r->lens[i * r->cols + c] = n;
        }
    }
}

struct db_result *pgval_result(PGresult *pg)
{
    int cols = PQnfields(pg);
    struct db_result *r = malloc(sizeof *r + (size_t)cols);
    bool bytea = false;
    must(r != NULL);
    *r = (struct db_result){.pg = pg, .rows = PQntuples(pg), .cols = cols};
    for (int c = 0; c < r->cols; c++) {
        r->types[c] = type_of(PQftype(pg, c));
        bytea = bytea || r->types[c] == DBV_BYTEA;
    }
    if (bytea && r->rows > 0)
        decode_bytea(r);
    return r;
}

void pgval_free(struct db_result *r)
{
    if (r == NULL)
        return;
    PQclear(r->pg);
    free(r->lens);
    free(r);
}

struct code_row {
    const char *prefix; /* of the SQLSTATE; the first match wins */
    enum err_code code;
};

static const struct code_row CODES[] = {
    {"23", ERR_DB_CONFLICT},
    {"40", ERR_DB_RETRY},
    {"55P03", ERR_DB_RETRY},
    {"57014", ERR_TIMEOUT},
    {"25P0", ERR_DB_DOWN},
    {"57P0", ERR_DB_DOWN},
    {"08P01", ERR_DB}, /* a wrong number of parameters: the connection is fine */
    {"08", ERR_DB_DOWN},
    {"53300", ERR_DB_DOWN},
    {"53100", ERR_DISK_FULL},
    {"53200", ERR_BUSY},
    /* wrong form, range, length, encoding: what a client sent, not a mistake of ours */
    {"22P02", ERR_INVALID},
    {"22003", ERR_INVALID},
    {"22001", ERR_INVALID},
    {"22007", ERR_INVALID},
    {"22008", ERR_INVALID},
    {"22021", ERR_INVALID},
    {"22P05", ERR_INVALID},
    {"22023", ERR_INVALID},
};

static enum err_code code_of(const char *state)
{
    if (strcmp(state, "25P02") == 0) /* a statement after a failed one in the same transaction */
        return ERR_DB;
    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++) {
        if (strncmp(state, CODES[i].prefix, strlen(CODES[i].prefix)) == 0)
            return CODES[i].code;
    }
    return ERR_DB;
}

/* 'code|sentence' raised by our own functions. */
static bool business(const char *msg, struct err *e)
{
    const char *bar = strchr(msg, '|');
    size_t n = bar ? (size_t)(bar - msg) : 0;
    if (n == 0 || n >= sizeof e->detail ||
        strspn(msg, "abcdefghijklmnopqrstuvwxyz0123456789_.") != n)
        return false;
    ERR(e, ERR_CONFLICT, "%s", bar + 1);
    memcpy(e->detail, msg, n);
    e->detail[n] = '\0';
    return true;
}

void pgval_error(const PGresult *pg, struct err *e)
{
    const char *state = PQresultErrorField(pg, PG_DIAG_SQLSTATE);
    const char *msg = PQresultErrorField(pg, PG_DIAG_MESSAGE_PRIMARY);
    const char *constraint = PQresultErrorField(pg, PG_DIAG_CONSTRAINT_NAME);
    enum err_code code;
    if (state == NULL) {
        ERR(e, ERR_DB_DOWN, "%s", PQresultErrorMessage(pg));
        return;
    }
    if (msg == NULL)
        msg = "no message";
    if (strcmp(state, "P0001") == 0 && business(msg, e))
        return;
    code = code_of(state);
    ERR(e, code, "%s (SQLSTATE %s)", msg, state);
    snprintf(e->detail, sizeof e->detail, "%s",
             code == ERR_DB_CONFLICT && constraint ? constraint : state);
}

int pgval_is_stale_plan(const PGresult *pg)
{
    const char *state = PQresultErrorField(pg, PG_DIAG_SQLSTATE);
    const char *msg = PQresultErrorField(pg, PG_DIAG_MESSAGE_PRIMARY);
    if (state == NULL)
        return 0;
    return strcmp(state, "26000") == 0 ||
           (strcmp(state, "0A000") == 0 && msg != NULL && strstr(msg, "cached plan") != NULL);
}
