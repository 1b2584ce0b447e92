/* SPDX-License-Identifier: Apache-2.0 */
#include "app/reload.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>
#include "app/crew.h"
#include "app/trial.h"
#include "base/clock.h"
#include "base/conf.h"
#include "base/log.h"
#include "lua/gen.h"
#include "run/board.h"
#include "run/loop.h"

enum { KEEP = 5, STRIKES_MAX = 32, STRIKES_OUT = 3 };
#define STRIKE_WINDOW_US 600000000
#define QUIET_US 200000

static struct {
    char root[512], list_path[512];
    struct bundle *kept[KEEP]; /* newest first, [0] = current */
    int64_t next_id;
    bool cold;
    struct buf problems; /* of the current bundle */
    struct buf refused;  /* of the last refused one, "" = none */
    char disabled[1024]; /* name,name */
    struct {
        char plugin[64];
        int64_t at[STRIKES_OUT];
        bool due;
    } strikes[STRIKES_MAX];
    struct loop *loop;
    struct watch watch;
    struct timer quiet;
} r;

/* ---- plugins switched off ---- */

static void read_disabled(void)
{
    FILE *f = fopen(r.list_path, "re");
    r.disabled[0] = 0;
    if (!f)
        return;
    size_t n = fread(r.disabled, 1, sizeof r.disabled - 1, f);
    r.disabled[n] = 0;
    r.disabled[strcspn(r.disabled, "\n")] = 0;
    fclose(f);
}

static void write_disabled(void)
{
    char tmp[520];
    snprintf(tmp, sizeof tmp, "%s~", r.list_path);
    FILE *f = fopen(tmp, "we");
    bool ok = f && fprintf(f, "%s\n", r.disabled) > 0 && fflush(f) == 0 && fsync(fileno(f)) == 0;
    if (f)
        ok = fclose(f) == 0 && ok;
    if (!ok || rename(tmp, r.list_path) != 0)
        log_event(LOG_ERROR, "plugin.list", "s", "path", r.list_path);
}

static void set_disabled(const char *name, bool off)
{
    char out[sizeof r.disabled] = "", copy[sizeof r.disabled];
    snprintf(copy, sizeof copy, "%s", r.disabled);
    for (char *save = NULL, *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
        size_t n = strlen(out);
        if (strcmp(p, name) != 0)
            snprintf(out + n, sizeof out - n, "%s%s", n ? "," : "", p);
    }
    size_t n = strlen(out);
    if (off)
        snprintf(out + n, sizeof out - n, "%s%s", n ? "," : "", name);
    memcpy(r.disabled, out, sizeof out);
    write_disabled();
}

/* ---- bundles ---- */

static void keep(struct bundle *b)
{
    bundle_unref(r.kept[KEEP - 1]);
    memmove(r.kept + 1, r.kept, (KEEP - 1) * sizeof *r.kept);
    r.kept[0] = b;
}

static void answer(struct buf *reply, bool ok, const char *problems, const char *msg, int64_t since)
{
    buf_printf(reply, "{\"ok\":%s,\"bundle\":%lld,\"hash\":\"%.12s\",\"ms\":%lld,\"problems\":%s",
               ok ? "true" : "false", (long long)r.kept[0]->id, r.kept[0]->hash,
               (long long)((clock_mono() - since) / 1000), problems);
    if (msg) {
        buf_puts(reply, ",\"error\":\"");
        buf_put_json(reply, str_from(msg));
        buf_puts(reply, "\"");
    }
    buf_puts(reply, "}");
}

static bool names_plugin(const struct buf *problems, const char *plugin)
{
    char quoted[96];
    snprintf(quoted, sizeof quoted, "\"plugin\":\"%s\"", plugin);
    return problems->p && strstr(problems->p, quoted);
}

/* Takes b. needed: this plugin must be fine even when others may be left out; NULL = none. */
static bool adopt(struct bundle *b, bool cold, const char *needed, const char *what,
                  struct buf *reply)
{
    struct err e = {0};
    struct buf problems = {0};
    int64_t start = clock_mono();
    int rc = trial_run(r.root, b, cold, &problems, &e);
    if (rc == 0 && needed && names_plugin(&problems, needed))
        rc = ERR(&e, ERR_CONFIG, "the plugin %s has problems", needed);
    if (rc == 0 && (rc = crew_load(b, cold, &e)) < 0) {
        struct err back = {0}; /* some may have it already: all return to the one before */
        if (crew_load(r.kept[0], r.cold, &back) < 0)
            log_err(LOG_ERROR, "reload.back", &back);
    }
    if (rc < 0) {
        buf_clear(&r.refused);
        buf_put(&r.refused, problems.p, problems.n);
        answer(reply, false, problems.n ? problems.p : "[]", e.msg, start);
        log_event(LOG_ERROR, "reload.refused", "ss", "what", what, "error", e.msg);
        bundle_unref(b);
    } else {
        r.cold = cold;
        buf_clear(&r.refused);
        buf_clear(&r.problems);
        buf_put(&r.problems, problems.p, problems.n);
        keep(b);
        answer(reply, true, problems.p, NULL, start);
        log_event(LOG_INFO, "reload.done", "sisi", "what", what, "bundle", b->id, "hash", b->hash,
                  "ms", (clock_mono() - start) / 1000);
    }
    board_count(rc == 0 ? "reload_total{result=\"ok\"}" : "reload_total{result=\"refused\"}", 1);
    buf_fini(&problems);
    return rc == 0;
}

static int read_new(struct bundle **out, struct err *e)
{
    if (bundle_read(r.root, out, e) < 0)
        return -1;
    (*out)->id = ++r.next_id;
    bundle_set_disabled(*out, r.disabled);
    return 0;
}

static bool missing_required(const struct bundle *b, const struct buf *problems, struct err *e)
{
    char copy[512];
    snprintf(copy, sizeof copy, "%s", conf_str("require_plugins"));
    for (char *save = NULL, *p = strtok_r(copy, " ,", &save); p; p = strtok_r(NULL, " ,", &save)) {
        char path[160];
        snprintf(path, sizeof path, "plugins/%s/manifest.lua", p);
        if (!bundle_find(b, path) || bundle_is_disabled(b, p) || names_plugin(problems, p)) {
            ERR(e, ERR_CONFIG, "the required plugin %s is missing or broken", p);
            return true;
        }
    }
    return false;
}

int reload_first(const char *root, const char *var, struct bundle **out, struct err *e)
{
    snprintf(r.root, sizeof r.root, "%s", root);
    snprintf(r.list_path, sizeof r.list_path, "%s/plugins.off", var);
    read_disabled();
    struct bundle *b;
    if (read_new(&b, e) < 0)
        return -1;
    r.cold = true;
    buf_clear(&r.problems);
    if (trial_run(r.root, b, true, &r.problems, e) < 0 || missing_required(b, &r.problems, e)) {
        bundle_unref(b);
        return -1;
    }
    keep(b);
    *out = b;
    return 0;
}

void reload_now(struct buf *reply)
{
    struct err e = {0};
    struct bundle *b;
    if (read_new(&b, &e) < 0) {
        answer(reply, false, "[]", e.msg, clock_mono());
        return;
    }
    if (strcmp(b->hash, r.kept[0]->hash) == 0 && strcmp(b->disabled, r.kept[0]->disabled) == 0) {
        bundle_unref(b);
        r.next_id--;
        buf_clear(&r.refused);
        answer(reply, true, r.problems.n ? r.problems.p : "[]", NULL, clock_mono());
        return;
    }
    adopt(b, false, NULL, "reload", reply);
}

void reload_rollback(const char *id, struct buf *reply)
{
    int64_t want = id[0] ? strtoll(id, NULL, 10) : 0;
    for (int i = 1; i < KEEP && r.kept[i]; i++) {
        if (id[0] && r.kept[i]->id != want)
            continue;
        struct bundle *b = bundle_ref(r.kept[i]);
        /* the older one was accepted before, perhaps with a plugin left out */
        adopt(b, true, NULL, "rollback", reply);
        return;
    }
    answer(reply, false, "[]", "there is no such earlier bundle", clock_mono());
}

/* The current files under another list of switched-off plugins. */
static bool readopt(const char *needed, const char *what, struct buf *reply)
{
    struct err e = {0};
    struct bundle *b;
    int fd = bundle_to_fd(r.kept[0], &e);
    if (fd < 0 || bundle_from_fd(fd, &b, &e) < 0) {
        answer(reply, false, "[]", e.msg, clock_mono());
        return false;
    }
    b->id = ++r.next_id;
    bundle_set_disabled(b, r.disabled);
    return adopt(b, true, needed, what, reply);
}

static bool is_name(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return n > 0 && n < 64 && s[n] == 0;
}

void reload_plugin(const char *name, bool enable, struct buf *reply)
{
    if (!is_name(name)) {
        answer(reply, false, "[]", "no plugin of that name", clock_mono());
        return;
    }
    set_disabled(name, !enable);
    if (!readopt(enable ? name : NULL, enable ? "enable" : "disable", reply) && enable)
        set_disabled(name, true); /* still off, as it was */
}

void reload_json(struct buf *out)
{
    buf_printf(out, "\"bundle\":%lld,\"hash\":\"%s\",\"problems\":%s,\"refused\":%s,\"kept\":[",
               (long long)r.kept[0]->id, r.kept[0]->hash, r.problems.n ? r.problems.p : "[]",
               r.refused.n ? r.refused.p : "null");
    for (int i = 0; i < KEEP && r.kept[i]; i++)
        buf_printf(out, "%s%lld", i ? "," : "", (long long)r.kept[i]->id);
    buf_puts(out, "],\"disabled\":\"");
    buf_put_json(out, str_from(r.disabled));
    buf_puts(out, "\"");
}

/* ---- strikes ---- */

void reload_strike(const char *plugin, const char *what)
{
    int64_t now = clock_mono();
    log_event(LOG_WARN, "plugin.strike", "ss", "plugin", plugin, "what", what);
    for (int i = 0; i < STRIKES_MAX; i++) {
        if (r.strikes[i].plugin[0] && strcmp(r.strikes[i].plugin, plugin) != 0)
            continue;
        snprintf(r.strikes[i].plugin, sizeof r.strikes[i].plugin, "%s", plugin);
        memmove(r.strikes[i].at + 1, r.strikes[i].at, (STRIKES_OUT - 1) * sizeof(int64_t));
        r.strikes[i].at[0] = now;
        int64_t oldest = r.strikes[i].at[STRIKES_OUT - 1];
        r.strikes[i].due = oldest && now - oldest < STRIKE_WINDOW_US;
        return;
    }
}

void reload_tick(void)
{
    for (int i = 0; i < STRIKES_MAX; i++) {
        if (!r.strikes[i].due)
            continue;
        char name[64];
        snprintf(name, sizeof name, "%s", r.strikes[i].plugin);
        memset(&r.strikes[i], 0, sizeof r.strikes[i]);
        log_event(LOG_ERROR, "plugin.disabled", "ss", "plugin", name, "why", "three strikes");
        struct buf reply = {0};
        reload_plugin(name, false, &reply);
        buf_fini(&reply);
    }
}

/* ---- development: watching files ---- */

static void watch_tree(const char *path, int depth)
{
    DIR *d = depth < 8 ? opendir(path) : NULL;
    if (!d)
        return;
    inotify_add_watch(r.watch.fd, path,
                      IN_CLOSE_WRITE | IN_MOVE | IN_CREATE | IN_DELETE | IN_ONLYDIR);
    for (struct dirent *de; (de = readdir(d));) {
        char sub[1024];
        if (de->d_name[0] == '.' || de->d_type != DT_DIR)
            continue;
        snprintf(sub, sizeof sub, "%s/%s", path, de->d_name);
        watch_tree(sub, depth + 1);
    }
    closedir(d);
}

static void watch_roots(void)
{
    char path[600];
    snprintf(path, sizeof path, "%s/scripts", r.root);
    watch_tree(path, 0);
    snprintf(path, sizeof path, "%s/plugins", r.root);
    watch_tree(path, 0);
}

static void on_quiet(struct timer *t)
{
    (void)t;
    struct buf reply = {0};
    watch_roots(); /* new directories */
    reload_now(&reply);
    fprintf(stderr, "reload: %s\n", reply.p ? reply.p : "");
    buf_fini(&reply);
}

static void on_change(struct watch *w, uint32_t events)
{
    char space[8192] __attribute__((aligned(8)));
    (void)events;
    while (read(w->fd, space, sizeof space) > 0)
        ;
    loop_timer_clear(r.loop, &r.quiet);
    loop_timer_set(r.loop, &r.quiet, QUIET_US);
}

void reload_watch(struct loop *l)
{
    r.loop = l;
    r.quiet.fn = on_quiet;
    r.watch = (struct watch){.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), .fn = on_change};
    if (r.watch.fd < 0)
        return;
    watch_roots();
    loop_watch(l, &r.watch, EPOLLIN);
}
