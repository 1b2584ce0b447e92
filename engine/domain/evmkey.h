/* SPDX-License-Identifier: Apache-2.0
 * Ethereum keys of the site, below var_dir/keys: one file per name, sealed with the master key. A private key exists in memory
 * for the moment of a signature only and is never given away. All functions read or write small files: any thread, and the
 * loop's too. Names are of a-z, 0-9 and _. */
#ifndef DOMAIN_EVMKEY_H
#define DOMAIN_EVMKEY_H
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

/* The key that signs invoices: conf "invoice_rate" bounds its signatures a minute, over all processes. */
#define EVMKEY_INVOICES "invoice_signer"
enum { EVMKEY_NAME_MAX = 32 };

/* A new random key. replace: an existing one is kept as NAME.ADDRESS, else it is ERR_CONFLICT. */
int evmkey_new(struct str name, bool replace, struct err *e);
/* The same with the key in a file of 64 hexadecimal digits (0x may lead), which only its owner may read. */
int evmkey_import(struct str name, const char *path, bool replace, struct err *e);
/* ERR_NOT_FOUND when there is no such key; ERR_UNAUTHENTICATED when no master key opens it. */
int evmkey_address(struct str name, uint8_t address[20], struct err *e);
/* 65 bytes, see secp_sign. ERR_RATE when the invoice signer has signed too often. */
int evmkey_sign(struct str name, const uint8_t digest[32], uint8_t sig[65], struct err *e);
/* Calls fn(arg, name, kid) for each key, replaced ones too; kid names the master key that sealed it. */
int evmkey_list(void (*fn)(void *arg, const char *name, const char *kid), void *arg, struct err *e);
/* Seals all with the newest master key; counts. */
int evmkey_reseal(int *done, int *unreadable, struct err *e);
#endif
