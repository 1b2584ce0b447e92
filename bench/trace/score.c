/* SPDX-License-Identifier: Apache-2.0
 * What readings of real clips are worth: score SEGMENTS TRIALS USERS [HOW] <readings
 * Lines "= name" begin a group, "| " a clip in it; "amp z [minority]" is a segment's reading, > 0 = as the most of the accounts
 * behind it say (the first one, when they are split evenly), of whom `minority` say the other. A trial takes SEGMENTS readings in a
 * row of one clip (going on at its start), gives them to accounts out of USERS under a fresh key, and asks the scorer. HOW:
 *   absent           the account is none of the candidates
 *   unmarked         readings as they are, of clips without our mark
 *   cut N            every segment is from one of N accounts
 *   averaged N       the mean of N accounts: each segment gets a reading of one on which as many of them differed
 * Per group on stdout: trials, in how many a guilty account was named, in how many an innocent one, mean bound. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "media/score.h"

enum { MAX_CLIPS = 256, MAX_READINGS = 65536, MAX_SEGMENTS = 3600, MAX_ACCOUNTS = 8 };
struct clip {
    int first, n;
};
static struct score_segment reading[MAX_READINGS];
static int minority[MAX_READINGS];
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

/* The trial's way of making a leak. */
static struct {
    int accounts;
    bool absent, unmarked, averaged;
} how = {.accounts = 1};

/* A reading of the clip from the i-th on whose accounts were split like that. */
static const struct score_segment *of_kind(const struct clip *c, int i, int split)
{
    for (int k = 0; k < c->n; k++) {
        int at = c->first + (i + k) % c->n;
        if (minority[at] == split)
            return &reading[at];
    }
    return NULL;
}

/* False when the clip has no reading of a kind that is needed. */
static bool leak(const struct clip *c, int segments, char word[][MAX_SEGMENTS],
                 struct score_segment *seg)
{
    int start = (int)dice((unsigned)c->n), n = how.accounts;
    for (int i = 0; i < segments; i++) {
        int a = 0, who = how.averaged ? 0 : (int)dice((unsigned)n);
        for (int k = 0; k < n; k++)
            a += word[k][i] == 'a';
        int split = !how.averaged ? 0 : a < n - a ? a : n - a;
        bool up = how.averaged && 2 * a != n ? 2 * a > n : word[who][i] == 'a';
        const struct score_segment *s = of_kind(c, start + i, split);
        if (!s)
            return false;
        int sign = up || how.unmarked ? 1 : -1;
        seg[i] = (struct score_segment){.number = i, .amp = s->amp * sign, .z = s->z * sign};
    }
    return true;
}

static void group(const char *name, int clips, int segments, int trials, int users)
{
    int named = 0, innocent = 0, done = 0;
    double bound = 0;
    for (int t = 0; clips && t < trials; t++) {
        static struct score_segment seg[MAX_SEGMENTS];
        static char word[MAX_ACCOUNTS][MAX_SEGMENTS];
        struct score_job job = {.kind = code_kind_for(2. * segments), .seg = seg, .n = segments, .user = user, .users = users};
        struct score_result r;
        int64_t guilty[MAX_ACCOUNTS], first = 1 + dice((unsigned)(users - how.accounts));
        bool right = false, wrong = false;
        for (int i = 0; i < 32; i++)
            job.k_code[i] = (uint8_t)dice(256);
        for (int k = 0; k < how.accounts; k++) {
            guilty[k] = how.absent ? users + 1000 : first + k;
            code_word(job.k_code, guilty[k], job.kind, 0, segments, word[k]);
        }
        if (!leak(&clip[dice((unsigned)clips)], segments, word, seg))
            continue;
        score_run(&job, &r);
        for (int i = 0; i < r.n && r.top[i].log10_bound < SCORE_ACCUSE; i++) {
            bool is = false;
            for (int k = 0; k < how.accounts; k++)
                is |= !how.unmarked && r.top[i].user == guilty[k];
            right |= is;
            wrong |= !is;
        }
        named += right;
        innocent += wrong;
        bound += r.n ? r.top[0].log10_bound : 0;
        done++;
    }
    if (done)
        printf("%-64s %6d trials, named %.1f %%, innocents %d, mean bound 10^%.1f\n", name, done,
               100. * named / done, innocent, bound / done);
    fflush(stdout);
}

static bool way(int argc, char **argv)
{
    const char *word = argc > 4 ? argv[4] : "";
    how.absent = !strcmp(word, "absent");
    how.unmarked = !strcmp(word, "unmarked");
    how.averaged = !strcmp(word, "averaged");
    if (how.averaged || !strcmp(word, "cut"))
        how.accounts = argc > 5 ? atoi(argv[5]) : 2;
    return how.accounts >= 1 && how.accounts <= MAX_ACCOUNTS;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    int segments = atoi(argv[1]), trials = atoi(argv[2]), users = atoi(argv[3]), n = 0, clips = 0;
    char line[256], name[256] = "";
    if (segments < 1 || segments > MAX_SEGMENTS || users < 10 || users > 1 << 20 || !way(argc, argv))
        return 2;
    for (int i = 0; i < users; i++)
        user[i] = i + 1;
    for (bool more = true; more;) {
        more = fgets(line, sizeof line, stdin) != NULL;
        line[strcspn(line, "\n")] = 0;
        if (!more || line[0] == '=') {
            group(name, clips, segments, trials, users);
            snprintf(name, sizeof name, "%s", line + 2);
            n = clips = 0;
        } else if (line[0] == '|' && clips < MAX_CLIPS)
            clip[clips++] = (struct clip){n, 0};
        else if (clips && n < MAX_READINGS &&
                 sscanf(line, "%lf %lf %d", &reading[n].amp, &reading[n].z, &minority[n]) >= 2) {
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
