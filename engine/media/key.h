/* SPDX-License-Identifier: Apache-2.0
 * Keys of one title, all derived from its 32-byte secret; in the child and in the engine. Any thread, no state. */
#ifndef MEDIA_KEY_H
#define MEDIA_KEY_H
#include <stddef.h>
#include <stdint.h>

/* HKDF-SHA256 (RFC 5869), no salt. info is text: "v1|pattern". 0 or -1 (the crypto library fails). */
int key_derive(const uint8_t secret[32], const char *info, void *out, size_t n);
/* The info of a segment's key: "v1|<rendition>|<variant>|<segment from 0>". */
void key_info(char out[64], const char *rendition, const char *variant, int segment);
/* HMAC-SHA256 of a text. Aborts when the crypto library fails. */
void key_mac(const uint8_t key[32], const char *text, uint8_t out[32]);
#endif
