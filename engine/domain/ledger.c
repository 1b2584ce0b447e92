/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/ledger.h"

#include <string.h>
#include "base/arena.h"
#include "base/str.h"
#include "crypto/digest.h"
#include "db/db.h"

/* The commit does not wait for the disk, so that a wallet which many pay into is locked for moments
 * only; the reply does (db_query.flush). */
#define LATE ", set_config('synchronous_commit', 'off', true)"

/* $n of a statement: the arguments in order, then key and hash where `order` says. */
struct statement {
    const char *name, *sql;
    struct ledger_arg args[LEDGER_ARGS + 1];
};

#define INT(n) \
    { \
        .name = n, .type = LEDGER_INT, .need = true, .hashed = true \
    }
#define TEXT(n, must_be, dflt) \
    { \
        .name = n, .type = LEDGER_TEXT, .need = must_be, .hashed = true, .def = dflt \
    }

static const struct statement statements[LEDGER_OPS] = {
    [LEDGER_SALE] = {"sale",
                     "select ppv_sale($3::bigint, $4::uuid, $5::bigint, $6::integer, $7::jsonb, "
                     "$8::integer, $1, coalesce($13, $2), $9, $10::jsonb, $11, "
                     "$12::jsonb)" LATE,
                     {INT("buyer"),
                      TEXT("video", true, NULL),
                      INT("price"),
                      {.name = "fee_bp", .type = LEDGER_INT, .need = true},
                      {.name = "payees", .type = LEDGER_TEXT, .def = "[]"},
                      {.name = "pct", .type = LEDGER_INT},
                      {.name = "rule", .type = LEDGER_TEXT, .def = ""},
                      {.name = "tax", .type = LEDGER_TEXT, .def = "[]"},
                      {.name = "tax_rule", .type = LEDGER_TEXT, .def = ""},
                      {.name = "what", .type = LEDGER_TEXT, .def = "{}"},
                      {.name = "hash", .type = LEDGER_TEXT}}},
    [LEDGER_TRANSFER] =
        {"transfer",
         "select ppv_transfer($3::bigint, $4::bigint, $5::bigint, $6, $7, $1, $2)" LATE,
         {INT("from"), INT("to"), INT("amount"), TEXT("currency", true, NULL),
          TEXT("note", false, "")}},
    [LEDGER_DEPOSIT_REQUEST] =
        {"deposit_request",
         "select ppv_deposit_request($3::bigint, $4::bigint, $5, $6, $1, $2)" LATE,
         {INT("user"), INT("amount"), TEXT("currency", true, NULL), TEXT("note", false, "")}},
    [LEDGER_DEPOSIT_APPROVE] =
        {"deposit_approve",
         "select ppv_deposit_approve($3::bigint, $4::bigint, $5, $1, $2, $6::inet)" LATE,
         {INT("admin"), INT("id"), TEXT("note", false, ""), {.name = "ip", .type = LEDGER_TEXT}}},
    [LEDGER_DEPOSIT_REJECT] =
        {"deposit_reject",
         "select ppv_deposit_reject($3::bigint, $4::bigint, $5, $1, $2, $6::inet)" LATE,
         {INT("admin"), INT("id"), TEXT("note", false, ""), {.name = "ip", .type = LEDGER_TEXT}}},
};

const struct ledger_arg *ledger_args(enum ledger_op op)
{
    return statements[op].args;
}

/* Canonical text: operation, then name=length:value for every hashed argument, so that no two
 * bodies share a text. */
static char *body_hash(struct arena *a, const struct statement *s, const char *const *values)
{
    struct buf b = {0};
    uint8_t md[32];
    buf_puts(&b, s->name);
    for (int i = 0; s->args[i].name; i++)
        if (s->args[i].hashed) {
            const char *v = values[i] ? values[i] : s->args[i].def ? s->args[i].def : "";
            buf_printf(&b, "\n%s=%zu:%s", s->args[i].name, strlen(v), v);
        }
    digest_sha256(b.p, b.n, md);
    buf_clear(&b);
    buf_put_hex(&b, md, sizeof md);
    char *hex = arena_strndup(a, b.p, b.n);
    buf_fini(&b);
    return hex;
}

int ledger_prepare(struct arena *a, enum ledger_op op, const char *key, const char *const *values,
                   struct db_query *q, struct err *e)
{
    const struct statement *s = &statements[op];
    size_t len = key ? strlen(key) : 0;
    if (len < 1 || len > 200)
        return ERR(e, ERR_INVALID, "%s: an idempotency key of 1 to 200 bytes is needed", s->name);
    const char **params = arena_alloc(a, sizeof *params * (LEDGER_ARGS + 2));
    int n = 2;
    for (int i = 0; s->args[i].name; i++) {
        if (!values[i] && s->args[i].need)
            return ERR(e, ERR_INVALID, "%s: %s is missing", s->name, s->args[i].name);
        const char *v = values[i] ? values[i] : s->args[i].def;
        params[n++] = v ? arena_strdup(a, v) : NULL;
    }
    params[0] = arena_strdup(a, key);
    params[1] = body_hash(a, s, values);
    q->sql = s->sql;
    q->params = params;
    q->nparams = n;
    q->lane = DB_WRITE;
    q->flush = true;
    return 0;
}
