/* SPDX-License-Identifier: Apache-2.0 */
#include "base/conf.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

enum type { STRING, INT, BYTES, DURATION, BOOL, CHOICE };

struct key {
    const char *name;
    enum type type;
    const char *fallback; /* ${var_dir} is replaced */
    const char *limits;   /* "min..max" for numbers, "a|b|c" for choices */
    bool secret;
    const char *text;
    /* Filled by conf_load: */
    char *value;
    int64_t number;
    char origin[96];
};

#define KEY(n, ty, def, lim, doc) \
    { \
        .name = n, .type = ty, .fallback = def, .limits = lim, .text = doc \
    }
#define SECRET(n, doc) \
    { \
        .name = n, .type = STRING, .fallback = "", .secret = true, .text = doc \
    }

/* The order is the order of the printed reference. */
static struct key keys[] = {
    KEY("site_name", STRING, "PPV", NULL, "Name of the site in pages and mails."),
    KEY("listen", STRING, "127.0.0.1:8080", NULL,
        "Address and port of the web workers; [::]:8080 for IPv6."),
    KEY("base_url", STRING, "", NULL,
        "Address under which visitors reach the site, without a slash at the end. Empty: "
        "http://localhost and "
        "the port of `listen`."),
    KEY("development", BOOL, "true", NULL,
        "Watches scripts and plugins and reloads them when they change. Switch it off in "
        "production."),
    KEY("var_dir", STRING, "var", NULL,
        "Everything the site writes, unless another key says otherwise."),
    KEY("upload_dir", STRING, "${var_dir}/upload", NULL, "Uploaded originals."),
    KEY("demo_films", STRING, "/usr/share/forensics-samples/original-files", NULL,
        "Where `serve --demo` finds its sample films; a folder that is not there is skipped."),
    KEY("media_dir", STRING, "${var_dir}/media", NULL, "Encoded films."),
    KEY("delivery", CHOICE, "direct", "direct|cdn",
        "direct: all of a film goes through this site. cdn: players fetch the encrypted segments "
        "from cdn_base_url and only playlists and keys here."),
    KEY("cdn_base_url", STRING, "", NULL,
        "Address of the content delivery network, without a slash at the end; it fetches "
        "/<video>/<name> from this site's /media/seg/<video>/<name>."),
    KEY("secret_file", STRING, "${var_dir}/secret", NULL,
        "The instance's keys, made at the first start. Back it up: sealed settings are lost "
        "without it."),
    KEY("database_url", STRING, "", NULL,
        "PostgreSQL, e.g. postgres://ppv@db/ppv. Empty: a private one in var_dir."),
    KEY("database_read", STRING, "", NULL,
        "A replica for plain reads; the primary should have synchronous_commit = remote_apply, "
        "else "
        "new rows are missed for moments. Empty: the same as database_url."),
    KEY("pg_user", STRING, "", NULL,
        "System user of the private PostgreSQL when started by root. Empty: ppv if it exists, else "
        "postgres."),
    KEY("statement_timeout", DURATION, "5s", "1..600",
        "Longest database statement; plain reads always end after 1 s."),
    KEY("web_workers", INT, "0", "0..256", "Web worker processes; 0 = one per core."),
    KEY("job_workers", INT, "1", "0..64", "Processes for background jobs."),
    KEY("encode_jobs", INT, "1", "1..64", "Films encoded at the same time by one job worker."),
    KEY("encode_cores", INT, "0", "0..256",
        "Cores that all encodes of films on this machine together keep to; 0 = all."),
    KEY("video_encoder", CHOICE, "software", "software|auto|h264_nvenc|h264_v4l2m2m",
        "What encodes films without an invisible mark; auto: a hardware encoder that works."),
    KEY("burst_workers", INT, "0", "0..64",
        "Segments that get a viewer's name at the same time on this machine; 0 = one less than "
        "it has cores, one at least."),
    KEY("burst_cache", BYTES, "4GiB", "1048576..1125899906842624",
        "Space for such segments, below var_dir; the longest unused go first."),
    KEY("media_user", STRING, "", NULL,
        "System user of the encoder when started by root. Empty: nobody."),
    KEY("run_user", STRING, "", NULL,
        "System user of the workers when started by root. Empty: that of the private PostgreSQL."),
    KEY("log_level", CHOICE, "info", "debug|info|warn|error",
        "Least important event that is logged."),
    KEY("log_format", CHOICE, "auto", "auto|json|human",
        "auto: human on a terminal, else one JSON object per line."),
    KEY("trusted_proxies", STRING, "", NULL,
        "Addresses or networks, separated by spaces, whose X-Forwarded-* headers are believed."),
    KEY("cookie_secure", CHOICE, "auto", "auto|true|false",
        "Secure cookies; auto: when base_url is https."),
    KEY("session_idle", DURATION, "7d", "60..31536000",
        "A viewer is signed out after this time without a request."),
    KEY("admin_session_idle", DURATION, "15m", "60..86400", "The same for administrators."),
    KEY("admin_totp", CHOICE, "auto", "auto|true|false",
        "Administrators need two-step sign-in; auto: unless `development` is on."),
    KEY("max_upload", BYTES, "4GiB", "1048576..1099511627776", "Largest upload."),
    KEY("user_quota", BYTES, "50GiB", "0..1125899906842624",
        "Space for the originals of one creator; 0 = no limit."),
    KEY("upload_parallel", INT, "2", "1..100",
        "Resumable uploads of one creator that may be running at the same time."),
    KEY("upload_expiry", DURATION, "2d", "60..2592000",
        "An unfinished resumable upload is removed after this time without a byte."),
    KEY("disk_reserve", BYTES, "1GiB", "0..1125899906842624",
        "Uploads are refused when less than this would stay free."),
    KEY("currency", STRING, "USD", NULL,
        "ISO 4217 code of wallets and prices. Not changed after the first sale."),
    KEY("platform_fee_bp", INT, "1000", "0..10000",
        "The platform's share of a sale in basis points (1000 = 10 %)."),
    KEY("smtp_url", STRING, "", NULL,
        "Mail server: smtp://host:587 or smtps://host:465. Empty: mails become files."),
    KEY("smtp_user", STRING, "", NULL, "User name at the mail server."),
    SECRET("smtp_password", "Password at the mail server."),
    KEY("mail_from", STRING, "PPV <noreply@localhost>", NULL, "Sender of mails."),
    KEY("mail_outbox", STRING, "${var_dir}/outbox", NULL,
        "Where mails are written when there is no smtp_url."),
    KEY("require_plugins", STRING, "", NULL,
        "Plugins, separated by spaces, without which the site does not start. Other broken ones "
        "are left out."),
    KEY("plugin_cpu_ms", INT, "200", "10..10000",
        "Milliseconds of CPU a plugin may use in one go."),
    KEY("plugin_memory", BYTES, "64MiB", "8388608..2147483648",
        "Memory of all Lua code of one worker."),
    KEY("fetch_allow_private", BOOL, "false", NULL,
        "Lets outgoing requests reach private addresses. For tests and trusted networks only."),
    KEY("invoice_rate", INT, "600", "1..1000000",
        "Invoices for on-chain payments that all processes together sign in a minute; more is not "
        "a "
        "rush but a thief."),
    KEY("argon2_memory_kib", INT, "19456", "1024..4194304", "Memory of one password hash in KiB."),
    KEY("argon2_time", INT, "2", "1..64", "Passes of one password hash."),
    KEY("argon2_threads", INT, "2", "1..64",
        "Threads of one worker for password hashes and file writes."),
    KEY("http_header_timeout", DURATION, "10s", "1..120",
        "A request's headers must be complete after this time."),
    KEY("http_idle_timeout", DURATION, "15s", "1..600",
        "An idle connection is closed after this time."),
    KEY("http_max_connections", INT, "12000", "16..1000000", "Connections of one worker."),
    KEY("http_max_per_ip", INT, "0", "0..1000000",
        "Connections of one worker from one address; 0 = no limit (behind a proxy)."),
    KEY("drain_timeout", DURATION, "30s", "0..600",
        "Time for running requests to end at a stop or reload."),
};

enum { NKEYS = sizeof keys / sizeof *keys };

static const char *const default_paths[] = {"ppv.conf", "/etc/ppv/ppv.conf"};

static struct key *find(struct str name)
{
    for (int i = 0; i < NKEYS; i++)
        if (str_eqz(name, keys[i].name))
            return &keys[i];
    return NULL;
}

/* "12", "4GiB", "90s": units[i] has the factor factors[i]; the empty unit is 1. */
static int parse_number(struct str v, const char *const *units, const int64_t *factors,
                        int64_t *out)
{
    size_t digits = 0;
    while (digits < v.n && (isdigit((unsigned char)v.p[digits]) || (digits == 0 && v.p[0] == '-')))
        digits++;
    if (str_to_int64((struct str){v.p, digits}, out))
        return -1;
    struct str unit = str_trim((struct str){v.p + digits, v.n - digits});
    if (unit.n == 0)
        return 0;
    for (; units && *units; units++, factors++)
        if (str_caseeqz(unit, *units))
            return __builtin_mul_overflow(*out, *factors, out) ? -1 : 0;
    return -1;
}

static int parse_bool(struct str v, int64_t *out)
{
    *out =
        str_caseeqz(v, "true") || str_caseeqz(v, "yes") || str_caseeqz(v, "on") || str_eqz(v, "1");
    return *out || str_caseeqz(v, "false") || str_caseeqz(v, "no") || str_caseeqz(v, "off") ||
                   str_eqz(v, "0")
               ? 0
               : -1;
}

static bool is_choice(const char *choices, struct str v)
{
    for (const char *p = choices; *p;) {
        size_t n = strcspn(p, "|");
        if (str_eq((struct str){p, n}, v))
            return true;
        p += n + (p[n] == '|');
    }
    return false;
}

static const char *expected(const struct key *k)
{
    static const char *const text[] = {
        [STRING] = "text",
        [INT] = "a number",
        [BYTES] = "a size like 500MiB or 4GiB",
        [BOOL] = "true or false",
        [CHOICE] = "one of",
        [DURATION] = "a time like 30s, 15m, 2h or 7d",
    };
    return text[k->type];
}

static int parse(const struct key *k, struct str v, int64_t *out)
{
    static const char *const sizes[] = {"B", "K", "KiB", "M", "MiB", "G", "GiB", "T", "TiB", NULL};
    static const int64_t size_of[] = {1,       1 << 10, 1 << 10,   1 << 20,  1 << 20,
                                      1 << 30, 1 << 30, 1LL << 40, 1LL << 40};
    static const char *const times[] = {"s", "m", "h", "d", NULL};
    static const int64_t seconds[] = {1, 60, 3600, 86400};
    *out = 0;
    switch (k->type) {
    case STRING: return memchr(v.p, 0, v.n) ? -1 : 0;
    case CHOICE: return is_choice(k->limits, v) ? 0 : -1;
    case BOOL: return parse_bool(v, out);
    case INT: return parse_number(v, NULL, NULL, out);
    case BYTES: return parse_number(v, sizes, size_of, out);
    case DURATION: return parse_number(v, times, seconds, out);
    }
    return -1;
}

static int set(struct key *k, struct str v, const char *origin, struct err *e)
{
    int64_t number;
    if (parse(k, v, &number))
        return ERR(e, ERR_CONFIG, "%s: %s must be %s%s%s", origin, k->name, expected(k),
                   k->type == CHOICE ? " " : "", k->type == CHOICE ? k->limits : "");
    bool numeric = k->type == INT || k->type == BYTES || k->type == DURATION;
    if (numeric && k->limits) {
        char *end;
        int64_t min = strtoll(k->limits, &end, 10), max = strtoll(end + 2, NULL, 10);
        if (number < min || number > max)
            return ERR(e, ERR_CONFIG, "%s: %s must be between %" PRId64 " and %" PRId64, origin,
                       k->name, min, max);
    }
    struct buf b = {0};
    buf_put(&b, v.p, v.n);
    free(k->value);
    k->value = b.p;
    k->number = number;
    if (origin != k->origin)
        snprintf(k->origin, sizeof k->origin, "%s", origin);
    return 0;
}

/* Levenshtein distance, for names up to 31 bytes. */
static int distance(struct str a, const char *b)
{
    int row[33], n = (int)strlen(b);
    if (a.n > 31 || n > 31)
        return 99;
    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 1; i <= (int)a.n; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int best = diagonal + (a.p[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}

static int unknown(struct str name, const char *origin, struct err *e)
{
    const char *near = NULL;
    int best = 4;
    for (int i = 0; i < NKEYS; i++) {
        int d = distance(name, keys[i].name);
        if (d < best) {
            best = d;
            near = keys[i].name;
        }
    }
    return ERR(e, ERR_CONFIG, "%s: unknown key \"%.*s\"%s%s%s", origin,
               (int)(name.n > 60 ? 60 : name.n), name.p, near ? "; did you mean " : "",
               near ? near : "", near ? "?" : "");
}

static int set_pair(struct str line, const char *origin, bool comments, struct err *e)
{
    const char *eq = line.n ? memchr(line.p, '=', line.n) : NULL;
    if (!eq)
        return ERR(e, ERR_CONFIG, "%s: expected `key = value`", origin);
    struct str name = str_trim((struct str){line.p, (size_t)(eq - line.p)});
    struct str value = str_trim((struct str){eq + 1, line.n - (size_t)(eq + 1 - line.p)});
    if (comments && value.n >= 1 && value.p[0] == '"') {
        const char *close = memchr(value.p + 1, '"', value.n - 1);
        if (!close)
            return ERR(e, ERR_CONFIG, "%s: the closing quote is missing", origin);
        struct str rest =
            str_trim((struct str){close + 1, value.n - (size_t)(close + 1 - value.p)});
        if (rest.n && rest.p[0] != '#')
            return ERR(e, ERR_CONFIG, "%s: text after the closing quote", origin);
        value = (struct str){value.p + 1, (size_t)(close - value.p - 1)};
    } else if (comments) {
        for (size_t i = 0; i < value.n; i++)
            if (value.p[i] == '#' && (i == 0 || isspace((unsigned char)value.p[i - 1])))
                value = str_trim((struct str){value.p, i});
    }
    struct key *k = find(name);
    return k ? set(k, value, origin, e) : unknown(name, origin, e);
}

static int load_file(const char *path, bool optional, struct err *e)
{
    FILE *f = fopen(path, "re");
    if (!f) {
        if (optional && errno == ENOENT)
            return 0;
        return ERR(e, ERR_CONFIG, "%s: %s", path, strerror(errno));
    }
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int rc = 0;
    for (int number = 1; rc == 0 && (n = getline(&line, &cap, f)) >= 0; number++) {
        struct str s = str_trim((struct str){line, (size_t)n});
        char origin[96];
        snprintf(origin, sizeof origin, "%.70s:%d", path, number);
        if (s.n && s.p[0] != '#')
            rc = set_pair(s, origin, true, e);
    }
    free(line);
    fclose(f);
    return rc;
}

static int load_environment(struct err *e)
{
    for (int i = 0; i < NKEYS; i++) {
        char name[64] = "PPV_";
        for (size_t j = 0; keys[i].name[j]; j++)
            name[4 + j] = (char)toupper((unsigned char)keys[i].name[j]);
        const char *v = getenv(name);
        if (v && set(&keys[i], str_trim(str_from(v)), name, e))
            return -1;
    }
    return 0;
}

static void set_defaults(void)
{
    struct err e;
    for (int i = 0; i < NKEYS; i++)
        must(set(&keys[i], str_from(keys[i].fallback), "default", &e) == 0);
}

/* Defaults that depend on other keys. */
static void derive(void)
{
    static const char var[] = "${var_dir}";
    const char *dir = conf_str("var_dir");
    struct err e;
    for (int i = 0; i < NKEYS; i++) {
        if (strncmp(keys[i].value, var, sizeof var - 1) != 0)
            continue;
        struct buf b = {0};
        buf_printf(&b, "%s%s", dir, keys[i].value + sizeof var - 1);
        must(set(&keys[i], (struct str){b.p, b.n}, keys[i].origin, &e) == 0);
        buf_fini(&b);
    }
    struct key *base = find(str_from("base_url"));
    for (size_t n = strlen(base->value); n && base->value[n - 1] == '/'; n--)
        base->value[n - 1] = 0;
    if (!*base->value) {
        const char *port = strrchr(conf_str("listen"), ':');
        struct buf b = {0};
        buf_printf(&b, "http://localhost%s", port && strcmp(port, ":80") != 0 ? port : "");
        must(set(base, (struct str){b.p, b.n}, "from listen", &e) == 0);
        buf_fini(&b);
    }
}

int conf_load(const char *path, char *const *sets, struct err *e)
{
    set_defaults();
    if (path) {
        bool optional = strcmp(path, default_paths[0]) == 0 || strcmp(path, default_paths[1]) == 0;
        if (load_file(path, optional, e))
            return -1;
    } else {
        FILE *here = fopen(default_paths[0], "re");
        if (here)
            fclose(here);
        if (load_file(default_paths[here ? 0 : 1], true, e))
            return -1;
    }
    if (load_environment(e))
        return -1;
    for (; sets && *sets; sets++)
        if (set_pair(str_from(*sets), "--set", false, e))
            return -1;
    derive();
    return 0;
}

static const struct key *need(const char *name, bool ok_type(enum type))
{
    const struct key *k = find(str_from(name));
    if (!k || !ok_type(k->type) || !k->value)
        err_abort(name, "conf key", 0);
    return k;
}

static bool is_text(enum type t)
{
    return t == STRING || t == CHOICE;
}

static bool is_number(enum type t)
{
    return t == INT || t == BYTES || t == DURATION;
}

static bool is_bool(enum type t)
{
    return t == BOOL;
}

const char *conf_str(const char *key)
{
    return need(key, is_text)->value;
}

int64_t conf_int(const char *key)
{
    return need(key, is_number)->number;
}

bool conf_bool(const char *key)
{
    return need(key, is_bool)->number != 0;
}

enum conf_type conf_type(const char *key)
{
    const struct key *k = find(str_from(key));
    if (!k || !k->value)
        return CONF_NONE;
    if (k->secret)
        return CONF_SECRET;
    return is_text(k->type) ? CONF_STRING : is_bool(k->type) ? CONF_BOOL : CONF_INT;
}

/* A password inside a database URL or connection string is as secret as one of its own. */
static void print_masked(FILE *out, const char *v)
{
    const char *rest = strstr(v, "://");
    const char *at = rest ? strrchr(rest + 3, '@') : NULL;
    const char *colon = at ? memchr(rest + 3, ':', (size_t)(at - rest - 3)) : NULL;
    if (colon) {
        fprintf(out, "%.*s:***", (int)(colon - v), v);
        v = at;
    }
    for (const char *p; (p = strcasestr(v, "password")) != NULL;) {
        p += strlen("password");
        p += strspn(p, " =");
        fprintf(out, "%.*s***", (int)(p - v), v);
        /* A quoted value may hold spaces; the rest of the text is cheaper to lose than a password. */
        v = *p == '\'' ? "" : p + strcspn(p, " &");
    }
    fputs(v, out);
}

void conf_dump(FILE *out)
{
    for (int i = 0; i < NKEYS; i++) {
        const struct key *k = &keys[i];
        const char *v = k->value ? k->value : k->fallback;
        fprintf(out, "%-20s = ", k->name);
        if (k->secret && *v)
            fputs("***", out);
        else
            print_masked(out, v);
        fprintf(out, "  # %s\n", k->origin);
    }
}

void conf_print_reference(FILE *out)
{
    static const char *const type_names[] = {"text", "number",        "size",
                                             "time", "true or false", "one of"};
    fputs("# ppv.conf: `key = value` lines. Text after # is a comment; quote a value that contains "
          "one.\n"
          "# PPV_<KEY> in the environment overrides this file, --set key=value overrides both.\n"
          "# Sizes: 500MiB, 4GiB. Times: 30s, 15m, 2h, 7d.\n",
          out);
    for (int i = 0; i < NKEYS; i++) {
        const struct key *k = &keys[i];
        fprintf(out, "\n# %s\n# (%s%s%s%s)\n#%s = %s\n", k->text, type_names[k->type],
                k->limits ? " " : "", k->limits ? k->limits : "", k->secret ? ", secret" : "",
                k->name, k->fallback);
    }
}
