/* SPDX-License-Identifier: Apache-2.0
 * The command line. */
#ifndef _GNU_SOURCE
#endif
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "app/control.h"
#include "app/master.h"
#include "app/spec.h"
#include "app/tool.h"
#include "app/trial.h"
#include "base/conf.h"
#include "base/log.h"
#include "crypto/token.h"
#include "lua/gen.h"
#include "media/child.h"
#include "run/board.h"
#include "run/cache.h"

enum { SETS_MAX = 64 };
static struct {
    char root[512];
    const char *conf;
    char *sets[SETS_MAX + 1];
    int nsets;
    int argc;
    char **argv; /* after the subcommand */
} cl;

struct command {
    const char *name, *args, *text;
    int (*run)(void);
};

/* ---- help for several commands ---- */

static int fail(const struct err *e)
{
    fprintf(stderr, "ppv: %s\n", e->msg);
    return 1;
}

static int load_conf(void)
{
    struct err e = {0};
    if (conf_load(cl.conf, cl.sets, &e) < 0)
        return fail(&e);
    static const char *const names[] = {"debug", "info", "warn", "error"};
    enum log_level lv = LOG_INFO;
    for (int i = 0; i < 4; i++)
        if (strcmp(conf_str("log_level"), names[i]) == 0)
            lv = (enum log_level)i;
    const char *f = conf_str("log_format");
    bool human = strcmp(f, "human") == 0 || (strcmp(f, "auto") == 0 && isatty(2));
    log_init(lv, NULL, human, "master");
    return 0;
}

static bool has_arg(const char *name)
{
    for (int i = 0; i < cl.argc; i++)
        if (strcmp(cl.argv[i], name) == 0)
            return true;
    return false;
}

static void socket_path(char out[600])
{
    snprintf(out, 600, "%s/run/ppv.sock", conf_str("var_dir"));
}

/* Asks a running engine for a member of its answer. */
static bool ask(const char *cmd, const char *key, char *out, size_t cap)
{
    char path[600], want[64];
    struct buf reply = {0};
    struct err e = {0};
    socket_path(path);
    out[0] = 0;
    if (control_call(path, cmd, "", &reply, &e) == 0) {
        snprintf(want, sizeof want, "\"%s\":\"", key);
        char *p = strstr(reply.p, want);
        if (p)
            snprintf(out, cap, "%.*s", (int)strcspn(p + strlen(want), "\""), p + strlen(want));
    }
    buf_fini(&reply);
    return out[0] != 0;
}

static int open_bundle(struct bundle **b)
{
    struct err e = {0};
    if (bundle_read(cl.root, b, &e) < 0)
        return fail(&e);
    (*b)->id = 1;
    return 0;
}

/* Runs a Lua file with the database of a running engine, or with one started for the occasion. */
static int run_lua(const char *file, bool full, bool db)
{
    struct err e = {0};
    struct bundle *b;
    char conninfo[1024] = "";
    bool own = false;
    if (load_conf() || open_bundle(&b))
        return 1;
    if (cache_init((size_t)4 << 20, &e) < 0 || board_init(1, &e) < 0)
        return fail(&e);
    if (db && !ask("conninfo", "conninfo", conninfo, sizeof conninfo)) {
        own = true;
        if (master_prepare(&e) < 0 || master_open_db(&e) < 0 || master_migrate(cl.root, &e) < 0) {
            master_close_db();
            return fail(&e);
        }
        snprintf(conninfo, sizeof conninfo, "%s", master_conninfo(false));
    }
    if (db && token_init(conf_str("secret_file"), &e) < 0)
        return fail(&e);
    struct tool t = {.root = cl.root,
                     .conninfo = db ? conninfo : NULL,
                     .bundle = b,
                     .file = file,
                     .argv = cl.argv,
                     .argc = cl.argc,
                     .full = full};
    int status = tool_run(&t);
    if (own)
        master_close_db();
    return status;
}

/* ---- commands ---- */

static int cmd_serve(void)
{
    struct master_opts o = {.root = cl.root, .demo = has_arg("--demo")};
    if (load_conf())
        return 1;
    return master_run(&o);
}

static int cmd_conf(void)
{
    if (has_arg("--reference")) {
        conf_print_reference(stdout);
        return 0;
    }
    if (load_conf())
        return 1;
    conf_dump(stdout);
    return 0;
}

static int cmd_migrate(void)
{
    struct err e = {0};
    if (load_conf())
        return 1;
    int rc = master_prepare(&e) < 0 || master_open_db(&e) < 0 || master_migrate(cl.root, &e) < 0;
    master_close_db();
    if (rc)
        return fail(&e);
    puts("the schema is current");
    return 0;
}

static int call(const char *cmd, const char *arg)
{
    char path[600];
    struct buf reply = {0};
    struct err e = {0};
    if (load_conf())
        return 1;
    socket_path(path);
    if (control_call(path, cmd, arg, &reply, &e) < 0)
        return fail(&e);
    fputs(reply.p, stdout);
    int rc = strncmp(reply.p, "{\"ok\":true", 10) == 0 ? 0 : 1;
    buf_fini(&reply);
    return rc;
}

static int cmd_status(void)
{
    return call("status", "");
}

static int cmd_reload(void)
{
    return call("reload", "");
}

static int cmd_rollback(void)
{
    return call("rollback", cl.argc > 0 ? cl.argv[0] : "");
}

static int check_plugins(void)
{
    struct err e = {0};
    struct bundle *b;
    struct buf problems = {0};
    if (load_conf() || open_bundle(&b))
        return 1;
    int rc = trial_run(cl.root, b, false, &problems, &e);
    trial_stop();
    if (rc < 0)
        fprintf(stderr, "ppv: refused: %s\n", e.msg);
    if (problems.n > 2 || rc < 0)
        printf("%s\n", problems.p);
    else
        printf("all plugins are fine\n");
    return rc < 0;
}

static int cmd_spec(void);

/* The plugin's own specifications. */
static int test_plugin(void)
{
    static char dir[600];
    static char *args[] = {dir, NULL};
    const char *name = cl.argv[1];
    snprintf(dir, sizeof dir, "%s/plugins/%.60s/spec", cl.root, name);
    if (strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(name) ||
        access(dir, R_OK)) {
        fprintf(stderr, "ppv: there is no folder plugins/%s/spec\n", name);
        return 1;
    }
    char *full = cl.conf ? realpath(cl.conf, NULL) : NULL; /* it may be relative */
    cl.conf = full ? full : cl.conf;
    if (chdir(cl.root)) {
        perror(cl.root);
        return 1;
    }
    snprintf(dir, sizeof dir, "plugins/%.60s/spec", name);
    cl.argv = args;
    cl.argc = 1;
    return cmd_spec();
}

static int cmd_plugin(void)
{
    if (cl.argc > 0 && strcmp(cl.argv[0], "check") == 0)
        return check_plugins();
    if (cl.argc > 1 && strcmp(cl.argv[0], "test") == 0)
        return test_plugin();
    if (cl.argc > 1 && (strcmp(cl.argv[0], "enable") == 0 || strcmp(cl.argv[0], "disable") == 0))
        return call(cl.argv[0], cl.argv[1]);
    setenv("PPV_ROOT", cl.root, 1); /* `new` writes there */
    return run_lua("scripts/cli/plugin.lua", true, false);
}

static int cmd_admin(void)
{
    return run_lua("scripts/cli/admin.lua", true, true);
}

static int cmd_ledger(void)
{
    /* Checking a file needs neither a database nor this site's secret: anybody can do it. */
    bool file = cl.argc > 1 && strcmp(cl.argv[0], "verify") == 0 && strcmp(cl.argv[1], "--head");
    return run_lua("scripts/cli/ledger.lua", true, !file);
}

static int cmd_affiliate(void)
{
    return run_lua("scripts/cli/affiliate.lua", true, true);
}

static int cmd_trace(void)
{
    return run_lua("scripts/cli/trace.lua", true, true);
}

static int cmd_jobs(void)
{
    return run_lua("scripts/cli/jobs.lua", true, true);
}

/* A key that the running site does not know would make what is sealed with it unreadable there. */
static int site_knows_key(void)
{
    char kid[64];
    struct err e = {0};
    if (load_conf())
        return 1;
    if (token_init(conf_str("secret_file"), &e) < 0)
        return fail(&e);
    if (ask("conninfo", "kid", kid, sizeof kid) && strcmp(kid, token_kid()) != 0) {
        fprintf(stderr,
                "ppv: the running site does not know the newest key yet. Restart it first.\n");
        return 1;
    }
    return 0;
}

static int cmd_secret(void)
{
    struct err e = {0};
    const char *what = cl.argc > 0 ? cl.argv[0] : "";
    if (strcmp(what, "reseal") == 0 && site_knows_key())
        return 1;
    if (strcmp(what, "rotate") != 0)
        return run_lua("scripts/cli/secret.lua", true, true);
    if (load_conf())
        return 1;
    if (token_rotate(conf_str("secret_file"), &e) < 0 ||
        token_init(conf_str("secret_file"), &e) < 0)
        return fail(&e);
    printf("%s is the newest key of %s. Back the file up, restart the site, then run `ppv secret "
           "reseal`.\n",
           token_kid(), conf_str("secret_file"));
    return 0;
}

static int cmd_key(void)
{
    bool seals = cl.argc > 1; /* new, import */
    if (seals && site_knows_key())
        return 1;
    return run_lua("scripts/cli/key.lua", true, true);
}

static int cmd_lua(void)
{
    if (cl.argc < 1) {
        fprintf(stderr, "usage: ppv lua [--no-db] FILE [ARGS]\n");
        return 2;
    }
    bool db = strcmp(cl.argv[0], "--no-db") != 0;
    if (!db) {
        cl.argv++;
        cl.argc--;
    }
    if (cl.argc < 1)
        return 2;
    const char *file = cl.argv[0];
    cl.argv++;
    cl.argc--;
    return run_lua(file, true, db);
}

static int cmd_spec(void)
{
    static char scratch[512], set[560];
    static char *const fixed[] = {
        "fetch_allow_private=true", "development=false",      "base_url=",       "database_url=",
        "admin_totp=false",         "argon2_memory_kib=1024", "argon2_time=1",   "argon2_threads=1",
        "database_read=",           "statement_timeout=600s", "burst_cache=1MiB"};
    struct err e = {0};
    if (spec_scratch(scratch, &e) < 0)
        return fail(&e);
    snprintf(set, sizeof set, "var_dir=%s", scratch);
    cl.sets[cl.nsets++] = set;
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        cl.sets[cl.nsets++] = fixed[i];
    if (load_conf())
        return 1;
    if (!getenv("PPV_SPEC_LOG"))
        log_init(LOG_ERROR, NULL, isatty(2), "spec");
    return spec_run(cl.root, scratch, cl.argc, cl.argv);
}

static int cmd_media(void)
{
    static const char *const upkeep[] = {"verify", "rebuild", "gc", "help"};
    for (size_t i = 0; i < sizeof upkeep / sizeof *upkeep; i++)
        if (cl.argc == 0 || strcmp(cl.argv[0], upkeep[i]) == 0)
            return run_lua("scripts/cli/media.lua", true, true);
    return child_main(cl.argc + 2, cl.argv - 2);
}

static int cmd_help(void);

static const struct command commands[] = {
    {"serve", "[--demo]", "run the site; needs nothing else", cmd_serve},
    {"status", "", "what a running site says about itself", cmd_status},
    {"reload", "", "take the changed scripts and plugins", cmd_reload},
    {"rollback", "[ID]", "go back to an earlier bundle", cmd_rollback},
    {"plugin", "new|check|test|list|enable|disable", "work on plugins", cmd_plugin},
    {"admin", "create NAME", "accounts of administrators", cmd_admin},
    {"conf", "[--reference]", "the settings in force, or all there are", cmd_conf},
    {"migrate", "", "bring the database up to date", cmd_migrate},
    {"jobs", "[list|retry ID|cancel ID]", "the background queue", cmd_jobs},
    {"ledger", "verify|export|report|key", "add up, prove and show the books", cmd_ledger},
    {"affiliate", "dry-run [--rule NAME] ...", "a changed rule over past sales", cmd_affiliate},
    {"secret", "list|rotate|reseal", "the master key of films and sealed settings", cmd_secret},
    {"key", "list|new NAME|import NAME FILE", "keys for payments on a chain", cmd_key},
    {"trace", "clip FILE [EVIDENCE]|verify EVIDENCE", "whose copy a leaked clip is", cmd_trace},
    {"spec", "[busted arguments]", "run the specifications", cmd_spec},
    {"lua", "FILE [ARGS]", "run a Lua file inside the engine", cmd_lua},
    {"media", "verify|rebuild|gc", "the films' files", cmd_media},
    {"help", "", "this text", cmd_help},
};
enum { NCOMMANDS = sizeof commands / sizeof *commands };

static int cmd_help(void)
{
    printf("ppv - a pay-per-view film site in one program\n\nusage: ppv [--conf FILE] [--root DIR] "
           "[--set KEY=VALUE]... COMMAND\n\n");
    for (int i = 0; i < NCOMMANDS; i++)
        printf("  %-9s %-38s %s\n", commands[i].name, commands[i].args, commands[i].text);
    printf("\nStart with: ppv serve --demo\n");
    return 0;
}

/* ---- start ---- */

static bool is_root_dir(const char *path)
{
    char probe[600];
    snprintf(probe, sizeof probe, "%s/scripts/boot.lua", path);
    return access(probe, R_OK) == 0;
}

static void find_root(const char *asked)
{
    char exe[512] = "";
    const char *env = getenv("PPV_ROOT");
    if (asked || env) {
        snprintf(cl.root, sizeof cl.root, "%s", asked ? asked : env);
        return;
    }
    if (is_root_dir(".") && getcwd(cl.root, sizeof cl.root))
        return;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n > 0) {
        exe[n] = 0;
        snprintf(cl.root, sizeof cl.root, "%.500s/..", dirname(exe));
        if (is_root_dir(cl.root)) {
            char *full = realpath(cl.root, NULL);
            snprintf(cl.root, sizeof cl.root, "%s", full ? full : ".");
            free(full);
            return;
        }
    }
    snprintf(cl.root, sizeof cl.root, "/usr/share/ppv");
}

/* Options before and after the subcommand; everything else is the subcommand's. */
static int take_options(int argc, char **argv, const char **command)
{
    const char *root = NULL;
    int out = 0;
    bool raw = false; /* spec, lua and media get their arguments as they are */
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (!raw && more && strcmp(argv[i], "--conf") == 0) {
            cl.conf = argv[++i];
        } else if (!raw && more && strcmp(argv[i], "--root") == 0) {
            root = argv[++i];
        } else if (!raw && more && strcmp(argv[i], "--set") == 0) {
            if (cl.nsets >= SETS_MAX - 12)
                return -1;
            cl.sets[cl.nsets++] = argv[++i];
        } else if (!*command) {
            *command = argv[i];
            raw = strcmp(argv[i], "spec") == 0 || strcmp(argv[i], "lua") == 0 ||
                  strcmp(argv[i], "media") == 0;
            out = i + 1;
            cl.argv = argv + i + 1;
        } else {
            argv[out++] = argv[i];
            cl.argc++;
        }
    }
    if (*command)
        argv[out] = NULL;
    find_root(root);
    return 0;
}

/* Descriptors 0-2 must exist: whatever opens next would otherwise become stdout. */
static void fill_std_fds(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", O_RDWR);
}

int main(int argc, char **argv)
{
    const char *command = NULL;
    fill_std_fds();
    signal(SIGPIPE, SIG_IGN);
    if (take_options(argc, argv, &command) < 0)
        return 2;
    if (!command || strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0)
        return cmd_help();
    for (int i = 0; i < NCOMMANDS; i++)
        if (strcmp(command, commands[i].name) == 0)
            return commands[i].run();
    fprintf(stderr, "ppv: unknown command '%s'; try: ppv help\n", command);
    return 2;
}
