/* SPDX-License-Identifier: Apache-2.0
 * What readings of real clips are worth: score SEGMENTS TRIALS USERS [absent] <readings
 * Lines "= name" begin a group, "| " a clip in it; "amp z" is a segment's reading, > 0 = right. A trial takes SEGMENTS readings in
 * a row of one clip (going on at its start), gives them to one of USERS accounts under a fresh key, and asks the scorer.
 * absent: the account is none of the candidates. Per group on stdout: trials, named, innocents accused, mean bound. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "media/score.h"

enum { MAX_CLIPS = 256, MAX_READINGS = 65536, MAX_SEGMENTS = 3600 };
struct clip {
    int first, n;
};
static struct score_segment reading[MAX_READINGS];
static struct clip clip[MAX_CLIPS];
static int64_t user[1 << 20];
static uint64_t state = 88172645463325252ull;

static unsigned dice(unsigned n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 33) % n;
}

static void group(const char *name, int clips, int segments, int trials, int users, int absent)
{
    int named = 0, innocent = 0, done = 0;
    double bound = 0;
    for (int t = 0; clips && t < trials; t++, done++) {
        static struct score_segment seg[MAX_SEGMENTS];
        char word[MAX_SEGMENTS];
        struct score_job job = {.kind = CODE_HALF, .seg = seg, .n = segments, .user = user, .users = users};
        struct score_result r;
        const struct clip *c = &clip[dice((unsigned)clips)];
        int start = (int)dice((unsigned)c->n);
        int64_t guilty = absent ? users + 1000 : 1 + dice((unsigned)users);
        for (int i = 0; i < 32; i++)
            job.k_code[i] = (uint8_t)dice(256);
        code_word(job.k_code, guilty, job.kind, 0, segments, word);
        for (int i = 0; i < segments; i++) {
            const struct score_segment *s = &reading[c->first + (start + i) % c->n];
            int sign = word[i] == 'a' ? 1 : -1;
            seg[i] = (struct score_segment){.number = i, .amp = s->amp * sign, .z = s->z * sign};
        }
        score_run(&job, &r);
        for (int i = 0; i < r.n; i++)
            if (r.top[i].log10_bound < SCORE_ACCUSE) {
                named += r.top[i].user == guilty;
                innocent += r.top[i].user != guilty;
            }
        bound += r.n ? r.top[0].log10_bound : 0;
    }
    if (done)
        printf("%-64s %6d trials, named %.1f %%, innocents %d, mean bound 10^%.1f\n", name, done,
               100. * named / done, innocent, bound / done);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    int segments = atoi(argv[1]), trials = atoi(argv[2]), users = atoi(argv[3]), n = 0, clips = 0;
    char line[256], name[256] = "";
    if (segments < 1 || segments > MAX_SEGMENTS || users < 1 || users > 1 << 20)
        return 2;
    for (int i = 0; i < users; i++)
        user[i] = i + 1;
    for (bool more = true; more;) {
        more = fgets(line, sizeof line, stdin) != NULL;
        line[strcspn(line, "\n")] = 0;
        if (!more || line[0] == '=') {
            group(name, clips, segments, trials, users, argc > 4);
            snprintf(name, sizeof name, "%s", line + 2);
            n = clips = 0;
        } else if (line[0] == '|' && clips < MAX_CLIPS)
            clip[clips++] = (struct clip){n, 0};
        else if (clips && n < MAX_READINGS &&
                 sscanf(line, "%lf %lf", &reading[n].amp, &reading[n].z) == 2) {
            clip[clips - 1].n++;
            n++;
        }
        while (clips && line[0] == '|' && clips > 1 && !clip[clips - 2].n) { // a clip without readings
            clip[clips - 2] = clip[clips - 1];
            clips--;
        }
    }
    return 0;
}
