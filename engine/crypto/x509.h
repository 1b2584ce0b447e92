/* SPDX-License-Identifier: Apache-2.0
 * A message signed with the key of an X.509 certificate (OpenSSL). Any thread; under a millisecond of CPU, but the
 * system's certificates are read from disk when one is asked for the first time. */
#ifndef CRYPTO_X509_H
#define CRYPTO_X509_H
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

struct x509_claim {
    struct str pem;   /* the signer's certificate first, then those between it and a root */
    struct str roots; /* PEM, trusted besides the system's; may be empty, may be no root itself */
    const char
        *name;  /* ".example.com": the certificate is for a host beneath; else for this host */
    int64_t at; /* seconds since 1970 when all of the chain must be in force */
    struct str message;   /* signed with RSA PKCS#1 v1.5 over SHA-256 */
    struct str signature; /* raw bytes */
};
/* 0: a chain to a trusted certificate stands, the name fits, the key is RSA with at least 2048 bits and has signed the message.
 * ERR_UNAUTHENTICATED with the reason otherwise, ERR_INVALID when no certificate can be read from pem or roots. */
int x509_verify(const struct x509_claim *c, struct err *e);
#endif
