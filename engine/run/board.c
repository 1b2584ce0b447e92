/* SPDX-License-Identifier: Apache-2.0 */
#include "run/board.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"

enum { NAME_MAX_BYTES = 96 };

/* A name is taken by 0 -> 1 (being written) -> 2 (readable); a writer killed in between only wastes the place. */
struct name {
    _Atomic int32_t state;
    int32_t gauge;
    char text[NAME_MAX_BYTES];
};

struct board {
    struct name names[BOARD_COUNTERS];
    _Atomic int64_t dropped;
    struct board_slot slots[];
};

static struct board *board;
static size_t board_bytes;
static int nslots, mine;

int board_init(int nworkers, struct err *e)
{
    must(nworkers >= 0);
    nslots = nworkers + 1;
    mine = nworkers;
    board_bytes = sizeof(struct board) + sizeof(struct board_slot) * (size_t)nslots;
    void *p = mmap(NULL, board_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return ERR(e, ERR_INTERNAL, "no memory for the board: %s", strerror(errno));
    board = p;
    return 0;
}

void board_fini(void)
{
    if (board)
        munmap(board, board_bytes);
    board = NULL;
    nslots = 0;
}

int board_size(void)
{
    return nslots;
}

struct board_slot *board_slot(int i)
{
    must(board && i >= 0 && i < nslots);
    return &board->slots[i];
}

void board_use(int i)
{
    must(i >= 0 && i < nslots);
    mine = i;
}

struct board_slot *board_mine(void)
{
    return board ? &board->slots[mine] : NULL;
}

static int find(const char *name)
{
    for (int i = 0; i < BOARD_COUNTERS; i++) {
        int state = atomic_load_explicit(&board->names[i].state, memory_order_acquire);
        if (state == 0)
            return -1;
        if (state == 2 && strcmp(board->names[i].text, name) == 0)
            return i;
    }
    return -1;
}

static int number_of(const char *name, bool gauge)
{
    /* Where this process found a name last; names are few and live for ever. */
    static _Thread_local struct {
        const char *name;
        int number;
    } recent[64];
    size_t at = ((uintptr_t)name >> 3) % 64;
    if (recent[at].name == name && strcmp(board->names[recent[at].number].text, name) == 0)
        return recent[at].number;
    size_t n = strlen(name);
    int found = find(name);
    for (int i = 0; found < 0 && n < NAME_MAX_BYTES && i < BOARD_COUNTERS; i++) {
        int expected = 0;
        if (!atomic_compare_exchange_strong(&board->names[i].state, &expected, 1))
            continue;
        memcpy(board->names[i].text, name, n + 1);
        board->names[i].gauge = gauge;
        atomic_store_explicit(&board->names[i].state, 2, memory_order_release);
        found = i;
    }
    if (found < 0) {
        atomic_fetch_add(&board->dropped, 1);
    } else {
        recent[at].name = name;
        recent[at].number = found;
    }
    return found;
}

void board_count(const char *name, int64_t n)
{
    int i = board ? number_of(name, false) : -1;
    if (i >= 0)
        __atomic_fetch_add(&board->slots[mine].counters[i], n, __ATOMIC_RELAXED);
}

void board_gauge(const char *name, int64_t value)
{
    int i = board ? number_of(name, true) : -1;
    if (i >= 0)
        __atomic_store_n(&board->slots[mine].counters[i], value, __ATOMIC_RELAXED);
}

static int64_t total(int number)
{
    int64_t sum = 0;
    for (int i = 0; i < nslots; i++)
        sum += __atomic_load_n(&board->slots[i].counters[number], __ATOMIC_RELAXED);
    return sum;
}

int64_t board_total(const char *name)
{
    int i = board ? find(name) : -1;
    return i >= 0 ? total(i) : 0;
}

static size_t base_length(const char *name)
{
    return strcspn(name, "{");
}

static bool is_same_base(const char *a, const char *b)
{
    size_t n = base_length(a);
    return base_length(b) == n && memcmp(a, b, n) == 0;
}

/* All lines of one metric must stand together, under one TYPE line. Two workers may have entered one name twice in a
 * race: the later entries are summed into the first. */
static void render_family(struct buf *b, int first)
{
    const struct name *f = &board->names[first];
    size_t n = base_length(f->text);
    buf_printf(b, "# TYPE ppv_%.*s %s\n", (int)n, f->text, f->gauge ? "gauge" : "counter");
    for (int i = first; i < BOARD_COUNTERS; i++) {
        const struct name *x = &board->names[i];
        if (atomic_load(&x->state) != 2 || !is_same_base(x->text, f->text) || find(x->text) != i)
            continue;
        int64_t sum = total(i);
        for (int j = i + 1; j < BOARD_COUNTERS; j++)
            if (atomic_load(&board->names[j].state) == 2 &&
                strcmp(board->names[j].text, x->text) == 0)
                sum += total(j);
        buf_printf(b, "ppv_%s %lld\n", x->text, (long long)sum);
    }
}

static void render_workers(struct buf *b)
{
    int64_t now = clock_mono();
    buf_puts(b, "# TYPE ppv_worker_up gauge\n");
    for (int i = 0; i < nslots; i++)
        if (board->slots[i].state != BOARD_EMPTY)
            buf_printf(b, "ppv_worker_up{worker=\"%.15s\"} %d\n", board->slots[i].role,
                       board->slots[i].state == BOARD_READY);
    buf_puts(b, "# TYPE ppv_worker_heartbeat_age_seconds gauge\n");
    for (int i = 0; i < nslots; i++)
        if (board->slots[i].state != BOARD_EMPTY && board->slots[i].beat)
            buf_printf(b, "ppv_worker_heartbeat_age_seconds{worker=\"%.15s\"} %.3f\n",
                       board->slots[i].role, (double)(now - board->slots[i].beat) / 1e6);
}

void board_render_metrics(struct buf *b)
{
    if (!board)
        return;
    for (int i = 0; i < BOARD_COUNTERS; i++) {
        if (atomic_load(&board->names[i].state) != 2)
            continue;
        bool first = true;
        for (int j = 0; j < i && first; j++)
            first = atomic_load(&board->names[j].state) != 2 ||
                    !is_same_base(board->names[j].text, board->names[i].text);
        if (first)
            render_family(b, i);
    }
    render_workers(b);
    buf_printf(b, "# TYPE ppv_board_names_dropped counter\nppv_board_names_dropped %lld\n",
               (long long)atomic_load(&board->dropped));
}
