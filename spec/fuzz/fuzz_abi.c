/* SPDX-License-Identifier: Apache-2.0
 * What decodes is the one encoding of its values; hostile types and data end in an error. The input: a type, a zero byte,
 * data. Without a zero byte all of it is data of a type that has everything. */
#include <string.h>

#include "crypto/abi.h"
#include "crypto/secp.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const char all[] = "(uint8,int16,(address,bool)[],bytes,string,bytes4[2],uint256[][2])";
    struct err e = {0};
    struct arena *a = arena_new();
    const unsigned char *zero = size ? memchr(data, 0, size < 200 ? size : 200) : NULL;
    size_t n = zero ? (size_t)(zero - data) : 0;
    struct abi_type *t = NULL;
    struct abi_value v = {0};
    if (n > 0) {
        t = abi_type(a, (struct str){(const char *)data, n}, NULL, 0, &e);
        must(t || e.code == ERR_INVALID);
    }
    if (!t) {
        t = abi_type(a, STR_LIT(all), NULL, 0, &e);
        n = 0;
    } else {
        n++;
    }
    must(t);
    struct str body = {(const char *)data + n, size - n};
    if (abi_decode(a, t, body, &v, &e) == 0) {
        struct buf out = {0};
        abi_encode(t, &v, &out);
        must(str_eq((struct str){out.p ? out.p : "", out.n}, body));
        buf_fini(&out);
    }
    uint8_t address[20];
    char text[SECP_ADDRESS_TEXT];
    if (secp_address_parse(body, address, &e) == 0) {
        secp_address_print(address, text);
        must(secp_address_parse(str_from(text), address, &e) == 0);
    }
    arena_free(a);
    return 0;
}
