/* SPDX-License-Identifier: Apache-2.0
 * First 8 bytes: the file's size; the rest is a Range value, a date and a list of entity tags. A range
 * that is accepted lies inside the file. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "http/files.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    int64_t length, off = -1, len = -1;
    if (size < sizeof length)
        return 0;
    memcpy(&length, data, sizeof length);
    length &= INT64_MAX;
    size -= sizeof length;
    char *v = malloc(size + 1), date[32];
    must(v);
    memcpy(v, data + sizeof length, size);
    v[size] = 0;
    if (files_range_parse(v, length, &off, &len) == FILES_RANGE_OK)
        must(off >= 0 && len > 0 && off < length && len <= length - off);
    int64_t t = files_date_parse(v);
    if (t >= 0) {
        files_date_format(t, date);
        must(files_date_parse(date) == t);
    }
    files_etag_matches(v, "\"1-2-3\"", length & 1);
    free(v);
    return 0;
}
