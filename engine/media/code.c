// SPDX-License-Identifier: Apache-2.0
#include "media/code.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "media/key.h"

enum { LONG_TITLE_S = 20 * 60, WORDS = 8, BITS = 256 };

int code_key(const uint8_t title_secret[32], uint8_t k_code[32])
{
    return key_derive(title_secret, "v1|code", k_code, 32);
}

enum code_kind code_kind_for(double seconds)
{
    return seconds < LONG_TITLE_S ? CODE_HALF : CODE_NUIDA;
}

const char *code_name(enum code_kind kind)
{
    return kind == CODE_NUIDA ? "nuida" : "half";
}

int code_from_name(const char *name)
{
    return !name                    ? -1
           : !strcmp(name, "half")  ? CODE_HALF
           : !strcmp(name, "nuida") ? CODE_NUIDA
                                    : -1;
}

void code_biases(const uint8_t k_code[32], enum code_kind kind, int from, int n, double *p)
{
    uint8_t mac[32];
    char text[32];
    int block = -1;
    for (int i = from; i < from + n; i++) {
        if (kind == CODE_NUIDA && i / BITS != block) {
            block = i / BITS;
            snprintf(text, sizeof text, "p|%d", block);
            key_mac(k_code, text, mac);
        }
        p[i - from] = kind == CODE_HALF ? 0.5 : mac[i % BITS / 8] >> i % 8 & 1 ? 0.789 : 0.211;
    }
}

double code_bias(const uint8_t k_code[32], enum code_kind kind, int i)
{
    double p = 0.5;
    code_biases(k_code, kind, i, 1, &p);
    return p;
}

static double word(const uint8_t mac[32], int i)
{
    const uint8_t *w = mac + i % WORDS * 4;
    return (double)((uint32_t)w[0] << 24 | (uint32_t)w[1] << 16 | (uint32_t)w[2] << 8 | w[3]);
}

void code_word(const uint8_t k_code[32], int64_t user_id, enum code_kind kind, int from, int n,
               char *out)
{
    double p[BITS];
    uint8_t mac[32];
    char text[64];
    int block = -1, known = from; // segments before this one have their bias in p
    for (int i = from; i < from + n; i++) {
        if (i >= known) {
            known = i + BITS < from + n ? i + BITS : from + n;
            code_biases(k_code, kind, i, known - i, p);
        }
        if (i / WORDS != block) {
            block = i / WORDS;
            snprintf(text, sizeof text, "u|%" PRId64 "|%d", user_id, block);
            key_mac(k_code, text, mac);
        }
        out[i - from] = word(mac, i) < p[(i - from) % BITS] * 4294967296.0 ? 'a' : 'b';
    }
}
