/* SPDX-License-Identifier: Apache-2.0
 * The code word of a viewer for a title: which variant, 'a' or 'b', of each segment the viewer gets. It belongs to the user, not
 * to the session, and is the same for all renditions. Pure; any thread.
 *
 * Bias: CODE_HALF p = 1/2 everywhere (shortest code against one or two pirates); CODE_NUIDA p in {.211,.789} (Nuida et al.
 * 2009, "An improvement of discrete Tardos fingerprinting codes": the optimal distribution against three and four). */
#ifndef MEDIA_CODE_H
#define MEDIA_CODE_H
#include <stdint.h>

enum code_kind { CODE_HALF, CODE_NUIDA };

/* K_code = HKDF(title_secret, "v1|code"). 0 or -1 (the crypto library fails). */
int code_key(const uint8_t title_secret[32], uint8_t k_code[32]);
/* What a title of this length is made with: CODE_NUIDA from 20 minutes. Recorded in index.json, never asked again. */
enum code_kind code_kind_for(double seconds);
/* "half", "nuida"; the inverse gives -1 for anything else (also NULL). */
const char *code_name(enum code_kind kind);
int code_from_name(const char *name);
/* Fills 'a' or 'b' for segments from .. from + n - 1; no terminator.
 * 'a' iff word i < p_i * 2^32; word i = big-endian 32-bit word i % 8 of HMAC-SHA256(K_code, "u|<user>|<i / 8>").
 * One call costs about a microsecond per eight segments. */
void code_word(const uint8_t k_code[32], int64_t user_id, enum code_kind kind, int from, int n,
               char *out);
/* p_i. CODE_NUIDA: .211 or .789 as bit i % 256 of HMAC-SHA256(K_code, "p|<i / 256>") is 0 or 1; bit j of a digest is
 * byte j / 8, value 1 << j % 8. For many segments code_biases is quicker. */
double code_bias(const uint8_t k_code[32], enum code_kind kind, int i);
void code_biases(const uint8_t k_code[32], enum code_kind kind, int from, int n, double *p);
#endif
