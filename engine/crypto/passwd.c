/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/passwd.h"

#include <argon2.h>
#include <stdio.h>
#include <string.h>

#include "base/conf.h"
#include "crypto/digest.h"

enum { SALT = 16, HASH = 32, PLAIN_MAX = 1024 };
enum { MEMORY_MAX_KIB = 1 << 20, TIME_MAX = 64, LANES_MAX = 16 };

static int hash(struct str plain, char out[128], struct err *e)
{
    uint8_t salt[SALT];
    digest_random(salt, sizeof salt);
    int rc = argon2id_hash_encoded((uint32_t)conf_int("argon2_time"),
                                   (uint32_t)conf_int("argon2_memory_kib"), 1, plain.p, plain.n,
                                   salt, sizeof salt, HASH, out, 128);
    if (rc != ARGON2_OK)
        return ERR(e, rc == ARGON2_MEMORY_ALLOCATION_ERROR ? ERR_BUSY : ERR_INTERNAL, "argon2: %s",
                   argon2_error_message(rc));
    return 0;
}

int passwd_hash(struct str plain, char out[128], struct err *e)
{
    if (plain.n < 1 || plain.n > PLAIN_MAX)
        return ERR(e, ERR_INVALID, "password length");
    return hash(plain, out, e);
}

int passwd_verify(struct str plain, const char *phc, bool *ok, bool *needs_rehash, struct err *e)
{
    *ok = *needs_rehash = false;
    if (plain.n > PLAIN_MAX)
        plain.n = 0; /* cannot be right, but takes its time like any other */
    if (!phc) {
        char dummy[128];
        return hash(plain, dummy, e);
    }
    unsigned version, memory, passes, lanes;
    if (strlen(phc) >= 256 ||
        sscanf(phc, "$argon2id$v=%u$m=%u,t=%u,p=%u$", &version, &memory, &passes, &lanes) != 4 ||
        memory > MEMORY_MAX_KIB || passes > TIME_MAX || lanes > LANES_MAX)
        return ERR(e, ERR_INVALID, "not an Argon2id string");
    int rc = argon2id_verify(phc, plain.p, plain.n);
    if (rc == ARGON2_MEMORY_ALLOCATION_ERROR)
        return ERR(e, ERR_BUSY, "argon2: %s", argon2_error_message(rc));
    if (rc != ARGON2_OK && rc != ARGON2_VERIFY_MISMATCH)
        return ERR(e, ERR_INVALID, "argon2: %s", argon2_error_message(rc));
    *ok = rc == ARGON2_OK;
    *needs_rehash = *ok && (memory != (unsigned)conf_int("argon2_memory_kib") ||
                            passes != (unsigned)conf_int("argon2_time") || lanes != 1 ||
                            version != ARGON2_VERSION_13);
    return 0;
}
