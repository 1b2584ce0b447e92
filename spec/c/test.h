/* SPDX-License-Identifier: Apache-2.0
 * The C test runner: a file test_x.c with TEST(name) { CHECK(...); } is a program of its own.
 * An argument picks tests by substring. */
#ifndef SPEC_C_TEST_H
#define SPEC_C_TEST_H
#include <stdio.h>
#include <string.h>

struct test {
    const char *name;
    void (*fn)(void);
    struct test *next;
};
static struct test *test_list;
static int test_failures;

#define TEST(id) \
    static void id(void); \
    static struct test test_##id = {#id, id, NULL}; \
    __attribute__((constructor)) static void test_add_##id(void) \
    { \
        struct test **end = &test_list; \
        while (*end) \
            end = &(*end)->next; \
        *end = &test_##id; \
    } \
    static void id(void)

#define CHECK(x) \
    ((x) ? (void)0 \
         : (test_failures++, (void)printf("%s:%d: not true: %s\n", __FILE__, __LINE__, #x)))

int main(int argc, char **argv)
{
    int run = 0;
    for (struct test *t = test_list; t; t = t->next) {
        if (argc > 1 && !strstr(t->name, argv[1]))
            continue;
        int before = test_failures;
        t->fn();
        run++;
        if (test_failures > before)
            printf("FAILED %s\n", t->name);
    }
    const char *name = strrchr(argv[0], '/');
    printf("%s: %d tests, %d failures\n", name ? name + 1 : argv[0], run, test_failures);
    return test_failures != 0;
}
#endif
