/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/str.h"

static struct err e;

static int load(const char *text, char *const *sets)
{
    char path[] = "/tmp/ppv-conf-XXXXXX";
    int fd = mkstemp(path);
    CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    int rc = conf_load(path, sets, &e);
    unlink(path);
    return rc;
}

static int refused(const char *text, const char *where, const char *what)
{
    return load(text, NULL) == -1 && e.code == ERR_CONFIG && strstr(e.msg, where) &&
           strstr(e.msg, what);
}

TEST(values_of_every_type)
{
    CHECK(load("# comment\n\nlisten = 0.0.0.0:80 # after\nmax_upload = 2 GiB\nsession_idle = "
               "90m\nweb_workers=3\n"
               "development = no\nsite_name = \"a # b\"\nlog_level = debug\nvar_dir = /srv/x\n",
               NULL) == 0);
    CHECK(strcmp(conf_str("listen"), "0.0.0.0:80") == 0 &&
          strcmp(conf_str("base_url"), "http://localhost") == 0);
    CHECK(conf_int("max_upload") == 2LL << 30 && conf_int("session_idle") == 5400 &&
          conf_int("web_workers") == 3);
    CHECK(!conf_bool("development") && strcmp(conf_str("site_name"), "a # b") == 0);
    CHECK(strcmp(conf_str("upload_dir"), "/srv/x/upload") == 0 &&
          strcmp(conf_str("secret_file"), "/srv/x/secret") == 0);
    CHECK(conf_int("platform_fee_bp") == 1000 && strcmp(conf_str("database_url"), "") == 0);
    CHECK(conf_type("nothing") == CONF_NONE && conf_type("smtp_password") == CONF_SECRET);
    CHECK(conf_type("development") == CONF_BOOL && conf_type("max_upload") == CONF_INT);
}

TEST(mistakes_name_their_line)
{
    CHECK(refused("listen = a\nlisen = b\n", ":2:", "did you mean listen?"));
    CHECK(refused("\n\nno equals sign\n", ":3:", "key = value"));
    CHECK(refused("web_workers = many\n", ":1:", "a number"));
    CHECK(refused("web_workers = 1000\n", ":1:", "between 0 and 256"));
    CHECK(refused("max_upload = 4 potatoes\n", ":1:", "a size"));
    CHECK(refused("session_idle = 7w\n", ":1:", "a time"));
    CHECK(refused("development = perhaps\n", ":1:", "true or false"));
    CHECK(refused("log_level = loud\n", ":1:", "debug|info|warn|error"));
    CHECK(refused("site_name = \"open\n", ":1:", "closing quote"));
    CHECK(refused("max_upload = 99999999999999999999GiB\n", ":1:", "a size"));
    CHECK(conf_load("/nonexistent/ppv.conf", NULL, &e) == -1 && e.code == ERR_CONFIG);
}

TEST(environment_beats_file_and_set_beats_both)
{
    char *sets[] = {"web_workers=7", NULL}, *bad[] = {"web_workrs=7", NULL};
    setenv("PPV_WEB_WORKERS", "5", 1);
    CHECK(load("web_workers = 2\n", NULL) == 0 && conf_int("web_workers") == 5);
    CHECK(load("web_workers = 2\n", sets) == 0 && conf_int("web_workers") == 7);
    setenv("PPV_WEB_WORKERS", "x", 1);
    CHECK(load("", NULL) == -1 && strstr(e.msg, "PPV_WEB_WORKERS"));
    unsetenv("PPV_WEB_WORKERS");
    CHECK(load("", bad) == -1 && strstr(e.msg, "--set"));
}

TEST(dump_hides_secrets_and_reference_documents_every_key)
{
    char text[32768] = "";
    CHECK(load("smtp_password = hunter2\ndatabase_url = postgres://u:hunter3@h/d\n", NULL) == 0);
    FILE *f = fmemopen(text, sizeof text, "w");
    conf_dump(f);
    fclose(f);
    CHECK(!strstr(text, "hunter") && strstr(text, "***") && strstr(text, "postgres://u:***@h/d"));
    static const char *const hidden[] = {
        "host=h password=hunter4 dbname=d", "host=h password = 'hunter 5'",
        "postgres://h/d?password=hunter6&sslmode=require", "postgres://u:hunter7@x@h/d"};
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) {
        char set[100], *sets[] = {set, NULL};
        snprintf(set, sizeof set, "database_url=%s", hidden[i]);
        CHECK(conf_load(NULL, sets, &e) == 0);
        f = fmemopen(text, sizeof text, "w");
        conf_dump(f);
        fclose(f);
        CHECK(!strstr(text, "hunter") && strstr(text, "***"));
    }
    CHECK(load("database_url = u@h ://x\n", NULL) == 0); /* an @ before the scheme */
    f = fmemopen(text, sizeof text, "w");
    conf_dump(f);
    fclose(f);
    CHECK(strstr(text, "= u@h ://x  #"));
    f = fmemopen(text, sizeof text, "w");
    conf_print_reference(f);
    fclose(f);
    CHECK(strstr(text, "#listen = 127.0.0.1:8080") && strstr(text, "#plugin_memory = 64MiB"));
    /* The reference, uncommented, is a valid file. */
    for (char *p = text; (p = strstr(p, "\n#")) != NULL; p++)
        if (p[2] != ' ')
            p[1] = ' ';
    CHECK(load(text, NULL) == 0);
}
