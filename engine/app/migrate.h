/* SPDX-License-Identifier: Apache-2.0
 * Forward-only schema migrations: NNN_topic.sql files of one directory, each in its own
 * transaction, recorded with sha256 in schema_migrations. Blocking; run by the master before
 * workers start. Safe to run from several machines at once (advisory lock). Refuses an edited
 * file, a missing file and a database newer than the files, and says which. */
#ifndef APP_MIGRATE_H
#define APP_MIGRATE_H
#include "base/err.h"
/* conninfo must be of a role that may create roles and own the database (embedded: the superuser
 * ppv). 0 = schema is current. */
int migrate_run(const char *conninfo, const char *sql_dir, struct err *e);
#endif
