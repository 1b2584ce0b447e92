/* SPDX-License-Identifier: Apache-2.0
 * Passwords: Argon2id in PHC form, cost from conf (argon2_memory_kib, argon2_time; one lane).
 * Any thread, but each call takes tens of milliseconds of CPU: only through threads_run, never on a loop. */
#ifndef CRYPTO_PASSWD_H
#define CRYPTO_PASSWD_H
#include <stdbool.h>
#include "base/err.h"
#include "base/str.h"

/* plain: 1..1024 bytes, else ERR_INVALID. */
int passwd_hash(struct str plain, char out[128], struct err *e);
/* A wrong password is 0 with *ok false. needs_rehash: right, but hashed with other costs than configured. ERR_INVALID: phc is not
 * an Argon2id string or its costs are beyond reason. NULL phc: does the same work against a dummy (unknown user), *ok false. */
int passwd_verify(struct str plain, const char *phc, bool *ok, bool *needs_rehash, struct err *e);
#endif
