/* SPDX-License-Identifier: Apache-2.0
 * The log of answered keys. Rows wait in memory for at most a fifth of a second and go to the table
 * key_log in one statement; what a crash of the worker can lose is that fifth. A batch the database
 * did not take is kept and sent again; after a lost connection that may write rows twice, so readers
 * count distinct (playback_id, rendition, seq). Loop thread. */
#ifndef DOMAIN_KEYLOG_H
#define DOMAIN_KEYLOG_H
#include <stdint.h>

struct loop;
struct db;

struct keylog_row {
    uint8_t session[16], video[16];
    int64_t user_id;
    char rendition[16];
    char variant; /* a, b, u = the viewer's own burst */
    int seq;
    char ip[46]; /* "" = unknown */
};
void keylog_init(struct loop *l, struct db *d);
/* Copies. Past 100 000 waiting rows (a database that is down) rows are dropped and counted. */
void keylog_add(const struct keylog_row *row);
/* Rows not yet in the table. A draining worker waits for 0. */
int keylog_waiting(void);
#endif
