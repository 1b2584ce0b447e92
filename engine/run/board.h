/* SPDX-License-Identifier: Apache-2.0
 * Shared board, made before fork: heartbeat, state and counters of every worker. The master reads it for supervision,
 * any worker renders /metrics of all. Counters live in the worker's slot, so a restart does not reset them. */
#ifndef RUN_BOARD_H
#define RUN_BOARD_H
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"
#include "base/str.h"

enum { BOARD_COUNTERS = 256, BOARD_RUNNING = 64 };
enum board_state { BOARD_EMPTY, BOARD_STARTING, BOARD_READY, BOARD_DRAINING, BOARD_DEAD };

struct board_slot {
    volatile int64_t beat;      /* clock_mono of the last loop turn; give &beat to loop_run */
    volatile int64_t lua_since; /* clock_mono when the running Lua code was resumed, 0 = none */
    volatile int32_t state;     /* enum board_state */
    volatile int32_t pid;
    char running
        [BOARD_RUNNING]; /* plugin whose code runs now, "" = none; written by the worker only */
    char role[16];       /* "web0", "job1" */
    int64_t counters[BOARD_COUNTERS]; /* by number of the name; through board_count only */
};

/* Master, once, before fork. Slot nworkers (one more than asked for) is the master's own. */
int board_init(int nworkers, struct err *e);
void board_fini(void); /* tests only */
int board_size(void);  /* nworkers + 1; 0 before board_init */
/* i in [0, board_size()). */
struct board_slot *board_slot(int i);
/* After fork: board_count and board_gauge of this process go to slot i (default: the master's). */
void board_use(int i);
struct board_slot *board_mine(void); /* NULL before board_init */

/* Any thread. name: metric name, optionally with labels: `http_requests_total{status="200"}`; <= 95 bytes, from a small fixed
 * set (BOARD_COUNTERS in all; later ones are dropped and counted as board_names_dropped). Does nothing before board_init. */
void board_count(const char *name, int64_t n);
/* Any thread. Sets this worker's value; /metrics shows the sum over workers. */
void board_gauge(const char *name, int64_t value);
/* Sum over all slots, 0 when unknown. */
int64_t board_total(const char *name);
/* Any thread. Prometheus text format, names prefixed with ppv_, plus up/heartbeat of every worker. */
void board_render_metrics(struct buf *b);
#endif
