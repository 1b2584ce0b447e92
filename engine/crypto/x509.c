/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/x509.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

enum { CHAIN_MAX = 16, BITS_MIN = 2048 };

/* All certificates of a PEM text; NULL when there is none, too many, or one that cannot be read. */
static STACK_OF(X509) * read_pem(struct str pem)
{
    STACK_OF(X509) *list = sk_X509_new_null();
    BIO *bio = BIO_new_mem_buf(pem.p ? pem.p : "", (int)pem.n);
    must(list && bio);
    for (X509 *x; (x = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL;)
        must(sk_X509_push(list, x));
    /* the end of the text is reported as an error of its own kind */
    bool whole = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    BIO_free(bio);
    if (whole && sk_X509_num(list) > 0 && sk_X509_num(list) <= CHAIN_MAX)
        return list;
    sk_X509_pop_free(list, X509_free);
    return NULL;
}

/* Trusted: the system's (SSL_CERT_FILE and SSL_CERT_DIR of the environment count) and the caller's. */
static X509_STORE *store_new(STACK_OF(X509) * roots)
{
    X509_STORE *s = X509_STORE_new();
    must(s);
    X509_STORE_set_default_paths(s); /* none there: nothing is trusted */
    for (int i = 0; i < sk_X509_num(roots); i++)
        must(X509_STORE_add_cert(s, sk_X509_value(roots, i)) == 1);
    ERR_clear_error();
    return s;
}

static int check_chain(const struct x509_claim *c, STACK_OF(X509) * chain, STACK_OF(X509) * roots,
                       struct err *e)
{
    X509 *leaf = sk_X509_value(chain, 0);
    X509_STORE *store = store_new(roots);
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    must(ctx && X509_STORE_CTX_init(ctx, store, leaf, chain) == 1);
    X509_VERIFY_PARAM *p = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_time(p, (time_t)c->at);
    X509_VERIFY_PARAM_set_flags(p, X509_V_FLAG_PARTIAL_CHAIN);
    int rc = 0;
    if (X509_verify_cert(ctx) != 1)
        rc = ERR(e, ERR_UNAUTHENTICATED, "certificate: %s",
                 X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    else if (X509_check_host(leaf, c->name, strlen(c->name), 0, NULL) != 1)
        rc = ERR(e, ERR_UNAUTHENTICATED, "certificate: not for %s", c->name);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return rc;
}

static int check_signature(const struct x509_claim *c, X509 *leaf, struct err *e)
{
    EVP_PKEY *key = X509_get0_pubkey(leaf);
    if (!key || EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA || EVP_PKEY_get_bits(key) < BITS_MIN)
        return ERR(e, ERR_UNAUTHENTICATED, "certificate: not an RSA key of %d bits", BITS_MIN);
    EVP_MD_CTX *m = EVP_MD_CTX_new();
    must(m && EVP_DigestVerifyInit(m, NULL, EVP_sha256(), NULL, key) == 1);
    int good = EVP_DigestVerify(m, (const uint8_t *)c->signature.p, c->signature.n,
                                (const uint8_t *)(c->message.n ? c->message.p : ""), c->message.n);
    EVP_MD_CTX_free(m);
    return good == 1 ? 0 : ERR(e, ERR_UNAUTHENTICATED, "the signature does not fit the message");
}

int x509_verify(const struct x509_claim *c, struct err *e)
{
    STACK_OF(X509) *chain = read_pem(c->pem), *roots = c->roots.n ? read_pem(c->roots) : NULL;
    int rc = 0;
    if (!chain || (c->roots.n && !roots))
        rc = ERR(e, ERR_INVALID, "%s is not a list of PEM certificates", chain ? "roots" : "cert");
    else if (check_chain(c, chain, roots, e) || check_signature(c, sk_X509_value(chain, 0), e))
        rc = -1;
    ERR_clear_error();
    sk_X509_pop_free(chain, X509_free);
    sk_X509_pop_free(roots, X509_free);
    return rc;
}
