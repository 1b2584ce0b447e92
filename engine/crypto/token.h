/* SPDX-License-Identifier: Apache-2.0
 * Signed tokens and sealed secrets from one instance secret. The secret file has one `kid hex` line per key, newest first: the
 * first signs and seals, all verify and open, the last (oldest) is the root of token_derive. Every purpose has its own key
 * (HKDF), so a token for one purpose is no token for another. Any thread after token_init. */
#ifndef CRYPTO_TOKEN_H
#define CRYPTO_TOKEN_H
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"
#include "crypto/digest.h"

/* Once, in the master before fork. A missing file is made (mode 0600, fsynced); one that others may read is refused. */
int token_init(const char *path, struct err *e);
/* Writes a file that only its owner can read, whole or not at all, and on the disk before anything is signed with it.
 * fresh: fails if path exists meanwhile. */
int token_store(const char *path, struct str text, bool fresh, struct err *e);
/* Adds a new first key to the file; running processes use it after restart. */
int token_rotate(const char *path, struct err *e);
/* The name of the newest key. */
const char *token_kid(void);

/* Appends `kid.payload.mac`: payload = base64url(data), mac = HMAC-SHA256 over purpose, kid and payload. URL and cookie safe.
 * data has no expiry of its own: put one in. */
void token_sign(const char *purpose, struct str data, struct buf *out);
/* Appends the data. ERR_UNAUTHENTICATED for anything not signed by us for this purpose. */
int token_verify(const char *purpose, struct str token, struct buf *out, struct err *e);

/* AES-256-GCM, for secrets at rest: appends `kid.base64url(nonce, ciphertext, tag)`. At most 1 MiB. */
void token_seal(const char *purpose, struct str plain, struct buf *out);
/* Appends the plain text. ERR_UNAUTHENTICATED when it was not sealed by us for this purpose. */
int token_open(const char *purpose, struct str sealed, struct buf *out, struct err *e);

/* For tokens with a form of their own: the signing keys of one purpose, newest first (the first signs, all verify). Their
 * number, at most TOKEN_KEYS; the same until the process ends, so callers may keep them. */
enum { TOKEN_KEYS = 8 };
int token_keys(const char *purpose, struct digest_key out[TOKEN_KEYS]);

/* A key for one purpose that stays the same when keys are added. */
void token_derive(const char *purpose, uint8_t out[32]);
#endif
