/* SPDX-License-Identifier: Apache-2.0
 * Whose code word does a leak carry? Likelihood tests of one account, of pairs and of triples, each with a bound on accusing an
 * innocent that holds for THIS leak, whatever was done to it: an innocent's bits are independent of the leak (they come from a
 * secret key), so the chance that they fit as well as they do is a sum over coin throws with known odds, computed exactly
 * (rounded up). Times the number of candidates; with pairs and triples times the number of groups too, of which up to
 * SCORE_GUILTY accounts may really have taken part. All tests share one error budget.
 * Model of a leak by c accounts: each segment is copied from one of them, or is the mean of all (Laarhoven 2014's interleaving
 * decoder, with soft readings); joint decoding after Meerwald & Furon 2012. The model steers power only, never the bound.
 * Pure; any thread; allocates. */
#ifndef MEDIA_SCORE_H
#define MEDIA_SCORE_H
#include <stdbool.h>
#include <stdint.h>
#include "media/code.h"

enum { SCORE_TOP = 20, SCORE_GUILTY = 32, SCORE_GROUP = 3 };
#define SCORE_ACCUSE (-6.0) /* log10 */

/* One reading: amp > 0 speaks for 'a'. amp is in any unit common to the clip, z = amp over its standard deviation. */
struct score_segment {
    int number;
    double amp, z;
};
struct score_job {
    uint8_t k_code[32];
    enum code_kind kind;
    const struct score_segment *seg;
    int n;
    const int64_t *user;
    int users;
    /* served[u] = bits of seg's INDEX (bit i % 8 of byte i / 8) that account u was served; NULL = all. served may be NULL. */
    const uint8_t *const *served;
};
struct score_suspect {
    int64_t user;
    double log10_bound;            /* N x P(false), all tests together; <= 0 */
    double score;                  /* log likelihood ratio of the best test */
    int accounts;                  /* that this test supposes behind the leak */
    int64_t with[SCORE_GROUP - 1]; /* found together with these; 0 = none */
    int agree, read; /* segments with a clear reading that agree with the code word, of how many */
};
struct score_result {
    struct score_suspect top[SCORE_TOP]; /* surest first */
    int n;
    double level;    /* amplitude of an unmixed segment */
    double averaged; /* share of segments that look like a mean of copies (two accounts) */
    double candidates;
};
void score_run(const struct score_job *job, struct score_result *out);
#endif
