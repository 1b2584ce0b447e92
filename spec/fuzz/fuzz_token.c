/* SPDX-License-Identifier: Apache-2.0
 * Nothing that we did not sign or seal is accepted; a good token with any change is refused, for
 * another purpose too. First byte: where the change goes. */
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <stdio.h>
#include <unistd.h>

#include "crypto/token.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void start(void)
{
    static const char key[] =
        "k00aa11 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";
    char path[64];
    struct err e = {0};
    int fd = memfd_create("secret", 0);
    must(fd >= 0 && fchmod(fd, 0600) == 0 && write(fd, key, sizeof key - 1) > 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    must(token_init(path, &e) == 0);
    close(fd);
}

static void refused(struct str t)
{
    struct buf out = {0};
    struct err e = {0};
    must(token_verify("session", t, &out, &e) < 0 && e.code == ERR_UNAUTHENTICATED && out.n == 0);
    e.code = ERR_NONE;
    must(token_open("session", t, &out, &e) < 0 && e.code == ERR_UNAUTHENTICATED && out.n == 0);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static bool started;
    struct buf t = {0}, out = {0};
    struct err e;
    if (!started)
        start();
    started = true;
    struct str s = {(const char *)data, size};
    refused(s);
    token_sign("session", s, &t);
    must(token_verify("session", (struct str){t.p, t.n}, &out, &e) == 0);
    must(str_eq(s, (struct str){out.p, out.n}));
    must(token_verify("reset", (struct str){t.p, t.n}, &out, &e) < 0);
    if (size > 1) {
        t.p[data[0] % t.n] ^= (char)(data[1] | 1);
        refused((struct str){t.p, t.n});
    }
    refused((struct str){t.p, t.n - 1});
    buf_fini(&t);
    buf_fini(&out);
    return 0;
}
