/* SPDX-License-Identifier: Apache-2.0
 * Money operations: each is one call of a function of sql/009_money.sql, so key, effect and stored
 * reply commit together. This file knows the statements, the order of their arguments and what the
 * body hash covers. Any thread; no I/O here. */
#ifndef DOMAIN_LEDGER_H
#define DOMAIN_LEDGER_H
#include <stdbool.h>
#include "base/err.h"

struct arena;
struct db_query;
enum ledger_op {
    LEDGER_SALE,
    LEDGER_TRANSFER,
    LEDGER_DEPOSIT_REQUEST,
    LEDGER_DEPOSIT_APPROVE,
    LEDGER_DEPOSIT_REJECT,
    LEDGER_OPS
};
enum ledger_type { LEDGER_INT, LEDGER_TEXT };
/* One argument as callers name it. */
struct ledger_arg {
    const char *name;
    enum ledger_type type;
    bool need;
    bool
        hashed; /* what the client decides; what the site decides (fee, commission) may differ in an honest retry */
    const char *def; /* for absent optional ones; NULL = null */
};
enum { LEDGER_ARGS = 11 };
/* Terminated by a NULL name. */
const struct ledger_arg *ledger_args(enum ledger_op op);
/* values[i] belongs to ledger_args(op)[i]; NULL = absent. Fills q->sql, params and nparams (memory
 * from a). The statement answers one row with one jsonb column. Errors: ERR_INVALID (missing
 * argument, key not 1..200 bytes). */
int ledger_prepare(struct arena *a, enum ledger_op op, const char *key, const char *const *values,
                   struct db_query *q, struct err *e);
#endif
