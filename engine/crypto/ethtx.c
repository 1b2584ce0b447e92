/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/ethtx.h"

#include <string.h>

#include "crypto/digest.h"

/* RLP: a short item says its length in one byte, a long one the length of its length. */
static void put_length(struct buf *b, size_t n, uint8_t base)
{
    uint8_t head[9];
    if (n < 56) {
        head[0] = (uint8_t)(base + n);
        buf_put(b, head, 1);
        return;
    }
    size_t k = 0;
    for (size_t v = n; v; v >>= 8)
        k++;
    head[0] = (uint8_t)(base + 55 + k);
    for (size_t i = 0; i < k; i++)
        head[1 + i] = (uint8_t)(n >> 8 * (k - 1 - i));
    buf_put(b, head, 1 + k);
}

static void put_bytes(struct buf *b, const void *p, size_t n)
{
    if (n != 1 || *(const uint8_t *)p >= 0x80)
        put_length(b, n, 0x80);
    buf_put(b, n ? p : "", n);
}

static void put_word(struct buf *b, const uint8_t word[32])
{
    size_t skip = 0;
    while (skip < 32 && !word[skip])
        skip++;
    put_bytes(b, word + skip, 32 - skip);
}

static void put_int(struct buf *b, const struct u256 *v)
{
    uint8_t be[32];
    u256_store(v, be);
    put_word(b, be);
}

static void put_all(const struct ethtx *t, const uint8_t *sig, struct buf *out)
{
    struct buf b = {0};
    const struct u256 *const ints[] = {&t->chain_id, &t->nonce, &t->tip, &t->fee_cap, &t->gas};
    for (size_t i = 0; i < 5; i++)
        put_int(&b, ints[i]);
    put_bytes(&b, t->to, 20);
    put_int(&b, &t->value);
    put_bytes(&b, t->data.p, t->data.n);
    put_length(&b, 0, 0xc0); /* no access list */
    if (sig) {
        uint8_t parity = (uint8_t)(sig[64] - 27);
        put_bytes(&b, &parity, parity ? 1 : 0);
        put_word(&b, sig);
        put_word(&b, sig + 32);
    }
    buf_put(out, "\x02", 1);
    put_length(out, b.n, 0xc0);
    buf_put(out, b.p, b.n);
    buf_fini(&b);
}

void ethtx_digest(const struct ethtx *t, uint8_t out[32])
{
    struct buf b = {0};
    put_all(t, NULL, &b);
    digest_keccak256(b.p, b.n, out);
    buf_fini(&b);
}

void ethtx_put(const struct ethtx *t, const uint8_t sig[65], struct buf *out)
{
    put_all(t, sig, out);
}
