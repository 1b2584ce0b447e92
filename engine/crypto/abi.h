/* SPDX-License-Identifier: Apache-2.0
 * Ethereum's encodings of typed values: the contract ABI and the hash of typed data (EIP-712). Values are trees in an arena.
 * Decoding takes the canonical form only (what encoding makes of the same values), so nothing can hide behind overlapping or
 * wandering offsets. Any thread. */
#ifndef CRYPTO_ABI_H
#define CRYPTO_ABI_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

enum abi_kind {
    ABI_UINT, /* size = bits */
    ABI_INT,  /* size = bits */
    ABI_ADDRESS,
    ABI_BOOL,
    ABI_FIXED, /* bytes1 to bytes32, size = bytes */
    ABI_BYTES,
    ABI_STRING,
    ABI_ARRAY, /* of fields[0]; size = length, 0 for a dynamic one */
    ABI_TUPLE,
};
enum { ABI_DEPTH = 8, ABI_FIELDS = 32, ABI_DATA_MAX = 1 << 20 };

struct abi_type {
    enum abi_kind kind;
    size_t size;
    struct abi_type **fields;
    struct str *names; /* of the fields; only in a struct of typed data */
    size_t nfields;
    bool dynamic;
    size_t head;      /* bytes in the head of what contains it */
    uint8_t hash[32]; /* of the struct's type; only in a struct of typed data */
};
struct abi_value {
    uint8_t word[32]; /* of the kinds that fit into one */
    struct str data;  /* ABI_BYTES, ABI_STRING; borrowed */
    struct abi_value *items;
    size_t n;
};
/* A struct of typed data. */
struct abi_field {
    struct str name, type;
};
struct abi_def {
    struct str name;
    struct abi_field *fields;
    size_t nfields;
};

/* "uint256", "(address,uint256)[]" ... in canonical spelling (no "uint", no spaces), nested up to ABI_DEPTH. defs: structs that
 * may be named as types, NULL for none. NULL with e filled (ERR_INVALID) for anything else. */
struct abi_type *abi_type(struct arena *a, struct str text, const struct abi_def *defs,
                          size_t ndefs, struct err *e);
/* The tuple of a function's or event's arguments: "transfer(address,uint256)". */
struct abi_type *abi_signature(struct arena *a, struct str sig, struct err *e);
/* The tuple of the types listed. */
struct abi_type *abi_tuple(struct arena *a, struct abi_type **fields, size_t n);

/* Appends the encoding. The value must be of the type. */
void abi_encode(const struct abi_type *t, const struct abi_value *v, struct buf *out);
/* ERR_INVALID when data is not exactly one canonical encoding; out's texts point into data. */
int abi_decode(struct arena *a, const struct abi_type *t, struct str data, struct abi_value *out,
               struct err *e);
/* Is the word one that a value of this kind can have? (ranges, padding) */
bool abi_word_valid(const struct abi_type *t, const uint8_t word[32]);

/* hashStruct of EIP-712; t must be a struct of typed data. */
void abi_struct_hash(const struct abi_type *t, const struct abi_value *v, uint8_t out[32]);
#endif
