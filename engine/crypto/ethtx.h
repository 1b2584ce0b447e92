/* SPDX-License-Identifier: Apache-2.0
 * Transactions of Ethereum with a fee cap (EIP-1559, type 2), signed and ready to send. Any thread. */
#ifndef CRYPTO_ETHTX_H
#define CRYPTO_ETHTX_H
#include <stdbool.h>
#include <stdint.h>
#include "base/str.h"
#include "crypto/u256.h"

struct ethtx {
    struct u256 chain_id, nonce, tip, fee_cap, gas, value; /* tip and fee_cap: wei per gas */
    uint8_t to[20];
    struct str data;
};

/* What the sender signs: the hash of the unsigned form. */
void ethtx_digest(const struct ethtx *t, uint8_t out[32]);
/* Appends the signed form. sig: that of secp_sign. */
void ethtx_put(const struct ethtx *t, const uint8_t sig[65], struct buf *out);
#endif
