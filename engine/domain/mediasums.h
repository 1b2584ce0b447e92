/* SPDX-License-Identifier: Apache-2.0
 * Compares the files of a film with the SHA256SUMS its encoder wrote. */
#ifndef DOMAIN_MEDIASUMS_H
#define DOMAIN_MEDIASUMS_H
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

#define MEDIASUMS_MAX 1000
struct mediasums {
    int64_t files, bytes; /* that are right */
    int problems;
    struct buf
        report; /* the first MEDIASUMS_MAX problems, one a line: "damaged|missing|extra <name>"; the caller frees it */
};
/* dir is beneath the root "media". ERR_NOT_FOUND without SHA256SUMS. "extra" are files nobody wrote down, which a re-encode
 * leaves to its viewers for a while. Blocks on the disk: thread pool. Any thread. */
int mediasums_check(const char *dir, struct mediasums *out, struct err *e);
#endif
