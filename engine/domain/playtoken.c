/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/playtoken.h"

#include <string.h>
#include "crypto/digest.h"
#include "crypto/token.h"

enum { SIGNED = 21, MAC = 18, BYTES = SIGNED + MAC };

static const struct digest_key *keys(int *n)
{
    static _Thread_local struct digest_key kept[TOKEN_KEYS];
    static _Thread_local int count;
    if (count == 0)
        count = token_keys("playback", kept);
    *n = count;
    return kept;
}

void playtoken_make(const struct playtoken *t, char out[PLAYTOKEN_LEN + 1])
{
    uint8_t b[BYTES], mac[32];
    struct buf text = {0};
    int n;
    b[0] = (uint8_t)t->kind;
    memcpy(b + 1, t->id, 16);
    for (int i = 0; i < 4; i++)
        b[17 + i] = (uint8_t)(t->expires >> (24 - 8 * i));
    digest_key_mac(keys(&n), b, SIGNED, mac);
    memcpy(b + SIGNED, mac, MAC);
    buf_put_base64url(&text, b, BYTES);
    memcpy(out, text.p, PLAYTOKEN_LEN + 1);
    buf_fini(&text);
}

int playtoken_read(struct str text, struct playtoken *out)
{
    uint8_t b[BYTES + 3], mac[32];
    int n;
    bool ok = false;
    /* '+', '/' and '=' decode too, but an address has one spelling only. */
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] == '+' || text.p[i] == '/' || text.p[i] == '=')
            return -1;
    if (text.n != PLAYTOKEN_LEN || str_unbase64(text, b, sizeof b) != BYTES)
        return -1;
    const struct digest_key *k = keys(&n);
    for (int i = 0; i < n && !ok; i++) {
        digest_key_mac(&k[i], b, SIGNED, mac);
        ok = digest_equal(mac, b + SIGNED, MAC);
    }
    if (!ok || (b[0] != PLAYTOKEN_SESSION && b[0] != PLAYTOKEN_PREVIEW))
        return -1;
    out->kind = (enum playtoken_kind)b[0];
    memcpy(out->id, b + 1, 16);
    out->expires = 0;
    for (int i = 0; i < 4; i++)
        out->expires = out->expires << 8 | b[17 + i];
    return 0;
}
